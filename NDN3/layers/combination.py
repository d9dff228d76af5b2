"""Layers that put streams of one size together, unit by unit.

What a network reads from several sources lies side by side along the channels: at each pixel first
the channels of stream 0, then those of stream 1, and so on. The original program put the streams
one behind the other instead; with `legacy` so do these layers. Where there is one pixel only, as
behind fully connected layers, both are the same.
"""

import math

import keras
import numpy as np
from keras import ops

from NDN3 import initialization
from NDN3.layers.base import NDNLayer


class Streams(NDNLayer):
    """Base of the layers whose unit j reads entry j of each stream.

    Parameters
    ----------
    units : int or [int, int, int]
        Size n of a stream, and of the output.
    legacy : bool
        Entry j of stream s is input s * n + j. Otherwise the streams divide the channels.
    **kwargs
        As in `NDNLayer`.

    Input shape: (batch, S * n). Output shape: (batch, n).

    Raises
    ------
    ValueError
        If the input is no whole number of streams, or images whose channels do not divide.
    """

    options = ("legacy",)
    penalty_names = ("l1", "l2")

    def __init__(self, units, legacy=False, **kwargs):
        super().__init__(units, **kwargs)
        self.legacy = legacy

    @property
    def n_streams(self):
        """Number S of streams."""
        return math.prod(self.input_dims) // self.n_units

    def prepare(self):
        """See that the input is a whole number of streams."""
        size = math.prod(self.input_dims)
        if size % self.n_units:
            raise ValueError(
                f"the {self.layer_type} layer of {self.n_units} units reads {size} features (dims "
                f"{list(self.input_dims)}); it takes streams that are as large as itself, so "
                "that must be a whole multiple of its units. Correct layer_sizes, or what it reads."
            )
        if not (self._channels_divide() or self.legacy or max(self.input_dims) == size):
            raise ValueError(
                f"the {self.layer_type} layer of {self.n_units} units reads images of dims "
                f"{list(self.input_dims)}, which are {self.n_streams} streams; they lie side by "
                f"side along the channels, so {self.input_dims[0]} must be a multiple of "
                f"{self.n_streams}. Correct layer_sizes, or what it reads."
            )
        super().prepare()

    def _channels_divide(self):
        return self.input_dims[0] % self.n_streams == 0

    def dims_of_output(self):
        """Dims of one stream; those of `units` where the streams do not divide the channels."""
        if not self._channels_divide():
            return list(self.units)
        channels, width, height = self.input_dims
        return [channels // self.n_streams, width, height]

    def streams(self, inputs):
        """Streams of an input.

        Parameters
        ----------
        inputs : tensor, (batch, S * n)

        Returns
        -------
        tensor, (batch, S, n)
        """
        pixels = math.prod(self.input_dims[1:])
        if pixels == 1 or self.legacy or not self._channels_divide():
            return ops.reshape(inputs, (-1, self.n_streams, self.n_units))
        divided = ops.reshape(inputs, (-1, pixels, self.n_streams, self.n_units // pixels))
        swapped = ops.transpose(divided, (0, 2, 1, 3))
        return ops.reshape(swapped, (-1, self.n_streams, self.n_units))

    def get_config(self):
        """Arguments that make the same layer again."""
        return {**super().get_config(), "legacy": self.legacy}


@keras.saving.register_keras_serializable("NDN3")
class Add(Streams):
    """Weighted sum of streams: f(Σ_s w[s, j] x_s[j] + b[j]).

    Weights [S, units], biases [1, units]. Without initializers the weights start at 1 / √S, so that
    the sum of independent streams has the variance of one, and the biases at 1e-8, which keeps a
    rectified sum of silent streams from a gradient of exactly zero. Parameters as in `Streams`;
    normalization scales the S weights of each unit.
    """

    layer_type = "add"
    default_initializers = (None, None)
    start_of_biases = 1e-8

    def weights_shape(self):
        """(S, units)."""
        return (self.n_streams, self.n_units)

    def start_values(self, source):
        """Equal weights for all streams, unless something else is asked.

        Parameters and returned values as in `NDNLayer.start_values`.
        """
        weights_name, biases_name = self.initializers()
        if weights_name is None:
            weights = np.full(self.weights_shape(), 1 / math.sqrt(self.n_streams))
        else:
            weights = initialization.draw(weights_name, self.weights_shape(), source)
        if biases_name is None:
            return weights, np.full(self.biases_shape(), self.start_of_biases)
        return weights, initialization.draw_biases(biases_name, self.biases_shape(), source)

    def transform(self, inputs, weights):
        """Weighted sum of the streams, (batch, units)."""
        return ops.sum(self.streams(inputs) * weights, axis=1)


@keras.saving.register_keras_serializable("NDN3")
class Multiply(Streams):
    """A stream with a gain that another one sets: f(x_0[j] max(1 + w[j] x_1[j], 0) + b[j]).

    Weights [1, units] start at 1, biases [1, units] at 0. The gain is rectified: a strong negative
    input shuts the unit off but does not reverse it. Takes exactly two streams, the one that is
    scaled first. Parameters as in `Streams`.
    """

    layer_type = "mult"
    normalization_codes = (0,)
    default_initializers = ("ones", "zeros")

    def prepare(self):
        """See that there are two streams."""
        size = math.prod(self.input_dims)
        if size != 2 * self.n_units:
            raise ValueError(
                f"the mult layer of {self.n_units} units reads {size} features (dims "
                f"{list(self.input_dims)}); it takes exactly two streams of its own size, "
                f"{2 * self.n_units} features. Correct layer_sizes, or what it reads."
            )
        super().prepare()

    def weights_shape(self):
        """(1, units)."""
        return (1, self.n_units)

    def transform(self, inputs, weights):
        """First stream times its gain, (batch, units)."""
        streams = self.streams(inputs)
        return streams[:, 0] * ops.maximum(1.0 + weights * streams[:, 1], 0.0)
