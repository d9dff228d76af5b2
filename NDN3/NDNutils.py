"""What scripts need around a model, by the names that users of NDN3 know.

`ffnetwork_params` makes the dictionary that `NDN3.NDN.NDN` builds a network from. It holds only
numbers, strings, lists and None, so it can be looked at, changed and stored. The other functions
prepare stimuli and spikes, choose rows, and sweep a regularizer; each job has its own module.
Importing this one is light. The plots of `NDN3.plots` have their names here too, and are loaded,
matplotlib with them, when the first one is used: ``NDNutils.plot_filters(model)``.
"""

import importlib
import warnings

from NDN3 import columns, layer_entries, layers, quantities, suggestions, vocabulary
from NDN3.devices import assign_gpu, setup_no_gpu, setup_one_gpu
from NDN3.dims import checked_sizes, three_dims
from NDN3.folds import (
    generate_xv_folds,
    inner_holdout,
    make_block_indices,
    process_blocks,
    speckled_folds,
)
from NDN3.gabors import gabor_array, gabor_sized, get_gabor
from NDN3.regularization_path import reg_path
from NDN3.spikes import spikes_to_robs
from NDN3.tents import (
    create_NL_embedding,
    design_matrix_event_basis,
    design_matrix_tent_basis,
    tent_basis_generate,
)
from NDN3.time_embedding import create_time_embedding, shift_mat, shift_mat_zpad

__all__ = [
    "assign_gpu",
    "create_NL_embedding",
    "create_time_embedding",
    "design_matrix_event_basis",
    "design_matrix_tent_basis",
    "ffnetwork_params",
    "gabor_array",
    "gabor_sized",
    "generate_spike_history",
    "generate_xv_folds",
    "get_gabor",
    "inner_holdout",
    "make_block_indices",
    "process_blocks",
    "reg_path",
    "setup_no_gpu",
    "setup_one_gpu",
    "shift_mat",
    "shift_mat_zpad",
    "speckled_folds",
    "spikes_to_robs",
    "tent_basis_generate",
]

# What `NDN3.plots` offers; not in `__all__`, because an import of all names would load them
PLOTS = (
    "display_model",
    "make_gif",
    "plot_2dweights",
    "plot_3dfilters",
    "plot_filters",
    "plot_internal_weights",
    "plot_masks",
    "plot_positions",
    "plot_sparse_mapping",
    "side_network_analyze",
    "sparse_mapping",
)

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
    "bounded_dog": None,
    "conv_bounded_dog": None,
    "batch_norm": None,
    "layer_norm": None,
    "div_norm": None,
}


