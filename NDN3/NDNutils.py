"""Descriptions of networks: keyword arguments in, a plain dictionary out.

`ffnetwork_params` makes the dictionary that `NDN3.NDN.NDN` builds a network from. The dictionary
holds only numbers, strings, lists and None, so it can be looked at, changed and stored. Importing
this module is light; the names of the layer types come from the registry in `NDN3.layers`.
"""

import math

from NDN3 import layers, quantities, suggestions
from NDN3.layers.geometry import extents

# What a layer of this type starts from when the description does not say; everything else is
# "normal". None leaves it to the layer (a scale starts at one).
START_VALUES = {
    "diff_of_gaussians": "random",
    "conv_diff_of_gaussians": "random",
    "lin_scale": None,
    "add": None,
    "mult": None,
    "spike_history": None,
    "spkNL": None,
    "batch_norm": None,
    "layer_norm": None,
    "div_norm": None,
}
# Types with a kernel that moves over the image
CONVOLUTIONS = ("conv", "conv_diff_of_gaussians")


def ffnetwork_params(
    input_dims=None,
    layer_sizes=None,
    layer_types=None,
    act_funcs="relu",
    ei_layers=None,
    reg_list=None,
    normalization=None,
    conv_filter_widths=None,
    shift_spacing=1,
    dilation=1,
    time_expand=None,
    xstim_n=0,
    ffnet_n=None,
    network_type="normal",
    verbose=True,
    log_activations=False,
):
    """Plain description of one feed-forward network.

    Parameters
    ----------
    input_dims : int or list of int, optional
        Shape of the input as [channels or lags, width, height], filled with ones; an int `n` means
        [n, 1, 1]. None takes it from `input_dim_list` of the model.
    layer_sizes : list of int or of [int, int, int]
        Units (or filters) of each layer. The last layer has one unit per neuron.
    layer_types : list of str
        Names of `NDN3.layers.LAYERS`.
    act_funcs : str or list of str
        Names of `NDN3.activations.ACTIVATIONS`; one name is used for all layers.
    ei_layers : list of (int or None), optional
        An int k makes the last k units of the layer inhibitory and rectifies the weights of the
        next layer; None leaves both free.
    reg_list : dict, optional
        {type of regularizer: [value per layer]}. None, and what is missing at the end, means off;
        a value may be a list of one strength for each unit of the layer.
        A bare number applies to every layer that takes the regularizer (in the legacy profile to
        the first layer only). The value of `dropout` is the probability to keep a unit.
    normalization : int or list of int, optional
        Code per layer: 0 leaves the weights, 1 gives columns of unit norm, -1 columns of norm one
        at most, 2 divides by the Frobenius norm and multiplies by the number of units. In a `sep`
        layer 0 scales the features, 1 the mask in space, 2 both, -1 nothing.
    conv_filter_widths : int or list of int, optional
        Width of the kernels [pixel]; None makes them as large as the input.
    shift_spacing : int or list of int
        Stride [pixel]; one number is used for all layers.
    dilation : int or list of int
        Spacing of the taps of temporal layers; one number is used for all layers.
    time_expand : int or list of int, optional
        Lags that the network itself makes before a layer.
    xstim_n : int, list of int or None
        Which external inputs the network reads; None for none.
    ffnet_n : int or list of int, optional
        Which earlier networks it reads.
    network_type : str
        "normal" or "side".
    verbose : bool
        Print one line per layer.
    log_activations : bool
        Write histograms of the activations to the summaries.

    Returns
    -------
    dict
        With the keys `network_type`, `xstim_n`, `ffnet_n`, `input_dims`, `layer_sizes`,
        `layer_types`, `activation_funcs`, `normalize_weights`, `time_expand`, `reg_initializers`
        (a dict per layer), `reg_scalars` (bare numbers of `reg_list`), `weights_initializers`,
        `biases_initializers`, `num_inh`, `pos_constraints`, `log_activations`,
        `conv_filter_widths`, `shift_spacing` and `dilation`. Entries may be changed before the
        model is built, and `bounds` (one entry per layer) may be added for
        difference-of-Gaussians layers.

    Raises
    ------
    ValueError
        If a required list is missing, a list is longer than the network, a name is unknown, or an
        entry is not of the right kind.
    """
    layer_sizes = checked_sizes(layer_sizes)
    n_layers = len(layer_sizes)
    if not isinstance(layer_types, (list, tuple)) or len(layer_types) != n_layers:
        raise ValueError(
            f"layer_types is {layer_types!r}; it must list one name for each of the {n_layers} "
            "entries of layer_sizes. Add or remove names."
        )
    for name in layer_types:
        suggestions.known(name, layers.LAYERS, "layer type")

    def per_layer(values, name, missing=None, repeat=False):
        if not isinstance(values, (list, tuple)):
            values = [values] * n_layers if repeat else [values]
        if len(values) > n_layers:
            raise ValueError(
                f"{name} has {len(values)} entries; the network has {n_layers} layers. "
                "Remove the entries that are too many."
            )
        return [*values, *[missing] * (n_layers - len(values))]

    def pixels(values, name, **options):
        return checked_entries(per_layer(values, name, **options), name, 1)

    inhibitory = checked_entries(per_layer(ei_layers, "ei_layers"), "ei_layers", 0)
    reg_initializers = [{} for _ in layer_types]
    reg_scalars = {}
    if not isinstance(reg_list, dict | None):
        raise ValueError(
            f"reg_list is {reg_list!r}; it must be a dict of the values of each regularizer. "
            "Give for example reg_list={'l2': [None, 0.1]}."
        )
    for reg_type, values in (reg_list or {}).items():
        if isinstance(values, (list, tuple)):
            listed = per_layer(values, f"reg_list[{reg_type!r}]")
            for position, value in enumerate(listed):
                if value is not None:
                    where = f"reg_list[{reg_type!r}] of layer {position}"
                    reg_initializers[position][reg_type] = _strengths(value, where)
        elif values is not None:
            _strength(values, f"reg_list[{reg_type!r}]")
            reg_scalars[reg_type] = values

    description = {
        "network_type": network_type,
        "xstim_n": _as_list(xstim_n),
        "ffnet_n": _as_list(ffnet_n),
        "input_dims": None if input_dims is None else three_dims(input_dims, "input_dims"),
        "layer_sizes": layer_sizes,
        "layer_types": list(layer_types),
        "activation_funcs": per_layer(act_funcs, "act_funcs", "relu", repeat=True),
        "normalize_weights": [
            0 if code is None else code
            for code in per_layer(normalization, "normalization", repeat=True)
        ],
        "time_expand": [lags or 0 for lags in per_layer(time_expand, "time_expand")],
        "reg_initializers": reg_initializers,
        "reg_scalars": reg_scalars,
        "weights_initializers": [START_VALUES.get(name, "normal") for name in layer_types],
        # the biases of a sum start from something of their own
        "biases_initializers": [None if name == "add" else "zeros" for name in layer_types],
        "num_inh": [k or 0 for k in inhibitory],
        "pos_constraints": [None, *[None if k is None else True for k in inhibitory[:-1]]],
        "log_activations": log_activations,
        "conv_filter_widths": pixels(conv_filter_widths, "conv_filter_widths"),
        "shift_spacing": pixels(shift_spacing, "shift_spacing", repeat=True),
        "dilation": per_layer(dilation, "dilation", repeat=True),
    }
    if verbose:
        _print_layers(description)
    return description


