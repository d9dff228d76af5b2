"""Fully connected layers, and a scale that is common to all inputs."""

import math

import keras
from keras import ops

from NDN3.layers.base import NDNLayer
from NDN3.layers.norms import SMALLEST_NORM


@keras.saving.register_keras_serializable("NDN3")
class Normal(NDNLayer):
    """Every unit reads every input: f(x · W + b).

    Weights [prod(input_dims), units], biases [1, units]. Parameters as in `NDNLayer`; the
    normalization code 2 divides the whole matrix by its Frobenius norm and multiplies it by the
    number of units.
    """

    layer_type = "normal"
    normalization_codes = (0, 1, -1, 2)

    def normalized(self, weights):
        """Weights after normalization."""
        if self.normalize_weights != 2:
            return super().normalized(weights)
        squares = ops.maximum(ops.sum(ops.square(weights)), SMALLEST_NORM**2)
        return weights / ops.sqrt(squares) * self.n_units


@keras.saving.register_keras_serializable("NDN3")
class LinearScale(NDNLayer):
    """One gain and one offset for the whole input: f(w x + b).

    Weights [1, 1] and biases [1, 1] start at 1 and 0. The output has the dims of the input.

    Parameters
    ----------
    units : int, optional
        Ignored.
    **kwargs
        As in `NDNLayer`.
    """

    layer_type = "lin_scale"
    penalty_names = ("l1", "l2")
    normalization_codes = (0,)
    default_initializers = ("ones", "zeros")

    def __init__(self, units=None, **kwargs):
        super().__init__(units, **kwargs)

    @property
    def n_units(self):
        """Size of the last axis of what `transform` gives."""
        return math.prod(self.input_dims)

    def weights_shape(self):
        """One gain."""
        return (1, 1)

    def biases_shape(self):
        """One offset."""
        return (1, 1)

    def dims_of_output(self):
        """Dims of the input."""
        return list(self.input_dims)

    def transform(self, inputs, weights):
        """Input times the gain."""
        return inputs * weights
