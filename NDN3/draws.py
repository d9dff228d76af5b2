"""Random draws of a layer that can be trained in a group."""

import math

import keras
from keras import ops

from NDN3 import streams


class Draws(keras.layers.Layer):
    """Part, or base, of a layer that draws random numbers while training.

    The generators of Keras cannot be mapped over the members of a group and differ between
    backends. Here every draw is a function of a key and a counter (`NDN3.streams.uniform`): the
    trainer gives each member its key, and the layer counts its draws.
    """

    def build(self, input_shape):
        """Make the member's key and the counter of draws."""
        zeros = keras.initializers.Zeros()
        options = {"dtype": "uint32", "trainable": False, "initializer": zeros}
        self.key = self.add_weight(shape=(2,), name="key", **options)
        self.draws = self.add_weight(shape=(), name="draws", **options)

    def uniform(self, count):
        """Draw uniform numbers from [0, 1).

        Parameters
        ----------
        count : int or tensor of int, ()

        Returns
        -------
        tensor of float32, (count,)
        """
        drawn = streams.uniform(ops.convert_to_tensor(self.key), self.draws.value, count)
        self.draws.assign(self.draws + ops.cast(1, "uint32"))
        return drawn

    def normal(self, shape, dtype):
        """Draw normal numbers of mean 0 and variance 1.

        Parameters
        ----------
        shape : sequence of int
            Its first entry may be a tensor.
        dtype : str

        Returns
        -------
        tensor, `shape`

        References
        ----------
        Box & Muller 1958, "A note on the generation of random normal deviates", Ann. Math. Stat.
        29: 610-611.
        """
        first, *others = shape
        count = math.prod(others) * first
        drawn = ops.cast(self.uniform(2 * count), dtype)
        radius = ops.sqrt(-2 * ops.log(1 - drawn[:count]))
        return ops.reshape(radius * ops.cos(2 * math.pi * drawn[count:]), shape)
