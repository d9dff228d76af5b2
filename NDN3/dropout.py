"""Dropout that can be trained in a group: its draws are a function of member, step and layer."""

import keras
import numpy as np
from keras import ops

from NDN3 import streams


@keras.saving.register_keras_serializable("NDN3")
class Dropout(keras.layers.Layer):
    """Set random units to zero while training, and scale the others so that the mean stays.

    Keras' own dropout draws from a generator of the framework, which cannot be mapped over the
    members of a group and differs between backends. This one draws from a counter
    (`NDN3.streams.uniform`): the trainer gives each member its key, and the layer counts its calls.

    Parameters
    ----------
    keep : float
        Probability with which a unit is kept; 1 switches the layer off.
    whole_units : bool
        A unit (an entry of the last axis) is dropped for the whole batch, as in NDN3. Otherwise
        every entry of a row is dropped on its own, differently in each row.

    Input shape: (batch, …, units). Output shape: the same.

    Raises
    ------
    ValueError
        If `keep` is not in (0, 1].
    """

    def __init__(self, keep, whole_units=True, **kwargs):
        super().__init__(**kwargs)
        if not 0 < keep <= 1:
            raise ValueError(
                f"dropout's value is the probability to keep a unit, got {keep}; "
                "it must be above 0 and at most 1 (1 switches dropout off)."
            )
        self.keep = float(keep)
        self.whole_units = whole_units

    def build(self, input_shape):
        """Make the member's key and the counter of draws."""
        zeros = keras.initializers.Zeros()
        options = {"dtype": "uint32", "trainable": False, "initializer": zeros}
        self.key = self.add_weight(shape=(2,), name="key", **options)
        self.draws = self.add_weight(shape=(), name="draws", **options)

    def call(self, inputs, training=False):
        """Inputs, with units dropped while training."""
        if not training or self.keep == 1:
            return inputs
        shape = tuple(inputs.shape)
        drawn = (1,) * (len(shape) - 1) + shape[-1:] if self.whole_units else shape
        count = int(np.prod(drawn))
        chance = streams.uniform(ops.convert_to_tensor(self.key), self.draws.value, count)
        self.draws.assign(self.draws + ops.cast(1, "uint32"))
        kept = ops.cast(ops.reshape(chance, drawn) < self.keep, inputs.dtype)
        return inputs * kept / self.keep

    def get_config(self):
        """Arguments of the constructor."""
        return {**super().get_config(), "keep": self.keep, "whole_units": self.whole_units}
