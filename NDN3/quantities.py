"""Numbers, arrays and row numbers that a user gives, checked: what does not fit gets a sentence."""

import math
import numbers

import numpy as np

# Letters of a value in a message
LONGEST = 60


def shown(value):
    """What a user gave, for a message: on one line, and its beginning where it is long.

    Parameters
    ----------
    value : object

    Returns
    -------
    str
    """
    text = " ".join(repr(value).split())
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def is_whole(value):
    """Whether a value is an integer of Python or NumPy, and no bool."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def whole(value, name, smallest=1, largest=None):
    """Return a whole number as an int.

    Parameters
    ----------
    value : object
    name : str
        For the message.
    smallest : int
    largest : int, optional

    Returns
    -------
    int

    Raises
    ------
    ValueError
        If it is not a whole number from `smallest` to `largest`.
    """
    if not is_whole(value) or value < smallest or (largest is not None and value > largest):
        limits = f"{smallest}" if largest is None else f"{smallest} to {largest}"
        raise ValueError(
            f"{name} is {shown(value)}; it must be a whole number from {limits}. Correct it."
        )
    return int(value)


def real(value, name, fits=math.isfinite, allowed="a finite number"):
    """Return a number as a float.

    Parameters
    ----------
    value : object
    name, allowed : str
        For the message.
    fits : callable
        float -> whether the number is allowed; it must be False for NaN.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If it is not a number, or not allowed.
    """
    number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not number or not fits(value):
        raise ValueError(f"{name} is {shown(value)}; it must be {allowed}. Correct it.")
    return float(value)


def truth(value, name):
    """Refuse what is neither True nor False.

    Raises
    ------
    ValueError
        It names the argument.
    """
    if not isinstance(value, bool | np.bool_):
        raise ValueError(f"{name} is {shown(value)}; it must be True or False. Choose one of them.")


def finite(array, name, rows=None, advice="Replace them."):
    """Refuse an array with NaN or infinity in it.

    Parameters
    ----------
    array : ndarray
    name, advice : str
        For the message.
    rows : ndarray of int, optional
        Which rows of the user's array those of `array` are, for the message.

    Raises
    ------
    ValueError
        It says how many entries, and where the first one is.
    """
    wrong = ~np.isfinite(array)
    if wrong.any():
        first = [int(index) for index in np.argwhere(wrong)[0]]
        if rows is not None:
            first[0] = int(rows[first[0]])
        raise ValueError(
            f"{name} has NaN or infinity in {np.count_nonzero(wrong)} of {wrong.size} entries, the "
            f"first at {first}; all must be finite. {advice}"
        )


def unmasked(values, name, advice="Fill it with numbers, or take the entries out."):
    """Refuse an array of `numpy.ma` in which something is masked.

    Parameters
    ----------
    values : object
    name, advice : str
        For the message.

    Raises
    ------
    ValueError
        If there is a mask, which NumPy would drop without a word.
    """
    parts = values if isinstance(values, (list, tuple)) else [values]
    if any(isinstance(part, np.ma.MaskedArray) and np.ma.is_masked(part) for part in parts):
        raise ValueError(
            f"{name} is a masked array of numpy.ma; masks of such arrays are not read, and arrays "
            f"must be plain. {advice}"
        )


def kind(values):
    """What is no array of real numbers, in words for a message."""
    dtype = getattr(values, "dtype", None)
    return type(values).__name__ if dtype is None else f"{type(values).__name__} of dtype {dtype}"


def rows(given, count, name):
    """Row numbers as an array of int.

    Parameters
    ----------
    given : sequence of int, or of one bool for each row
    count : int
        Rows that there are.
    name : str
        For the message.

    Returns
    -------
    ndarray of int

    Raises
    ------
    ValueError
        If they are none, of another type, or out of range.
    """
    try:
        found = np.asarray(given)
    except ValueError:  # lists of different lengths
        found = np.array(None)
    if found.ndim != 1 or (found.size and found.dtype.kind not in "biu"):
        raise ValueError(
            f"{name} are an array of {found.dtype} of shape {found.shape}; they must be a list of "
            "whole numbers, or one bool for each row. Correct them."
        )
    if found.dtype == bool:
        if len(found) != count:
            raise ValueError(
                f"{name} are {len(found)} bools; the data have {count} rows. "
                "Give one bool for each row, or the numbers of the rows."
            )
        found = np.flatnonzero(found)
    if found.size == 0 or found.min() < 0 or found.max() >= count:
        raise ValueError(
            f"{name} must lie in 0…{count - 1} and be at least one, got "
            f"{'none' if found.size == 0 else f'{found.min()}…{found.max()}'}. Correct them."
        )
    return found.astype(int)  # small types would overflow in what is counted from them


def shape_of(given):
    """Shape of an array, or of lists of numbers; () of all else."""
    try:
        return np.shape(given)
    except ValueError:  # lists of different lengths
        return ()


def is_empty(given):
    """Whether a list or an array has nothing in it."""
    return given.size == 0 if isinstance(given, np.ndarray) else given in ([], ())


def chosen_rows(data_indxs, count):
    """Row numbers that a user gives as `data_indxs`; all of `count` rows for None."""
    if data_indxs is None:
        return np.arange(count)
    return rows(data_indxs, count, "rows of data_indxs")