def three_dims(dims, name):
    """Dims as [channels, width, height].

    Parameters
    ----------
    dims : int or sequence of int
    name : str
        What the dims are called where the user gave them.

    Returns
    -------
    list of int, (3,)

    Raises
    ------
    ValueError
        If there are more than three, or one is not a positive whole number.
    """
    listed = list(dims) if hasattr(dims, "__iter__") else [dims]
    listed += [1] * (3 - len(listed))
    if len(listed) != 3 or not all(_is_size(size) for size in listed):
        raise ValueError(
            f"{name} is {dims!r}; it must be up to three positive whole numbers, "
            "[channels, width, height]. Correct it."
        )
    return [int(size) for size in listed]


def checked_sizes(layer_sizes):
    """Sizes of layers as a plain list.

    Parameters
    ----------
    layer_sizes : list of (int or list of int)

    Returns
    -------
    list of (int or list of int)

    Raises
    ------
    ValueError
        If it is no list, or an entry is not a positive whole number (or up to three).
    """
    listed = layer_sizes.tolist() if hasattr(layer_sizes, "tolist") else layer_sizes
    if not isinstance(listed, (list, tuple)) or not listed:
        raise ValueError(
            f"layer_sizes is {layer_sizes!r}; it must list the units of each layer. "
            "Give for example layer_sizes=[9, 20, 103]."
        )
    sizes = []
    for position, size in enumerate(listed):
        several = isinstance(size, (list, tuple))
        if not several and not _is_size(size):
            raise ValueError(
                f"layer_sizes[{position}] (layer {position}) is {size!r}; it must be a positive "
                "whole number of units. Correct it."
            )
        dims = three_dims(size, f"layer_sizes[{position}] (layer {position})")
        sizes.append(dims if several else dims[0])
    return sizes


