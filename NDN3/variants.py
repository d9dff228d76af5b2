"""Networks that differ from another one in a regularizer or in averages, and their arrays."""

import numpy as np

from NDN3 import descriptions, layer_entries, regularization, suggestions, vocabulary
from NDN3.network_model import NetworkModel


def without_dropout(model):
    """Model of the same network in which no layer has dropout.

    Parameters
    ----------
    model : NetworkModel

    Returns
    -------
    NetworkModel
        `model` itself, if it has none.
    """
    described = model.descriptions
    had_dropout = [
        regularizers.pop(regularization.DROPOUT, None) is not None
        for description in described
        for regularizers in description["reg_initializers"]
    ]
    return changed(model, described) if any(had_dropout) else model


def with_averages(model, kinds):
    """Model of the same network whose averages are treated in other ways.

    Parameters
    ----------
    model : NetworkModel
    kinds : list of (str or None)
        For each layer of its `stack`, see `NDN3.layers.normalization.BatchNormalization.averages`;
        None for a layer without averages.

    Returns
    -------
    NetworkModel
        `model` itself, if nothing differs.
    """
    if kinds == model.kinds_of_averages:
        return model
    found = changed(model, model.descriptions)
    for layer, kind in zip(found.stack, kinds, strict=True):
        if kind is not None:
            layer.averages = kind
    return found


def changed(model, described):
    """Model of other descriptions, the rest as in `model`."""
    return NetworkModel(
        described,
        model.composition.outputs,
        model.composition.streams,
        model.legacy,
        dtype=model.variable_dtype,
    )


def with_regularizer(model, name, strength, ffnet_target=0, layer_target=None):
    """Model of the same network in which one regularizer has another strength.

    Parameters
    ----------
    model : NetworkModel
    name : str
    strength : float or None
        None takes it away. Also a list of one number for each unit.
    ffnet_target : int
    layer_target : int or list of int, optional
        By default all layers that take it.

    Returns
    -------
    NetworkModel

    Raises
    ------
    ValueError
        If there is no such regularizer, or a layer does not take it.
    """
    suggestions.known(name, vocabulary.REGULARIZERS, "regularizer")
    if strength is not None:
        strength = layer_entries.strengths(strength, name, f"reg_val of {name!r}")
    described = model.descriptions
    number = descriptions.network_number(ffnet_target, len(described))
    stack = model.composition.networks[number].layers
    if layer_target is None:
        targets = [position for position, layer in enumerate(stack) if layer.takes(name)]
    else:
        targets = layer_target if isinstance(layer_target, (list, tuple)) else [layer_target]
    if not targets:
        raise ValueError(
            f"no layer of network {number} takes the regularizer {name!r}, or layer_target is "
            "empty; at least one layer must. Name one in layer_target."
        )
    for target in targets:
        position = descriptions.layer_number(target, len(stack))
        described[number]["reg_initializers"][position][name] = strength
    return changed(model, described)


def carried_over(source, arrays, target):
    """Arrays of one model in the order of another that has the same layers.

    Parameters
    ----------
    source, target : NetworkModel
        They may differ in dropout.
    arrays : list of ndarray
        In the order of `source.weights`.

    Returns
    -------
    list of ndarray
        In the order of `target.weights`, copies; what only `target` has is zero.
    """
    values = {v.path: array for v, array in zip(source.weights, arrays, strict=True)}
    return [
        np.array(values.get(variable.path, np.zeros(variable.shape)), dtype=variable.dtype)
        for variable in target.weights
    ]
