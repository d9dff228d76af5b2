"""Penalties on weights and on activity, by name.

A penalty is a function of the weights that a layer really uses (rectified and normalized), [n_in,
n], and of what their rows stand for; the formulae are in `NDN3.penalties`. It gives one value for
each column, or a scalar where it is no sum over columns; the layer multiplies it by the strength
that the user gave, a number or one for each unit.
"""

import math
import numbers
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from keras import ops

from NDN3 import laplacians, penalties, suggestions
from NDN3.quantities import shown


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


PENALTIES = {
    "l1": penalties.l1,
    "l2": penalties.l2,
    "norm2": penalties.norm2,
    "group": penalties.group,
    "d2x": penalties.d2x,
    "d2t": penalties.d2t,
    "d2xt": penalties.d2xt,
    "max": penalties.max_over_rows,
    "max_filt": penalties.max_over_features,
    "max_space": penalties.max_over_pixels,
    "max_level": penalties.max_over_levels,
    "local": penalties.local,
    "glocal": penalties.glocal,
    "center": penalties.center,
    "orth": penalties.orth,
    "norm2_filt": penalties.norm2,
    "norm2_space": penalties.norm2,
}

# Penalties that are no sum over the columns of the weights: their strength is one number
UNDIVIDED = ("norm2", "norm2_filt", "norm2_space", "orth")

# Penalties on the features, or on the mask, of layers whose weights are factorized; such a layer
# names them. Elsewhere they cost nothing, and a warning says so.
OF_PARTS = ("norm2_filt", "norm2_space")

# What a layer takes that says nothing else
GENERAL = tuple(name for name in PENALTIES if name not in OF_PARTS)


def activity_l1(outputs):
    """Absolute values of what the units give, [rows, units]."""
    return penalties.absolute(outputs)


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
        0 for rows that do not count, 1 for the others.

    Returns
    -------
    tensor, ()
        0 where no row counts.

    References
    ----------
    Olshausen & Field 1996, "Emergence of simple-cell receptive field properties by learning a
    sparse code for natural images", Nature 381: 607-609, equation 4.
    """
    values = ACTIVITY[name](outputs)
    values = ops.sum(values, axis=tuple(range(1, len(values.shape) - 1)))
    if row_weights is None:
        means = ops.mean(values, axis=0)
    else:
        weights = ops.expand_dims(ops.cast(row_weights, values.dtype), 1)
        # where, because rows that do not count may hold anything
        total = ops.sum(ops.where(weights > 0, values, 0.0), axis=0)
        means = total / ops.maximum(ops.sum(weights), 1.0)
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
        As in `check_rows`, or if there is not one strength for each unit.
    """
    owner = f"a {layer.layer_type} layer"
    for name, strength in layer.regularizers.items():
        if name in PENALTIES:
            rows = Rows(layer.penalized_dims(name), layer.boundary, layer.levels)
            check_rows(name, rows, owner)
        check_length(name, strength, layer.n_units, owner)


def check_rows(name, rows, owner):
    """Refuse a penalty that needs more than the rows of the weights offer.

    Parameters
    ----------
    name : str
        One of `PENALTIES`.
    rows : Rows
    owner : str
        Whose weights they are, for the message.

    Raises
    ------
    ValueError
        If the penalty smooths over pixels, or lags, and there are too few, or if it compares
        levels and there are none.
    """
    dims = list(rows.dims)
    needed = laplacians.SMALLEST[rows.boundary]
    for penalties_over, sizes, what in (
        (("d2x", "d2xt"), dims[1:], "pixel"),
        (("d2t",), dims[:1], "lag"),
    ):
        if name in penalties_over and max(sizes) < needed:
            found = f"one {what}" if math.prod(sizes) == 1 else f"less than {needed} {what}s a row"
            free = " with free ends" if rows.boundary == "free" else ""
            raise ValueError(
                f"{name} of {owner} smooths over {what}s{free}, and its filters have {found} "
                f"(dims {dims}). Set {name} to None for this layer."
            )
    if name == "max_level" and rows.levels is None:
        raise ValueError(
            f"max_level of {owner} compares the layers of another network, and the layer does not "
            "read them. Set it to None, or give it to the first layer of a network of type 'side'."
        )
    if name == "max_level" and sum(rows.levels) != dims[0]:
        raise ValueError(
            f"the levels of {owner} are {list(rows.levels)}, {sum(rows.levels)} channels together; "
            f"its filters have {dims[0]} (dims {dims}). Correct levels."
        )


def check_length(name, strength, n_units, owner):
    """Refuse a list of strengths that is not as long as there are units.

    Parameters
    ----------
    name : str
    strength : float or list of float
    n_units : int
    owner : str
        For the message.

    Raises
    ------
    ValueError
        If it is not.
    """
    if isinstance(strength, list) and len(strength) != n_units:
        raise ValueError(
            f"{name} of {owner} has {len(strength)} strengths, and there are {n_units} units. "
            "Give one number, or one for each unit."
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
    dict of (float or list of float)
        A penalty on a part that the layer does not have (`OF_PARTS`) has the strength 0.

    Raises
    ------
    ValueError
        If the layer does not take a regularizer, a strength is negative or not a number, or the
        probability of dropout is outside of (0, 1].

    Warns
    -----
    UserWarning
        If a layer that takes `norm2` is given a penalty on a part that it does not have.
    """
    names = [*allowed, *ACTIVITY, *([DROPOUT] if takes_dropout else [])]
    owner = f"a {layer_type} layer"
    found = {}
    for name, value in regularizers.items():
        if value is None:
            continue
        suggestions.known(name, [*PENALTIES, *ACTIVITY, DROPOUT], "regularizer")
        is_idle = name in OF_PARTS and name not in names and "norm2" in names
        if name not in names and not is_idle:
            raise ValueError(
                f"{owner} does not take the regularizer {name!r}; "
                f"it takes {', '.join(names) or 'none'}. Set it to None for this layer."
            )
        found[name] = checked_strength(value, name, owner)
        if is_idle and found[name]:
            warnings.warn(
                f"{name} of {owner} costs nothing: it acts on a part of the weights that only "
                "factorized layers such as sep have. Take norm2, or set it to None.",
                stacklevel=3,
            )
            found[name] = 0.0
        if name == DROPOUT and not 0 < value <= 1:
            raise ValueError(
                f"dropout of {owner} is {value}; it is the probability to keep a "
                "unit, above 0 and at most 1. Give 1 minus the rate at which units are dropped."
            )
    return found


def checked_strength(value, name, owner):
    """Strength of a regularizer, looked through.

    Parameters
    ----------
    value : float or sequence of float
    name : str
    owner : str
        For the message.

    Returns
    -------
    float or list of float

    Raises
    ------
    ValueError
        If it is not one number, nor a list of them for a penalty that takes one for each unit, or
        one is negative or not finite.
    """
    divided = name != DROPOUT and name not in UNDIVIDED
    if divided and isinstance(value, (list, tuple, np.ndarray)) and np.ndim(value) == 1:
        return [_number(each, name, owner) for each in value]
    return _number(value, name, owner)


def _number(value, name, owner):
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise ValueError(f"{name} of {owner} is {shown(value)}; it must be one number. Correct it.")
    if not 0 <= value < math.inf and name != DROPOUT:
        raise ValueError(
            f"{name} of {owner} is {value}; a strength cannot be negative, and "
            "must be finite. Give 0 or more."
        )
    return float(value)
