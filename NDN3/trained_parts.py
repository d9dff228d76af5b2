"""Which arrays of a network are trained, and what becomes of them afterwards."""

import numpy as np

from NDN3 import descriptions, quantities, suggestions
from NDN3.layers.separable import Separable


def choice(networks, layers_to_skip, fit_biases):
    """List of what is trained; parameters and returned value as in `NDN.fit_variables`.

    Parameters
    ----------
    networks : list of NDN3.composition.Network
    """
    skipped = [] if layers_to_skip is None else layers_to_skip
    if not isinstance(skipped, (list, tuple)):
        skipped = [skipped]
    if not any(isinstance(entry, (list, tuple)) for entry in skipped):
        skipped = [skipped]
    if len(skipped) > len(networks):
        raise ValueError(
            f"layers_to_skip is {quantities.shown(layers_to_skip)}; the model has {len(networks)} "
            "networks. Give one list of layers for each of them, or for the first ones."
        )
    biases = fit_biases if isinstance(fit_biases, list) else [fit_biases] * len(networks)
    if len(biases) != len(networks) or not all(isinstance(each, bool) for each in biases):
        raise ValueError(
            f"fit_biases is {quantities.shown(fit_biases)}; it must be True or False, or a list "
            f"with one of them for each of the {len(networks)} networks. Correct it."
        )
    found = []
    for number, network in enumerate(networks):
        count = len(network.layers)
        given = skipped[number] if number < len(skipped) else None
        given = [] if given is None else given if isinstance(given, (list, tuple)) else [given]
        left = [descriptions.layer_number(layer, count, "layers_to_skip") for layer in given]
        found.append([])
        for position, layer in enumerate(network.layers):
            entry = dict.fromkeys(names_of(layer), position not in left)
            found[-1].append(entry | {"biases": position not in left and biases[number]})
    return found


def names_of(layer):
    """Names of the arrays of a layer about which a user may say whether they are trained."""
    others = [name for name in layer.array_names[2:] if name not in layer.statistics]
    return ["weights", "biases", *others]


def free_variables(network, fit_variables):
    """Which variables are trained, in the order of the network's trainable variables.

    Parameters
    ----------
    network : NDN3.network_model.NetworkModel
    fit_variables : list or None
        [network][layer]{"weights": bool or 0/1 array, "biases": …}. What a layer has beside them,
        such as positions, goes with the weights where it is not named.

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
    wanted = {
        id(variable): entry[name]
        for layer, entry in entries(network, fit_variables)
        for name, variable in layer.arrays.items()
        if name in entry
    }
    return [wanted[id(variable)] for variable in network.trainable_variables]


def entries(network, fit_variables):
    """Layers of a network, each with what is trained of it under every name that it may have.

    Parameters, and what is raised, as in `free_variables`.
    """
    networks = network.composition.networks
    lengths = [len(each.layers) for each in networks]
    listed = isinstance(fit_variables, list | tuple)
    listed = listed and all(isinstance(each, list | tuple) for each in fit_variables)
    if not listed or [len(each) for each in fit_variables] != lengths:
        raise ValueError(
            f"fit_variables is {quantities.shown(fit_variables)}; it must have one list for each "
            f"network, of {lengths} layers. Make it with the method fit_variables of the model."
        )
    found = []
    for each, given in zip(networks, fit_variables, strict=True):
        for layer, entry in zip(each.layers, given, strict=True):
            names = names_of(layer)
            if not isinstance(entry, dict) or "weights" not in entry:
                raise ValueError(
                    f"fit_variables has {quantities.shown(entry)} for a {layer.layer_type} layer; "
                    f"it must be a dict with {', '.join(names)}. Make it with the method "
                    "fit_variables of the model."
                )
            for name in entry:
                suggestions.known(name, names, f"array of a {layer.layer_type} layer to be trained")
            others = dict.fromkeys(names, _any_trained(entry["weights"]))
            found.append((layer, others | entry | {"weights": trained_part(layer, entry)}))
    return found


def trained_part(layer, entry):
    """Which weights of a layer are trained, as a bool or a 0/1 array."""
    part = entry["weights"]
    if not isinstance(part, str):
        return part
    if not isinstance(layer, Separable):
        raise ValueError(
            f"fit_variables has {part!r} for the weights of a {layer.layer_type} layer; parts have "
            "names in layers whose weights are features and a mask, such as 'sep'. Give a bool or "
            "a 0/1 array."
        )
    suggestions.known(part, ("features", "mask"), "part of the weights")
    features, mask = layer.split(np.ones(layer.weights_shape()))
    return np.concatenate([features * (part == "features"), mask * (part == "mask")])


def kinds_of_averages(network, fit_variables, by_lbfgs):
    """What becomes of the averages of each layer in a training.

    Parameters
    ----------
    network : NDN3.network_model.NetworkModel
    fit_variables : list or None
        As in `free_variables`.
    by_lbfgs : bool

    Returns
    -------
    list of (str or None)
        For `NDN3.variants.with_averages`.
    """
    kind = "of all rows" if by_lbfgs else "moving"
    kinds = [None if found is None else kind for found in network.kinds_of_averages]
    if fit_variables is None:
        return kinds
    trained = [
        any(np.any(value) for value in entry.values())
        for _, entry in entries(network, fit_variables)
    ]
    return [k if k is None or on else "at rest" for k, on in zip(kinds, trained, strict=True)]


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


def _any_trained(entry):
    """Whether an entry trains anything; what is neither a truth nor an array is refused later."""
    return bool(np.any(entry)) if quantities.shape_of(entry) else bool(entry)
