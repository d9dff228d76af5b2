"""Which arrays of a network are trained, and what becomes of them afterwards."""

import numpy as np


def free_variables(network, fit_variables):
    """Which variables are trained, in the order of the network's trainable variables.

    Parameters
    ----------
    network : NDN3.network_model.NetworkModel
    fit_variables : list or None
        [network][layer]{"weights": bool or 0/1 array, "biases": …}

    Returns
    -------
    list of (bool or ndarray) or None

    Raises
    ------
    ValueError
        If it does not have one entry per layer.
    """
    if fit_variables is None:
        return None
    networks = network.composition.networks
    lengths = [len(each.layers) for each in networks]
    listed = isinstance(fit_variables, list | tuple)
    if not listed or [len(each) for each in fit_variables] != lengths:
        raise ValueError(
            f"fit_variables must have one list for each network, of {lengths} layers. "
            "Make it with the method fit_variables of the model."
        )
    wanted = {}
    for each, entries in zip(networks, fit_variables, strict=True):
        for layer, entry in zip(each.layers, entries, strict=True):
            for name, variable in layer.arrays.items():
                # what a layer has beside weights and biases goes with the weights
                wanted[id(variable)] = entry.get(name, bool(np.any(entry["weights"])))
    return [wanted[id(variable)] for variable in network.trainable_variables]


def constrained(network, arrays, free):
    """Arrays in which the weights that were trained are rectified and normalized.

    Parameters
    ----------
    network : NDN3.network_model.NetworkModel
    arrays : list of ndarray
        In the order of `network.weights`.
    free : list or None
        From `free_variables`.

    Returns
    -------
    list of ndarray
    """
    frozen = set()
    if free is not None:
        pairs = zip(network.trainable_variables, free, strict=True)
        frozen = {id(variable) for variable, on in pairs if not np.all(on)}
    stored = {
        id(layer.kernel): layer.stored for layer in network.stack if id(layer.kernel) not in frozen
    }
    return [
        stored[id(variable)](array) if id(variable) in stored else array
        for variable, array in zip(network.weights, arrays, strict=True)
    ]
