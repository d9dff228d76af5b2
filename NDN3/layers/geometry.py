"""Where windows and units lie; plain numbers, so that descriptions can show them."""

import math

import numpy as np

from NDN3.quantities import shown


def extents(dims, width, stride):
    """Size, distance and number of the windows of a "same" convolution.

    Parameters
    ----------
    dims : sequence of int
        [C, W, H] of the input.
    width : int or None
        Size of the kernel [pixel]; None makes it as large as the input.
    stride : int or None
        Distance of neighbouring windows [pixel]; None is 1.

    Returns
    -------
    kernel, strides, positions : tuple of (int, int)
        Along height and width. A dimension of size one gets a kernel of size one and no stride.
    """
    sizes = (dims[2], dims[1])
    kernel = tuple((width or max(sizes)) if size > 1 else 1 for size in sizes)
    strides = tuple((stride or 1) if extent > 1 else 1 for extent in kernel)
    positions = tuple(math.ceil(size / step) for size, step in zip(sizes, strides, strict=True))
    return kernel, strides, positions


def pairs(given, count, name, layer_type):
    """Positions of units as a plain list.

    Parameters
    ----------
    given : sequence of (number, number)
        Along the width and along the height, of each unit.
    count : int
        Number of units.
    name, layer_type : str
        For the message.

    Returns
    -------
    list of [number, number]

    Raises
    ------
    ValueError
        If they are not one pair of finite numbers for each unit.
    """
    try:
        found = np.array(given)
    except ValueError:  # lists of different lengths
        found = np.array(None)
    numeric = found.dtype.kind in "iuf" and np.isfinite(found).all()
    if not numeric or found.shape != (count, 2):
        raise ValueError(
            f"{name} of a {layer_type} layer is {shown(given)}; it must have one pair of "
            f"numbers (x, y) for each of its {count} units. Correct it."
        )
    return found.tolist()
