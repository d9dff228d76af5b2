"""Dropout that can be trained in a group: its draws are a function of member, step and layer."""

import keras
import numpy as np
from keras import ops

from NDN3 import streams
from NDN3.draws import Draws


@keras.saving.register_keras_serializable("NDN3")
class Dropout(Draws):
    """Set random units to zero while training, and scale the others so that the mean stays.

    Unlike Keras' own, it can be mapped over the members of a group, and equals in every bit on
    every backend: see `NDN3.draws.Draws`.

    Parameters
    ----------
    keep : float
        Probability with which a unit is kept; 1 switches the layer off.
    whole_units : bool
        A unit (an entry of the last axis) is dropped for the whole batch, as in NDN3. Otherwise
        every entry of a row is dropped on its own, differently in each row.
    **kwargs
        As in `NDN3.draws.Draws`.

    Input shape: (batch, …, units). Output shape: the same.

    Raises
    ------
    ValueError
        If `keep` is not in (0, 1].
    """

    purpose = streams.DROPOUT

    def __init__(self, keep, whole_units=True, **kwargs):
        super().__init__(**kwargs)
        if not 0 < keep <= 1:
            raise ValueError(
                f"dropout's value is the probability to keep a unit, got {keep}; "
                "it must be above 0 and at most 1 (1 switches dropout off)."
            )
        self.keep = float(keep)
        self.whole_units = whole_units

    def call(self, inputs, training=False):
        """Inputs, with units dropped while training."""
        if not training or self.keep == 1:
            return inputs
        shape = tuple(inputs.shape)
        drawn = (1,) * (len(shape) - 1) + shape[-1:] if self.whole_units else shape
        chance = self.uniform(int(np.prod(drawn)))
        kept = ops.cast(ops.reshape(chance, drawn) < self.keep, inputs.dtype)
        return inputs * kept / self.keep

    def get_config(self):
        """Arguments of the constructor."""
        return {**super().get_config(), "keep": self.keep, "whole_units": self.whole_units}
