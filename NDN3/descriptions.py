"""Descriptions of networks, looked through before a network is built from them."""

import copy

from NDN3 import layers, regularization


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
        If something that is not built is asked for, or a required key is missing.
    """
    description = copy.deepcopy(dict(description))
    for key in ("input_dims", "layer_sizes", "layer_types"):
        if not description.get(key):
            raise ValueError(
                f"the description of a network has no {key}. "
                "Make it with NDN3.NDNutils.ffnetwork_params and give it there."
            )
    _refuse_unsupported(description)
    n_layers = len(description["layer_types"])
    regularizers = description.setdefault("reg_initializers", [{} for _ in range(n_layers)])
    for name, value in description.pop("reg_scalars", {}).items():
        for position, layer_type in enumerate(description["layer_types"]):
            # an unknown name goes everywhere: the first layer refuses it with a sentence
            wanted = layers.layer_class(layer_type).takes(name) or name not in known_regularizers()
            if position == 0 if legacy else wanted:
                regularizers[position].setdefault(name, value)
    return description


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
