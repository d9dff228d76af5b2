"""Random streams of the trainer: every draw is a function of (seed, purpose, counter).

Nothing is taken from a shared generator. So neither the size of a group, nor the order in which its
members are trained, nor an interruption can change what a member draws, and the order of the rows
of any epoch can be rebuilt alone.
"""

import numpy as np

# Separates these streams from other uses of the same small seeds.
ROOT = 0x6E64_6E33

START_VALUES = 0
ROW_ORDER = 1
DROPOUT = 2
SAMPLING = 3
KERAS_GENERATORS = 4
INNER_HOLDOUT = 5
SPECKLED_FOLDS = 6


def generator(seed, purpose, *counter):
    """Generator of one stream.

    Parameters
    ----------
    seed : int
        Seed of the member, not negative.
    purpose : int
        One of the constants above, such as `ROW_ORDER`.
    *counter : int
        Position in the stream, such as the epoch.

    Returns
    -------
    numpy.random.Generator
    """
    return np.random.default_rng(np.random.SeedSequence([ROOT, seed, purpose, *counter]))


def key(seed, purpose, *counter):
    """Two 32-bit words for draws inside the compiled program (`uniform`).

    Returns
    -------
    ndarray of uint32, (2,)
    """
    return np.random.SeedSequence([ROOT, seed, purpose, *counter]).generate_state(2, np.uint32)


def row_order(seed, epoch, rows):
    """Rows in the order in which one member sees them in one epoch.

    Parameters
    ----------
    seed, epoch : int
    rows : ndarray of int, (n,)
        The training rows.

    Returns
    -------
    ndarray of int, (n,)
        A permutation of `rows`.
    """
    return generator(seed, ROW_ORDER, epoch).permutation(rows)


class SequentialOrder:
    """Row order of the original program: one legacy generator, one permutation an epoch.

    The stream has no counter, so an epoch is reached by drawing all epochs before it. Epochs are
    normally asked for one after the other; after a resumption the earlier ones are drawn again.

    Parameters
    ----------
    rows : ndarray of int, (n,)
        The training rows.
    """

    def __init__(self, rows):
        self.rows = np.asarray(rows)
        self._streams = {}

    def __call__(self, seed, epoch):
        """Rows in the order of `epoch` (0, 1, …) of the member with `seed`."""
        state, upcoming = self._streams.get(seed, (None, 0))
        if state is None or epoch < upcoming:
            state, upcoming = np.random.RandomState(seed), 0
        for _ in range(upcoming, epoch):
            state.permutation(self.rows)
        order = state.permutation(self.rows)
        self._streams[seed] = (state, epoch + 1)
        return order


def uniform(key, counter, count):
    """Uniform numbers drawn inside a compiled step, equal in every bit on every backend.

    Parameters
    ----------
    key : tensor of uint32, (2,)
        From `key`.
    counter : tensor of uint32, ()
        Differs from draw to draw, such as the step.
    count : int or tensor of int, ()
        How many numbers.

    Returns
    -------
    tensor of float32, (count,)
        In [0, 1), multiples of 2**-24.

    Notes
    -----
    A counter-based generator: the words are mixed by two rounds of xor, shift and multiply
    (Wellons 2018, "prospecting for hash functions", the `lowbias32` constants).
    """
    from keras import ops

    def mix(word):
        word = (word ^ ops.right_shift(word, shift_first)) * np.uint32(0x21F0AAAD)
        word = (word ^ ops.right_shift(word, shift_next)) * np.uint32(0xD35A2D97)
        return word ^ ops.right_shift(word, shift_next)

    shift_first, shift_next = (ops.cast(bits, "uint32") for bits in (16, 15))
    if isinstance(count, int):
        element = ops.convert_to_tensor(np.arange(count, dtype=np.uint32))
    else:
        element = ops.cast(ops.arange(count), "uint32")
    mixed = mix(element ^ mix(counter ^ mix(key[0])) ^ key[1])
    upper_bits = ops.right_shift(mixed, ops.cast(8, "uint32"))
    return ops.cast(upper_bits, "float32") * np.float32(2.0**-24)
