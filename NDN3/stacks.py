"""Stacks of layers: what a description says, as layers that know their dims."""

import math
import sys

from NDN3 import layers

# Argument of a layer: where the description has it. All layers take the first ones, the others are
# options of some; an option that is not named here has its own name in the description.
COMMON_KEYS = {
    "units": "layer_sizes",
    "activation": "activation_funcs",
    "num_inh": "num_inh",
    "pos_constraint": "pos_constraints",
    "normalize_weights": "normalize_weights",
    "regularizers": "reg_initializers",
    "boundary": "reg_boundaries",
    "weights_initializer": "weights_initializers",
    "biases_initializer": "biases_initializers",
}
OPTIONAL_KEYS = {"filter_width": "conv_filter_widths"}
MISSING = {
    "activation_funcs": "lin",
    "num_inh": 0,
    "normalize_weights": 0,
    "reg_initializers": {},
    "reg_boundaries": "zero",
}


def prepared(description, dims, *, levels=None, prefix="", legacy=False, dtype=None):
    """Layers of a network that know all their dims and are not built yet.

    Parameters
    ----------
    description : dict
        From `NDN3.descriptions.resolved`.
    dims : list of int
        [C, W, H] of what the network reads.
    levels : list of int, optional
        See `NDN3.regularization.Rows`.
    prefix : str
        Of the names of the layers.
    legacy : bool
        Layers that know the ways of the original program take them.
    dtype : str, optional
        Of weights and computation.

    Yields
    ------
    lags : int
        So many lags of the input of the layer are made before it, 1 for the input as it is.
    layer : NDN3.layers.base.NDNLayer

    Raises
    ------
    ValueError
        If something does not fit; it says in which layer.
    """
    for position, layer_type in enumerate(description["layer_types"]):
        layer_class = layers.layer_class(layer_type)
        arguments = {name: entry(description, key, position) for name, key in COMMON_KEYS.items()}
        for option in layer_class.options:
            value = entry(description, OPTIONAL_KEYS.get(option, option), position)
            if value is not None:
                arguments[option] = value
        if "legacy" in layer_class.options:
            arguments["legacy"] = legacy
        lags = entry(description, "time_expand", position) or 1
        dims = [dims[0] * lags, *dims[1:]]
        try:
            layer = layer_class(
                input_dims=dims,
                # the lags of a channel stand beside each other
                levels=[size * lags for size in levels] if levels and position == 0 else None,
                # Keeps Python's generator untouched: start values are set for the whole network.
                seed=0,
                name=f"{prefix}layer{position}",
                dtype=dtype,
                **arguments,
            )
            layer.prepare()
            dims = layer.dims_of_output()
        except ValueError as error:
            network = f" of network {prefix[3:-1]}" if prefix else " of the network"
            raise ValueError(f"layer {position}{network}: {error}") from error
        yield lags, layer


def built(layer):
    """Return a prepared layer with its variables.

    Raises
    ------
    ValueError
        If its arrays do not fit into memory.
    """
    shapes = [tuple(shape) for shape in layer.array_shapes()]
    size = sum(map(math.prod, shapes))
    try:
        if size > sys.maxsize:
            raise MemoryError
        layer.build((None, math.prod(layer.input_dims)))
    except MemoryError as error:
        raise ValueError(
            f"{layer.name} has arrays of the shapes {shapes}, {size:.3g} numbers; this machine has "
            "no memory for so many. Correct input_dims or layer_sizes."
        ) from error
    return layer


def entry(description, key, position):
    """What a description says under a key about one layer."""
    values = description.get(key)
    found = values[position] if values is not None and position < len(values) else None
    return MISSING.get(key) if found is None else found
