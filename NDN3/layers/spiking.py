"""Layers for what a neuron's own spikes do to it, and for how its drive becomes a rate."""

import math

import keras
from keras import ops

from NDN3 import activations
from NDN3.layers.base import NDNLayer


@keras.saving.register_keras_serializable("NDN3")
class SpikeHistory(NDNLayer):
    """Each unit filters its own past: f(Σ_l w[l, n] x[l + L n]).

    The input has L lags of each of N spike trains, the lag fastest, as `time_expand` and
    `NDN3.NDNutils.create_time_embedding` make them. Weights [L, N] start half-normal. Biases [1, N]
    are there but are not applied and not trained, as in the original program. No dropout.
    Parameters as in `NDNLayer`; `units` is N.

    Input shape: (batch, L * N). Output shape: (batch, N), of dims [N, 1, 1].

    References
    ----------
    Truccolo et al. 2005, "A point process framework for relating neural spiking activity to
    spiking history, neural ensemble, and extrinsic covariate effects", J. Neurophysiol. 93.

    Raises
    ------
    ValueError
        If the size of the input is no multiple of `units`.
    """

    layer_type = "spike_history"
    penalty_names = ("l1", "l2", "d2t")
    takes_dropout = False
    default_initializers = ("trunc_normal", "zeros")
    statistics = ("biases",)

    @property
    def lags(self):
        """Number L of lags."""
        return math.prod(self.input_dims) // self.n_units

    @property
    def filter_dims(self):
        """Dims of one filter, [L, 1, 1]."""
        return [self.lags, 1, 1]

    def prepare(self):
        """See that all units have equally many lags."""
        size = math.prod(self.input_dims)
        if size % self.n_units:
            raise ValueError(
                f"the spike_history layer of {self.n_units} units reads {size} features (dims "
                f"{list(self.input_dims)}); it takes equally many lags of each unit, so that must "
                "be a whole multiple of its units. Correct layer_sizes, or what it reads."
            )
        super().prepare()

    def weights_shape(self):
        """(L, N)."""
        return (self.lags, self.n_units)

    def dims_of_output(self):
        """[N, 1, 1]."""
        return [self.n_units, 1, 1]

    def biased(self, inputs, weights, biases):
        """Input of the activation function, without biases."""
        return self.transform(inputs, weights)

    def transform(self, inputs, weights):
        """Sum over the lags of each unit, (batch, N)."""
        lagged = ops.reshape(inputs, (-1, self.n_units, self.lags))
        return ops.sum(lagged * ops.transpose(weights), axis=2)


@keras.saving.register_keras_serializable("NDN3")
class SpikingNonlinearity(NDNLayer):
    """A rate function with a gain and a scale of its own for each unit: w1 softplus(w0 x + b).

    Weights [2, N]: the gain w0 before and the scale w1 behind the soft rectification, both start at
    1; biases [1, N], the thresholds, at 0. In the original program there was no scale, and the
    layer worked for two units only. An activation function comes on top; with "lin", or with "relu"
    as long as the scale is positive, there is none.

    Parameters as in `NDNLayer`; `units` may be None, otherwise it is the size of the input. The
    output has the dims of the input.

    Raises
    ------
    ValueError
        If `units` is not the size of the input.
    """

    layer_type = "spkNL"
    penalty_names = ("l1", "l2")
    normalization_codes = (0,)
    default_initializers = ("ones", "zeros")

    def __init__(self, units=None, **kwargs):
        super().__init__(units, **kwargs)

    @property
    def n_units(self):
        """Size of the input."""
        return math.prod(self.input_dims)

    def prepare(self):
        """See that `units` is the size of the input."""
        if self.units is not None and math.prod(self.units) != self.n_units:
            raise ValueError(
                f"the spkNL layer has {math.prod(self.units)} units and an input of "
                f"{self.n_units} features (dims {list(self.input_dims)}); it works on each "
                f"of them by itself. Give {self.n_units} in layer_sizes."
            )
        super().prepare()

    def weights_shape(self):
        """(2, N)."""
        return (2, self.n_units)

    def dims_of_output(self):
        """Dims of the input."""
        return list(self.input_dims)

    @property
    def filter_dims(self):
        """Dims of one filter: gain and scale, [2, 1, 1]."""
        return [2, 1, 1]

    def biased(self, inputs, weights, biases):
        """Rate of each unit, (batch, N)."""
        return weights[1] * activations.softplus(inputs * weights[0] + biases)
