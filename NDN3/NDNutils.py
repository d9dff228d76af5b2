"""Descriptions of networks: keyword arguments in, a plain dictionary out.

`ffnetwork_params` makes the dictionary that `NDN3.NDN.NDN` builds a network from. The dictionary
holds only numbers, strings, lists and None, so it can be looked at, changed and stored. Importing
this module is light; the names of the layer types come from the registry in `NDN3.layers`.
"""

from NDN3 import layers, suggestions

# What a layer of this type starts from when the description does not say; everything else is
# "normal". None leaves it to the layer (a scale starts at one).
START_VALUES = {
    "diff_of_gaussians": "random",
    "conv_diff_of_gaussians": "random",
    "lin_scale": None,
}


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
        {type of regularizer: [value per layer]}. None, and what is missing at the end, means off.
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
        If a required list is missing, a list is longer than the network, or a name is unknown.
    """
    if not layer_sizes:
        raise ValueError(
            f"layer_sizes is {layer_sizes!r}; it must list the units of each layer. "
            "Give for example layer_sizes=[9, 20, 103]."
        )
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

    inhibitory = per_layer(ei_layers, "ei_layers")
    reg_initializers = [{} for _ in layer_types]
    reg_scalars = {}
    for reg_type, values in (reg_list or {}).items():
        if isinstance(values, (list, tuple)):
            for regularizers, value in zip(
                reg_initializers, per_layer(values, f"reg_list[{reg_type!r}]"), strict=True
            ):
                if value is not None:
                    regularizers[reg_type] = value
        elif values is not None:
            reg_scalars[reg_type] = values

    description = {
        "network_type": network_type,
        "xstim_n": _as_list(xstim_n),
        "ffnet_n": _as_list(ffnet_n),
        "input_dims": None if input_dims is None else three_dims(input_dims, "input_dims"),
        "layer_sizes": [list(s) if isinstance(s, (list, tuple)) else int(s) for s in layer_sizes],
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
        "biases_initializers": ["zeros"] * n_layers,
        "num_inh": [k or 0 for k in inhibitory],
        "pos_constraints": [None, *[None if k is None else True for k in inhibitory[:-1]]],
        "log_activations": log_activations,
        "conv_filter_widths": per_layer(conv_filter_widths, "conv_filter_widths"),
        "shift_spacing": per_layer(shift_spacing, "shift_spacing", repeat=True),
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
    if len(listed) != 3 or any(int(size) != size or size < 1 for size in listed):
        raise ValueError(
            f"{name} is {dims!r}; it must be up to three positive whole numbers, "
            "[channels, width, height]. Correct it."
        )
    return [int(size) for size in listed]


def _as_list(index):
    if index is None:
        return None
    return list(index) if isinstance(index, (list, tuple)) else [index]


def _print_layers(description):
    source = description["input_dims"] or "its data"
    print(f"{description['network_type']} network on {source}")
    for position, (kind, size, activation) in enumerate(
        zip(
            description["layer_types"],
            description["layer_sizes"],
            description["activation_funcs"],
            strict=True,
        )
    ):
        regularizers = description["reg_initializers"][position]
        print(f"  layer {position}: {kind}, {size} units, {activation}, {regularizers}")
