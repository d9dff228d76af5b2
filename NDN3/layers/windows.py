"""Convolutions as products of kernels and windows.

A trained kernel that differs between the members of a group cannot be mapped over a native
convolution, and a native convolution in a compiled loop is slow on a CPU. So the windows that the
kernel sees are cut out, and the convolution is one matrix product. The windows of fixed images are
cut once, in NumPy (`precompute`); those of a deeper layer inside the step (`cut`).

Where neither reason holds, in a program for one network that XLA does not compile, the native
convolution is several times faster and needs no windows; who makes such a program says so with
`native_convolutions`. The result differs by rounding alone.

Images are flat with dims [C, W, H] (channel fastest, then width); kernels are [kH * kW * C, F].
"""

import contextlib
import contextvars
import math

import numpy as np
from keras import ops

from NDN3.layers.geometry import extents

LARGEST_WINDOWS_BYTES = 512 * 2**20
_native = contextvars.ContextVar("native", default=False)


@contextlib.contextmanager
def native_convolutions(native=True):
    """Within it layers use the native convolution, unless the windows were cut before.

    Parameters
    ----------
    native : bool
        False: they multiply kernels and windows, as they do everywhere else.
    """
    token = _native.set(native)
    try:
        yield
    finally:
        _native.reset(token)


class Windows:
    """Geometry of the windows of one layer, with "same" padding.

    The output has ceil(size / stride) positions; of the padding that this needs the smaller half
    lies before the image. A dimension of size one gets a kernel of size one and no stride.

    Parameters
    ----------
    dims : sequence of int
        [C, W, H] of the input.
    width : int
        Size of the kernel [pixel].
    stride : int
        Distance of neighbouring windows [pixel].
    """

    def __init__(self, dims, width, stride):
        self.channels, *sizes = dims
        self.sizes = tuple(reversed(sizes))  # height, width
        self.kernel, self.strides, self.positions = extents(dims, width, stride)
        self.padding = [self._padding(axis) for axis in (0, 1)]

    def _padding(self, axis):
        spanned = (self.positions[axis] - 1) * self.strides[axis] + self.kernel[axis]
        total = max(spanned - self.sizes[axis], 0)
        return (total // 2, total - total // 2)

    @property
    def filter_dims(self):
        """[C, kW, kH] of the kernel."""
        return [self.channels, self.kernel[1], self.kernel[0]]

    @property
    def rows(self):
        """Numbers in one window."""
        return math.prod(self.filter_dims)

    @property
    def n_positions(self):
        """Number of windows in an image."""
        return math.prod(self.positions)

    @property
    def entries(self):
        """Numbers in all windows of an image."""
        return self.n_positions * self.rows

    def precompute(self, images, dtype):
        """Windows of all images.

        Parameters
        ----------
        images : ndarray, (n, C * W * H)
        dtype : str
            Of the windows.

        Returns
        -------
        ndarray, (n, positions, kH * kW * C)
            Positions with the width fastest, windows in the order of the kernel's rows. When the
            windows would take more than 512 MiB, or where convolutions are native, the images
            themselves.
        """
        if _native.get():
            return images
        n_images = len(images)
        size = n_images * self.entries * np.dtype(dtype).itemsize
        if size > LARGEST_WINDOWS_BYTES:
            return images
        image = np.reshape(images, (n_images, *self.sizes, self.channels))
        padded = np.pad(image, [(0, 0), *self.padding, (0, 0)])
        windows = np.lib.stride_tricks.sliding_window_view(padded, self.kernel, axis=(1, 2))
        windows = windows[:, :: self.strides[0], :: self.strides[1]]
        ordered = windows.transpose(0, 1, 2, 4, 5, 3)  # image, height, width, kH, kW, C
        return np.ascontiguousarray(ordered, dtype=dtype).reshape(
            n_images, self.n_positions, self.rows
        )

    def product(self, inputs, kernels, biases):
        """Every kernel times every window, plus the bias of the kernel.

        Parameters
        ----------
        inputs : tensor, (batch, C * W * H) or precomputed (batch, positions, kH * kW * C)
        kernels : tensor, (kH * kW * C, F)
        biases : tensor, (1, F)

        Returns
        -------
        tensor, (batch, positions, F)
        """
        if len(inputs.shape) == 2:
            kernels = ops.reshape(kernels, (*self.kernel, self.channels, -1))
            if _native.get():
                image = ops.reshape(inputs, (-1, *self.sizes, self.channels))
                products = ops.conv(image, kernels, self.strides, padding="same")
                return ops.reshape(products + biases, (-1, self.n_positions, kernels.shape[3]))
            kernels = ops.reshape(ops.transpose(kernels, (1, 0, 2, 3)), (self.rows, -1))
            inputs = self.cut(inputs)
        windows = ops.reshape(inputs, (-1, self.rows))
        # Biases are a row of the product and not added to it: their gradient is a product then,
        # too. As a sum, XLA would compute the gradient of the activation a second time for it,
        # which makes a training step up to 1.5 times slower.
        windows = ops.concatenate([windows, ops.ones_like(windows[:, :1])], axis=1)
        products = ops.matmul(windows, ops.concatenate([kernels, biases], axis=0))
        return ops.reshape(products, (-1, self.n_positions, kernels.shape[1]))

    def cut(self, inputs):
        """Windows cut from images inside a step.

        Rows are cut before columns: kH + kW shifted slices instead of kH * kW.

        Parameters
        ----------
        inputs : tensor, (batch, C * W * H)

        Returns
        -------
        tensor, (batch, positions, kW * kH * C)
        """
        image = ops.reshape(inputs, (-1, *self.sizes, self.channels))
        image = ops.pad(image, [(0, 0), *self.padding, (0, 0)])
        ends = [(n - 1) * s + 1 for n, s in zip(self.positions, self.strides, strict=True)]
        image = ops.concatenate(
            [image[:, i : i + ends[0] : self.strides[0]] for i in range(self.kernel[0])], axis=-1
        )
        image = ops.concatenate(
            [image[:, :, j : j + ends[1] : self.strides[1]] for j in range(self.kernel[1])],
            axis=-1,
        )
        return ops.reshape(image, (-1, self.n_positions, self.rows))


def square_dims(layer_type, size):
    """Dims of a square image of `size` pixels.

    Parameters
    ----------
    layer_type : str
        For the message.
    size : int

    Returns
    -------
    list of int, (3,)

    Raises
    ------
    ValueError
        If `size` is not a square number.
    """
    side = math.isqrt(size)
    if side * side != size:
        raise ValueError(
            f"a {layer_type} layer cannot tell the dims of {size} features, which are not a "
            "square image with one channel. Give input_dims=[channels, width, height]."
        )
    return [1, side, side]
