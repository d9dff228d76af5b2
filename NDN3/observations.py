"""Inputs, responses and masks as a network takes them: checked for shape, as floating point."""

import numpy as np

from NDN3 import noise, quantities, time_blocks


def inputs_for(keras_model, input_data):
    """Arrange the inputs of a model.

    Parameters
    ----------
    keras_model : NDN3.network_model.NetworkModel
    input_data : ndarray, (rows, features), or list with one for each external input
        A vector is taken for one column.

    Returns
    -------
    ndarray, (rows, features), or tuple of them if there are several inputs

    Raises
    ------
    ValueError
        If there are more or fewer arrays, or the number of columns or rows does not fit.
    """
    streams = keras_model.composition.streams
    arrays = as_list(input_data, len(streams), "input_data", "external inputs")
    found = []
    for number, (dims, array) in enumerate(zip(streams, arrays, strict=True)):
        name = "input_data" if len(streams) == 1 else f"input_data[{number}]"
        reason = f"the input dims {list(dims)} ask for"
        found.append(_columns(keras_model, array, name, int(np.prod(dims)), reason))
    if len({len(array) for array in found}) > 1:
        raise ValueError(
            f"the arrays of input_data have {[len(array) for array in found]} rows; row i of one "
            "belongs to row i of the others. Give as many."
        )
    return found[0] if len(found) == 1 else tuple(found)


def row_count(inputs):
    """Rows of what `inputs_for` gave."""
    return len(inputs[0] if isinstance(inputs, tuple) else inputs)


def taken(inputs, rows):
    """Some rows of what `inputs_for` gave."""
    return tuple(each[rows] for each in inputs) if isinstance(inputs, tuple) else inputs[rows]


def responses_for(keras_model, output_data, n_rows, name="output_data"):
    """Arrange responses, predictions or masks: one column per neuron.

    Parameters
    ----------
    keras_model : NDN3.network_model.NetworkModel
    output_data : ndarray, (rows, neurons), list with one for each output network, or None
    n_rows : int
        Rows of what they belong to.
    name : str
        For messages.

    Returns
    -------
    ndarray, (rows, neurons of all output networks), or None

    Raises
    ------
    ValueError
        If there are more or fewer arrays, or the shape does not fit.
    """
    if output_data is None:
        return None
    sizes = keras_model.neurons
    together = getattr(output_data, "shape", (0, 0))[1:] == (sum(sizes),)
    if len(sizes) > 1 and together:
        arrays, sizes = [output_data], [sum(sizes)]
    else:
        arrays = as_list(output_data, len(sizes), name, "output networks")
    found = []
    for number, (neurons, array) in enumerate(zip(sizes, arrays, strict=True)):
        called = name if len(sizes) == 1 else f"{name}[{number}]"
        if array is None and name == "data_filters":  # everything counts
            array = np.ones((n_rows, neurons))
        found.append(_columns(keras_model, array, called, neurons, "the last layer has"))
        if len(found[-1]) != n_rows:
            raise ValueError(
                f"{called} has {len(found[-1])} rows, what it belongs to {n_rows}; row i of one "
                "belongs to row i of the other. Give as many."
            )
    return found[0] if len(found) == 1 else np.concatenate(found, axis=1)


def by_network(keras_model, values):
    """Values of the neurons of each output network, in a list if there are several.

    Parameters
    ----------
    keras_model : NDN3.network_model.NetworkModel
    values : ndarray, (…, neurons of all output networks)

    Returns
    -------
    ndarray or list of ndarray
    """
    sizes = keras_model.neurons
    if len(sizes) == 1:
        return values
    return np.split(values, np.cumsum(sizes)[:-1], axis=-1)


def check_values(noise_dist, inputs, responses, mask, used, spread=0):
    """Refuse data that are not finite, and responses that the likelihood does not know.

    Parameters
    ----------
    noise_dist : str
    inputs : ndarray or tuple of ndarray
    responses, mask : ndarray, or None for the mask
    used : ndarray of int
        Rows that are trained on or evaluated; others may hold anything.
    spread : int
        Rows that the model reads before each of them.

    Raises
    ------
    ValueError
        It says which, and where.
    """
    check_mask(mask, used)
    # what is masked may be anything
    counted = responses[used] if mask is None else np.where(mask[used] == 0, 0, responses[used])
    names = "train_indxs and test_indxs"
    check_inputs(inputs, used, spread, names)
    advice = f"Replace them, or leave those rows out of {names}."
    quantities.finite(counted, "output_data (rows in use)", used, advice)
    check_smallest(noise_dist, counted)
    largest = noise.noise(noise_dist).largest_response
    if counted.max() > largest:
        raise ValueError(
            f"output_data reach up to {counted.max():g}; responses under noise_dist "
            f"{noise_dist!r} are {largest:g} or less. Clip them, or use 'poisson'."
        )


