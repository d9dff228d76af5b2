"""Penalties on weights and on activity, by name.

A penalty is a function of the weights that a layer really uses (rectified and normalized), [n_in,
n], and of what their rows stand for. It gives one value for each column, or a scalar where it is no
sum over columns; the layer multiplies it by the strength that the user gave, a number or one for
each unit. `max` and its kin are written in closed form: the sum over all pairs of rows
Σ_{i≠j} w_i² w_j² equals (Σ w²)² - Σ w⁴.
"""

import math
import numbers
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from keras import ops

from NDN3 import laplacians, suggestions


@dataclass(frozen=True)
class Rows:
    """What the rows of a weight matrix stand for.

    Parameters
    ----------
    dims : sequence of int
        [C, W, H]; row c + C * (w + W * h) belongs to channel (or lag) c at pixel (w, h).
    boundary : str
        One of `NDN3.laplacians.BOUNDARIES`: what lies outside of a filter.
    levels : sequence of int, optional
        Channels that come from each layer of another network, in order; they sum up to C.
    """

    dims: Sequence[int]
    boundary: str = "zero"
    levels: Sequence[int] | None = None


def l1(weights, rows):
    """Sum of absolute values."""
    return ops.sum(ops.abs(weights), axis=0)


def l2(weights, rows):
    """Half the sum of squares."""
    return 0.5 * ops.sum(ops.square(weights), axis=0)


def d2x(weights, rows):
    """Squared norm of the Laplacian over pixels."""
    return ops.sum(ops.square(laplacians.spatial(weights, rows.dims)), axis=(0, 1, 2))


def max_over_rows(weights, rows):
    """Products of the squares of all pairs of rows: few large weights are cheap."""
    squares = ops.square(weights)
    return ops.square(ops.sum(squares, axis=0)) - ops.sum(ops.square(squares), axis=0)


def max_over_features(weights, rows):
    """Products of the squares of all pairs of features at the same pixel."""
    channels, width, height = rows.dims
    squares = ops.reshape(ops.square(weights), (width * height, channels, -1))
    pairs = ops.square(ops.sum(squares, axis=1)) - ops.sum(ops.square(squares), axis=1)
    return ops.sum(pairs, axis=0)


PENALTIES = {
    "l1": l1,
    "l2": l2,
    "d2x": d2x,
    "max": max_over_rows,
    "max_filt": max_over_features,
}

# Penalties that are no sum over the columns of the weights: their strength is one number
UNDIVIDED = ()


def activity_l1(outputs):
    """Absolute values of what the units give, [rows, units]."""
    return ops.abs(outputs)


def activity_l2(outputs):
    """Half the squares of what the units give, [rows, units]."""
    return 0.5 * ops.square(outputs)


# The mean over rows of the sum over units is added to the cost
ACTIVITY = {"activity_l1": activity_l1, "activity_l2": activity_l2}

# Given among the regularizers, but no penalty: its value is the probability to keep a unit.
DROPOUT = "dropout"


def penalty(name, weights, rows, strength):
    """Penalty times its strength.

    Parameters
    ----------
    name : str
        One of `PENALTIES`.
    weights : tensor, (prod(rows.dims), n)
    rows : Rows
    strength : float or tensor, or sequence of float, (n,)

    Returns
    -------
    tensor, ()
    """
    values = PENALTIES[name](weights, rows)
    return ops.sum(ops.convert_to_tensor(strength, dtype=values.dtype) * values)


def activity_penalty(name, outputs, strength, row_weights=None):
    """Penalty on activity times its strength: a mean over rows, summed over units.

    Parameters
    ----------
    name : str
        One of `ACTIVITY`.
    outputs : tensor, (rows, …, units)
    strength : float or tensor, or sequence of float, (units,)
    row_weights : tensor, (rows,), optional
        0 for rows that do not count.

    Returns
    -------
    tensor, ()
    """
    values = ACTIVITY[name](outputs)
    values = ops.sum(values, axis=tuple(range(1, len(values.shape) - 1)))
    if row_weights is None:
        means = ops.mean(values, axis=0)
    else:
        weights = ops.expand_dims(ops.cast(row_weights, values.dtype), 1)
        # where, because rows that do not count may hold anything
        means = ops.sum(ops.where(weights > 0, values, 0.0), axis=0) / ops.sum(weights)
    return ops.sum(ops.convert_to_tensor(strength, dtype=values.dtype) * means)


def check_dims(layer):
    """Refuse penalties that need more than the filters of a layer offer.

    Parameters
    ----------
    layer : NDN3.layers.base.NDNLayer
        Whose dims are known.

    Raises
    ------
    ValueError
        If a penalty smooths over pixels, or lags, and there is one only.
    """
    if "d2x" in layer.regularizers and math.prod(layer.penalized_dims("d2x")[1:]) == 1:
        raise ValueError(
            f"d2x of a {layer.layer_type} layer smooths over pixels, and its filters have one "
            f"pixel (dims {list(layer.penalized_dims('d2x'))}). Set d2x to None for this layer."
        )
    for name, strength in layer.regularizers.items():
        if isinstance(strength, list) and len(strength) != layer.n_units:
            raise ValueError(
                f"{name} of a {layer.layer_type} layer has {len(strength)} strengths; the layer "
                f"has {layer.n_units} units. Give one number, or one for each unit."
            )


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
    names = [*allowed, *ACTIVITY, *([DROPOUT] if takes_dropout else [])]
    found = {}
    for name, value in regularizers.items():
        if value is None:
            continue
        suggestions.known(name, [*PENALTIES, *ACTIVITY, DROPOUT], "regularizer")
        if name not in names:
            raise ValueError(
                f"a {layer_type} layer does not take the regularizer {name!r}; "
                f"it takes {', '.join(names) or 'none'}. Set it to None for this layer."
            )
        divided = name != DROPOUT and name not in UNDIVIDED
        if divided and isinstance(value, (list, tuple, np.ndarray)) and np.ndim(value) == 1:
            found[name] = [_strength(each, name, layer_type) for each in value]
            continue
        found[name] = _strength(value, name, layer_type)
        if name == DROPOUT and not 0 < value <= 1:
            raise ValueError(
                f"dropout of a {layer_type} layer is {value}; it is the probability to keep a "
                "unit, above 0 and at most 1. Give 1 minus the rate at which units are dropped."
            )
    return found


def _strength(value, name, layer_type):
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise ValueError(
            f"{name} of a {layer_type} layer is {value!r}; it must be one number. Correct it."
        )
    if not 0 <= value < math.inf and name != DROPOUT:
        raise ValueError(
            f"{name} of a {layer_type} layer is {value}; a strength cannot be negative, and "
            "must be finite. Give 0 or more."
        )
    return float(value)
