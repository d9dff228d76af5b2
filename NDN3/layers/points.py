"""Units that each see the image at one point, whose place is learned."""

import math

import keras
import numpy as np
from keras import ops

from NDN3 import quantities, suggestions
from NDN3.draws import Draws
from NDN3.layers import geometry
from NDN3.layers.base import NDNLayer
from NDN3.layers.gaussians import clipped
from NDN3.layers.windows import square_dims

# Positions are drawn from ± this, in half widths of the image around its center.
START_RANGE = 0.5
START_DEVIATION = 0.1
COVARIANCES = ("diagonal", "full")


def interpolation(places, size):
    """Weights with which the pixels along one axis are interpolated.

    Parameters
    ----------
    places : tensor
        In [-1, 1], from the center of the first pixel to that of the last one.
    size : int
        Number of pixels.

    Returns
    -------
    tensor, (*places.shape, size)
        max(0, 1 - |place - pixel|), places in pixels. The gradient is that of the two pixels
        between which a place lies, also where it lies exactly on one of them, such as the last
        pixel: it does not vanish there.
    """
    pixels = (places + 1) / 2 * (size - 1)
    first = ops.floor(ops.stop_gradient(pixels))
    first = ops.clip(first, 0, max(size - 2, 0))
    share = ops.expand_dims(pixels - first, -1)
    index = ops.convert_to_tensor(np.arange(size), dtype=places.dtype)
    distance = index - ops.expand_dims(first, -1)
    here, next_one = (ops.cast(ops.equal(distance, step), places.dtype) for step in (0, 1))
    return here * (1 - share) + next_one * share


@keras.saving.register_keras_serializable("NDN3")
class WithinImage(keras.constraints.Constraint):
    """Keep positions between the centers of the outermost pixels.

    Attributes
    ----------
    bounds : (float, float)
        For minimizers that know bounds.
    """

    bounds = (-1.0, 1.0)

    def __call__(self, positions):
        """Positions, those beyond the border on it."""
        return ops.clip(positions, *self.bounds)


@keras.saving.register_keras_serializable("NDN3")
class PointReadout(NDNLayer):
    """Units that weigh all channels at one point: f(Σ_c x[c, position_j] W[c, j] + b_j).

    Between pixels the image is interpolated bilinearly, so that the positions are trained by
    gradients as the weights are. They are held within the image: after every step one that has
    gone beyond the border is put back on it, from where its gradient can lead it away. A position
    that was set beyond the border counts as on it, and its gradient passes as if it were not.

    Parameters
    ----------
    positions : sequence of (float, float), optional
        x (along the width) and y of each unit, from which training starts: -1 is the center of the
        first pixel and 1 that of the last one. Otherwise they are drawn after weights and biases,
        uniformly from [-0.5, 0.5], all x before all y.
    **kwargs
        As in `NDNLayer`.

    Weights [C, units], biases [1, units], positions [2, units] (rows x, y).

    Input shape: (batch, C * W * H). Output shape: (batch, units).

    References
    ----------
    Sinz et al. 2018, "Stimulus domain transfer in recurrent models for large scale cortical
    population prediction on video", NeurIPS (spatial transformer readout, after Jaderberg et al.
    2015, "Spatial transformer networks", NeurIPS). Holding positions within the image: Lurz et al.
    2021, "Generalization in data-driven models of primary visual cortex", ICLR.
    """

    layer_type = "point_readout"
    penalty_names = ("l1", "l2")
    options = ("positions",)
    array_names = ("weights", "biases", "positions")
    array_constraints = {"positions": WithinImage()}

    def __init__(self, units, positions=None, **kwargs):
        super().__init__(units, **kwargs)
        self.positions = positions
        if positions is not None:
            self.positions = geometry.pairs(positions, self.n_units, "positions", self.layer_type)
            if np.max(np.abs(self.positions)) > 1:
                raise ValueError(
                    f"positions of a {self.layer_type} layer reach {np.max(np.abs(positions))}; "
                    "they lie between -1 and 1, the centers of the outermost pixels. Correct them."
                )

    def inferred_dims(self, size):
        """Take the input for a square image."""
        return square_dims(self.layer_type, size)

    def prepare(self):
        """Refuse an input without pixels to choose from."""
        if math.prod(self.input_dims[1:]) == 1:
            raise ValueError(
                f"a {self.layer_type} layer looks for a point in an image, and its input has one "
                f"pixel (dims {list(self.input_dims)}). Use a 'normal' layer, or correct the dims."
            )
        super().prepare()

    def weights_shape(self):
        """(C, units)."""
        return (self.input_dims[0], self.n_units)

    def array_shapes(self):
        """Shapes of weights, biases and positions."""
        return (*super().array_shapes(), (2, self.n_units))

    @property
    def filter_dims(self):
        """[C, 1, 1]."""
        return [self.input_dims[0], 1, 1]

    def start_values(self, source):
        """Weights and biases, then positions.

        Parameters and returned value as in `NDNLayer.start_values`.
        """
        weights, biases = super().start_values(source)
        if self.positions is None:
            positions = source.uniform(-START_RANGE, START_RANGE, (2, self.n_units))
        else:
            positions = np.transpose(self.positions).astype(float)
        return weights, biases, positions

    def pixels(self):
        """Where the units are.

        Returns
        -------
        ndarray, (units, 2)
            Column and row of each [pixel].
        """
        places = np.clip(ops.convert_to_numpy(self.arrays["positions"]), -1, 1)
        return ((places + 1) / 2).T * (np.array(self.input_dims[1:]) - 1)

    def shares(self, positions):
        """Share of every pixel in what a unit sees.

        Parameters
        ----------
        positions : tensor, (2, rows, units)

        Returns
        -------
        tensor, (rows, units, W * H)
            Index w + W * h.
        """
        _, width, height = self.input_dims
        positions = clipped(positions, -1.0, 1.0, straight_through=True)
        columns = interpolation(positions[0], width)
        rows = interpolation(positions[1], height)
        shares = ops.expand_dims(rows, -1) * ops.expand_dims(columns, -2)
        return ops.reshape(shares, (-1, self.n_units, width * height))

    def transform(self, inputs, weights):
        """Weights times what the units see."""
        positions = ops.convert_to_tensor(self.arrays["positions"])
        shares = self.shares(ops.expand_dims(positions, 1))[0]
        full = ops.expand_dims(ops.transpose(shares), 1) * ops.expand_dims(weights, 0)
        return ops.matmul(inputs, ops.reshape(full, (math.prod(self.input_dims), -1)))

    def get_config(self):
        """Arguments that make the same layer again."""
        return {**super().get_config(), "positions": self.positions}


