"""Convolution over the pixels of its input."""

import math

import keras

from NDN3.layers.base import NDNLayer
from NDN3.layers.windows import Windows, square_dims
from NDN3.quantities import is_whole


class WindowsLayer(NDNLayer):
    """Base of the layers whose units repeat at every position of the image.

    Parameters
    ----------
    units : int
        Number of filters F.
    filter_width : int, optional
        Size of the square kernel [pixel]; None makes it as large as the input.
    shift_spacing : int, optional
        Distance of neighbouring positions [pixel]; None is 1.
    **kwargs
        As in `NDNLayer`.

    Input shape: (batch, C * W * H) or precomputed (batch, positions, C * k * k).
    Output shape: (batch, F * ceil(W / shift_spacing) * ceil(H / shift_spacing)).
    """

    options = ("filter_width", "shift_spacing")

    def __init__(self, units, filter_width=None, shift_spacing=None, **kwargs):
        super().__init__(units, **kwargs)
        self.filter_width = filter_width
        self.shift_spacing = shift_spacing
        for name in ("filter_width", "shift_spacing"):
            value = getattr(self, name)
            if value is not None and (not is_whole(value) or value < 1):
                raise ValueError(
                    f"{name} of a {self.layer_type} layer is {value!r}; "
                    "it must be a positive whole number of pixels or None. Correct it."
                )

    def inferred_dims(self, size):
        """Take the input for a square image."""
        return square_dims(self.layer_type, size)

    def prepare(self):
        """Lay out the windows."""
        largest = max(self.input_dims[1:])
        for key, name in (("filter_width", "conv_filter_widths"), ("shift_spacing",) * 2):
            value = getattr(self, key)
            if value is not None and value > max(largest, 1):
                raise ValueError(
                    f"{key} of a {self.layer_type} layer is {value}; its input has "
                    f"{self.input_dims[1]} x {self.input_dims[2]} pixels, so it can be {largest} "
                    f"at most. Correct {name}."
                )
        width = self.filter_width or largest
        self.windows = Windows(self.input_dims, width, self.shift_spacing or 1)
        super().prepare()

    @property
    def filter_dims(self):
        """Dims of a kernel, [C, W, H]."""
        return self.windows.filter_dims

    @property
    def window_entries(self):
        """Numbers in the windows that the layer cuts out of one row."""
        return self.windows.entries

    def dims_of_output(self):
        """[F, positions along the width, along the height]."""
        return [self.n_units, *reversed(self.windows.positions)]

    def biased(self, inputs, weights, biases):
        """Kernels times windows plus biases, (batch, positions, F)."""
        return self.windows.product(inputs, self.kernel_matrix(weights), biases)

    def precompute(self, inputs):
        """Windows of a whole data set, cut once; `call` takes them instead of the images.

        Parameters
        ----------
        inputs : ndarray, (n, C * W * H)

        Returns
        -------
        ndarray, (n, positions, C * k * k)
            Or `inputs`, if the windows would take more than 512 MiB.
        """
        return self.windows.precompute(inputs, self.compute_dtype)

    def get_config(self):
        """Arguments that make the same layer again."""
        return {
            **super().get_config(),
            "filter_width": self.filter_width,
            "shift_spacing": self.shift_spacing,
        }


@keras.saving.register_keras_serializable("NDN3")
class Convolution(WindowsLayer):
    """Cross-correlation with trained kernels, "same" padding: f(x ∗ W + b).

    Parameters and shapes as in `WindowsLayer`. Weights [C * k * k, F], a plain reshape of
    [kH, kW, C, F]; biases [1, F].
    """

    layer_type = "conv"

    def weights_shape(self):
        """(C * k * k, F)."""
        return (math.prod(self.filter_dims), self.n_units)

    def kernel_matrix(self, weights):
        """(C * k * k, F)."""
        return weights
