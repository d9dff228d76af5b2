"""Batches for models that work along time: pieces of successive rows, with those before them."""

import keras
import numpy as np
from keras import ops

from NDN3 import streams, time_blocks
from NDN3.batches import counted_responses, given_order, precomputed, taken, tensors


def spread_of(model):
    """Rows before a row that a model needs for it; 0 for models that do not work along time."""
    return int(getattr(model, "time_spread", 0))


def stretch(data, spread):
    """Rows of which a model that works along time may be given all at once.

    Parameters
    ----------
    data : NDN3.batches.Data
    spread : int
        Rows that a row needs before it.

    Returns
    -------
    rows : ndarray of int
        Those that count, and those that they need, which stand right before them.
    weights : ndarray of int, (rows,), or None
        How often each counts; None: each once.
    """
    counted = data.selected(spread)
    if not spread:
        return counted, None
    count = len(data.responses)
    rows = time_blocks.with_context(counted, spread, count)
    return rows, np.bincount(counted, minlength=count)[rows]


def fit_arrays(data, spread):
    """Arrays of data without anything that is not finite in rows that do not count.

    Rows between those that count, and those that fill up, are computed like all others, and what is
    not finite would spoil the gradients although their weight is 0.

    Parameters
    ----------
    data : NDN3.batches.Data
    spread : int
        Rows that a row needs before it.

    Returns
    -------
    inputs, responses, mask
        As those of `data`; None where there is no mask.
    """
    responses = counted_responses(data.responses, data.mask)
    if not spread:  # only rows that count are taken
        return data.inputs, responses, data.mask
    count = len(data.responses)
    counted = np.bincount(data.selected(spread), minlength=count) > 0
    needed = np.zeros(count, bool)
    needed[time_blocks.with_context(np.flatnonzero(counted), spread, count)] = True

    def cleaned(array, used):
        array = np.asarray(array)
        if array.dtype.kind != "f" or np.isfinite(array).all():
            return array
        unused = ~used.reshape(-1, *[1] * (array.ndim - 1))
        return np.where(unused & ~np.isfinite(array), 0, array)

    return (
        keras.tree.map_structure(lambda array: cleaned(array, needed), data.inputs),
        cleaned(responses, counted),
        None if data.mask is None else cleaned(data.mask, counted),
    )


class SegmentSource:
    """Batches are pieces of successive rows of `Data`, with the rows that the model needs before.

    Each training row that has those rows in its block is trained once an epoch. What only comes
    before, lies between training rows or fills up the last piece of a block has weight 0. Pieces
    come in an order that differs between members and epochs.

    Parameters
    ----------
    data : NDN3.batches.Data
    model : keras.Model
        With `time_spread`, the rows that a row needs before it.
    batch_size : int
        Rows of a piece, without those before.
    dtype : str
    order : callable, optional
        (seed, epoch) -> permuted rows: pieces come as the first of their rows that counts comes. By
        default `streams.row_order` of the numbers of the pieces.
    """

    def __init__(self, data, model, batch_size, dtype, order=None):
        spread = spread_of(model)
        self.rows = data.selected(spread)
        self.order = order
        count = len(data.responses)
        windows, weights = time_blocks.pieces(self.rows, batch_size, spread, count, data.blocks)
        self.steps, self.window = windows.shape
        self.batch_size = self.window - spread
        self.first_rows = windows[:, spread]
        self.sorted_rows = np.sort(self.rows)
        self.windows = ops.convert_to_tensor(windows.astype(np.int32))
        self.weights = ops.convert_to_tensor(weights.astype(dtype))
        inputs, responses, mask = fit_arrays(data, spread)
        self.arrays = tensors((precomputed(model, inputs), responses, mask), dtype)

    def bytes_per_epoch(self, members):
        """Size of what has to be handed over for one epoch."""
        return 4 * self.steps * members

    def ordered(self, seed, epoch):
        """Numbers of the pieces of one epoch, in its order."""
        if self.order is None:
            return streams.row_order(seed, epoch, np.arange(self.steps))
        found = given_order(self.order, seed, epoch, self.sorted_rows)
        places = np.empty(found.max() + 1, int)
        places[found] = np.arange(len(found))
        return np.argsort(places[self.first_rows])

    def feed(self, seeds, epochs, length):
        """Numbers of pieces [length, steps, members] of the coming epochs of each member.

        Parameters as in `RowSource.feed`.
        """
        pieces = np.zeros((length, self.steps, len(seeds)), np.int32)
        for slot, (seed, coming) in enumerate(zip(seeds, epochs, strict=True)):
            for index, epoch in enumerate(coming):
                pieces[index, :, slot] = self.ordered(seed, epoch)
        return {"pieces": pieces}

    def example(self):
        """What a step of one member needs of some feed."""
        return np.int32(0)

    def batch_feed(self, feed, index, step_index):
        """What a step needs of the feed, (members,)."""
        return feed["pieces"][index, step_index]

    def batch(self, piece, step_index, member):
        """Inputs, responses, mask and row weights of one member's batch."""
        rows, weights = (ops.take(part, piece, axis=0) for part in (self.windows, self.weights))
        return (*taken(self.arrays, rows), weights)
