"""Descriptions of networks, looked through before a network is built from them."""

import copy

from NDN3 import layers, regularization, suggestions
from NDN3.NDNutils import checked_entries, checked_sizes

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
    "bounds",
)
KEYS = (
    "network_type",
    "xstim_n",
    "ffnet_n",
    "input_dims",
    "layer_sizes",
    "layer_types",
    "time_expand",
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
        If something that is not built is asked for, a required key is missing, a key is unknown, or
        a list does not have one entry per layer.
    """
    description = copy.deepcopy(dict(description))
    for key in ("input_dims", "layer_sizes", "layer_types"):
        if not description.get(key):
            raise ValueError(
                f"the description of a network has no {key}. "
                "Make it with NDN3.NDNutils.ffnetwork_params and give it there."
            )
    for key in description:
        suggestions.known(key, KEYS, "key of a description")
    _refuse_unsupported(description)
    checked_sizes(description["layer_sizes"])
    n_layers = len(description["layer_sizes"])
    _refuse_other_lengths(description, n_layers)
    checked_entries(description.get("num_inh") or [], "num_inh", 0)
    regularizers = description.setdefault("reg_initializers", [{} for _ in range(n_layers)])
    for name, value in description.pop("reg_scalars", {}).items():
        for position, layer_type in enumerate(description["layer_types"]):
            # an unknown name goes everywhere: the first layer refuses it with a sentence
            wanted = layers.layer_class(layer_type).takes(name) or name not in known_regularizers()
            if position == 0 if legacy else wanted:
                regularizers[position].setdefault(name, value)
    return description


def _refuse_other_lengths(description, n_layers):
    """Lists of another length than the network; bounds of layers that have none."""
    for key in ("layer_types", *PER_LAYER):
        values = description.get(key)
        if values is None:
            continue
        if not isinstance(values, (list, tuple)) or len(values) != n_layers:
            listed = isinstance(values, (list, tuple))
            given = f"has {len(values)} entries" if listed else f"is {values!r}"
            raise ValueError(
                f"{key} of the description {given}; it must be a list with one entry for each of "
                f"the {n_layers} layers. Give {n_layers}, None where a layer needs none."
            )
    for position, regularizers in enumerate(description.get("reg_initializers") or []):
        if not isinstance(regularizers, dict | None):
            raise ValueError(
                f"reg_initializers[{position}] is {regularizers!r}; it must be a dict of "
                "regularizers and their strengths, or None. Correct it."
            )
    for position, bounds in enumerate(description.get("bounds") or []):
        layer_type = description["layer_types"][position]
        if bounds is not None and "bounds" not in layers.layer_class(layer_type).options:
            raise ValueError(
                f"bounds[{position}] is {bounds!r}, and layer {position} is {layer_type!r}, which "
                "has no bounds; only difference-of-Gaussians layers have. Set it to None."
            )


def known_regularizers():
    """Every name that may stand in `reg_list`."""
    return [*regularization.PENALTIES, regularization.DROPOUT]


def _refuse_unsupported(description):
    """Keys of the description whose values stand for parts that are not built."""
    allowed = {
        "network_type": ("normal",),
        "xstim_n": ([0], 0),
        "ffnet_n": (None, []),
        "time_expand": (None, 0),
        "log_activations": (False, None),
    }
    for key, values in allowed.items():
        given = description.get(key, values[0])
        many = given if key == "time_expand" and isinstance(given, (list, tuple)) else [given]
        for value in many:
            if value not in values:
                raise ValueError(
                    f"{key} is {given!r}; one network on one external input is supported, so "
                    f"{key} must be {values[0]!r}. Leave {key} at its default."
                )


def single(network_list, ffnet_out=-1):
    """Take the description of the only network.

    Parameters
    ----------
    network_list : dict or list of dict
    ffnet_out : int or list of int
        Which network gives the output.

    Returns
    -------
    dict

    Raises
    ------
    ValueError
        If there are several networks.
    """
    networks = [network_list] if isinstance(network_list, dict) else list(network_list)
    if len(networks) != 1 or ffnet_out not in (-1, 0, [-1], [0], None):
        raise ValueError(
            f"network_list has {len(networks)} networks and ffnet_out is {ffnet_out!r}; one "
            "network that gives the output itself is supported. Give one description."
        )
    return networks[0]


def check_target(ffnet_target):
    """Refuse the number of a network that is not there.

    Raises
    ------
    ValueError
        If it is not that of the only network.
    """
    if ffnet_target not in (0, -1):
        raise ValueError(
            f"ffnet_target is {ffnet_target!r}; the model has one network, so it must be 0 or -1. "
            "Leave it at its default."
        )
