"""Layers that work on the channels (or lags, or filters) of each pixel by itself.

Neither applies biases, as in the original program. They have them, so that every layer has the same
arrays, but nothing reads them and nothing trains them.
"""

import math

import keras
import numpy as np
from keras import ops

from NDN3.layers.base import NDNLayer


class PixelByPixel(NDNLayer):
    """Base of the layers that weigh the channels of each pixel.

    Parameters
    ----------
    units
        See the layers.
    legacy : bool
        The weights start at zero whatever initializer is asked, as in the original program.
    **kwargs
        As in `NDNLayer`.
    """

    options = ("legacy",)
    penalty_names = ("l1", "l2")
    statistics = ("biases",)

    def __init__(self, units, legacy=False, **kwargs):
        super().__init__(units, **kwargs)
        self.legacy = legacy

    @property
    def pixels(self):
        """Number of pixels W * H."""
        return math.prod(self.input_dims[1:])

    @property
    def filter_dims(self):
        """Dims of one filter, [C, 1, 1]."""
        return [self.input_dims[0], 1, 1]

    def start_values(self, source):
        """Start values; parameters and returned values as in `NDNLayer.start_values`."""
        weights, biases = super().start_values(source)
        return np.zeros_like(weights) if self.legacy else weights, biases

    def images(self, inputs):
        """Inputs as (batch, W * H, C)."""
        return ops.reshape(inputs, (-1, self.pixels, self.input_dims[0]))

    def biased(self, inputs, weights, biases):
        """Input of the activation function, without biases."""
        return self.transform(inputs, weights)

    def get_config(self):
        """Arguments that make the same layer again."""
        return {**super().get_config(), "legacy": self.legacy}


@keras.saving.register_keras_serializable("NDN3")
class ChannelMix(PixelByPixel):
    """The same F combinations of the channels at every pixel: f(Σ_c x[c, q] w[c, f]).

    Weights [C, F]; output dims [F, W, H]. `units` is F; other parameters as in `PixelByPixel`.
    """

    layer_type = "dim0"

    def weights_shape(self):
        """(C, F)."""
        return (self.input_dims[0], self.n_units)

    def dims_of_output(self):
        """[F, W, H]."""
        return [self.n_units, *self.input_dims[1:]]

    def transform(self, inputs, weights):
        """Combinations of the channels, (batch, W * H, F)."""
        return ops.matmul(self.images(inputs), weights)


@keras.saving.register_keras_serializable("NDN3")
class PixelFilter(PixelByPixel):
    """One combination of the channels, its own at every pixel: f(Σ_c x[c, q] w[c, q]).

    Weights [C, W * H]; output dims [1, W, H]. `units` is W * H, or 1 for the one channel of the
    output, or None; other parameters as in `PixelByPixel`.

    Raises
    ------
    ValueError
        If `units` is something else.
    """

    layer_type = "filter"

    def __init__(self, units=None, **kwargs):
        super().__init__(units, **kwargs)

    @property
    def n_units(self):
        """Number of pixels."""
        return self.pixels

    def prepare(self):
        """See that `units` fits the pixels of the input."""
        if self.units is not None and math.prod(self.units) not in (1, self.pixels):
            raise ValueError(
                f"the filter layer has {math.prod(self.units)} units and an input of "
                f"{self.pixels} pixels (dims {list(self.input_dims)}); it has one unit for each "
                f"pixel. Give {self.pixels}, or 1, in layer_sizes."
            )
        super().prepare()

    def weights_shape(self):
        """(C, W * H)."""
        return (self.input_dims[0], self.pixels)

    def dims_of_output(self):
        """[1, W, H]."""
        return [1, *self.input_dims[1:]]

    def transform(self, inputs, weights):
        """Sum over the channels of each pixel, (batch, W * H)."""
        return ops.sum(self.images(inputs) * ops.transpose(weights), axis=2)
