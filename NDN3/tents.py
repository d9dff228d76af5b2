"""Tent functions: triangles that overlap and add up to one.

A tent is one at its anchor and falls linearly to zero at the neighbouring anchors. Weights on tents
make a piecewise linear function, of lag or of stimulus value, with few parameters.
"""

import numpy as np

from NDN3 import columns, quantities

# Far beyond any temporal kernel; a slip in `doubling_time` would fill the memory
MOST_LAGS = 100_000


def tents(values, anchors):
    """Tents at some values; the first one stays at one below its anchor, the last one above.

    Parameters
    ----------
    values : array_like, any shape
    anchors : array_like, (n,)
        Increasing, two or more.

    Returns
    -------
    ndarray, (*shape of values, n)

    Raises
    ------
    ValueError
        If the anchors do not increase, or the values are no numbers.
    """
    anchors = columns.increasing(anchors, "anchors")
    return _interpolated(columns.numbers(values, "values"), anchors, np.eye(len(anchors)))


def tent_basis_generate(xs=None, num_params=None, doubling_time=None, init_spacing=1, first_lag=0):
    """Tents over lags, whose distance may grow with the lag.

    Parameters
    ----------
    xs : sequence of int, optional
        Lags at which the tents have their peaks; increasing, from 0.
    num_params : int, optional
        In place of `xs`: number of tents.
    doubling_time : int, optional
        After each so many tents the distance doubles; by default it stays.
    init_spacing : int
        Distance of the first tents.
    first_lag : int
        Peak of the first tent.

    Returns
    -------
    ndarray, (last peak + 1, tents)
        A temporal kernel is this matrix times its weights. If the first peak is not at lag 0, the
        first tent rises from zero at lag 0.

    Raises
    ------
    ValueError
        If neither `xs` nor `num_params` is given, both disagree, or a number is out of range.
    """
    if xs is None:
        if num_params is None:
            raise ValueError(
                "xs and num_params are None; the tents need their peaks or their number. "
                "Give one of them."
            )
        peaks = _peaks(num_params, doubling_time, init_spacing, first_lag)
    else:
        peaks = columns.increasing(xs, "xs", least=1)
        if peaks.dtype.kind == "b" or peaks[0] < 0 or (peaks != np.floor(peaks)).any():
            raise ValueError(
                f"xs is {quantities.shown(xs)}; it must be a list of whole numbers of lags, from "
                "0. Correct it."
            )
        peaks = peaks.astype(int)
        if num_params is not None and num_params != len(peaks):
            raise ValueError(
                f"num_params is {quantities.shown(num_params)}, and xs has {len(peaks)} peaks; "
                "each tent has one. Give only one of the two."
            )
    heights = np.eye(len(peaks))
    lags = np.arange(peaks[-1] + 1)
    if peaks[0] > 0:
        peaks = np.concatenate([[0], peaks])
        heights = np.concatenate([np.zeros((1, heights.shape[1])), heights])
    return _interpolated(lags, peaks, heights)


def design_matrix_tent_basis(s, anchors, zero_left=False, zero_right=False):
    """Tents of one variable over time, as columns of a design matrix.

    Parameters
    ----------
    s : array_like, (T,) or (T, 1)
        The variable, such as the position of the eye.
    anchors : array_like, (n,)
        Peaks of the tents, increasing.
    zero_left, zero_right : bool
        Leave out the first, or the last tent: a function with such a basis is zero there.

    Returns
    -------
    ndarray, (T, n - zero_left - zero_right)

    Raises
    ------
    ValueError
        If there are several variables, the anchors do not increase, or no tent is left.
    """
    found = columns.columns(s, "s")
    if found.shape[1] != 1:
        raise ValueError(
            f"s has {found.shape[1]} columns; it must be one variable. Give one column after the "
            "other, or use create_NL_embedding."
        )
    quantities.truth(zero_left, "zero_left")
    quantities.truth(zero_right, "zero_right")
    basis = tents(found[:, 0], anchors)
    kept = basis[:, int(zero_left) : basis.shape[1] - int(zero_right)]
    if kept.shape[1] == 0:
        raise ValueError(
            f"zero_left and zero_right leave none of the {basis.shape[1]} tents; at least one is "
            "needed. Give more anchors."
        )
    return kept


