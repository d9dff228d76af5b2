"""Where the windows of a convolution lie; plain numbers, so that descriptions can show them."""

import math


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
