"""Lags of a stimulus as columns of a design matrix, and arrays shifted along an axis."""

import numpy as np

from NDN3 import columns, quantities


def create_time_embedding(stim, pdims, up_fac=1, tent_spacing=1):
    """Each column of a stimulus at several lags; before the start everything is zero.

    Parameters
    ----------
    stim : array_like, (T,), (T, d) or (T, height, width)
    pdims : int or sequence of int
        [lags, width, height]; width times height is the number d of columns, and may be left out
        where d is 1.
    up_fac : int
        Each row is repeated so many times, for responses in finer time bins.
    tent_spacing : int
        Distance of the lags. Above 1 each column is first averaged with a triangle of this half
        width and unit area, so that weights on the lags make a piecewise linear kernel.

    Returns
    -------
    ndarray, (T * up_fac, d * lags)
        Column i * lags + l at row t has column i at row t - l * tent_spacing: dims
        [lags, width, height].

    Raises
    ------
    ValueError
        If the columns do not fit `pdims`, or a number is no positive whole one.
    """
    stim = columns.columns(stim, "stim")
    dims = list(pdims) if quantities.shape_of(pdims) else [pdims]
    if not dims:
        raise ValueError("pdims is empty; it must be [lags, width, height]. Give it.")
    lags, *pixels = (quantities.whole(size, f"pdims[{n}]") for n, size in enumerate(dims))
    up_fac = quantities.whole(up_fac, "up_fac")
    spacing = quantities.whole(tent_spacing, "tent_spacing [rows]")
    if int(np.prod(pixels)) != stim.shape[1]:
        raise ValueError(
            f"pdims is {dims}, which is {int(np.prod(pixels))} columns at {lags} lags; stim has "
            f"{stim.shape[1]} columns. Give [lags, width, height] with width * height columns."
        )
    rows = np.repeat(stim, up_fac, axis=0).astype(np.result_type(stim.dtype, np.float32))
    if spacing > 1:
        rows = _averaged(rows, spacing)
    embedded = np.zeros((*rows.shape, lags), rows.dtype)
    for lag in range(lags):
        embedded[lag * spacing :, :, lag] = rows[: max(len(rows) - lag * spacing, 0)]
    return embedded.reshape(len(rows), -1)


def shift_mat(m, sh, dim, zpad=True):
    """Array shifted along an axis.

    Parameters
    ----------
    m : array_like, any shape but ()
    sh : int
        Steps towards larger indices, so that rows come later; negative ones towards smaller ones.
    dim : int
        The axis.
    zpad : bool
        What comes in from outside is zero; otherwise what leaves at one end comes in at the other.

    Returns
    -------
    ndarray
        Of the same shape and type, a copy.

    Raises
    ------
    ValueError
        If there is no such axis, or the shift is no whole number.
    """
    found = columns.numbers(m, "the array to be shifted")
    if not quantities.is_whole(dim) or not -found.ndim <= dim < found.ndim:
        raise ValueError(
            f"dim is {quantities.shown(dim)}; an array of shape {found.shape} has the axes 0 to "
            f"{found.ndim - 1}. Give one of them."
        )
    if not quantities.is_whole(sh):
        raise ValueError(
            f"the shift is {quantities.shown(sh)}; it must be a whole number. Correct it."
        )
    quantities.truth(zpad, "zpad")
    shifted = np.roll(found, sh, dim)
    if zpad:
        along = np.moveaxis(shifted, dim, 0)  # a view
        length = len(along)
        along[: max(sh, 0)] = 0
        along[max(length + min(sh, 0), 0) :] = 0
    return shifted


def shift_mat_zpad(x, shift, dim=0):
    """Array shifted along an axis, with zeros from outside.

    Parameters
    ----------
    x, shift, dim
        As `m`, `sh` and `dim` of `shift_mat`.

    Returns
    -------
    ndarray, the shape of `x`

    Raises
    ------
    ValueError
        As `shift_mat`.
    """
    return shift_mat(x, shift, dim)


def _averaged(rows, half_width):
    """Rows weighted with a triangle around each, of unit area; zero outside of the recording."""
    found = np.zeros_like(rows)
    for offset in range(1 - half_width, half_width):
        weight = (1 - abs(offset) / half_width) / half_width
        kept = max(len(rows) - abs(offset), 0)
        first = max(-offset, 0)
        found[first : first + kept] += weight * rows[max(offset, 0) : max(offset, 0) + kept]
    return found
