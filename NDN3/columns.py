"""What a user gives as a recording: numbers in columns, one row for each time step."""

import numpy as np

from NDN3 import quantities


def columns(values, name):
    """Numbers as a matrix, a row for each time step.

    Parameters
    ----------
    values : array_like, (T,) or (T, …)
        Further axes are folded into the columns, the last one fastest.
    name : str
        Of the argument, for the message.

    Returns
    -------
    ndarray, (T, n)
        Not a copy where the shape fits.

    Raises
    ------
    ValueError
        If they are no numbers, or there is no row or no column.
    """
    found = numbers(values, name)
    if found.ndim == 0 or found.size == 0:
        raise ValueError(
            f"{name} has shape {found.shape}; it must have at least one row and one column, as "
            "(time steps, columns). Correct it."
        )
    return found.reshape(len(found), -1)


def numbers(values, name):
    """Numbers as an array.

    Parameters
    ----------
    values : array_like
    name : str

    Returns
    -------
    ndarray of bool, int or float

    Raises
    ------
    ValueError
        If they are something else, are masked, or rows of a list differ in length.
    """
    quantities.unmasked(values, name)
    try:
        found = np.asarray(values)
    except ValueError:  # rows of a list that differ in length
        found = np.array(None)
    if found.dtype.kind not in "biuf":
        raise ValueError(
            f"{name} is {quantities.shown(values)} ({quantities.kind(values)}); it must be an "
            "array of real numbers. Convert it."
        )
    return found


def increasing(values, name, least=2):
    """Numbers that grow from each one to the next.

    Parameters
    ----------
    values : array_like, (n,)
    name : str
    least : int
        So many are needed.

    Returns
    -------
    ndarray, (n,)

    Raises
    ------
    ValueError
        If they do not grow, are too few, or one is not finite.
    """
    found = numbers(values, name)
    grows = found.ndim == 1 and np.isfinite(found).all() and (found[1:] > found[:-1]).all()
    if not grows or len(found) < least:
        raise ValueError(
            f"{name} is {quantities.shown(values)}; it must be a list of {least} or more finite "
            "numbers, each larger than the one before. Sort them, and leave out those that repeat."
        )
    return found
