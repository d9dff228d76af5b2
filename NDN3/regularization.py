"""Penalties on weights, by name.

A penalty is a function of the weights that a layer really uses (rectified and normalized), [n_in,
n], and of the dims [C, W, H] of their rows; the layer multiplies it by the strength that the user
gave. `max` and its kin are written in closed form: the sum over all pairs of rows
Σ_{i≠j} w_i² w_j² equals (Σ w²)² - Σ w⁴.
"""

import math
import numbers

from keras import ops

from NDN3 import laplacians, suggestions


def l1(weights, dims):
    """Sum of absolute values."""
    return ops.sum(ops.abs(weights))


def l2(weights, dims):
    """Half the sum of squares."""
    return 0.5 * ops.sum(ops.square(weights))


def d2x(weights, dims):
    """Squared norm of the Laplacian over pixels."""
    return ops.sum(ops.square(laplacians.spatial(weights, dims)))


def max_over_rows(weights, dims):
    """Products of the squares of all pairs of rows: few large weights are cheap."""
    squares = ops.square(weights)
    return ops.sum(ops.square(ops.sum(squares, axis=0))) - ops.sum(ops.square(squares))


def max_over_features(weights, dims):
    """Products of the squares of all pairs of features at the same pixel."""
    squares = ops.reshape(ops.square(weights), (dims[1] * dims[2], dims[0], -1))
    return ops.sum(ops.square(ops.sum(squares, axis=1))) - ops.sum(ops.square(squares))


PENALTIES = {
    "l1": l1,
    "l2": l2,
    "d2x": d2x,
    "max": max_over_rows,
    "max_filt": max_over_features,
}

# Given among the regularizers, but no penalty: its value is the probability to keep a unit.
DROPOUT = "dropout"


def checked(regularizers, layer_type, allowed, takes_dropout):
    """Regularizers of one layer, looked through.

    Parameters
    ----------
    regularizers : dict
        {name: strength}; None entries are left out.
    layer_type : str
        For the message.
    allowed : sequence of str
        Penalties that the layer takes.
    takes_dropout : bool

    Returns
    -------
    dict of float

    Raises
    ------
    ValueError
        If the layer does not take a regularizer, a strength is negative or not a number, or the
        probability of dropout is outside of (0, 1].
    """
    names = [*allowed, *([DROPOUT] if takes_dropout else [])]
    found = {}
    for name, value in regularizers.items():
        if value is None:
            continue
        suggestions.known(name, [*PENALTIES, DROPOUT], "regularizer")
        if name not in names:
            raise ValueError(
                f"a {layer_type} layer does not take the regularizer {name!r}; "
                f"it takes {', '.join(names) or 'none'}. Set it to None for this layer."
            )
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            raise ValueError(
                f"{name} of a {layer_type} layer is {value!r}; it must be one number. Correct it."
            )
        if name == DROPOUT and not 0 < value <= 1:
            raise ValueError(
                f"dropout of a {layer_type} layer is {value}; it is the probability to keep a "
                "unit, above 0 and at most 1. Give 1 minus the rate at which units are dropped."
            )
        if not 0 <= value < math.inf:
            raise ValueError(
                f"{name} of a {layer_type} layer is {value}; a strength cannot be negative, and "
                "must be finite. Give 0 or more."
            )
        found[name] = float(value)
    return found
