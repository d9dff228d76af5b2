"""Second differences of filters: the operators behind the smoothness penalties.

Filters are columns of a weight matrix [C * W * H, n] with the channel fastest, then the width. The
operators are sums of shifted copies instead of matrices, which would have (W * H)² entries.
Outside of the filter everything counts as zero.
"""

from keras import ops

BOUNDARIES = ("zero", "free")


def spatial(weights, dims):
    """Laplacian over the pixels of each channel.

    Parameters
    ----------
    weights : tensor, (C * W * H, n)
    dims : sequence of int
        [C, W, H]. With one of W and H equal to 1 the operator is the second difference (1, -2, 1),
        otherwise the five-point Laplacian with -4 in its center.

    Returns
    -------
    tensor, (H, W, C, n)
    """
    channels, width, height = dims
    image = ops.reshape(weights, (height, width, channels, -1))
    axes = [axis for axis, size in enumerate((height, width)) if size > 1]
    return sum(_neighbours(image, axis) for axis in axes) - 2.0 * len(axes) * image


def _neighbours(image, axis):
    """Sum of the two neighbours along an axis."""
    size = image.shape[axis]
    padding = [(0, 0)] * 4
    padding[axis] = (1, 1)
    padded = ops.pad(image, padding)
    if axis == 0:
        return padded[:size] + padded[2:]
    return padded[:, :size] + padded[:, 2:]
