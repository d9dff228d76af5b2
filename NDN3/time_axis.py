"""Lags along the rows of a batch, which follow each other in time.

Before the first row everything counts as zero.
"""

from keras import ops


def shifted(rows, lag):
    """Rows `lag` steps earlier.

    Parameters
    ----------
    rows : tensor, (T, …)
    lag : int
        From 0 on.

    Returns
    -------
    tensor, (T, …)
    """
    if lag == 0:
        return rows
    before = ops.zeros_like(rows[:1])
    padded = ops.concatenate([*[before] * lag, rows], axis=0)
    return padded[:-lag]


def embedded(rows, lags):
    """Lags of each column, the lag fastest.

    Parameters
    ----------
    rows : tensor, (T, n)
    lags : int
        Number of lags; 1 gives the rows as they are.

    Returns
    -------
    tensor, (T, n * lags)
        Column i * lags + l has column i of `rows`, l steps earlier.
    """
    if lags == 1:
        return rows
    copies = ops.stack([shifted(rows, lag) for lag in range(lags)], axis=-1)
    return ops.reshape(copies, (-1, rows.shape[1] * lags))


def chunks(count, length, spread):
    """Parts of a recording, each with the rows before it that it needs.

    Parameters
    ----------
    count : int
        Rows of the recording.
    length : int
        Rows of a part.
    spread : int
        Rows that come before it, where there are so many.

    Yields
    ------
    rows : slice
    before : int
        So many of them, the first ones, only come before.
    """
    for start in range(0, max(count, 1), length):
        first = max(start - spread, 0)
        yield slice(first, min(start + length, count)), start - first
