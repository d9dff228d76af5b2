"""Layers that normalize what they read: over the batch, within a row, or by a pool of channels.

`units` is ignored: the output has the dims of the input.
"""

import math

import keras
import numpy as np
from keras import ops

from NDN3 import quantities
from NDN3.layers.base import NDNLayer
from NDN3.layers.windows import Windows

# Added to a variance, so that nothing divides by zero
EPSILON = 1e-5
# A saturation counts as this at least, for the same reason
SMALLEST_SATURATION = 1e-3
LARGEST_EXPONENT = 10.0


class ChannelsLayer(NDNLayer):
    """Base of the layers that have one number per channel, equal for all pixels.

    Parameters
    ----------
    units : int, optional
        Ignored.
    **kwargs
        As in `NDNLayer`; "units" of its arguments are channels here.

    Input and output shape: (batch, C * W * H).
    """

    def __init__(self, units=None, **kwargs):
        super().__init__(units, **kwargs)

    @property
    def n_units(self):
        """Channels C."""
        return self.input_dims[0]

    def dims_of_output(self):
        """Dims of the input."""
        return list(self.input_dims)

    def by_pixel(self, inputs):
        """Inputs as (batch, W * H, C)."""
        channels, width, height = self.input_dims
        return ops.reshape(inputs, (-1, width * height, channels))


class GainLayer(ChannelsLayer):
    """Base of the layers that end in a gain and a shift of each channel.

    Weights [1, C] are the gains and start at 1, biases [1, C] the shifts and start at 0.
    `pos_constraint` rectifies the gains.
    """

    penalty_names = ("l1", "l2")
    normalization_codes = (0,)
    default_initializers = ("ones", "zeros")

    def weights_shape(self):
        """One gain per channel."""
        return (1, self.n_units)


@keras.saving.register_keras_serializable("NDN3")
class BatchNormalization(GainLayer):
    """Each channel with the mean and variance that it has over the batch and all pixels.

    y = f(w (x - mean) / √(variance + 1e-5) + b) with one w, b, mean and variance for each channel.
    While training mean and variance are those of the batch, of the rows that count, and moving
    averages of them are kept; otherwise those averages are used as they are. "lbfgs" normalizes by
    all training rows, and means and variances are theirs at the solution. Where neither gains nor
    shifts are trained (`layers_to_skip`; in plain Keras `trainable = False`) the layer is at rest:
    it does as in predictions, and its averages stay. A prediction with `use_dropout` is made as
    while training.

    A last batch of few rows counts as much for the averages as any other: choose a batch size that
    leaves none, or many.

    Parameters
    ----------
    momentum : float
        Share of the moving averages that a batch leaves as it is.

    Arrays: weights, biases, means, variances, each [1, C].

    Attributes
    ----------
    averages : {"moving", "at rest", "of all rows"}
        What becomes of means and variances. "of all rows" takes those of the rows of every call.

    References
    ----------
    Ioffe & Szegedy 2015, "Batch normalization: accelerating deep network training by reducing
    internal covariate shift", ICML, algorithms 1 and 2; the moving averages are exponential ones,
    of the variance by which the batch is divided.
    """

    layer_type = "batch_norm"
    options = ("momentum",)
    array_names = ("weights", "biases", "means", "variances")
    statistics = ("means", "variances")
    uses_row_weights = True

    def __init__(self, units=None, momentum=0.9, **kwargs):
        super().__init__(units, **kwargs)
        self.averages = "moving"
        self.momentum = quantities.real(
            momentum,
            f"momentum of a {self.layer_type} layer",
            lambda x: 0 <= x < 1,
            "at least 0 and below 1",
        )

    def array_shapes(self):
        """(1, C), four times."""
        return ((1, self.n_units),) * 4

    def start_values(self, source):
        """Means start at 0, variances at 1; parameters and the rest as in `NDNLayer`."""
        shape = (1, self.n_units)
        return (*super().start_values(source), np.zeros(shape), np.ones(shape))

    def computed(self, inputs, weights, biases, training, row_weights):
        """Normalized input, (batch, W * H, C)."""
        pixels = self.by_pixel(inputs)
        at_rest = self.averages == "at rest" or not self.trainable
        whole = self.averages == "of all rows"
        if (training or whole) and not at_rest:
            mean, variance = moments(pixels, row_weights)
            momentum = 0.0 if whole else self.momentum
            for name, value in (("means", mean), ("variances", variance)):
                kept = momentum * ops.convert_to_tensor(self.arrays[name])
                value = ops.cast(ops.stop_gradient(value), kept.dtype)
                self.arrays[name].assign(kept + (1 - momentum) * value)
        else:
            mean, variance = (ops.convert_to_tensor(self.arrays[n]) for n in self.statistics)
        return (pixels - mean) * (weights / ops.sqrt(variance + EPSILON)) + biases

    def get_config(self):
        """Arguments that make the same layer again."""
        return {**super().get_config(), "momentum": self.momentum}


