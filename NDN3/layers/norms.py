"""Norms of the columns of a weight matrix, for normalization."""

from keras import ops

# Columns are taken to be this long at least
SMALLEST_NORM = 1e-6


def column_norms(weights, smallest):
    """Euclidean norms of columns, [1, n], bounded from below so that nothing divides by zero.

    The bound is applied to the square: the root of zero has no finite gradient.
    """
    squares = ops.sum(ops.square(weights), axis=0, keepdims=True)
    return ops.sqrt(ops.maximum(squares, smallest**2))