def create_NL_embedding(stim, bounds):
    """Tents of each column of a stimulus, so that a linear layer learns a function of its values.

    Parameters
    ----------
    stim : array_like, (T, d)
    bounds : array_like, (n,)
        Peaks of the tents, increasing, in units of the stimulus. Below the first and above the last
        one their tents stay at one.

    Returns
    -------
    ndarray, (T, d * n)
        Column i * n + k is tent k of column i: dims [n, d, 1].

    Raises
    ------
    ValueError
        If the bounds do not increase, or the stimulus is no matrix of numbers.
    """
    stim = columns.columns(stim, "stim")
    return tents(stim, columns.increasing(bounds, "bounds")).reshape(len(stim), -1)


def design_matrix_event_basis(events, num_time_pts, basis, first_lag=0):
    """What follows events, such as saccades or stimulus onsets, in a temporal basis.

    Parameters
    ----------
    events : sequence of int, (k,), or list of such
        Rows in which the event happens, from 0; may repeat. A list of several kinds of events gives
        columns for each.
    num_time_pts : int
        T, rows of the design matrix.
    basis : array_like, (lags, n)
        Temporal functions as columns, such as from `tent_basis_generate`.
    first_lag : int
        Lag of the first row of the basis; a negative one begins before the event.

    Returns
    -------
    ndarray, (T, kinds * n)
        Column i * n + k at row t is the sum of `basis[t - e - first_lag, k]` over the events e of
        kind i.

    Raises
    ------
    ValueError
        If an event is not in the recording, or the basis is no matrix.
    """
    count = quantities.whole(num_time_pts, "num_time_pts")
    if not quantities.is_whole(first_lag) or abs(first_lag) > MOST_LAGS:
        raise ValueError(
            f"first_lag is {quantities.shown(first_lag)}; it must be a whole number, up to "
            f"{MOST_LAGS} before or after the event. Correct it."
        )
    basis = columns.columns(basis, "basis")
    several = isinstance(events, (list, tuple)) and any(np.ndim(kind) > 0 for kind in events)
    kinds = events if several else [events]
    found = np.zeros((count, len(kinds), basis.shape[1]))
    for number, kind in enumerate(kinds):
        if np.size(kind) == 0:
            continue
        name = f"events[{number}]" if several else "events"
        for event in quantities.rows(kind, count, f"rows of {name}"):
            first = event + first_lag
            rows = slice(max(first, 0), max(min(first + len(basis), count), 0))
            found[rows, number] += basis[rows.start - first : rows.stop - first]
    return found.reshape(count, -1)


def _interpolated(values, peaks, heights):
    """Piecewise linear functions through heights [peaks, n] at peaks, constant outside."""
    functions = [np.interp(values, peaks, column) for column in heights.T]
    return np.stack(functions, axis=-1)


def _peaks(num_params, doubling_time, init_spacing, first_lag):
    count = quantities.whole(num_params, "num_params")
    spacing = quantities.whole(init_spacing, "init_spacing [lags]")
    first = quantities.whole(first_lag, "first_lag", 0)
    if doubling_time is None:
        doubling_time = count
    period = min(quantities.whole(doubling_time, "doubling_time [tents]"), count)
    doublings = np.arange(count - 1) // period
    peaks = first + np.cumsum([0.0, *(spacing * 2.0**doublings)])
    if peaks[-1] > MOST_LAGS:
        raise ValueError(
            f"num_params {count} and doubling_time {doubling_time} reach {peaks[-1]:.3g} lags; the "
            f"basis may have {MOST_LAGS}. Give fewer tents, or a longer doubling_time."
        )
    return peaks.astype(int)
