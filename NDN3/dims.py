"""Dims of inputs and layers: [channels or lags, width, height]."""

import numpy as np

from NDN3 import quantities


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
        If there is none or more than three, or one is not a positive whole number.
    """
    found = dims.tolist() if isinstance(dims, np.ndarray) else dims
    listed = list(found) if isinstance(found, (list, tuple)) else [found]
    filled = [*listed, *[1] * (3 - len(listed))]
    if not listed or len(filled) != 3 or not all(_is_size(size) for size in filled):
        raise ValueError(
            f"{name} is {quantities.shown(dims)}; it must be up to three positive whole numbers, "
            "[channels, width, height]. Correct it."
        )
    return [int(size) for size in filled]


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
            f"layer_sizes is {quantities.shown(layer_sizes)}; it must list the units of each "
            "layer. Give for example layer_sizes=[9, 20, 103]."
        )
    sizes = []
    for position, size in enumerate(listed):
        several = isinstance(size, (list, tuple))
        if not several and not _is_size(size):
            raise ValueError(
                f"layer_sizes[{position}] (layer {position}) is {quantities.shown(size)}; it must "
                "be a positive whole number of units. Correct it."
            )
        dims = three_dims(size, f"layer_sizes[{position}] (layer {position})")
        sizes.append(dims if several else dims[0])
    return sizes


def _is_size(size):
    # a whole float is fine: the root of 961 is one
    whole = quantities.is_whole(size) or (isinstance(size, float) and size.is_integer())
    return whole and size >= 1