def moments(pixels, row_weights=None):
    """Mean and variance of each channel over rows and pixels.

    Parameters
    ----------
    pixels : tensor, (rows, pixels, C)
    row_weights : tensor, (rows,), optional
        0 for rows that do not count; what they hold does not matter.

    Returns
    -------
    mean, variance : tensor, (1, C)
        The variance is the mean square of the deviations, without Bessel's correction.
    """
    share = ops.ones_like(pixels[:, 0, :1])
    if row_weights is not None:
        share = ops.reshape(ops.cast(row_weights, pixels.dtype), (-1, 1))
        # where, because a row that does not count may hold anything, also infinity
        pixels = ops.where(ops.expand_dims(share, 2) > 0, pixels, 0.0)

    def mean_of(values):
        return ops.sum(share * ops.mean(values, axis=1), axis=0) / ops.sum(share)

    mean = mean_of(pixels)
    variance = mean_of(ops.square(pixels - mean))
    return ops.expand_dims(mean, 0), ops.expand_dims(variance, 0)


@keras.saving.register_keras_serializable("NDN3")
class LayerNormalization(GainLayer):
    """Each row with zero mean and unit variance: f(w (x - mean) / √(variance + 1e-5) + b).

    Nothing is shared between rows, so that training and prediction agree.

    Parameters
    ----------
    per_pixel : bool
        Mean and variance over the channels at each pixel; otherwise over all channels and pixels.

    References
    ----------
    Ba, Kiros & Hinton 2016, "Layer normalization", arXiv:1607.06450, equations 3 and 4. Gains and
    shifts belong to channels, so that all pixels are treated alike.
    """

    layer_type = "layer_norm"
    options = ("per_pixel",)

    def __init__(self, units=None, per_pixel=False, **kwargs):
        super().__init__(units, **kwargs)
        quantities.truth(per_pixel, f"per_pixel of a {self.layer_type} layer")
        self.per_pixel = bool(per_pixel)

    def prepare(self):
        """Refuse to normalize a single number, which would always give zero."""
        super().prepare()
        if self.input_dims[0] == 1 and (self.per_pixel or math.prod(self.input_dims) == 1):
            raise ValueError(
                f"a {self.layer_type} layer with per_pixel={self.per_pixel} reads input of dims "
                f"{list(self.input_dims)}, where it would normalize single numbers to 0; it needs "
                "at least two. Set per_pixel to None, or leave the layer out."
            )

    def biased(self, inputs, weights, biases):
        """Normalized input, (batch, W * H, C)."""
        pixels = self.by_pixel(inputs)
        axes = -1 if self.per_pixel else (1, 2)
        deviations = pixels - ops.mean(pixels, axis=axes, keepdims=True)
        variance = ops.mean(ops.square(deviations), axis=axes, keepdims=True)
        return deviations / ops.sqrt(variance + EPSILON) * weights + biases

    def get_config(self):
        """Arguments that make the same layer again."""
        return {**super().get_config(), "per_pixel": self.per_pixel}


