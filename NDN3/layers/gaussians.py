"""Difference-of-Gaussians filters, over the whole image and as a convolution.

References
----------
Antolík et al. 2016, "Model constrained by visual hierarchy improves prediction of neural responses
to natural scenes", PLoS Comput. Biol. 12(6): e1004927.
"""

import math
import warnings

import keras
import numpy as np
from keras import ops

from NDN3 import initialization, quantities
from NDN3.layers.base import NDNLayer
from NDN3.layers.convolution import WindowsLayer
from NDN3.layers.windows import square_dims

# Rows of the weight matrix: amplitude, variance, column, row of the center, the same of the
# surround. Column and row of the surround are not used: both are concentric.
N_ROWS = 8
PARAMETERS = ("amplitude", "variance", "column", "row")
LARGEST_VARIANCE = 0.82  # of the larger side of the image; 25 for 31 pixels
# The original program added this to the first row (coordinate) of both Gaussians.
LEGACY_SHIFT = 2.0


def default_bounds(width, height):
    """Bounds of the parameters of a filter on a grid of pixels.

    Parameters
    ----------
    width, height : int
        [pixel]

    Returns
    -------
    list of (float, float)
        Of amplitude, variance [pixel²], column and row of the peak [pixel]. On three pixels the
        bounds of column and row are (2, 1), which holds the filter in the corner.
    """
    return [
        (float(np.finfo(float).eps), 10.0),
        (1.0, float(int(LARGEST_VARIANCE * max(width, height)))),
        (2.0, width - 2.0),
        (2.0, height - 2.0),
    ]


def random_parameters(bounds, n_filters, source, legacy):
    """Start values of filters, uniform within the bounds.

    Parameters
    ----------
    bounds : sequence of (float, float)
        Of amplitude, variance, column and row.
    n_filters : int
    source : numpy.random.Generator or numpy.random.RandomState
    legacy : bool
        Add 2 to the row of the peak, as the original program did.

    Returns
    -------
    ndarray, (8, n_filters)
    """
    rows = []
    for position, (low, high) in enumerate([*bounds, *bounds]):
        shift = LEGACY_SHIFT if legacy and position % 4 == 3 else 0.0
        rows.append(low + (high - low) * source.random(n_filters) + shift)
    return np.stack(rows)


def clipped(values, low, high, straight_through):
    """Values held within bounds; the lower bound wins when they are crossed.

    Parameters
    ----------
    values : tensor
    low, high : float or None
        None leaves that side open.
    straight_through : bool
        The gradient passes as if nothing were clipped, so that a value outside of its bounds can
        return. Otherwise it is zero there.

    Returns
    -------
    tensor
    """
    inside = values if high is None else ops.minimum(values, high)
    inside = ops.maximum(inside, low)
    if straight_through:
        # the difference is exactly zero, but carries the gradient
        return ops.stop_gradient(inside) + (values - ops.stop_gradient(values))
    return inside


def sampled(gains, variances, columns, rows, width, height):
    """Sums of Gaussians on a grid of pixels.

    Each Gaussian is a product of a function of the column and one of the row, so a filter is a
    matrix of low rank: W + H exponentials for each Gaussian instead of W * H.

    Parameters
    ----------
    gains : tensor, (F, n)
        Volumes of the Gaussians of each filter; negative ones are taken away.
    variances : tensor, (F, n)
        [pixel²]
    columns, rows : tensor, (F, n) or (F, 1)
        Of the peaks [pixel].
    width, height : int
        [pixel]

    Returns
    -------
    tensor, (F, height, width)
    """

    def profile(peaks, size):
        positions = ops.convert_to_tensor(np.arange(size), dtype=gains.dtype)
        squares = ops.square(positions - ops.expand_dims(peaks, 2))
        return ops.exp(-squares / (2 * ops.expand_dims(variances, 2)))  # (F, n, size)

    peaks = ops.expand_dims(gains / (2 * math.pi * variances), 2)
    across_rows = ops.transpose(peaks * profile(rows, height), (0, 2, 1))
    return ops.matmul(across_rows, profile(columns, width))


