"""Where the batches of the trainer come from.

Three sources: rows of arrays in memory, windows cut from arrays inside the compiled step, and
batches made on the host one chunk ahead. For models that work along time `NDN3.segments` has
another: pieces of successive rows. What a user hands over (`Data`, `Sample`, `HostBatches`) is
turned into a source before anything is trained.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from NDN3 import quantities, streams, time_blocks


@dataclass(frozen=True)
class Data:
    """Inputs and responses that are all in memory.

    Parameters
    ----------
    inputs : ndarray, (rows, …), or nested structure of such
    responses : ndarray, (rows, …)
    mask : ndarray, like `responses`, optional
        0 where a response does not count: response and prediction are multiplied by it.
    rows : sequence of int or of one bool per row, optional
        The rows that are used; all by default.
    blocks : sequence of (int, int), optional
        (start, end), from 0, the end not included: rows that follow each other in time, such as
        trials; by default all do. Rows outside of all blocks are not used.

    Raises
    ------
    ValueError
        If the arrays are empty, or not of real numbers, differ in their number of rows, `rows` are
        no rows of theirs, or `blocks` no blocks with rows that are used.
    """

    inputs: Any
    responses: Any
    mask: Any = None
    rows: Any = None
    blocks: Any = None

    def __post_init__(self):
        check_kinds(self.inputs, self.responses, self.mask)
        arrays = [*keras.tree.flatten(self.inputs), self.responses]
        counts = {len(array) for array in arrays}
        if len(counts) > 1:
            raise ValueError(
                f"inputs and responses have {sorted(counts)} rows; they must have the same number: "
                "row i of the responses belongs to row i of the inputs."
            )
        if self.mask is not None and np.shape(self.mask) != np.shape(self.responses):
            raise ValueError(
                f"the mask has shape {np.shape(self.mask)}, the responses "
                f"{np.shape(self.responses)}; give the mask one entry per response."
            )
        (count,) = counts
        if self.rows is not None:
            # the dataclass is frozen; a mask of bools becomes numbers once and for all
            object.__setattr__(self, "rows", quantities.rows(self.rows, count, "rows"))
        if self.blocks is not None:
            object.__setattr__(self, "blocks", time_blocks.checked(self.blocks, count))
            self.selected()

    def selected(self, spread=0):
        """The rows that are used, as an array of int.

        Parameters
        ----------
        spread : int
            Rows that a row needs before it, in its block; those without them do not count.
        """
        count = len(self.responses)
        rows = np.arange(count) if self.rows is None else self.rows
        if self.blocks is None and not spread:
            return rows
        return time_blocks.counted(rows, spread, count, self.blocks)


def check_kinds(inputs, responses, mask):
    """Refuse arrays that are empty or not of real numbers; parameters as in `Data`."""
    named = [("inputs", array) for array in keras.tree.flatten(inputs) or [None]]
    named += [("responses", responses)] + [("the mask", mask)] * (mask is not None)
    for name, array in named:
        try:
            found = np.asarray(array)
        except ValueError:  # rows of a list that differ in length
            found = np.array(None)
        if found.dtype.kind not in "biuf" or not found.ndim or not found.size:
            raise ValueError(
                f"{name} hold {found.dtype} of shape {found.shape}; they must be arrays of real "
                "numbers with at least one row. Give such arrays."
            )


def counted_responses(responses, mask):
    """Responses that are fit to be multiplied by the mask: where it is 0, NaN would stay NaN."""
    if mask is None or np.isfinite(responses).all():
        return responses
    return np.where(np.asarray(mask) == 0, 0, responses)


@dataclass(frozen=True)
class Sample:
    """Batches drawn inside the compiled step, such as windows cut from a long recording.

    Parameters
    ----------
    arrays : nested structure of ndarray
        Handed to `draw`; on the device once, whatever the number of members.
    draw : callable
        (arrays, key, step) -> (inputs, responses) or (inputs, responses, mask), in `keras.ops` with
        static shapes; the first `time_spread` rows of a batch do not count, where the model has
        one. `key` (two words of uint32) belongs to the member, `step` counts its batches
        from 0; `NDN3.streams.uniform(key, step, count)` gives random numbers of them.
    steps : int
        Batches per epoch.
    """

    arrays: Any
    draw: Callable
    steps: int


@dataclass(frozen=True)
class HostBatches:
    """Batches made by Python, for data that do not fit into memory.

    Parameters
    ----------
    of_epoch : callable
        (seed, epoch) -> iterable of at least `steps` batches (inputs, responses) or (inputs,
        responses, mask), all of equal shapes; the first `time_spread` rows of a batch do not count,
        where the model has one. A function of seed and epoch, so that training can be
        resumed at any epoch; it is called in a thread, one chunk ahead.
    steps : int
        Batches per epoch.
    """

    of_epoch: Callable
    steps: int


def tensors(structure, dtype):
    """Arrays as tensors, floats in `dtype`; None stays None."""

    def convert(array):
        if array is None:
            return None
        array = np.asarray(array)
        return ops.convert_to_tensor(
            array.astype(dtype) if np.issubdtype(array.dtype, np.floating) else array
        )

    return keras.tree.map_structure(convert, structure)


def taken(arrays, rows):
    """Some rows of each array of a structure; None stays None."""
    return keras.tree.map_structure(
        lambda array: None if array is None else ops.take(array, rows, axis=0), arrays
    )


def precomputed(model, inputs):
    """Inputs after the model's parameter-free first part, computed once for all epochs."""
    return model.precompute(inputs) if hasattr(model, "precompute") else inputs


