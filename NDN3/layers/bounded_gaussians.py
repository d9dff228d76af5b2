"""Differences of Gaussians whose parameters stay inside their bounds by themselves.

What is stored and trained is a number without bounds for each parameter; a smooth function maps it
into the bounds. Usual choices for it, softplus and the logistic function, have exponential tails:
in float32 the logistic function is flat from 17 on, and a parameter that came there would never
return. The functions here are an algebraic softplus and its derivative, whose slopes fall off as
t⁻² and t⁻³ and are computed without cancellation, so that the gradient stays exact and never is
zero.

References
----------
Antolík et al. 2016, PLoS Comput. Biol. 12(6): e1004927 (filters). Barron 2021, "Squareplus: a
softplus-like algebraic rectifier", arXiv:2112.11687.
"""

import math

import keras
import numpy as np
from keras import ops

from NDN3 import quantities
from NDN3.layers.convolution import WindowsLayer
from NDN3.layers.gaussians import Gaussians, InWindows, OnImage, default_bounds, sampled

# Start values keep this share of the range away from both bounds, where the slope is low
START_MARGIN = 0.05
# The same for parameters that a user gives: on the bound itself the stored number is infinite
STORED_MARGIN = 1e-4
# Below this width the default bounds leave no room, and the center may be anywhere
SMALLEST_BOUNDED_SIDE = 5


def squareplus(values):
    """(t + √(t² + 4)) / 2: positive, close to t where t is large.

    Parameters
    ----------
    values : tensor

    Returns
    -------
    tensor
    """
    far = ops.where(values < 0, -values, values)
    root = (ops.sqrt(ops.square(far) + 4) + far) / 2
    # the two branches are equal in exact arithmetic up to t -> -t; each is free of cancellation
    return ops.where(values < 0, 1 / root, root)


def share(values):
    """(1 + t / √(t² + 1)) / 2: from 0 to 1, the slope of `squareplus` at 2 t.

    Parameters
    ----------
    values : tensor

    Returns
    -------
    tensor
    """
    far = ops.where(values < 0, -values, values)
    root = ops.sqrt(ops.square(far) + 1)
    tail = 0.5 / (root * (root + far))
    return ops.where(values < 0, tail, 1 - tail)


def inverse_squareplus(values):
    """Number whose `squareplus` is given, ndarray."""
    return values - 1 / values


def inverse_share(values):
    """Number whose `share` is given, ndarray."""
    return (values - 0.5) / np.sqrt(values * (1 - values))


def roomy_bounds(width, height):
    """Default bounds of the parameters; those of `default_bounds` where they leave room.

    Parameters
    ----------
    width, height : int
        [pixel]

    Returns
    -------
    list of (float, float)
        Of amplitude, variance [pixel²], column and row of the peak [pixel]. On fewer than five
        pixels the center may be on each of them.
    """
    amplitude, (low, high), *places = default_bounds(width, height)
    places = [
        place if size >= SMALLEST_BOUNDED_SIDE else (0.0, size - 1.0)
        for place, size in zip(places, (width, height), strict=True)
    ]
    return [amplitude, (low, max(high, 2.0)), *places]


def grid_centers(n_filters, bounds):
    """Columns and rows in the middle of the cells of a grid, row by row.

    Parameters
    ----------
    n_filters : int
    bounds : sequence of (float, float)
        Of column and row [pixel].

    Returns
    -------
    ndarray, (2, n_filters)
        The cells are about square, and those of the last row may be without a center.
    """
    (left, right), (top, bottom) = bounds
    ratio = (right - left) / (bottom - top) if bottom > top else n_filters
    across = min(max(math.ceil(math.sqrt(n_filters * ratio)), 1), n_filters)
    down = math.ceil(n_filters / across)
    row, column = np.divmod(np.arange(n_filters), across)
    return np.stack(
        [
            left + (column + 0.5) / across * (right - left),
            top + (row + 0.5) / down * (bottom - top),
        ]
    )