def clipped_kernels(weights, bounds, width, height, straight_through):
    """Sample filters whose parameters are clipped to their bounds.

    Parameters
    ----------
    weights : tensor, (8, F)
        Stored parameters; they are clipped here.
    bounds : sequence of (float, float)
        Of amplitude, variance, column and row.
    width, height : int
        [pixel]
    straight_through : bool
        See `clipped`.

    Returns
    -------
    tensor, (F, height, width)
        Center minus surround; the variance of the surround is the sum of both variances, so it is
        never the narrower one.
    """

    def parameter(row, bound, upper=True):
        low, high = bounds[bound]
        return clipped(weights[row], low, high if upper else None, straight_through)

    center, surround = parameter(0, 0, upper=False), parameter(4, 0, upper=False)
    inner = parameter(1, 1)
    return sampled(
        ops.stack([center, -surround], axis=1),
        ops.stack([inner, inner + parameter(5, 1)], axis=1),
        ops.expand_dims(parameter(2, 2), 1),
        ops.expand_dims(parameter(3, 3), 1),
        width,
        height,
    )


def crossed(bounds):
    """Names of the parameters whose bounds are the wrong way round."""
    return [name for name, (low, high) in zip(PARAMETERS, bounds, strict=True) if low > high]


def checked_bounds(bounds, layer_type):
    """Bounds as a list of four pairs.

    Parameters
    ----------
    bounds : sequence or None
    layer_type : str
        For the message.

    Returns
    -------
    list of (float, float) or None

    Raises
    ------
    ValueError
        If they are not four pairs of finite numbers, low ones first, with positive variances.
    """
    if bounds is None:
        return None
    given = f"bounds of a {layer_type} layer are {quantities.shown(bounds)}"
    found = np.asarray(bounds, dtype=object)
    if found.shape != (4, 2):
        raise ValueError(
            f"{given}; they must be four pairs (low, high), of amplitude, variance, column and "
            "row. Correct them."
        )
    pairs = [
        tuple(
            quantities.real(value, f"{name} in the bounds of a {layer_type} layer")
            for value in pair
        )
        for name, pair in zip(PARAMETERS, found, strict=True)
    ]
    if wrong := crossed(pairs):
        raise ValueError(
            f"{given}; of {' and '.join(wrong)} the upper one is below the lower one, and no value "
            "lies between. Give (low, high)."
        )
    if pairs[1][0] <= 0:
        raise ValueError(
            f"{given}; a variance [pixel²] is above 0, also the smallest. Correct the second pair."
        )
    return pairs


class Gaussians(NDNLayer):
    """Base of the layers whose filters are given by the parameters of Gaussians.

    Subclasses have `kernels(weights)`, the sampled filters (F, height, width), and
    `centers(weights)`, an ndarray (F, 2) of columns and rows [pixel].

    Parameters
    ----------
    units : int
        Number of filters F.
    bounds : sequence of (float, float), optional
        Of amplitude, variance [pixel²], column and row [pixel]; by default `default_bounds`. The
        upper bound of the amplitude is used for start values only.
    **kwargs
        As in `NDNLayer`.
    """

    penalty_names = ()
    takes_dropout = False
    normalization_codes = (0,)
    default_initializers = ("random", "zeros")

    def __init__(self, units, bounds=None, **kwargs):
        super().__init__(units, **kwargs)
        self.bounds = checked_bounds(bounds, self.layer_type)

    def check_arguments(self):
        """Refuse a sign constraint, which would have no meaning for these parameters."""
        super().check_arguments()
        if self.pos_constraint:
            raise ValueError(
                f"pos_constraint of a {self.layer_type} layer is "
                f"{quantities.shown(self.pos_constraint)}; its "
                "parameters have bounds instead. Set it to None for this layer."
            )

    def weights_shape(self):
        """(8, F)."""
        return (N_ROWS, self.n_units)

    def grid(self):
        """Width and height of a filter [pixel]."""
        return tuple(self.filter_dims[1:])

    def bounds_in_use(self):
        """Return the given bounds, or the default ones of the size of the filter."""
        return self.bounds or default_bounds(*self.grid())

    def start_values(self, source):
        """Biases are drawn before the parameters.

        Parameters and returned values as in `NDNLayer.start_values`.
        """
        weights_name, biases_name = self.initializers()
        biases = initialization.draw_biases(biases_name, self.biases_shape(), source)
        return self.start_weights(weights_name, source), biases

    def start_weights(self, name, source):
        """Start values of the stored parameters, (8, F)."""
        return initialization.draw(name, self.weights_shape(), source)

    def get_config(self):
        """Arguments that make the same layer again."""
        return {**super().get_config(), "bounds": self.bounds}


