"""Second differences of filters: the operators behind the smoothness penalties.

Filters are columns of a weight matrix [C * W * H, n] with the channel (or lag) fastest, then the
width. The operators are sums of shifted copies instead of matrices, which would have
(C * W * H)² entries. Each is a sum of one-dimensional operators (1, -2, 1), one along each axis
that is longer than one.

What lies outside of a filter is the boundary. "zero": everything counts as zero, so that weights at
the edge cost. "free": nothing is assumed; the first and the last row of each one-dimensional
operator are zero, so that edges and constant or linear filters cost nothing. In two dimensions the
pixels of the upper edge still count along the width, and so on.
"""

from keras import ops

BOUNDARIES = ("zero", "free")
# So many weights in a row must there be for a second difference that is not zero by itself
SMALLEST = {"zero": 2, "free": 3}


def spatial(weights, dims, boundary="zero"):
    """Laplacian over the pixels of each channel.

    Parameters
    ----------
    weights : tensor, (C * W * H, n)
    dims : sequence of int
        [C, W, H]. With one of W and H equal to 1 the operator is the second difference (1, -2, 1),
        otherwise the five-point Laplacian with -4 in its center.
    boundary : str
        One of `BOUNDARIES`.

    Returns
    -------
    tensor, (H, W, C, n)
    """
    return _along(weights, dims, (0, 1), boundary)


def temporal(weights, dims, boundary="zero"):
    """Second difference over the lags at each pixel.

    Parameters
    ----------
    weights, dims, boundary
        As in `spatial`; C are the lags.

    Returns
    -------
    tensor, (H, W, C, n)
    """
    return _along(weights, dims, (2,), boundary)


def spatiotemporal(weights, dims, boundary="zero"):
    """Sum of the operators over pixels and over lags; with one lag that over pixels.

    Parameters
    ----------
    weights, dims, boundary
        As in `spatial`; C are the lags.

    Returns
    -------
    tensor, (H, W, C, n)
    """
    return _along(weights, dims, (0, 1, 2), boundary)


def _along(weights, dims, axes, boundary):
    channels, width, height = dims
    image = ops.reshape(weights, (height, width, channels, -1))
    axes = [axis for axis in axes if image.shape[axis] > 1]
    if not axes:
        return ops.zeros_like(image)
    return sum(_second_difference(image, axis, boundary) for axis in axes)


def _second_difference(image, axis, boundary):
    size = image.shape[axis]
    if boundary == "zero":
        padded = _padded(image, axis)
        neighbours = _part(padded, axis, 0, size) + _part(padded, axis, 2, size + 2)
        return neighbours - 2.0 * image
    # of two rows none is left in between: both are zero
    neighbours = _part(image, axis, 0, size - 2) + _part(image, axis, 2, size)
    return _padded(neighbours - 2.0 * _part(image, axis, 1, size - 1), axis)


def _padded(image, axis):
    """Zeros before and behind."""
    padding = [(0, 0)] * 4
    padding[axis] = (1, 1)
    return ops.pad(image, padding)


def _part(image, axis, start, stop):
    return image[(slice(None),) * axis + (slice(start, stop),)]