def __getattr__(name):
    """Plots by name, loaded when they are asked for."""
    if name in PLOTS:
        return getattr(importlib.import_module("NDN3.plots"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    """Names of this module, those of the plots with them."""
    return sorted({*globals(), *PLOTS})


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
    reg_boundaries=None,
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
        next layer; None and -1 leave both free.
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
        Which external inputs the network reads; None for none. A "side" network reads none.
    ffnet_n : int or list of int, optional
        Which earlier networks it reads.
    network_type : str
        "normal", or "side" for a network that reads all layers of the network in `ffnet_n`.
    verbose : bool
        Print one line per layer, with the dims of what it gives. This loads Keras.
    log_activations : bool
        Write histograms of the activations to the summaries.
    reg_boundaries : str or list of str, optional
        What the smoothness penalties take for granted outside of a filter: "zero", the default, or
        "free" for nothing.

    Returns
    -------
    dict
        With the keys `network_type`, `xstim_n`, `ffnet_n`, `input_dims`, `layer_sizes`,
        `layer_types`, `activation_funcs`, `normalize_weights`, `time_expand`, `reg_initializers`
        (a dict per layer), `reg_scalars` (bare numbers of `reg_list`), `weights_initializers`,
        `biases_initializers`, `num_inh`, `pos_constraints`, `log_activations`,
        `conv_filter_widths`, `shift_spacing`, `dilation` and `reg_boundaries`. Entries may be
        changed before the model is built, and options of some layers be added, such as `bounds` of
        difference-of-Gaussians layers (`NDN3.layers.OWN_KEYS`, one entry per layer each).

    Raises
    ------
    ValueError
        If a required list is missing, a list is longer than the network, a name is unknown, or an
        entry is not of the right kind.
    """
    layer_sizes = checked_sizes(layer_sizes)
    n_layers = len(layer_sizes)
    layer_types = layer_entries.types(layer_types, n_layers)
    suggestions.known(network_type, vocabulary.NETWORK_TYPES, "network_type")
    quantities.truth(verbose, "verbose")
    quantities.truth(log_activations, "log_activations")

    def listed(values, name, missing=None, repeat=False):
        return layer_entries.per_layer(values, name, n_layers, missing, repeat)

    def counts(values, name, smallest, repeat=False):
        return layer_entries.whole(listed(values, name, repeat=repeat), name, smallest)

    inhibitory = [None if k is None or k < 0 else k for k in counts(ei_layers, "ei_layers", -1)]
    activations = [
        "relu" if name is None else name for name in listed(act_funcs, "act_funcs", repeat=True)
    ]
    boundaries = listed(reg_boundaries, "reg_boundaries", repeat=True)
    reg_initializers, reg_scalars = layer_entries.regularizers(reg_list, n_layers)
    description = {
        "network_type": network_type,
        "xstim_n": layer_entries.sources(xstim_n, "xstim_n"),
        "ffnet_n": layer_entries.sources(ffnet_n, "ffnet_n"),
        "input_dims": None if input_dims is None else three_dims(input_dims, "input_dims"),
        "layer_sizes": layer_sizes,
        "layer_types": layer_types,
        "activation_funcs": layer_entries.words(activations, "act_funcs", vocabulary.ACTIVATIONS),
        "normalize_weights": layer_entries.normalizations(normalization, n_layers),
        "time_expand": [lags or 0 for lags in counts(time_expand, "time_expand", 0)],
        "reg_initializers": reg_initializers,
        "reg_scalars": reg_scalars,
        "weights_initializers": [START_VALUES.get(name, "normal") for name in layer_types],
        # the biases of a sum start from something of their own
        "biases_initializers": [None if name == "add" else "zeros" for name in layer_types],
        "num_inh": [k or 0 for k in inhibitory],
        "pos_constraints": [None, *[None if k is None else True for k in inhibitory[:-1]]],
        "log_activations": log_activations,
        "conv_filter_widths": counts(conv_filter_widths, "conv_filter_widths", 1),
        "shift_spacing": counts(shift_spacing, "shift_spacing", 1, repeat=True),
        "dilation": counts(dilation, "dilation", 1, repeat=True),
        "reg_boundaries": [
            boundary or "zero"
            for boundary in layer_entries.words(boundaries, "reg_boundaries", vocabulary.BOUNDARIES)
        ],
    }
    if network_type == "side" and description["xstim_n"] == [0]:
        description["xstim_n"] = None  # the default of the other type
    if verbose:
        _print_layers(description)
    return description


def generate_spike_history(robs, nlags, neg_constraint=True, reg_par=0, xstim_n=1):
    """What each neuron fired before, and the description of a network that weights it.

    The output of the network is added to that of another one by a layer of type "add".

    Parameters
    ----------
    robs : array_like, (T, neurons)
        Spike counts.
    nlags : int
        Number of time bins before the present one.
    neg_constraint : bool
        Spikes can only lower the rate: the weights are rectified, and all units inhibitory.
    reg_par : float
        Strength of the penalty on differences between lags (`d2t`).
    xstim_n : int
        Number of the external input as which the first result is given to the model.

    Returns
    -------
    history : ndarray, (T, neurons * nlags)
        Column n * nlags + l has neuron n, l + 1 bins earlier.
    description : dict
        As from `ffnetwork_params`.

    Raises
    ------
    ValueError
        If an argument is out of range.
    """
    counts = columns.columns(robs, "robs")
    neurons = counts.shape[1]
    dims = [quantities.whole(nlags, "nlags"), neurons, 1]
    quantities.truth(neg_constraint, "neg_constraint")
    layer_entries.strengths(reg_par, "d2t", "reg_par")
    description = ffnetwork_params(
        input_dims=dims,
        layer_sizes=[neurons],
        layer_types=["spike_history"],
        act_funcs="lin",
        ei_layers=[neurons] if neg_constraint else None,
        reg_list={"d2t": [reg_par]} if reg_par else None,
        xstim_n=xstim_n,
        verbose=False,
    )
    description["pos_constraints"] = [True if neg_constraint else None]
    return create_time_embedding(shift_mat(counts, 1, 0), dims), description


def _print_layers(description):
    # Keras is loaded to print, and not before
    from NDN3 import descriptions, stacks

    dims = description["input_dims"]
    print(f"{description['network_type']} network on {dims or 'what it reads'}")
    prepared, missing = [], None
    if dims is not None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the model that is built from it warns
            try:
                for _, layer in stacks.prepared(descriptions.resolved(description), dims):
                    prepared.append(layer)
            except ValueError as error:
                missing = error
    for position, kind in enumerate(description["layer_types"]):
        size = description["layer_sizes"][position]
        parts = [kind, f"{size} units", description["activation_funcs"][position]]
        parts += _peculiarities(description, position, layers.layer_class(kind).options)
        regularizers = description["reg_initializers"][position]
        if position < len(prepared):
            parts.append(f"gives {prepared[position].dims_of_output()}")
            regularizers = prepared[position].regularizers
        print(f"  layer {position}: {', '.join(parts)}, {regularizers}")
    if missing is not None:
        print(f"  still to be changed: {missing}")


def _peculiarities(description, position, options):
    """What is worth a word about a layer."""

    def said(key):
        return description[key][position]

    if said("num_inh"):
        yield f"{said('num_inh')} of them inhibitory"
    if said("pos_constraints"):
        yield "weights from 0"
    if said("normalize_weights"):
        yield f"normalization {said('normalize_weights')}"
    if said("time_expand"):
        yield f"{said('time_expand')} lags"
    if "filter_width" in options:
        yield f"filters {said('conv_filter_widths') or 'as large as the input'}"
    if "shift_spacing" in options:
        yield f"stride {said('shift_spacing') or 1}"
    if "dilation" in options:
        yield f"dilation {said('dilation') or 1}"
