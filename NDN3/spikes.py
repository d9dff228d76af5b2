"""Spike times as counts, and what a neuron's own past spikes add to its rate."""

import numpy as np

from NDN3 import columns, quantities

# What lies nearer to the edge of a bin counts as on it [bins]
ON_EDGE = 1e-9


def spikes_to_robs(spks, num_time_pts, dt):
    """Spikes in each time bin.

    Parameters
    ----------
    spks : array_like, (spikes,), or list of such
        Spike times, in the unit of `dt`; a list has one array for each neuron.
    num_time_pts : int
        T, number of bins; the first one begins at time 0.
    dt : float
        Width of a bin.

    Returns
    -------
    ndarray of int, (T, neurons)
        A bin has its left edge and not its right one. Spikes before 0, or at T * dt and later, do
        not count.

    Raises
    ------
    ValueError
        If a time is not finite, or `dt` is not above 0.

    Notes
    -----
    The original function multiplied a range by `dt`, which Python 3 refuses, and put spikes at
    exactly T * dt into the last bin.
    """
    count = quantities.whole(num_time_pts, "num_time_pts")
    width = quantities.real(dt, "dt", lambda x: 0 < x < np.inf, "a finite number above 0")
    several = isinstance(spks, (list, tuple)) and any(np.ndim(each) > 0 for each in spks)
    found = []
    for number, each in enumerate(spks if several else [spks]):
        name = f"spks[{number}]" if several else "spks"
        times = columns.numbers(each, name).ravel()
        quantities.finite(times, name)
        places = times / width
        nearest = np.round(places)
        # .3 / .1 is less than 3 in floats; a spike there lies on the edge
        bins = np.where(np.abs(places - nearest) < ON_EDGE, nearest, np.floor(places))
        bins = bins[(bins >= 0) & (bins < count)].astype(int)
        found.append(np.bincount(bins, minlength=count))
    return np.stack(found, axis=1)
