"""Data in memory, held against the model and the functions that are to be trained with them."""

import re

import keras
import numpy as np

from NDN3 import quantities, segments
from NDN3.batches import tensors

# What a layer of Keras or the framework below says of inputs that it does not take
MISFITS = ("incompatible", "expects", "Missing data for input", "contracting dimensions")


def check(data, model, loss, metrics, name):
    """Refuse data that cannot be trained on or evaluated.

    Parameters
    ----------
    data : NDN3.batches.Data
    model : keras.Model
        Built.
    loss : callable
        As for `NDN3.training.fit`.
    metrics : dict of callable
    name : str
        "data" or "validation", for the message.

    Raises
    ------
    ValueError
        If something that counts is not finite, the model does not take the inputs, responses would
        be stretched to its output or its output to them, the loss does not give one value per row,
        or a metric gives no scalar.
    """
    check_values(data, name, segments.spread_of(model))
    few = keras.tree.map_structure(
        lambda array: None if array is None else np.asarray(array)[:5],
        (data.inputs, data.responses, data.mask),
    )
    inputs, responses, mask = tensors(few, model.variable_dtype)
    output = output_of(model, inputs, data, name)
    check_loss(data, loss, name, output, responses, mask)
    if mask is not None:
        responses, output = responses * mask, output * mask
    for title, metric in metrics.items():
        value = metric(responses, output, mask)
        try:
            tensor = keras.ops.convert_to_tensor(value)
            shape = None if "str" in keras.backend.standardize_dtype(tensor.dtype) else tensor.shape
        except (TypeError, ValueError):  # no tensor at all
            shape = None
        if shape is None or tuple(shape):
            given = f"a {type(value).__name__}" if shape is None else f"the shape {tuple(shape)}"
            raise ValueError(
                f"metrics[{title!r}] gives {given} for {name}; a metric must give one number for "
                "all rows. Take its mean, or return a number."
            )


def check_values(data, name, spread):
    """Refuse arrays of `numpy.ma`, and NaN in rows that are used; other parameters as in `check`.

    Other rows may hold anything, and so may responses where the mask is 0.

    Parameters
    ----------
    spread : int
        Rows that the model needs before a row: there the inputs are used.
    """
    context, _ = segments.stretch(data, spread)
    counted = data.selected(spread)
    named = [("inputs", array) for array in keras.tree.flatten(data.inputs)]
    named += [("mask", data.mask)] * (data.mask is not None)
    for part, array in [*named, ("responses", data.responses)]:
        quantities.unmasked(array, f"the {part} of {name}", "Fill it, and give a mask of 0 and 1.")
        array = np.asarray(array)
        rows = context if part == "inputs" else counted
        if array.dtype.kind != "f":
            continue
        fits = np.isfinite(array)
        if part == "responses" and data.mask is not None:
            fits |= np.asarray(data.mask) == 0
        wrong = ~fits.reshape(len(array), -1).all(axis=1)
        spoiled = rows[wrong[rows]]
        if len(spoiled):
            raise ValueError(
                f"the {part} of {name} have NaN or infinity in {len(spoiled)} of {len(rows)} rows "
                f"in use, the first is row {spoiled[0]}; all must be finite. Replace them, or "
                "leave those rows out with rows=."
            )


def output_of(model, inputs, data, name):
    """Output of a model for some rows; parameters as in `check`, `inputs` being tensors."""
    try:
        return model(inputs, training=False)
    except Exception as error:
        # the message of Keras has many lines, of which the first that says something is enough
        lines = re.sub(r"\x1b\[\d*m", "", str(error)).splitlines()
        said = next((line for line in lines if any(text in line for text in MISFITS)), None)
        if said is None:
            raise
        shapes = [np.shape(array) for array in keras.tree.flatten(data.inputs)]
        raise ValueError(
            f"the inputs of {name} have the shapes {shapes}, which the model does not take "
            f"({said.strip()[:200]}); they must be those that it was made for. Reshape them, or "
            "make the model for them."
        ) from error


def check_loss(data, loss, name, output, responses, mask):
    """Refuse responses that the loss cannot compare with the output of the model."""
    given, made = tuple(responses.shape), tuple(output.shape)
    sentence = (
        f"the responses of {name} have shape {np.shape(data.responses)}, those of the model "
        f"{(len(data.responses), *made[1:])}; "
    )
    try:
        # more rows than anybody has neurons or classes, so that they are not taken for each other
        stretched = given != made and np.broadcast_shapes(
            *[(10**9 + 7, *shape[1:]) for shape in (given, made)]
        )
    except ValueError:
        stretched = False  # the loss knows what to do with both, or refuses them
    if stretched:
        raise ValueError(sentence + "both must be equal. Reshape the responses.")
    try:
        losses = loss(responses, output, mask)
    except Exception as error:
        if given == made:
            raise
        raise ValueError(
            sentence + "the loss cannot compare them. Give responses like the output."
        ) from error
    if tuple(losses.shape) != given[:1]:
        raise ValueError(
            sentence + f"for {given[0]} rows the loss gives the shape {tuple(losses.shape)} "
            "and must give one value per row. Sum it over the other axes."
        )