@keras.saving.register_keras_serializable("NDN3")
class GaussianReadout(PointReadout):
    """Point readout whose positions are drawn anew for each row while training.

    They come from a Gaussian around the position of the unit; its covariance is trained along with
    the position. So the unit sees gradients from a neighbourhood that is large in the beginning,
    and finds places that are further away than one pixel. Outside of training it sees the position
    itself. Draws are a function of the member's key and a counter (`NDN3.draws.Draws`).

    Parameters
    ----------
    covariance : {"diagonal", "full"}
        "diagonal" has one deviation along the width and one along the height, "full" a matrix A
        for each unit: positions are drawn as mean + A · (two independent normal numbers).
    deviation : float
        From which the deviations start, in half widths of the image.
    **kwargs
        As in `PointReadout`.

    Weights [C, units], biases [1, units], positions [2, units], deviations [2, units] (x, y) or
    [4, units] (A row by row; the entries off its diagonal start at 0).

    Input shape: (batch, C * W * H). Output shape: (batch, units).

    References
    ----------
    Lurz et al. 2021, "Generalization in data-driven models of primary visual cortex", ICLR.
    """

    layer_type = "gaussian_readout"
    options = (*PointReadout.options, "covariance", "deviation")
    array_names = (*PointReadout.array_names, "deviations")

    def __init__(
        self, units, positions=None, covariance="diagonal", deviation=START_DEVIATION, **kwargs
    ):
        super().__init__(units, positions, **kwargs)
        self.covariance = suggestions.known(covariance, COVARIANCES, "covariance")
        name = f"deviation of a {self.layer_type} layer"
        self.deviation = quantities.real(
            deviation, name, lambda x: 0 < x < math.inf, "a number above 0"
        )
        self.source = Draws(seed=self.seed, name="source", dtype=self.dtype_policy)

    def build(self, input_shape):
        """Make the arrays and the stream of draws."""
        super().build(input_shape)
        self.source.build(None)

    def array_shapes(self):
        """Shapes of weights, biases, positions and deviations."""
        rows = 2 if self.covariance == "diagonal" else 4
        return (*super().array_shapes(), (rows, self.n_units))

    def start_values(self, source):
        """As in `PointReadout`; nothing is drawn for the deviations."""
        diagonal = [1, 1] if self.covariance == "diagonal" else [1, 0, 0, 1]
        deviations = np.outer(diagonal, np.full(self.n_units, self.deviation))
        return (*super().start_values(source), deviations)

    def drawn_positions(self, rows):
        """Positions of the units for each row of a batch.

        Parameters
        ----------
        rows : int or tensor of int, ()

        Returns
        -------
        tensor, (2, rows, units)
        """
        means = ops.convert_to_tensor(self.arrays["positions"])
        deviations = ops.convert_to_tensor(self.arrays["deviations"])
        normals = self.source.normal((rows, 2, self.n_units), means.dtype)
        if self.covariance == "diagonal":
            offsets = normals * deviations
        else:
            matrices = ops.reshape(deviations, (2, 2, self.n_units))
            offsets = ops.sum(ops.expand_dims(normals, 1) * matrices, axis=2)
        return ops.transpose(means + offsets, (1, 0, 2))

    def computed(self, inputs, weights, biases, training, row_weights):
        """Input of the activation function, at drawn positions while training."""
        if not training:
            return super().computed(inputs, weights, biases, training, row_weights)
        channels, width, height = self.input_dims
        shares = self.shares(self.drawn_positions(ops.shape(inputs)[0]))
        seen = ops.matmul(shares, ops.reshape(inputs, (-1, width * height, channels)))
        return ops.sum(seen * ops.transpose(weights), axis=2) + biases

    def get_config(self):
        """Arguments that make the same layer again."""
        own = {"covariance": self.covariance, "deviation": self.deviation}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable("NDN3")
class Sampler(GaussianReadout):
    """`GaussianReadout` under the name that the original program declared but could not run."""

    layer_type = "sampler"
