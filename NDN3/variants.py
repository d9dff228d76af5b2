"""Networks that differ from another one in a regularizer, and their arrays."""

import numpy as np

from NDN3 import descriptions, regularization, suggestions
from NDN3.ffnetwork import FFNetworkModel


def without_dropout(model):
    """Model of the same network in which no layer has dropout.

    Parameters
    ----------
    model : FFNetworkModel

    Returns
    -------
    FFNetworkModel
        `model` itself, if it has none.
    """
    description = model.description
    had_dropout = [
        regularizers.pop(regularization.DROPOUT, None) is not None
        for regularizers in description["reg_initializers"]
    ]
    return FFNetworkModel(description, legacy=model.legacy) if any(had_dropout) else model


def with_regularizer(model, name, strength, layer_target=None):
    """Model of the same network in which one regularizer has another strength.

    Parameters
    ----------
    model : FFNetworkModel
    name : str
    strength : float or None
        None takes it away.
    layer_target : int or list of int, optional
        By default all layers that take it.

    Returns
    -------
    FFNetworkModel

    Raises
    ------
    ValueError
        If there is no such regularizer, or a layer does not take it.
    """
    suggestions.known(name, descriptions.known_regularizers(), "regularizer")
    description = model.description
    if layer_target is None:
        targets = [position for position, layer in enumerate(model.stack) if layer.takes(name)]
    else:
        targets = layer_target if isinstance(layer_target, (list, tuple)) else [layer_target]
    for target in targets:
        description["reg_initializers"][target][name] = strength
    return FFNetworkModel(description, legacy=model.legacy)


def carried_over(source, arrays, target):
    """Arrays of one model in the order of another that has the same layers.

    Parameters
    ----------
    source, target : FFNetworkModel
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