def given_order(order, seed, epoch, sorted_rows):
    """Training rows of one epoch in the order of a user's function.

    Parameters
    ----------
    order : callable
        (seed, epoch) -> permuted rows.
    seed, epoch : int
    sorted_rows : ndarray of int

    Returns
    -------
    ndarray of int

    Raises
    ------
    ValueError
        If it does not give each row once.
    """
    given = order(seed, epoch)
    try:
        found = np.asarray(given)
    except ValueError:  # rows of a list that differ in length
        found = np.array(None)
    # rows that are left out or come twice would change the training without a word
    if found.dtype.kind not in "iu" or not np.array_equal(np.sort(found), sorted_rows):
        raise ValueError(
            f"order gave {str(given)[:60]!r} for seed {seed}, epoch {epoch}; it must give each "
            f"of the {len(sorted_rows)} training rows once. Give a permutation of them."
        )
    return found


class RowSource:
    """Batches are rows of `Data`, in an order that differs between members and epochs.

    The last batch is filled up with the epoch's first rows, at weight 0.

    Parameters
    ----------
    data : Data
    model : keras.Model
    batch_size : int
    dtype : str
    order : callable, optional
        (seed, epoch) -> permuted rows; by default `streams.row_order`.
    """

    def __init__(self, data, model, batch_size, dtype, order=None):
        self.rows = data.selected()
        self.sorted_rows = np.sort(self.rows)
        self.batch_size = min(batch_size, len(self.rows))
        self.steps = -(-len(self.rows) // self.batch_size)
        self.order = order
        weights = np.zeros(self.steps * self.batch_size, dtype)
        weights[: len(self.rows)] = 1
        self.padding = len(weights) - len(self.rows)
        self.weights = ops.convert_to_tensor(weights.reshape(self.steps, self.batch_size))
        responses = counted_responses(data.responses, data.mask)
        self.arrays = tensors((precomputed(model, data.inputs), responses, data.mask), dtype)

    def bytes_per_epoch(self, members):
        """Size of what has to be handed over for one epoch."""
        return 4 * self.steps * self.batch_size * members

    def ordered(self, seed, epoch):
        """Training rows of one epoch, in its order."""
        if self.order is None:
            return streams.row_order(seed, epoch, self.rows)
        return given_order(self.order, seed, epoch, self.sorted_rows)

    def feed(self, seeds, epochs, length):
        """Row numbers [length, steps, members, batch] of the coming epochs of each member.

        Parameters
        ----------
        seeds : list of int
        epochs : list of range
            For each member.
        length : int
            Epochs in the array; those beyond a member's are left at 0.
        """
        rows = np.zeros((length, len(seeds), self.steps * self.batch_size), np.int32)
        for slot, (seed, coming) in enumerate(zip(seeds, epochs, strict=True)):
            for index, epoch in enumerate(coming):
                # padded with rows of the same epoch, which are fit to be trained on
                rows[index, slot] = np.resize(self.ordered(seed, epoch), rows.shape[-1])
        shape = (length, len(seeds), self.steps, self.batch_size)
        return {"rows": np.ascontiguousarray(rows.reshape(shape).swapaxes(1, 2))}

    def example(self):
        """What a step of one member needs of some feed."""
        return np.resize(self.rows, self.batch_size).astype(np.int32)

    def batch_feed(self, feed, index, step_index):
        """What a step needs of the feed, (members, …)."""
        return feed["rows"][index, step_index]

    def batch(self, rows, step_index, member):
        """Inputs, responses, mask and row weights (None: all count) of one member's batch."""
        weights = self.weights[step_index] if self.padding else None
        return (*taken(self.arrays, rows), weights)


def weights_after(responses, spread, dtype):
    """Row weights of a batch whose first rows only come before the others in time.

    Parameters
    ----------
    responses : tensor, (rows, …)
    spread : int
        So many rows, at weight 0.
    dtype : str

    Returns
    -------
    tensor, (rows,), or None if all rows count

    Raises
    ------
    ValueError
        If no row is left.
    """
    if not spread:
        return None
    count = responses.shape[0]
    if count <= spread:
        raise ValueError(
            f"a batch has {count} rows, and the model needs {spread} rows before a row; batches "
            "must be longer than that, their rows follow each other in time. Make longer ones."
        )
    weights = np.repeat([0, 1], [spread, count - spread])
    return ops.convert_to_tensor(weights, dtype=dtype)


class SampleSource:
    """Batches are drawn in the step by the user's function (`Sample`).

    Parameters
    ----------
    sample : Sample
    dtype : str
    spread : int
        Rows that the model needs before a row: the first ones of a batch only come before.
    """

    def __init__(self, sample, dtype, spread=0):
        self.sample, self.steps, self.dtype, self.spread = sample, sample.steps, dtype, spread
        self.arrays = tensors(sample.arrays, dtype)

    def bytes_per_epoch(self, members):
        """Size of what has to be handed over for one epoch."""
        return 0

    def feed(self, seeds, epochs, length):
        """Keys of the members."""
        return {"key": np.stack([streams.key(seed, streams.SAMPLING) for seed in seeds])}

    def example(self):
        """What a step of one member needs of some feed."""
        return streams.key(0, streams.SAMPLING)

    def batch_feed(self, feed, index, step_index):
        """What a step needs of the feed, (members, …)."""
        return feed["key"]

    def batch(self, key, step_index, member):
        """Inputs, responses, mask and row weights of one member's batch."""
        batch = self.sample.draw(self.arrays, key, member["step"])
        weights = weights_after(batch[1], self.spread, self.dtype)
        return (*batch, *[None] * (3 - len(batch)), weights)


class HostSource:
    """Batches are made by the user's function on the host (`HostBatches`).

    Parameters
    ----------
    batches : HostBatches
    dtype : str
    spread : int
        As in `SampleSource`.
    """

    def __init__(self, batches, dtype, spread=0):
        self.batches, self.steps, self.dtype = batches, batches.steps, dtype
        self.spread = spread
        first = self.epoch(0, 0)
        self.shapes = [(np.shape(array)[1:], array.dtype) for array in keras.tree.flatten(first)]
        self.structure = first

    def bytes_per_epoch(self, members):
        """Size of what has to be handed over for one epoch."""
        return members * sum(array.nbytes for array in keras.tree.flatten(self.structure))

    def epoch(self, seed, epoch):
        """Batches of one epoch, stacked: (steps, …)."""
        batches = []
        for batch in self.batches.of_epoch(seed, epoch):
            batches.append(batch)
            if len(batches) == self.steps:
                break
        if len(batches) < self.steps:
            raise ValueError(
                f"of_epoch gave {len(batches)} batches for seed {seed}, epoch {epoch}; "
                f"it must give at least {self.steps} (steps)."
            )

        def stack(*arrays):
            stacked = np.stack(arrays)
            floating = np.issubdtype(stacked.dtype, np.floating)
            return stacked.astype(self.dtype) if floating else stacked

        return keras.tree.map_structure(stack, *[tuple(batch) for batch in batches])

    def feed(self, seeds, epochs, length):
        """Batches [length, steps, members, …] of the coming epochs of each member."""

        def collect(array):
            shape = (length, array.shape[0], len(seeds), *array.shape[1:])
            return np.zeros(shape, array.dtype)

        feed = keras.tree.map_structure(collect, self.structure)
        for slot, (seed, coming) in enumerate(zip(seeds, epochs, strict=True)):
            for index, epoch in enumerate(coming):
                made = self.epoch(seed, epoch)
                for target, array in zip(
                    keras.tree.flatten(feed), keras.tree.flatten(made), strict=True
                ):
                    target[index, :, slot] = array
        return feed

    def example(self):
        """What a step of one member needs of some feed."""
        return keras.tree.map_structure(lambda array: array[0], self.structure)

    def batch_feed(self, feed, index, step_index):
        """What a step needs of the feed, (members, …)."""
        return keras.tree.map_structure(lambda array: array[index, step_index], feed)

    def batch(self, batch, step_index, member):
        """Inputs, responses, mask and row weights of one member's batch."""
        weights = weights_after(batch[1], self.spread, self.dtype)
        return (*batch, *[None] * (3 - len(batch)), weights)


class Ahead:
    """Makes the feed of a group's next chunk in a thread while the current one is computed.

    Parameters
    ----------
    source : RowSource, SampleSource, HostSource or NDN3.segments.SegmentSource
    pool : concurrent.futures.Executor
        With a single thread, which several groups may share: a source may have a state.
    """

    def __init__(self, source, pool):
        self.source, self.pool = source, pool
        self.announced = None

    def get(self, seeds, epochs, length):
        """Feed of these epochs, made ahead when it was announced."""
        if self.announced is not None:
            made_for, made, future = self.announced
            self.announced = None
            # A member that ended meanwhile needs none of the epochs that were made for it.
            if made_for == seeds and all(
                not asked or asked == more[: len(asked)]
                for asked, more in zip(epochs, made, strict=True)
            ):
                return future.result()
        return self.pool.submit(self.source.feed, seeds, epochs, length).result()

    def announce(self, seeds, epochs, length):
        """Begin to make the feed that is probably asked for next."""
        future = self.pool.submit(self.source.feed, seeds, epochs, length)
        self.announced = (seeds, epochs, future)
