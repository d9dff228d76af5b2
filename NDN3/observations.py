"""Inputs, responses and masks as a network takes them: checked for shape, as floating point."""

import numpy as np

from NDN3 import noise, quantities


def inputs_for(keras_model, input_data):
    """Arrange the inputs of a network.

    Parameters
    ----------
    keras_model : NDN3.ffnetwork.FFNetworkModel
    input_data : ndarray, (rows, prod(input_dims)), or list of one
        A vector is taken for one column.

    Returns
    -------
    ndarray, (rows, prod(input_dims))

    Raises
    ------
    ValueError
        If there are several arrays, or the number of columns does not fit.
    """
    dims = keras_model.description["input_dims"]
    reason = f"the input dims {dims} ask for"
    return _columns(keras_model, input_data, "input_data", int(np.prod(dims)), reason)


def responses_for(keras_model, output_data, n_rows, name="output_data"):
    """Arrange responses, predictions or masks: one column per neuron.

    Parameters
    ----------
    keras_model : NDN3.ffnetwork.FFNetworkModel
    output_data : ndarray, (rows, neurons), list of one, or None
    n_rows : int
        Rows of what they belong to.
    name : str
        For messages.

    Returns
    -------
    ndarray, (rows, neurons), or None

    Raises
    ------
    ValueError
        If there are several arrays, or the shape does not fit.
    """
    if output_data is None:
        return None
    neurons = int(np.prod(keras_model.stack[-1].output_dims))
    found = _columns(keras_model, output_data, name, neurons, "the last layer has")
    if len(found) != n_rows:
        raise ValueError(
            f"{name} has {len(found)} rows, what it belongs to {n_rows}; row i of one belongs to "
            "row i of the other. Give as many."
        )
    return found


def check_values(noise_dist, inputs, responses, mask, used):
    """Refuse data that are not finite, and responses that the likelihood does not know.

    Parameters
    ----------
    noise_dist : str
    inputs, responses, mask : ndarray, or None for the mask
    used : ndarray of int
        Rows that are trained on or evaluated; others may hold anything.

    Raises
    ------
    ValueError
        It says which, and where.
    """
    for name, array in (("input_data", inputs), ("output_data", responses), ("data_filters", mask)):
        if array is not None:
            quantities.finite(array[used], f"{name} (rows in use)")
    counted = responses[used] if mask is None else (responses * mask)[used]
    smallest = noise.noise(noise_dist).smallest_response
    if counted.min() < smallest:
        raise ValueError(
            f"output_data reach down to {counted.min():g}; responses under noise_dist "
            f"{noise_dist!r} are {smallest:g} or more. Correct them, or use 'gaussian'."
        )


def only(array):
    """Take an array out of a list of one.

    Parameters
    ----------
    array : ndarray or list of ndarray

    Returns
    -------
    ndarray
    """
    return array[0] if isinstance(array, (list, tuple)) and len(array) == 1 else array


def _columns(keras_model, array, name, n_columns, reason):
    array = only(array)
    if isinstance(array, (list, tuple)):
        raise ValueError(
            f"{name} is a list of {len(array)}; one array (or a list of one) is supported. "
            "Give one array."
        )
    try:
        found = np.asarray(array, dtype=keras_model.variable_dtype)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{name} cannot be read as an array of numbers ({type(array).__name__}); it must have "
            f"{n_columns} columns of numbers. Give an array (rows, columns)."
        ) from error
    if found.ndim == 1:
        found = found[:, np.newaxis]
    if found.ndim != 2 or found.shape[1] != n_columns:
        raise ValueError(
            f"{name} has shape {np.shape(array)}; {reason} {n_columns} columns. "
            "Give it as (rows, columns)."
        )
    return found
