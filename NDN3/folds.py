"""Rows to train on, and rows to test on.

Time steps that follow each other are alike, so tests of recordings in time need pieces of
successive rows (`generate_xv_folds`, blocks); for independent rows, such as images, single ones do
(`inner_holdout`). Speckled folds hold out single responses instead of whole rows.
"""

import math

import numpy as np

from NDN3 import columns, quantities, streams


def generate_xv_folds(nt, num_folds=5, num_blocks=3, which_fold=None):
    """Rows to train and to test on: a piece of each of several stretches of the recording.

    Parameters
    ----------
    nt : int
        Rows of the recording.
    num_folds : int
        Each stretch is cut into so many pieces, one of which is for testing.
    num_blocks : int
        So many stretches of about equal length; what is left over goes to the last one.
    which_fold : int, optional
        Number of the piece, from 0; by default the middle one.

    Returns
    -------
    train_indxs, test_indxs : ndarray of int
        Sorted; together all rows. Each row is in the test rows of one fold.

    Raises
    ------
    ValueError
        If a number is out of range, or a stretch is shorter than `num_folds` rows.
    """
    count = quantities.whole(nt, "nt [rows]")
    folds = quantities.whole(num_folds, "num_folds", 2)
    blocks = quantities.whole(num_blocks, "num_blocks")
    fold = folds // 2 if which_fold is None else _fold(which_fold, folds)
    length = count // blocks
    if length < folds:
        raise ValueError(
            f"num_blocks {blocks} and num_folds {folds} cut {count} rows into more pieces than "
            "rows; a piece needs at least one. Give fewer blocks or folds."
        )
    starts = length * np.arange(blocks)
    sizes = np.diff(starts, append=count)
    pieces = [
        np.arange(start + size * fold // folds, start + size * (fold + 1) // folds)
        for start, size in zip(starts, sizes, strict=True)
    ]
    test = np.concatenate(pieces)
    return np.setdiff1d(np.arange(count), test), test


def make_block_indices(block_lims, lag_skip=0):
    """Rows of blocks of a recording.

    Parameters
    ----------
    block_lims : array_like of int, (blocks, 2)
        First and last row of each block, counted from 1.
    lag_skip : int
        So many rows at the start of each block are left out, for example those whose lags reach
        before it.

    Returns
    -------
    ndarray of int
        Counted from 0. A block that is not longer than `lag_skip` gives none.

    Raises
    ------
    ValueError
        If a block ends before it begins, or begins before row 1.
    """
    lims = checked_blocks(block_lims, "block_lims")
    skip = min(quantities.whole(lag_skip, "lag_skip [rows]", 0), int(lims.max()))
    return np.concatenate([np.arange(first - 1 + skip, last) for first, last in lims])


def process_blocks(block_inds, data_filters, batch_size=2000, skip=20):
    """Blocks as lists of rows, and filters that leave out where each begins.

    Parameters
    ----------
    block_inds : array_like of int, (blocks, 2)
        First and last row of each block, counted from 1.
    data_filters : list of ndarray, (T, neurons)
        0 where a response does not count; one for each output network.
    batch_size : int
        Rows of a batch that is wanted.
    skip : int
        So many rows at the start of each block do not count.

    Returns
    -------
    block_lists : list of ndarray of int
        Rows of each block, counted from 0.
    data_filters : list of ndarray, (T, neurons)
        Copies, 0 also outside of the blocks and where a block begins.
    comb_number : int
        Blocks that together have about `batch_size` rows that count, at least 1.

    Raises
    ------
    ValueError
        If a block reaches beyond the filters, or none is longer than `skip`.
    """
    lims = checked_blocks(block_inds, "block_inds")
    size = quantities.whole(batch_size, "batch_size [rows]")
    skip = quantities.whole(skip, "skip [rows]", 0)
    if not isinstance(data_filters, (list, tuple)) or not data_filters:
        raise ValueError(
            f"data_filters is {type(data_filters).__name__}; it must be a list of one array "
            "(rows, neurons) for each output network. Give [data_filters]."
        )
    filters = [
        columns.columns(each, f"data_filters[{number}]") for number, each in enumerate(data_filters)
    ]
    rows = {len(each) for each in filters}
    if len(rows) > 1 or lims.max() > min(rows):
        raise ValueError(
            f"block_inds reach to row {lims.max()}, and data_filters have {sorted(rows)} rows; "
            "blocks must lie within them. Correct one of the two."
        )
    counts = np.zeros((rows.pop(), 1))
    inside = make_block_indices(lims, skip)
    if inside.size == 0:
        raise ValueError(
            f"skip is {skip} rows, and the longest of the blocks has "
            f"{int(np.diff(lims).max()) + 1}; no row would count. Give a smaller skip."
        )
    counts[inside] = 1
    block_lists = [np.arange(first - 1, last) for first, last in lims]
    comb_number = max(round(size * len(lims) / len(inside)), 1)
    return block_lists, [each * counts for each in filters], comb_number


def inner_holdout(rows, share, seed, blocks=None):
    """Take some of the training rows away, to watch them while training on the others.

    Early stopping, or a choice among models, may look at these rows; the test rows stay unseen
    until the end.

    Parameters
    ----------
    rows : sequence of int, or of one bool for each row
        The training rows.
    share : float
        Of the rows that are held out, above 0 and below 1; at least one row is.
    seed : int
        The choice is a function of it.
    blocks : array_like of int, (blocks, 2), optional
        First and last row of each block, counted from 1. With them the rows that are held out
        follow each other: one piece of the rows of each block. Rows outside of blocks are trained
        on. Without blocks single rows are drawn.

    Returns
    -------
    train_indxs, held_out : ndarray of int
        Each in the order of `rows`.

    Raises
    ------
    ValueError
        If the share is out of range, there are fewer than two rows, or no row lies in a block.

    References
    ----------
    Prechelt 1998, "Early stopping - but when?", Lecture Notes Comput. Sci. 1524: 55-69.
    """
    given = columns.numbers(rows, "rows")
    largest = int(np.max(given, initial=0)) + 1 if given.dtype.kind in "iu" else given.size
    found = quantities.rows(rows, largest, "rows")
    share = quantities.real(share, "share", lambda x: 0 < x < 1, "above 0 and below 1")
    seed = quantities.whole(seed, "seed", 0)
    if len(found) < 2:
        raise ValueError("rows is one row; one to train on and one to hold out are needed. Give 2.")
    source = streams.generator(seed, streams.INNER_HOLDOUT)
    if blocks is None:
        held = np.zeros(len(found), bool)
        held[source.permutation(len(found))[: _held_out(len(found), share)]] = True
        return found[~held], found[held]
    lims = checked_blocks(blocks, "blocks")
    held = np.zeros(len(found), bool)
    for first, last in lims:
        (inside,) = np.nonzero((found >= first - 1) & (found < last))
        if len(inside) > 1:
            size = _held_out(len(inside), share)
            start = source.integers(len(inside) - size + 1)
            # in time, whatever the order of `rows`
            held[inside[np.argsort(found[inside], kind="stable")][start : start + size]] = True
    if not held.any():
        raise ValueError(
            f"blocks are {lims.tolist()}, and none has two of the {len(found)} rows; what is held "
            "out is a piece of a block. Correct blocks or rows."
        )
    return found[~held], found[held]


def speckled_folds(
    n_rows, n_neurons, num_folds=5, which_fold=0, seed=0, rows_together=1, data_filters=None
):
    """Filters that hold out single responses, scattered over all rows and neurons.

    Every row and every neuron stays in the training, so that what is particular to a row or to a
    neuron can be learned and still be tested.

    Parameters
    ----------
    n_rows, n_neurons : int
    num_folds : int
        Each response is held out in one fold.
    which_fold : int
        Number of the fold, from 0.
    seed : int
        All folds are a function of it.
    rows_together : int
        So many successive rows of a neuron are in one fold, for responses that are alike from row
        to row.
    data_filters : ndarray, (n_rows, n_neurons), optional
        0 where a response does not count; it is in neither filter.

    Returns
    -------
    train_filters, test_filters : ndarray of bool, (n_rows, n_neurons)
        For `data_filters` of training, and of evaluation. The folds of a neuron differ by one
        piece of `rows_together` rows at most.

    Raises
    ------
    ValueError
        If a number is out of range, or the filters have another shape.

    References
    ----------
    Wold 1978, Technometrics 20(4): 397-405. Owen & Perry 2009, Ann. Appl. Stat. 3(2): 564-594.
    """
    rows = quantities.whole(n_rows, "n_rows")
    neurons = quantities.whole(n_neurons, "n_neurons")
    folds = quantities.whole(num_folds, "num_folds", 2)
    fold = _fold(which_fold, folds)
    together = quantities.whole(rows_together, "rows_together")
    pieces = math.ceil(rows / together)
    if pieces < folds:
        raise ValueError(
            f"n_rows is {rows}, which is {pieces} pieces of {together} rows; the {folds} folds "
            "need one each. Give fewer folds, or a smaller rows_together."
        )
    source = streams.generator(quantities.whole(seed, "seed", 0), streams.SPECKLED_FOLDS)
    dealt = np.broadcast_to(np.arange(pieces)[:, np.newaxis] % folds, (pieces, neurons))
    held_out = np.repeat(source.permuted(dealt, axis=0) == fold, together, axis=0)[:rows]
    if data_filters is None:
        return ~held_out, held_out
    counted = columns.columns(data_filters, "data_filters") != 0
    if counted.shape != (rows, neurons):
        raise ValueError(
            f"data_filters has shape {counted.shape}; the responses have {(rows, neurons)}. "
            "Correct it."
        )
    return ~held_out & counted, held_out & counted


def checked_blocks(blocks, name):
    """First and last rows of blocks as an array.

    Parameters
    ----------
    blocks : array_like of int, (blocks, 2)
        Counted from 1; the last row belongs to the block.
    name : str
        Of the argument.

    Returns
    -------
    ndarray of int, (blocks, 2)

    Raises
    ------
    ValueError
        If they are not pairs of whole numbers, or a block ends before it begins.
    """
    found = columns.numbers(blocks, name)
    if found.ndim != 2 or found.shape[1] != 2 or found.dtype.kind not in "iu" or not len(found):
        raise ValueError(
            f"{name} is {quantities.shown(blocks)}; it must be a list of [first row, last row] of "
            "each block, whole numbers. Correct it."
        )
    for first, last in found:
        if not 1 <= first <= last:
            raise ValueError(
                f"{name} has a block [{first}, {last}]; rows count from 1, and a block ends at its "
                "first row or later. Correct it."
            )
    return found.astype(int)  # small types would overflow in what is counted from them


def _held_out(count, share):
    return min(max(round(share * count), 1), count - 1)


def _fold(which_fold, folds):
    if not quantities.is_whole(which_fold) or not 0 <= which_fold < folds:
        raise ValueError(
            f"which_fold is {quantities.shown(which_fold)}; there are {folds} folds, so it must "
            f"be a number from 0 to {folds - 1}. Correct it."
        )
    return int(which_fold)