@keras.saving.register_keras_serializable("NDN3")
class DivisiveNormalization(ChannelsLayer):
    """Each channel divided by a pool of all channels: f(x_cⁿ / (s_cⁿ + Σ_k w_kc x_kⁿ) + b_c).

    Negative input counts as zero. Weights [C * k * k, C] are never negative (rectified) and start
    half-normal; their rows are channels at the pixels of the pool, whose middle is the pixel
    itself. Saturations s [1, C] start at 1, their sign does not matter; biases [1, C].

    Parameters
    ----------
    exponent : float
        n, from 1 to 10.
    filter_width : int, optional
        Width k of the pool in space [pixel], by default the pixel itself. Beyond the image is
        nothing.

    Arrays: weights, biases, saturations.

    References
    ----------
    Heeger 1992, "Normalization of cell responses in cat striate cortex", Vis. Neurosci. 9: 181-197;
    with a learned pool: Burg et al. 2021, "Learning divisive normalization in primary visual
    cortex", PLoS Comput. Biol. 17(6): e1009028.
    """

    layer_type = "div_norm"
    penalty_names = ("l1", "l2", "d2x", "max", "max_filt")
    default_initializers = ("trunc_normal", "zeros")
    options = ("exponent", "filter_width")
    array_names = ("weights", "biases", "saturations")

    def __init__(self, units=None, exponent=2.0, filter_width=None, **kwargs):
        super().__init__(units, **kwargs)
        self.exponent = quantities.real(
            exponent,
            f"exponent of a {self.layer_type} layer",
            lambda x: 1 <= x <= LARGEST_EXPONENT,
            f"from 1 to {LARGEST_EXPONENT:g}",
        )
        self.filter_width = filter_width
        if filter_width is not None:
            quantities.whole(filter_width, f"filter_width of a {self.layer_type} layer")

    def prepare(self):
        """Lay out the pools."""
        largest = max(self.input_dims[1:])
        width = self.filter_width or 1
        if width > largest:
            raise ValueError(
                f"filter_width of a {self.layer_type} layer is {width}; its input has "
                f"{self.input_dims[1]} x {self.input_dims[2]} pixels, so it can be {largest} at "
                "most. Correct conv_filter_widths."
            )
        self.windows = Windows(self.input_dims, width, 1)
        super().prepare()

    @property
    def filter_dims(self):
        """Dims of a pool, [C, W, H]."""
        return self.windows.filter_dims

    @property
    def window_entries(self):
        """Numbers in the windows that the layer cuts out of one row."""
        return self.windows.entries

    def weights_shape(self):
        """(C * k * k, C)."""
        return (self.windows.rows, self.n_units)

    def array_shapes(self):
        """Shapes of weights, biases and saturations."""
        return (*super().array_shapes(), (1, self.n_units))

    def start_values(self, source):
        """Saturations start at 1; parameters and the rest as in `NDNLayer`."""
        return (*super().start_values(source), np.ones((1, self.n_units)))

    def constrained(self, weights):
        """Weights that the layer computes with: rectified, then normalized."""
        return self.normalized(ops.maximum(weights, 0.0))

    def power(self, values):
        """Values to the n, for values from 0."""
        return ops.square(values) if self.exponent == 2 else ops.power(values, self.exponent)

    def biased(self, inputs, weights, biases):
        """Divided input, (batch, W * H, C)."""
        powers = self.power(ops.relu(inputs))
        saturations = ops.abs(ops.convert_to_tensor(self.arrays["saturations"]))
        saturations = self.power(ops.maximum(saturations, SMALLEST_SATURATION))
        pools = self.windows.product(powers, weights, ops.cast(saturations, powers.dtype))
        return self.by_pixel(powers) / pools + biases

    def get_config(self):
        """Arguments that make the same layer again."""
        return {
            **super().get_config(),
            "exponent": self.exponent,
            "filter_width": self.filter_width,
        }