class ClippedGaussians(Gaussians):
    """Base of the layers whose parameters are clipped to their bounds.

    Parameters
    ----------
    legacy : bool
        As in the original program: no gradient where a parameter is clipped, and 2 added to the
        first row (coordinate). Otherwise gradients pass straight through.
    units, **kwargs
        As in `Gaussians`.
    """

    def __init__(self, units, legacy=False, **kwargs):
        super().__init__(units, **kwargs)
        self.legacy = legacy

    def build(self, input_shape):
        """Make the weights; warn where default bounds leave no room."""
        super().build(input_shape)
        if not self.legacy and (held := crossed(self.bounds_in_use())):
            width, height = self.grid()
            warnings.warn(
                f"the filters of a {self.layer_type} layer have {width} x {height} pixels, for "
                f"which the default bounds of {' and '.join(held)} leave no room: they hold the "
                "center in the corner. Give bounds, or use bounded_dog or conv_bounded_dog.",
                stacklevel=2,
            )

    def start_weights(self, name, source):
        """Start values of the stored parameters, (8, F)."""
        if name == "random":
            return random_parameters(self.bounds_in_use(), self.n_units, source, self.legacy)
        return super().start_weights(name, source)

    def kernels(self, weights):
        """Sample the filters of stored parameters, (F, height, width)."""
        weights = ops.convert_to_tensor(weights, dtype=self.compute_dtype)
        return clipped_kernels(weights, self.bounds_in_use(), *self.grid(), not self.legacy)

    def centers(self, weights):
        """Column and row [pixel] of the center of each filter, ndarray (F, 2)."""
        lows, highs = np.transpose(self.bounds_in_use()[2:4])
        inside = np.minimum(np.asarray(weights, np.float64)[2:4].T, highs)
        return np.maximum(inside, lows)

    def get_config(self):
        """Arguments that make the same layer again."""
        return {**super().get_config(), "legacy": self.legacy}


class OnImage(Gaussians):
    """Base of the layers whose filters cover the whole image."""

    def inferred_dims(self, size):
        """Take the input for a square image."""
        return square_dims(self.layer_type, size)

    def transform(self, inputs, weights):
        """Image times filters, (batch, F)."""
        channels, width, height = self.input_dims
        if channels > 1:
            inputs = ops.sum(ops.reshape(inputs, (-1, width * height, channels)), axis=-1)
        flat = ops.reshape(self.kernels(weights), (-1, width * height))
        return ops.matmul(inputs, ops.transpose(flat))


class InWindows(Gaussians, WindowsLayer):
    """Base of the layers whose filters repeat at every position of the image."""

    def kernel_matrix(self, weights):
        """(C * k * k, F): the filter for each channel."""
        flat = ops.reshape(self.kernels(weights), (self.n_units, -1))
        return ops.repeat(ops.transpose(flat), self.windows.channels, axis=0)


@keras.saving.register_keras_serializable("NDN3")
class DifferenceOfGaussians(ClippedGaussians, OnImage):
    """Units that weigh the image with a difference of two Gaussians: f(Σ image · filter + b).

    The filter of unit f is α₁ g(σ₁) - α₂ g(σ₁ + σ₂) with the normalized Gaussian g(σ) of variance σ
    [pixel²] around one center. Channels are summed first. Weights [8, F]: rows are α₁, σ₁, column
    and row of the center, α₂, σ₂, and two that are not used; biases [1, F]. Parameters as in
    `NDNLayer` and `ClippedGaussians`.

    Input shape: (batch, C * W * H). Output shape: (batch, F).

    References
    ----------
    Antolík et al. 2016, PLoS Comput. Biol. 12(6): e1004927.
    """

    layer_type = "diff_of_gaussians"
    options = ("bounds", "legacy")


@keras.saving.register_keras_serializable("NDN3")
class ConvDifferenceOfGaussians(ClippedGaussians, InWindows):
    """Difference-of-Gaussians filters that repeat at every position of the image.

    Weights [8, F], biases [1, F]. The filter is the same for all channels. Parameters as in
    `WindowsLayer` and `ClippedGaussians`.
    """

    layer_type = "conv_diff_of_gaussians"
    options = (*WindowsLayer.options, "bounds", "legacy")
