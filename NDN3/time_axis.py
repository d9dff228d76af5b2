"""Lags along the rows of a batch, which follow each other in time.

Before the first row everything counts as zero.
"""

from keras import ops


def lagged(rows, lags, spacing=1):
    """Earlier rows beside each row.

    Parameters
    ----------
    rows : tensor, (T, n)
    lags : int
        Number of lags; the first is the row itself.
    spacing : int
        Rows from one lag to the next.

    Returns
    -------
    tensor, (T, n, lags)
        Entry l of row t is row t - l * spacing.
    """
    spread = (lags - 1) * spacing
    padded = ops.pad(rows, [[spread, 0], [0, 0]])
    # ends count from the last row, so that the number of rows need not be known
    parts = [
        padded[spread - shift : -shift or None] for shift in range(0, spread + spacing, spacing)
    ]
    return ops.stack(parts, axis=-1)


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
    return ops.reshape(lagged(rows, lags), (-1, rows.shape[1] * lags))


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