def checked_entries(values, name, smallest):
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


def _is_size(size):
    # a whole float is fine: the root of 961 is one
    whole = quantities.is_whole(size) or (isinstance(size, float) and size.is_integer())
    return whole and size >= 1


def _strengths(value, name):
    """One strength, or a list with one for each unit of the layer."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if not isinstance(value, (list, tuple)):
        _strength(value, name)
        return value
    for unit, each in enumerate(value):
        _strength(each, f"{name}, unit {unit}")
    return list(value)


def _strength(value, name):
    allowed = "a finite number from 0, or None"
    quantities.real(value, name, lambda x: 0 <= x < math.inf, allowed)


def _as_list(index):
    if index is None:
        return None
    return list(index) if isinstance(index, (list, tuple)) else [index]


def _print_layers(description):
    dims = description["input_dims"]
    print(f"{description['network_type']} network on {dims or 'its data'}")
    for position, kind in enumerate(description["layer_types"]):
        size = description["layer_sizes"][position]
        parts = [kind, f"{size} units", str(description["activation_funcs"][position])]
        if kind in CONVOLUTIONS:
            width = description["conv_filter_widths"][position]
            stride = description["shift_spacing"][position] or 1
            parts.append(f"filters {width or 'as large as the input'}, stride {stride}")
        if dims is not None:
            dims = _output_dims(description, position, dims)
            parts.append(f"gives {dims}")
        print(
            f"  layer {position}: {', '.join(parts)}, {description['reg_initializers'][position]}"
        )


def _output_dims(description, position, dims):
    """[channels, width, height] of what a layer gives for an input of such dims."""
    kind, size = (description[key][position] for key in ("layer_types", "layer_sizes"))
    if kind in ("lin_scale", "spkNL", "batch_norm", "layer_norm", "div_norm"):
        return dims
    if kind == "filter":
        return [1, *dims[1:]]
    sizes = three_dims(size, "layer_sizes")
    if kind == "dim0":
        return [math.prod(sizes), *dims[1:]]
    if kind in ("add", "mult"):
        channels, rest = divmod(math.prod(sizes), math.prod(dims[1:]))
        return sizes if rest else [channels, *dims[1:]]
    if kind not in CONVOLUTIONS:
        return sizes
    width, stride = (description[key][position] for key in ("conv_filter_widths", "shift_spacing"))
    height_and_width = extents(dims, width, stride)[2]
    return [math.prod(sizes), *reversed(height_and_width)]
