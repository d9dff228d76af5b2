"""Formulae of the penalties on weights.

Each takes the weights that a layer really uses, [n_in, n], and `NDN3.regularization.Rows`, which
says what their rows stand for: index c + C * q for channel (or lag) c at pixel q = w + W * h. It
gives one value for each column, (n,), or a scalar where it is no sum over columns.

No matrix of n_in² entries is made: sums over pairs of rows are written in closed form. With the
squares s of the weights, Σ_{i≠j} s_i s_j = (Σ s)² - Σ s², and Σ_{q,r} s_q s_r |q - r|² is twice the
sum of s times the sum of s |q - mean|², where the mean is that of the positions weighted by s.
"""

import numpy as np
from keras import ops

from NDN3 import laplacians

# Weight of a squared distance of one pixel in `center`
CENTER_SCALE = 0.01
# Below this sum of squares a filter counts as empty, which has no center of mass
EMPTY = 1e-30


def l1(weights, rows):
    """Sum of absolute values."""
    return ops.sum(absolute(weights), axis=0)


def l2(weights, rows):
    """Half the sum of squares."""
    return 0.5 * ops.sum(ops.square(weights), axis=0)


def norm2(weights, rows):
    """Squared difference of the sum of all squares and the number of columns: a scalar."""
    return ops.square(ops.sum(ops.square(weights)) - float(weights.shape[1]))


def orth(weights, rows):
    """Squared norm of WᵀW - I, zero for orthogonal columns of unit norm: a scalar."""
    gram = ops.matmul(ops.transpose(weights), weights)
    return ops.sum(ops.square(gram - ops.eye(weights.shape[1], dtype=gram.dtype)))


def group(weights, rows):
    """Sum over channels of the norm over pixels: channels that a unit does not need become zero.

    The gradient of a channel that is zero is zero, so that it stays finite.

    References
    ----------
    Yuan & Lin 2006, "Model selection and estimation in regression with grouped variables", Journal
    of the Royal Statistical Society B 68, equation 2.
    """
    squares = ops.sum(ops.square(_pixels(weights, rows)), axis=0)
    there = squares > 0.0
    # the root of zero, even if it is not taken, would make the gradient NaN
    roots = ops.sqrt(ops.where(there, squares, ops.ones_like(squares)))
    return ops.sum(ops.where(there, roots, ops.zeros_like(squares)), axis=0)


def d2x(weights, rows):
    """Squared norm of the Laplacian over pixels."""
    return _norm(laplacians.spatial(weights, rows.dims, rows.boundary))


def d2t(weights, rows):
    """Squared norm of the second difference over lags."""
    return _norm(laplacians.temporal(weights, rows.dims, rows.boundary))


def d2xt(weights, rows):
    """Squared norm of the sum of both operators, over pixels and over lags."""
    return _norm(laplacians.spatiotemporal(weights, rows.dims, rows.boundary))


def max_over_rows(weights, rows):
    """Products of the squares of all pairs of rows: few large weights are cheap."""
    return _pairs(ops.square(weights), 0)


def max_over_features(weights, rows):
    """Products of the squares of all pairs of features at the same pixel."""
    return ops.sum(_pairs(ops.square(_pixels(weights, rows)), 1), axis=0)


def max_over_pixels(weights, rows):
    """Products of the squares of all pairs of pixels of the same feature."""
    return ops.sum(_pairs(ops.square(_pixels(weights, rows)), 0), axis=0)


def max_over_levels(weights, rows):
    """Products of the sums of squares of all pairs of levels: each unit settles on a layer."""
    channels = ops.sum(ops.square(_pixels(weights, rows)), axis=0)
    ends = np.cumsum(rows.levels)
    levels = [
        ops.sum(channels[end - size : end], axis=0)
        for end, size in zip(ends.tolist(), rows.levels, strict=True)
    ]
    return _pairs(ops.stack(levels), 0)


def local(weights, rows):
    """Products of the squares of all pairs of pixels of a feature times their squared distance.

    The distance is measured in half diagonals of the filter: a feature that is concentrated in
    space is cheap.
    """
    return ops.sum(_spread(ops.square(_pixels(weights, rows)), rows), axis=0)


def glocal(weights, rows):
    """As `local`, for all pairs of pixels, of the same feature or not: one place for all."""
    return _spread(ops.sum(ops.square(_pixels(weights, rows)), axis=1), rows)


def center(weights, rows):
    """Squares times 0.01 times the squared distance from the middle of the filter [pixel]."""
    squares = ops.square(_pixels(weights, rows))
    distances = sum(np.square(each) for each in _positions(rows))
    factors = ops.convert_to_tensor(CENTER_SCALE * distances, dtype=squares.dtype)
    return ops.sum(ops.sum(squares, axis=1) * ops.expand_dims(factors, 1), axis=0)


def absolute(values):
    """Absolute values, with a gradient of zero at zero: that of JAX's own function is one there."""
    return values * ops.stop_gradient(ops.sign(values))


def _pixels(weights, rows):
    """Weights as (W * H, C, n)."""
    channels, width, height = rows.dims
    return ops.reshape(weights, (width * height, channels, -1))


def _norm(image):
    return ops.sum(ops.square(image), axis=(0, 1, 2))


def _pairs(values, axis):
    """Sum of the products of all ordered pairs along an axis."""
    return ops.square(ops.sum(values, axis=axis)) - ops.sum(ops.square(values), axis=axis)


def _positions(rows):
    """Column and row of each pixel, seen from the middle of the filter."""
    _, width, height = rows.dims
    columns = np.tile(np.arange(width) - (width - 1) / 2, height)
    return columns, np.repeat(np.arange(height) - (height - 1) / 2, width)


def _spread(masses, rows):
    """Sum over all ordered pairs of pixels of both masses times the squared distance.

    Parameters
    ----------
    masses : tensor, (W * H, …, n)
        Not negative.
    rows : Rows

    Returns
    -------
    tensor, (…, n)
    """
    _, width, height = rows.dims
    total = ops.sum(masses, axis=0)
    spread = 0.0
    for positions in _positions(rows):
        shape = (-1,) + (1,) * (len(masses.shape) - 1)
        places = ops.convert_to_tensor(positions.reshape(shape), dtype=masses.dtype)
        mean = ops.sum(places * masses, axis=0) / ops.maximum(total, EMPTY)
        # Moments about the mean instead of about zero: no difference of large numbers. The spread
        # is least there, so the mean itself adds nothing to the gradient.
        spread += ops.sum(masses * ops.square(places - ops.stop_gradient(mean)), axis=0)
    return total * spread * (2.0 / ((width / 2) ** 2 + (height / 2) ** 2))
