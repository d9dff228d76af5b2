"""Descriptions of networks, looked through before a network is built from them."""

import copy
import json

from NDN3 import layer_entries, layers, quantities, suggestions, vocabulary
from NDN3.dims import checked_sizes, three_dims

# Keys that have one entry per layer
PER_LAYER = (
    "activation_funcs",
    "normalize_weights",
    "reg_initializers",
    "weights_initializers",
    "biases_initializers",
    "num_inh",
    "pos_constraints",
    "conv_filter_widths",
    "shift_spacing",
    "dilation",
    "time_expand",
    "reg_boundaries",
    *layers.OWN_KEYS,
)
# Those with whole numbers, or None: the smallest that is allowed
WHOLE = {
    "num_inh": 0,
    "time_expand": 0,
    "conv_filter_widths": 1,
    "shift_spacing": 1,
    "dilation": 1,
}
KEYS = (
    "network_type",
    "xstim_n",
    "ffnet_n",
    "input_dims",
    "layer_sizes",
    "layer_types",
    "log_activations",
    "reg_scalars",
    *PER_LAYER,
)


def resolved(description, legacy=False):
    """Copy of a description with the bare numbers of `reg_list` at their layers.

    Parameters
    ----------
    description : dict
        From `NDN3.NDNutils.ffnetwork_params`.
    legacy : bool
        A bare number counts for the first layer only, otherwise for every layer that takes it.

    Returns
    -------
    dict
        A copy, without `reg_scalars`.

    Raises
    ------
    ValueError
        If a required key is missing, a key is unknown, or a list does not have one entry per
        layer.
    """
    description = copy.deepcopy(dict(description))
    for key in description:
        suggestions.known(key, KEYS, "key of a description")
    for key in ("layer_sizes", "layer_types"):
        if description.get(key) is None:
            raise ValueError(
                f"the description of a network has no {key}; it must have one entry for each "
                "layer. Make it with NDN3.NDNutils.ffnetwork_params and give it there."
            )
    description["layer_sizes"] = checked_sizes(description["layer_sizes"])
    n_layers = len(description["layer_sizes"])
    description["layer_types"] = layer_entries.types(description["layer_types"], n_layers)
    suggestions.known(
        description.setdefault("network_type", "normal"), vocabulary.NETWORK_TYPES, "network_type"
    )
    description["ffnet_n"] = _numbers(description.get("ffnet_n"), "ffnet_n")
    description.setdefault("xstim_n", None if description["ffnet_n"] else [0])
    description["xstim_n"] = _numbers(description["xstim_n"], "xstim_n")
    if description.get("input_dims") is not None:
        description["input_dims"] = three_dims(description["input_dims"], "input_dims")
    if description.get("log_activations") is not None:
        quantities.truth(description["log_activations"], "log_activations")
    if description.get("log_activations"):
        raise ValueError(
            "log_activations is True; histograms of activations are not written, so "
            "log_activations must be False. Take the activations from generate_prediction with "
            "layer_target."
        )
    _refuse_other_lengths(description, n_layers)
    for key, smallest in WHOLE.items():
        layer_entries.whole(description.get(key) or [], key, smallest)
    layer_entries.normalizations(description.get("normalize_weights"), n_layers)
    found = [entry or {} for entry in description.get("reg_initializers") or [None] * n_layers]
    regularizers = description["reg_initializers"] = found
    scalars = description.pop("reg_scalars", None)
    if not isinstance(scalars, dict | None):
        raise ValueError(
            f"reg_scalars of the description is {quantities.shown(scalars)}; it must be a dict of "
            "regularizers and their strengths, or None. Correct it."
        )
    for name, value in (scalars or {}).items():
        for position, layer_type in enumerate(description["layer_types"]):
            # an unknown name goes everywhere: the first layer refuses it with a sentence
            wanted = (
                layers.layer_class(layer_type).takes(name) or name not in vocabulary.REGULARIZERS
            )
            if position == 0 if legacy else wanted:
                regularizers[position].setdefault(name, value)
    # as a stored description, so that one that is read from a file is equal
    return json.loads(json.dumps(description, default=_plain))


def _plain(value):
    """Turn numbers and arrays of NumPy into what JSON knows."""
    if not hasattr(value, "tolist"):
        raise ValueError(
            f"the description of a network has {quantities.shown(value)} in it; it may have "
            "numbers, texts, lists, dicts and None. Correct it."
        )
    return value.tolist()