def check_inputs(inputs, used, spread, names):
    """Refuse inputs that are not finite in rows that a model reads.

    Parameters
    ----------
    inputs : ndarray or tuple of ndarray
    used : ndarray of int
        Rows that are trained on or evaluated.
    spread : int
        Rows that the model reads before each of them.
    names : str
        Of the arguments that say which rows are used, for the message.

    Raises
    ------
    ValueError
        It says where the first one is.
    """
    later = f" and {spread} after each" if spread else ""
    advice = f"Replace them, or leave those rows{later} out of {names}."
    if spread:
        used = time_blocks.with_context(used, spread, row_count(inputs))
    for array in inputs if isinstance(inputs, tuple) else (inputs,):
        quantities.finite(array[used], "input_data (rows in use)", used, advice)


def check_smallest(noise_dist, counted):
    """Refuse responses below those that a likelihood knows.

    Parameters
    ----------
    noise_dist : str
    counted : ndarray, (rows, neurons)
        Responses, 0 where they are masked.

    Raises
    ------
    ValueError
        It says which is the lowest.
    """
    smallest = noise.noise(noise_dist).smallest_response
    if counted.min() < smallest:
        raise ValueError(
            f"output_data reach down to {counted.min():g}; responses under noise_dist "
            f"{noise_dist!r} are {smallest:g} or more. Correct them, or use 'gaussian'."
        )


def check_mask(mask, rows):
    """Refuse a mask of other numbers than 0 and 1, or one that hides everything.

    Parameters
    ----------
    mask : ndarray, (rows, neurons), or None
    rows : ndarray of int
        Those that are trained on or evaluated.

    Raises
    ------
    ValueError
        It says which number, and where.
    """
    if mask is None:
        return
    used = mask[rows]
    quantities.finite(used, "data_filters (rows in use)", rows, "Give 0 or 1.")
    wrong = np.argwhere((used != 0) & (used != 1))
    if len(wrong):
        row, neuron = wrong[0]
        raise ValueError(
            f"data_filters have {used[row, neuron]:g} in row {rows[row]}, column {neuron}; a "
            "response counts, 1, or does not, 0. Give only these two."
        )
    if not used.any():
        raise ValueError(
            f"data_filters are 0 in all of the {len(rows)} rows in use; responses count where they "
            "are 1. Give 1 for those that were recorded."
        )


def as_list(arrays, count, name, what):
    """Arrays in a list of the right length.

    Parameters
    ----------
    arrays : ndarray or list of ndarray
    count : int
    name, what : str
        For the message.

    Returns
    -------
    list of ndarray

    Raises
    ------
    ValueError
        If there are more or fewer.
    """
    several = isinstance(arrays, (list, tuple))
    if count == 1 and not (several and len(arrays) == 1):
        if several and any(np.ndim(each) == 2 for each in arrays):
            raise ValueError(
                f"{name} is a list of {len(arrays)}; the model has one of its {what}, so one array "
                "(or a list of one) is needed. Give one array."
            )
        return [arrays]
    if not several or len(arrays) != count:
        given = f"a list of {len(arrays)}" if several else f"one {type(arrays).__name__}"
        raise ValueError(
            f"{name} is {given}; the model has {count} {what}. Give a list of {count} arrays."
        )
    return list(arrays)


def _columns(keras_model, array, name, n_columns, reason):
    advice = "Fill it, and give 0 in data_filters where responses do not count."
    quantities.unmasked(array, name, advice)
    try:
        found = np.asarray(array)
    except ValueError:  # lists of different lengths
        found = np.array(None)
    if found.dtype.kind not in "biuf":
        raise ValueError(
            f"{name} cannot be read as an array of numbers ({quantities.kind(array)}); it must "
            f"have {n_columns} columns of real numbers. Convert it, such as by .astype(float)."
        )
    with np.errstate(over="ignore"):  # numbers that become infinite are refused with a sentence
        found = np.asarray(found, dtype=keras_model.variable_dtype)
    if found.ndim == 1:
        found = found[:, np.newaxis]
    if found.ndim != 2 or found.shape[1] != n_columns:
        raise ValueError(
            f"{name} has shape {np.shape(array)}; {reason} {n_columns} columns. "
            "Give it as (rows, columns)."
        )
    return found
