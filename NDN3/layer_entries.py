"""Arguments of a description that have one entry for each layer, checked and completed."""

import math

from NDN3 import layers, quantities, suggestions, vocabulary


def per_layer(values, name, n_layers, missing=None, repeat=False):
    """Entries of an argument, one for each layer.

    Parameters
    ----------
    values : object
        A list, or a single entry.
    name : str
        Of the argument.
    n_layers : int
    missing : object
        Stands for the entries that a list does not have at its end.
    repeat : bool
        A single entry counts for every layer, otherwise for the first one.

    Returns
    -------
    list

    Raises
    ------
    ValueError
        If there are more entries than layers.
    """
    if hasattr(values, "tolist"):
        values = values.tolist()
    if not isinstance(values, (list, tuple)):
        values = [values] * (n_layers if repeat else 1)
    if len(values) > n_layers:
        raise ValueError(
            f"{name} has {len(values)} entries; the network has {n_layers} layers. "
            "Remove the entries that are too many."
        )
    return [*values, *[missing] * (n_layers - len(values))]


def whole(values, name, smallest):
    """Return whole numbers (or None) of layers as they are.

    Parameters
    ----------
    values : list
        One entry per layer.
    name : str
        Of the argument.
    smallest : int

    Returns
    -------
    list

    Raises
    ------
    ValueError
        If one is neither None nor a whole number from `smallest`.
    """
    for position, value in enumerate(values):
        if value is not None:
            quantities.whole(value, f"{name}[{position}] (layer {position})", smallest)
    return values


def words(values, name, allowed):
    """Return words (or None) of layers as they are.

    Parameters
    ----------
    values : list
        One entry per layer.
    name : str
        Of the argument.
    allowed : iterable of str

    Returns
    -------
    list

    Raises
    ------
    ValueError
        If one is neither None nor one of those that are allowed.
    """
    for position, value in enumerate(values):
        if value is not None:
            suggestions.known(value, allowed, f"{name}[{position}] (layer {position})")
    return values


def types(layer_types, n_layers):
    """Layer types as a list.

    Parameters
    ----------
    layer_types : list of str
    n_layers : int

    Returns
    -------
    list of str

    Raises
    ------
    ValueError
        If they are not one for each layer, or there is no such type.
    """
    if not isinstance(layer_types, (list, tuple)) or len(layer_types) != n_layers:
        raise ValueError(
            f"layer_types is {quantities.shown(layer_types)}; it must list one name for each of "
            f"the {n_layers} entries of layer_sizes. Add or remove names."
        )
    for position, name in enumerate(layer_types):
        suggestions.known(name, layers.LAYERS, f"layer type in layer_types[{position}]")
    return list(layer_types)


def normalizations(codes, n_layers):
    """Codes of the normalization of each layer; None is 0.

    Parameters
    ----------
    codes : int, list of (int or None), or None
    n_layers : int

    Returns
    -------
    list of int

    Raises
    ------
    ValueError
        If a code is not one of `vocabulary.NORMALIZATIONS`.
    """
    found = per_layer(codes, "normalization", n_layers, repeat=True)
    for position, code in enumerate(found):
        known = quantities.is_whole(code) and code in vocabulary.NORMALIZATIONS
        if code is not None and not known:
            raise ValueError(
                f"normalization[{position}] (layer {position}) is {quantities.shown(code)}; "
                f"allowed are {', '.join(map(str, vocabulary.NORMALIZATIONS))}. Choose one of them."
            )
    return [code or 0 for code in found]


def regularizers(reg_list, n_layers):
    """Regularizers of each layer, and those that are given by a bare number.

    Parameters
    ----------
    reg_list : dict or None
        {name: [strength per layer] or strength}; a strength is a number, a list of one number for
        each unit of the layer, or None.
    n_layers : int

    Returns
    -------
    initializers : list of dict
        For each layer {name: float or list of float}.
    scalars : dict of float
        Bare numbers.

    Raises
    ------
    ValueError
        If a regularizer is unknown, or a strength is not a number of its range.
    """
    if not isinstance(reg_list, dict | None):
        raise ValueError(
            f"reg_list is {quantities.shown(reg_list)}; it must be a dict of the values of each "
            "regularizer. Give for example reg_list={'l2': [None, 0.1]}."
        )
    initializers = [{} for _ in range(n_layers)]
    scalars = {}
    for reg_type, values in (reg_list or {}).items():
        suggestions.known(reg_type, vocabulary.REGULARIZERS, "regularizer in reg_list")
        name = f"reg_list[{reg_type!r}]"
        if hasattr(values, "tolist"):
            values = values.tolist()
        if isinstance(values, (list, tuple)):
            for position, value in enumerate(per_layer(values, name, n_layers)):
                if value is not None:
                    where = f"{name} of layer {position}"
                    initializers[position][reg_type] = strengths(value, reg_type, where)
        elif values is not None:
            scalars[reg_type] = strengths(values, reg_type, name)
    return initializers, scalars


def strengths(value, reg_type, name):
    """One strength, or a list of one for each unit.

    Parameters
    ----------
    value : float or sequence of float
    reg_type : str
        A name of `vocabulary.REGULARIZERS`.
    name : str
        For the message.

    Returns
    -------
    float or list of float

    Raises
    ------
    ValueError
        If one is no number of the range of this regularizer.
    """
    if hasattr(value, "tolist"):
        value = value.tolist()
    if reg_type == vocabulary.DROPOUT:
        allowed = "the probability to keep a unit, above 0 and at most 1, or None"
        quantities.real(value, name, lambda x: 0 < x <= 1, allowed)
        return value
    if not isinstance(value, (list, tuple)):
        return _strength(value, name)
    if not value:
        raise ValueError(
            f"{name} is an empty list; it must have one number for each unit of the layer, or be "
            "one number. Correct it."
        )
    return [_strength(each, f"{name}, unit {unit},") for unit, each in enumerate(value)]


def sources(numbers, name):
    """Numbers of the inputs, or of the networks, that a network reads.

    Parameters
    ----------
    numbers : int, list of int or None
    name : str
        Of the argument.

    Returns
    -------
    list of int, or None if `numbers` is None

    Raises
    ------
    ValueError
        If one is no whole number from 0, or comes twice.
    """
    if numbers is None:
        return None
    found = list(numbers) if isinstance(numbers, (list, tuple)) else [numbers]
    found = [quantities.whole(number, f"{name} (numbers from 0, or None)", 0) for number in found]
    if len(set(found)) < len(found):
        raise ValueError(
            f"{name} is {quantities.shown(numbers)}; a source counts once. Name each of them once."
        )
    return found


def _strength(value, name):
    allowed = "a finite number from 0, or None"
    quantities.real(value, name, lambda x: 0 <= x < math.inf, allowed)
    return value
