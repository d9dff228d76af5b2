"""Blocks of rows that follow each other in time, such as trials, and the rows that come before.

What works along time needs some rows before a row (its spread). A row counts only if they are all
there, in its block. Blocks are (start, end), counted from 0, the end not included; without blocks
the whole recording is one.
"""

import numpy as np

from NDN3 import quantities


def checked(blocks, count):
    """Blocks in the order of time.

    Parameters
    ----------
    blocks : sequence of (int, int)
        (start, end), from 0, the end not included.
    count : int
        Rows of the recording.

    Returns
    -------
    tuple of (int, int)

    Raises
    ------
    ValueError
        If there is none, one is empty or lies outside of the recording, or two share rows.
    """
    return _sorted(blocks, count, 0, "(start, end), counted from 0, the end not included")


def from_pairs(blocks, count):
    """Blocks that a user of NDN3 gives, as the other functions take them.

    Parameters
    ----------
    blocks : sequence of (int, int)
        [first, last] row of each, counted from 1, the last one included.
    count : int
        Rows of the recording.

    Returns
    -------
    tuple of (int, int)
        (start, end), from 0, the end not included, in the order of time.

    Raises
    ------
    ValueError
        As `checked`.
    """
    return _sorted(blocks, count, 1, "[first, last], counted from 1, the last one included")


def _sorted(blocks, count, first, meaning):
    try:
        found = np.asarray(blocks)
    except ValueError:  # rows of a list that differ in length
        found = np.array(None)
    pairs = found.ndim == 2 and found.shape[1:] == (2,) and found.dtype.kind in "iu"
    if not pairs or not len(found):
        raise ValueError(
            f"blocks are {quantities.shown(blocks)}; they must be pairs of whole numbers "
            f"{meaning}. Give at least one pair."
        )
    found = found.astype(int)  # small types would overflow
    for start, end in found:
        if not first <= start < end + first or end > count:
            raise ValueError(
                f"blocks have [{start}, {end}]; a block is {meaning}, inside of the {count} rows "
                "of the recording, and has a row at least. Correct it."
            )
    found = found[np.argsort(found[:, 0])] - [first, 0]
    for one, other in zip(found[:-1], found[1:], strict=True):
        if one[1] > other[0]:
            raise ValueError(
                f"blocks share rows: one ends after row {one[1] - 1} (from 0), the next starts at "
                f"row {other[0]}; each row may be in one of them. Correct them."
            )
    return tuple((int(start), int(end)) for start, end in found)


def history(count, blocks=None):
    """How many rows come before each row in its block.

    Parameters
    ----------
    count : int
        Rows of the recording.
    blocks : sequence of (int, int), optional
        From `checked`.

    Returns
    -------
    ndarray of int, (count,)
        -1 for rows in no block.
    """
    found = np.full(count, -1)
    for start, end in [(0, count)] if blocks is None else blocks:
        found[start:end] = np.arange(end - start)
    return found


def counted(rows, spread, count, blocks=None, name="rows"):
    """Those of some rows that have all the rows before them that they need.

    Parameters
    ----------
    rows : ndarray of int
    spread : int
        Rows that a row needs before it.
    count : int
        Rows of the recording.
    blocks : sequence of (int, int), optional
        From `checked`.
    name : str
        Of the rows, for the message.

    Returns
    -------
    ndarray of int
        In the order of `rows`.

    Raises
    ------
    ValueError
        If there are none.
    """
    found = rows[history(count, blocks)[rows] >= spread]
    if not len(found):
        where = "of the recording" if blocks is None else "of its block"
        raise ValueError(
            f"{name} are {len(rows)} rows, of which none "
            + (f"has {spread} rows {where} before it" if spread else "is in a block")
            + "; only such rows count. Give "
            + ("more rows that follow each other." if blocks is None else "blocks that have them.")
        )
    return found


def with_context(rows, spread, count):
    """Rows and those that they need before them.

    Parameters
    ----------
    rows : ndarray of int
    spread : int
        Rows that a row needs before it; as many as there are in the recording.
    count : int
        Rows of the recording.

    Returns
    -------
    ndarray of int
        Each once, in the order of time. All that a row of `rows` needs stands right before it.
    """
    changes = np.zeros(count + 1, int)
    np.add.at(changes, np.maximum(rows - spread, 0), 1)
    np.add.at(changes, rows + 1, -1)
    return np.flatnonzero(np.cumsum(changes[:count]))


def pieces(rows, length, spread, count, blocks=None):
    """Cut a recording into pieces of successive rows, so that each of some rows is in one.

    A piece begins at the first row that is in none yet. It bridges rows that do not count, but
    ends with its block.

    Parameters
    ----------
    rows : ndarray of int
        From `counted`; a row that comes twice counts twice.
    length : int
        Rows of a piece, without those that come before; shorter where no block has so many.
    spread : int
        Rows that are put before it.
    count : int
        Rows of the recording.
    blocks : sequence of (int, int), optional
        From `checked`.

    Returns
    -------
    windows : ndarray of int, (pieces, spread + length)
        Rows of each piece; beyond the end of the recording the last row is repeated.
    weights : ndarray of int, (pieces, spread + length)
        How often each counts in this piece; 0 for those that only come before, or fill up.
    """
    times = np.bincount(rows, minlength=count)
    used = np.flatnonzero(times)
    block = used - history(count, blocks)[used]
    ends = np.searchsorted(block, block, side="right")
    length = min(length, int((used[ends - 1] - used).max()) + 1)
    starts, members, position = [], [], 0
    while position < len(used):
        end = min(np.searchsorted(used, used[position] + length), ends[position])
        starts.append(used[position])
        members.append(used[position:end])
        position = end
    windows = np.add.outer(starts, np.arange(-spread, length))
    weights = np.zeros(windows.shape, int)
    for start, inside, row in zip(starts, members, weights, strict=True):
        row[inside - start + spread] = times[inside]
    return np.minimum(windows, count - 1), weights