class BoundedGaussians(Gaussians):
    """Base of the layers whose stored parameters have no bounds, the ones in use have.

    The parameters in use, rows of `natural(weights)`, are amplitude, variance, column and row of
    the center, amplitude and additional variance of the surround, and how many columns and rows the
    surround is off the center. Those of the stored weights belong to them one by one.

    Parameters
    ----------
    units : int
        Number of filters F.
    bounds : sequence of (float, float), optional
        Of amplitude, variance [pixel²], column and row [pixel]; by default `roomy_bounds`. An
        amplitude has no upper bound; its upper one is used for start values only.
    free_surround : bool
        The surround may be off the center, in each direction by up to the square root of the upper
        bound of the variance: one standard deviation of the widest center. It starts concentric.
    frozen_centers : bool
        Columns and rows of the centers stay where they are; of the surround, too.
    weights_initializer : str, optional
        "random", uniform within the bounds (without 5 % at either end), "grid", the same with the
        centers on a grid, or one of the other initializers, of the stored numbers.
    **kwargs
        As in `NDNLayer`.
    """

    own_options = ("bounds", "free_surround", "frozen_centers")

    def __init__(self, units, free_surround=False, frozen_centers=False, **kwargs):
        super().__init__(units, **kwargs)
        for name, value in (("free_surround", free_surround), ("frozen_centers", frozen_centers)):
            quantities.truth(value, f"{name} of a {self.layer_type} layer")
        self.free_surround = bool(free_surround)
        self.frozen_centers = bool(frozen_centers)
        if self.bounds is not None and any(low == high for low, high in self.bounds[:2]):
            raise ValueError(
                f"bounds of a {self.layer_type} layer are {self.bounds}; amplitude and variance "
                "need room between them. Give an upper bound above the lower one."
            )

    def bounds_in_use(self):
        """Return the given bounds, or the default ones of the size of the filter."""
        return self.bounds or roomy_bounds(*self.grid())

    def ranges(self):
        """Lower bounds and extents of the parameters but the amplitudes, ndarray (2, 6)."""
        _, variance, column, row = self.bounds_in_use()
        reach = math.sqrt(variance[1])
        offset = (-reach, reach)
        lows, highs = np.transpose([variance, column, row, variance, offset, offset])
        return np.stack([lows, highs - lows])

    def parameters(self, weights):
        """Parameters in use, tensors: amplitudes (2, F), and the others (6, F) in their order."""
        lowest = self.bounds_in_use()[0][0]
        lows, extents = (
            ops.convert_to_tensor(values[:, np.newaxis], dtype=weights.dtype)
            for values in self.ranges()
        )
        # all at once: many operations on few numbers would take longer than the filters
        amplitudes = lowest + squareplus(ops.stack([weights[0], weights[4]]))
        others = lows + extents * share(ops.concatenate([weights[1:4], weights[5:]]))
        if not self.free_surround:
            others = ops.concatenate([others[:4], ops.zeros_like(others[4:])])
        return amplitudes, others

    def natural(self, weights):
        """Parameters in use.

        Parameters
        ----------
        weights : array_like, (8, F)
            Stored ones.

        Returns
        -------
        ndarray, (8, F)
            Amplitude, variance [pixel²], column and row of the center [pixel], amplitude of the
            surround, variance that it has beyond the center's [pixel²], columns and rows by which
            it is off the center [pixel] (0 unless `free_surround`).
        """
        weights = ops.convert_to_tensor(weights, dtype=self.variable_dtype)
        (center, surround), others = map(ops.convert_to_numpy, self.parameters(weights))
        return np.stack([center, *others[:3], surround, *others[3:]])

    def unbounded(self, parameters):
        """Weights to store for given parameters, the inverse of `natural`.

        Parameters
        ----------
        parameters : array_like, (8, F)
            As `natural` gives them. Those on a bound or beyond are moved inside, by a
            ten-thousandth of the range.

        Returns
        -------
        ndarray, (8, F)
        """
        parameters = np.asarray(parameters, np.float64)
        (lowest, highest), *_ = self.bounds_in_use()
        smallest = STORED_MARGIN * (highest - lowest)
        stored = np.zeros_like(parameters)
        for row in (0, 4):
            stored[row] = inverse_squareplus(np.maximum(parameters[row] - lowest, smallest))
        for row, low, extent in zip((1, 2, 3, 5, 6, 7), *self.ranges(), strict=True):
            if extent > 0:  # a side of one pixel leaves no choice
                inside = (parameters[row] - low) / extent
                inside = np.clip(inside, STORED_MARGIN, 1 - STORED_MARGIN)
                stored[row] = inverse_share(inside)
        return stored

    def start_weights(self, name, source):
        """Start values of the stored parameters, (8, F)."""
        if name not in ("random", "grid"):
            return super().start_weights(name, source)
        bounds = self.bounds_in_use()
        drawn = source.random((8, self.n_units))
        lows, highs = np.transpose([*bounds, *bounds])[..., np.newaxis]
        inside = START_MARGIN + (1 - 2 * START_MARGIN) * drawn
        parameters = lows + (highs - lows) * inside
        parameters[6:] = 0  # concentric
        if name == "grid":
            parameters[2:4] = grid_centers(self.n_units, bounds[2:4])
        return self.unbounded(parameters)

    def kernels(self, weights):
        """Sample the filters of stored parameters, (F, height, width)."""
        weights = ops.convert_to_tensor(weights, dtype=self.compute_dtype)
        amplitudes, others = self.parameters(weights)
        inner, column, row, wider, right, down = (others[index] for index in range(6))
        if self.frozen_centers:
            column, row, right, down = map(ops.stop_gradient, (column, row, right, down))
        return sampled(
            ops.stack([amplitudes[0], -amplitudes[1]], axis=1),
            ops.stack([inner, inner + wider], axis=1),
            ops.stack([column, column + right], axis=1),
            ops.stack([row, row + down], axis=1),
            *self.grid(),
        )

    def centers(self, weights):
        """Column and row [pixel] of the center of each filter, ndarray (F, 2)."""
        return self.natural(weights)[2:4].T

    def get_config(self):
        """Arguments that make the same layer again."""
        return {
            **super().get_config(),
            "free_surround": self.free_surround,
            "frozen_centers": self.frozen_centers,
        }


@keras.saving.register_keras_serializable("NDN3")
class BoundedDifferenceOfGaussians(BoundedGaussians, OnImage):
    """Units that weigh the image with a difference of two Gaussians: f(Σ image · filter + b).

    As `diff_of_gaussians`, but with parameters that cannot leave their bounds, so that their
    gradient never ends. Weights [8, F], biases [1, F]. Parameters as in `BoundedGaussians`.
    """

    layer_type = "bounded_dog"
    options = BoundedGaussians.own_options


@keras.saving.register_keras_serializable("NDN3")
class ConvBoundedDifferenceOfGaussians(BoundedGaussians, InWindows):
    """Bounded difference-of-Gaussians filters that repeat at every position of the image.

    Weights [8, F], biases [1, F]. The filter is the same for all channels. Parameters as in
    `WindowsLayer` and `BoundedGaussians`.
    """

    layer_type = "conv_bounded_dog"
    options = (*WindowsLayer.options, *BoundedGaussians.own_options)
