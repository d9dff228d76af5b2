"""Checkpoint of one member: its row of every array, its history, and what it belongs to.

A checkpoint is one `.npz` without pickles. It appears complete or not at all.
"""

import hashlib
import json
from pathlib import Path

import keras
import numpy as np

from NDN3 import paths


def write(path, signature, state, history):
    """Write a checkpoint; an older one stays whole until the new one is on disk.

    Parameters
    ----------
    path : path
        Its folder is made if missing.
    signature : str
        What the state belongs to (`signature`).
    state : nested structure of ndarray
        One member's row of every array.
    history : dict of list
        Numbers per summary.
    """
    path = Path(path)
    paths.made(path.parent)
    arrays = {f"state/{index:04d}": leaf for index, leaf in enumerate(keras.tree.flatten(state))}
    arrays |= {f"history/{name}": np.asarray(values) for name, values in history.items()}
    arrays["signature"] = np.array(signature)
    with paths.replaced(path) as file:
        np.savez(file, **arrays)


def read(path, signature, template, names):
    """State and history of a checkpoint.

    Parameters
    ----------
    path : path
    signature : str
        What the state must belong to.
    template : nested structure of ndarray
        Gives the structure of the state, and the shape and type of each array.
    names : iterable of str
        Entries that the history must have.

    Returns
    -------
    state, history
        None when there is no checkpoint.

    Raises
    ------
    ValueError
        If the file belongs to another training or cannot be read.
    """
    path = Path(path)
    if not path.exists():
        return None
    try:
        with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
            arrays = dict(file)
        found = str(arrays.pop("signature"))
    except Exception as error:  # whatever reading a damaged file raises, it is damage
        raise ValueError(unreadable(path, error)) from error
    if found != signature:
        raise ValueError(
            f"{path} was written by a training with another model, data, seed, batch size, "
            "optimiser, schedule, loss, number or group size. Use those again, or remove the file "
            "to start from epoch 0."
        )
    if damage := misfit(arrays, template, names):
        raise ValueError(unreadable(path, damage))
    leaves = [arrays[name] for name in sorted(arrays) if name.startswith("state/")]
    history = {
        name.removeprefix("history/"): list(array)
        for name, array in arrays.items()
        if name.startswith("history/")
    }
    return keras.tree.pack_sequence_as(template, leaves), history


def unreadable(path, reason):
    """Sentence about a damaged checkpoint."""
    said = str(reason).partition("\n")[0] or type(reason).__name__
    return f"{path} cannot be read as a checkpoint ({said}). Remove it to start from epoch 0."


def misfit(arrays, template, names):
    """What is wrong with the arrays of a checkpoint; None for nothing.

    Parameters
    ----------
    arrays : dict of ndarray
        Without the signature.
    template, names
        As in `read`.

    Returns
    -------
    str or None
    """
    wanted = {
        f"state/{index:04d}": np.asarray(leaf)
        for index, leaf in enumerate(keras.tree.flatten(template))
    }
    history = {f"history/{name}" for name in names}
    if strange := sorted(arrays.keys() ^ (wanted.keys() | history)):
        return f"the entry {strange[0]} is missing or unknown"
    for name, leaf in wanted.items():
        found = arrays[name]
        if found.shape != leaf.shape or found.dtype != leaf.dtype:
            return (
                f"{name} has shape {found.shape} of {found.dtype}, and not {leaf.shape} of "
                f"{leaf.dtype}"
            )
    lengths = {arrays[name].shape for name in history}
    if len(lengths) > 1 or any(
        arrays[name].ndim != 1 or arrays[name].dtype.kind not in "biuf" for name in history
    ):
        return "the history has no lists of numbers of one length"
    return None


def signature(**parts):
    """One text for what decides whether a state can go on: the program, the data, the group.

    Parameters
    ----------
    **parts
        JSON-like values, arrays (their contents count) and objects (their class counts).

    Returns
    -------
    str
        SHA-256 in hex.
    """
    digest = hashlib.sha256()
    for name in sorted(parts):
        digest.update(name.encode())
        for leaf in keras.tree.flatten(parts[name]):
            if isinstance(leaf, np.ndarray):
                digest.update(f"{leaf.dtype}{leaf.shape}".encode())
                digest.update(np.ascontiguousarray(leaf))
            else:
                digest.update(json.dumps(leaf, default=lambda other: type(other).__name__).encode())
    return digest.hexdigest()


def named(function):
    """What tells a function of the training from another one, as far as that can be said.

    Parameters
    ----------
    function : callable or None

    Returns
    -------
    list or None
        Its name, and its `identity`, where it has one: the numbers that it depends on. Of other
        functions the name alone counts, because what they do cannot be compared.
    """
    if function is None:
        return None
    name = getattr(function, "__qualname__", type(function).__qualname__)
    return [name, repr(getattr(function, "identity", None))]


def architecture(model):
    """JSON-like description of a model: its layers with their settings, its variables' shapes.

    Names are left out, because Keras numbers them through in each process.
    """

    def nameless(config):
        if isinstance(config, dict):
            return {
                key: nameless(value)
                for key, value in sorted(config.items())
                if key
                not in ("name", "module", "registered_name", "build_config", "shared_object_id")
            }
        if isinstance(config, list | tuple):
            return [nameless(value) for value in config]
        return config if isinstance(config, str | int | float | bool | None) else repr_of(config)

    layers = []
    for layer in model._flatten_layers(include_self=False):
        try:
            config = nameless(layer.get_config())
        except NotImplementedError:  # a subclass without a configuration of its own
            config = None
        layers.append([type(layer).__name__, config])
    shapes = [[list(variable.shape), variable.dtype] for variable in model.weights]
    return json.dumps([type(model).__name__, layers, shapes])


def repr_of(value):
    """Text of a setting that is no JSON, without addresses of memory."""
    if isinstance(value, np.ndarray):
        return [str(value.dtype), value.tolist()]
    return getattr(value, "__name__", type(value).__name__)