def _refuse_other_lengths(description, n_layers):
    """Lists of another length than the network; options of layers that have none."""
    for key in ("layer_types", *PER_LAYER):
        values = description.get(key)
        if values is None:
            continue
        if not isinstance(values, (list, tuple)) or len(values) != n_layers:
            listed = isinstance(values, (list, tuple))
            given = f"has {len(values)} entries" if listed else f"is {quantities.shown(values)}"
            raise ValueError(
                f"{key} of the description {given}; it must be a list with one entry for each of "
                f"the {n_layers} layers. Give {n_layers}, None where a layer needs none."
            )
    for position, regularizers in enumerate(description.get("reg_initializers") or []):
        if not isinstance(regularizers, dict | None):
            raise ValueError(
                f"reg_initializers[{position}] is {quantities.shown(regularizers)}; it must be a "
                "dict of regularizers and their strengths, or None. Correct it."
            )
    for key in ("weights_initializers", "biases_initializers"):
        for position, value in enumerate(description.get(key) or []):
            if value is not None and (not isinstance(value, str) or not value):
                raise ValueError(
                    f"{key}[{position}] is {quantities.shown(value)}; it must be the name of an "
                    "initializer, or None for what the layer starts from. Correct it."
                )
    for key in layers.OWN_KEYS:
        for position, value in enumerate(description.get(key) or []):
            layer_type = description["layer_types"][position]
            if value is not None and key not in layers.layer_class(layer_type).options:
                raise ValueError(
                    f"{key}[{position}] is {quantities.shown(value)}, and layer {position} is "
                    f"{layer_type!r}, which has no {key}. Set it to None."
                )


def _numbers(given, key):
    """Indices of inputs or networks as a list of int."""
    found = [] if given is None else list(given) if isinstance(given, (list, tuple)) else [given]
    for index in found:
        quantities.whole(index, f"{key} (numbers from 0, or None)", 0)
    if len(set(found)) < len(found):
        raise ValueError(
            f"{key} is {quantities.shown(given)}; a source counts once. Name each of them once."
        )
    return [int(index) for index in found]


def listed(network_list):
    """Descriptions as a list.

    Parameters
    ----------
    network_list : dict or list of dict

    Returns
    -------
    list of dict

    Raises
    ------
    ValueError
        If there is none, or one is no dict.
    """
    networks = [network_list] if isinstance(network_list, dict) else network_list
    if not isinstance(networks, list | tuple) or not networks:
        raise ValueError(
            f"network_list is {quantities.shown(network_list)}; it must be a description or a "
            "list of them. Make them with NDN3.NDNutils.ffnetwork_params."
        )
    for number, description in enumerate(networks):
        if not isinstance(description, dict):
            raise ValueError(
                f"network_list[{number}] is {quantities.shown(description)}; a description is a "
                "dict. Make it with NDN3.NDNutils.ffnetwork_params."
            )
    return list(networks)


def checked_outputs(ffnet_out, count):
    """Networks that give the output, counted from 0.

    Parameters
    ----------
    ffnet_out : int, list of int or None
        -1 is the last network, None too.
    count : int
        Number of networks.

    Returns
    -------
    list of int

    Raises
    ------
    ValueError
        If there is none of that number, or one comes twice.
    """
    wanted = [-1] if ffnet_out is None else ffnet_out
    wanted = list(wanted) if isinstance(wanted, list | tuple) else [wanted]
    found = [network_number(number, count, "ffnet_out") for number in wanted]
    if not found or len(set(found)) < len(found):
        raise ValueError(
            f"ffnet_out is {quantities.shown(ffnet_out)}; it must name one network or more, "
            "each once. Correct it."
        )
    return found


def network_number(number, count, name="ffnet_target"):
    """Number of a network, counted from 0.

    Parameters
    ----------
    number : int
        Negative ones count from the end.
    count : int
        Number of networks.
    name : str
        Of the argument.

    Returns
    -------
    int

    Raises
    ------
    ValueError
        If there is no such network.
    """
    if not quantities.is_whole(number) or not -count <= number < count:
        raise ValueError(
            f"{name} is {quantities.shown(number)}; the model has {count} "
            f"network{'s' * (count > 1)}, so it must be a number from {-count} to "
            f"{count - 1}. Correct it."
        )
    return range(count)[number]


def layer_number(number, count, name="layer_target"):
    """Position of a layer, counted from 0; parameters as in `network_number`."""
    if not quantities.is_whole(number) or not -count <= number < count:
        raise ValueError(
            f"{name} is {quantities.shown(number)}; the network has {count} "
            f"layer{'s' * (count > 1)}, so it must be a number from {-count} to "
            f"{count - 1}. Correct it."
        )
    return range(count)[number]
