"""Random draws of a layer that can be trained in a group."""

import math
import random

import keras
from keras import ops

from NDN3 import streams


class Draws(keras.layers.Layer):
    """Part, or base, of a layer that draws random numbers while training.

    The generators of Keras cannot be mapped over the members of a group and differ between
    backends. Here every draw is a function of a key and a counter (`NDN3.streams.uniform`): the
    trainer gives each member its key, and the layer counts its draws.

    Parameters
    ----------
    seed : int, optional
        Of the key in a plain Keras model; layers with one seed draw the same. Without it Python's
        generator, which `keras.utils.set_random_seed` seeds, gives one.
    """

    # Draws of another purpose that come from the same seed are others
    purpose = streams.SAMPLING

    def __init__(self, seed=None, **kwargs):
        super().__init__(**kwargs)
        self.seed = seed

    def build(self, input_shape):
        """Make the key and the counter of draws."""
        seed = random.getrandbits(32) if self.seed is None else self.seed
        start = streams.key(seed, self.purpose)
        options = {"dtype": "uint32", "trainable": False}
        self.key = self.add_weight(
            shape=(2,),
            name="key",
            initializer=lambda shape, dtype=None: ops.convert_to_tensor(start, dtype=dtype),
            **options,
        )
        zeros = keras.initializers.Zeros()
        self.draws = self.add_weight(shape=(), name="draws", initializer=zeros, **options)

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

    def get_config(self):
        """Arguments of the constructor."""
        return {**super().get_config(), "seed": self.seed}


def keys(model, seed):
    """Keys of all layers of a model that draw, no two of them equal.

    Parameters
    ----------
    model : keras.Model
    seed : int
        Of the member.

    Returns
    -------
    dict of ndarray
        {id of the variable: its value}.
    """
    drawing = [layer for layer in model._flatten_layers() if isinstance(layer, Draws)]
    return {
        id(layer.key): streams.key(seed, streams.DROPOUT, number)
        for number, layer in enumerate(drawing)
    }
