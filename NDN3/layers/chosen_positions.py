"""Units that each see the image at one given position, chosen before training."""

import math

import keras
import numpy as np
from keras import ops

from NDN3.layers import geometry, windows
from NDN3.layers.base import NDNLayer
from NDN3.layers.convolution import Convolution
from NDN3.quantities import is_whole


class ChosenPositions:
    """What both layers share: where the window of each unit lies.

    Parameters
    ----------
    units : int
    xy_out : sequence of (int, int)
        Column and row of each unit.
    """

    def __init__(self, units, xy_out=None, **kwargs):
        super().__init__(units, **kwargs)
        self.xy_out = geometry.pairs(xy_out, self.n_units, "xy_out", self.layer_type)

    def check_positions(self, size):
        """Refuse positions outside of an image.

        Parameters
        ----------
        size : sequence of int
            Number of columns and rows.

        Raises
        ------
        ValueError
            It names the first one.
        """
        for pair in self.xy_out:
            if not all(is_whole(x) and 0 <= x < end for x, end in zip(pair, size, strict=True)):
                raise ValueError(
                    f"xy_out of a {self.layer_type} layer has {pair}; columns are whole numbers "
                    f"from 0 to {size[0] - 1} here, rows from 0 to {size[1] - 1}. Correct it."
                )

    def dims_of_output(self):
        """Dims of the units: each has one position."""
        return list(self.units)

    def sources(self):
        """Which input goes into each row of the window of each unit.

        Returns
        -------
        ndarray of int, (units, rows)
            Index of the flat input; its size stands for zero, outside of the image.
        """
        raise NotImplementedError

    def precompute(self, inputs):
        """Windows at the positions of the units, cut once; `call` takes them for the images.

        Parameters
        ----------
        inputs : ndarray, (n, C * W * H)

        Returns
        -------
        ndarray, (n, units, rows)
            Or `inputs`, if the windows would take more than 512 MiB.
        """
        sources = self.sources()
        size = len(inputs) * sources.size * np.dtype(self.compute_dtype).itemsize
        if size > windows.LARGEST_WINDOWS_BYTES:
            return inputs
        padded = np.pad(np.asarray(inputs, dtype=self.compute_dtype), [(0, 0), (0, 1)])
        return padded[:, sources]

    def biased(self, inputs, weights, biases):
        """Weights of each unit times its window, (batch, units)."""
        if len(inputs.shape) == 2:
            sources = self.sources()
            padded = ops.pad(inputs, [(0, 0), (0, 1)])
            inputs = ops.take(padded, sources.ravel(), axis=1)
            inputs = ops.reshape(inputs, (-1, *sources.shape))
        return ops.sum(inputs * ops.transpose(weights), axis=2) + biases

    def get_config(self):
        """Arguments that make the same layer again."""
        return {**super().get_config(), "xy_out": self.xy_out}


@keras.saving.register_keras_serializable("NDN3")
class ConvolutionAt(ChosenPositions, Convolution):
    """Convolution of which each unit gives one position: f(w_j · window at xy_j + b_j).

    Equal to a `conv` layer whose filter j is read at column and row `xy_out[j]` of its output, but
    only those windows are computed. In the original program the layer read other positions than
    those asked for.

    Parameters as in `WindowsLayer`, and

    Parameters
    ----------
    xy_out : sequence of (int, int)
        Column and row of each unit, counted in the output of the convolution (in pixels of the
        input, where `shift_spacing` is 1).

    Weights [C * k * k, units], biases [1, units].

    Input shape: (batch, C * W * H) or precomputed (batch, units, C * k * k).
    Output shape: (batch, units).
    """

    layer_type = "conv_xy"
    options = (*Convolution.options, "xy_out")

    def prepare(self):
        """Lay out the windows; refuse positions outside of the output."""
        super().prepare()
        self.check_positions(self.windows.positions[::-1])

    @property
    def window_entries(self):
        """None: only a few windows are cut."""
        return 0

    def sources(self):
        """Which input goes into each row of the window of each unit, (units, k * k * C)."""
        layout = self.windows
        outside = math.prod(self.input_dims)
        image = np.arange(outside).reshape(*layout.sizes, layout.channels)
        padded = np.pad(image, [*layout.padding, (0, 0)], constant_values=outside)
        found = []
        for column, row in self.xy_out:
            top, left = (p * s for p, s in zip((row, column), layout.strides, strict=True))
            height, width = layout.kernel
            found.append(padded[top : top + height, left : left + width].ravel())
        return np.stack(found)


@keras.saving.register_keras_serializable("NDN3")
class ReadoutAt(ChosenPositions, NDNLayer):
    """Units that weigh the channels at one pixel: f(Σ_c x[c, xy_j] W[c, j] + b_j).

    In the original program the layer read other positions than those asked for. Parameters as in
    `NDNLayer`, and

    Parameters
    ----------
    xy_out : sequence of (int, int)
        Column and row of each unit [pixel].

    Weights [C, units], biases [1, units].

    Input shape: (batch, C * W * H) or precomputed (batch, units, C). Output shape: (batch, units).
    """

    layer_type = "conv_readout"
    options = ("xy_out",)

    def inferred_dims(self, size):
        """Take the input for a square image."""
        return windows.square_dims(self.layer_type, size)

    def prepare(self):
        """Refuse positions outside of the image."""
        super().prepare()
        self.check_positions(self.input_dims[1:])

    def weights_shape(self):
        """(C, units)."""
        return (self.input_dims[0], self.n_units)

    @property
    def filter_dims(self):
        """[C, 1, 1]."""
        return [self.input_dims[0], 1, 1]

    def sources(self):
        """Which input each channel of each unit is, (units, C)."""
        channels, width, _ = self.input_dims
        columns, rows = np.transpose(self.xy_out)
        return (columns + width * rows)[:, np.newaxis] * channels + np.arange(channels)
