"""Arguments of the trainer, checked and completed."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from NDN3 import data_checks, quantities
from NDN3.batches import Data, HostBatches, Sample
from NDN3.lockstep import numbers_of
from NDN3.optimizers import LIMITS, Adam

LONGEST_CHUNK = 64
FEED_BYTES = 64 * 2**20


@dataclass(frozen=True)
class EarlyStop:
    """When a member stops before its last epoch.

    After each epoch the watched cost enters a window; the member stops when the mean over the
    window no longer falls by more than `tolerance`.

    Parameters
    ----------
    window : int
        Number of epochs.
    tolerance : float
    watch : {"test", "train", "holdout"}
        Rows whose cost is watched: those of `validation`, all training rows, or those of `holdout`.
    penalized : bool
        Penalties count as well.
    """

    window: int
    tolerance: float = 0.0
    watch: str = "test"
    penalized: bool = True

    def __post_init__(self):
        quantities.whole(self.window, "the window of early stopping [epochs]")
        quantities.real(self.tolerance, "the tolerance of early stopping")
        if not isinstance(self.watch, str) or self.watch not in ("test", "train", "holdout"):
            raise ValueError(
                f"watch is {self.watch!r}; it must be 'test', 'train' or 'holdout'. Choose one."
            )
        quantities.truth(self.penalized, "penalized")


@dataclass(frozen=True)
class Summaries:
    """When costs and metrics are recorded, and where they are written.

    Parameters
    ----------
    folder_of : callable, optional
        Position of a member in `seeds` -> its folder; event files are written below its
        `summaries/train` and `summaries/test`. None: only the history is kept.
    every : int
        At epoch 0 and at epochs `every - 1`, `2 every - 1`, …
    mark : str
        Part of the names of the event files. Those of the same mark are replaced by the training,
        without a mark all in the folder.
    """

    folder_of: Callable[[int], Path] | None = None
    every: int = 1
    mark: str = ""

    def __post_init__(self):
        quantities.whole(self.every, "every [epochs]")
        if self.folder_of is not None and not callable(self.folder_of):
            raise ValueError(
                f"folder_of is {self.folder_of!r}; it must be a function of the position in "
                "seeds, or None. Give one."
            )


def check(
    *,
    model,
    seeds,
    epochs,
    batch_size,
    data,
    validation,
    holdout,
    optimizer,
    early_stop,
    keep_best,
    summaries,
    threads,
    memory,
    declared,
    metrics,
    functions,
    switches,
):
    """Refuse arguments of the wrong type or that do not fit each other.

    Parameters as for `NDN3.training.fit`; `functions` and `switches` are those of them that must be
    callable, or true or false, by name.

    Returns
    -------
    list of int
        The seeds.

    Raises
    ------
    ValueError
        It names the argument, and what is allowed.
    """
    if not isinstance(model, keras.Model):
        raise ValueError(
            f"model is {str(model)[:60]!r} of {type(model)}; it must be a keras.Model. Give one."
        )
    if isinstance(seeds, str) or not hasattr(seeds, "__iter__"):
        raise ValueError(f"seeds is {seeds!r}; it must be a list, such as seeds=[0]. Correct it.")
    seeds = list(seeds)
    if not seeds:
        raise ValueError("there are no seeds; give at least one, such as seeds=[0].")
    seeds = [quantities.whole(seed, f"seeds[{i}]", 0) for i, seed in enumerate(seeds)]
    for value, name in ((epochs, "epochs"), (threads, "threads"), (memory, "memory [bytes]")):
        quantities.whole(value, name)
    if declared is not None:
        quantities.whole(declared, "declared (None or a number of members)")
    for name, value, kinds in (
        ("data", data, (Data, Sample, HostBatches)),
        ("validation", validation, (Data, type(None))),
        ("holdout", holdout, (Data, type(None))),
        ("optimizer", optimizer, (Adam,)),
        ("early_stop", early_stop, (EarlyStop, type(None))),
        ("summaries", summaries, (Summaries, type(None))),
    ):
        if not isinstance(value, kinds):
            names = ["None" if kind is type(None) else kind.__name__ for kind in kinds]
            shown = value if isinstance(value, str | int | float) else type(value)
            raise ValueError(
                f"{name} is {shown!r}; it must be {' or '.join(names)} of NDN3.training. Make one."
            )
    if not isinstance(metrics, dict | None):
        raise ValueError(
            f"metrics is {metrics!r}; it must be a dict of functions by name. Give one, or None."
        )
    needed = {"loss": functions["loss"]} | {
        f"metrics[{name!r}]": metric for name, metric in (metrics or {}).items()
    }
    for name, value in (functions | needed).items():
        if not callable(value) and (value is not None or name in needed):
            raise ValueError(f"{name} is {value!r}; it must be a function. Give one.")
    for name, value in switches.items():
        quantities.truth(value, name)
    if switches["reuse"] and not hasattr(model, "structure"):
        raise ValueError(
            f"reuse is True and the model is a {type(model).__name__}; only a model that tells its "
            "structure, such as a network of NDN3, can share a program. Leave reuse out."
        )
    if isinstance(data, Data):
        quantities.whole(batch_size, "batch_size")
    if validation is None and (early_stop and early_stop.watch == "test"):
        raise ValueError(
            "early stopping watches test rows, but there are none; give validation=, "
            "or watch='train'."
        )
    if holdout is None and (early_stop and early_stop.watch == "holdout"):
        raise ValueError(
            "early stopping watches rows that are held out, but there are none; give holdout=, "
            "or watch='train'."
        )
    if not isinstance(data, Data) and early_stop and early_stop.watch == "train":
        raise ValueError(
            "early stopping can watch training rows only of data in memory; watch='test'."
        )
    if keep_best and validation is None and early_stop is None:
        raise ValueError("keep_best needs a cost to judge by; give validation= or early_stop=.")
    return seeds


def build(model, data):
    """Make the variables of a model that has none yet.

    Parameters
    ----------
    model : keras.Model
    data : NDN3.batches.Data
        One row of it is shown to the model.

    Raises
    ------
    ValueError
        If the data are of another kind, or do not fit the model.
    """
    if not model.built:
        if not isinstance(data, Data):
            raise ValueError("the model has no variables yet; call it once, or model.build(shape).")
        first = keras.tree.map_structure(lambda array: np.asarray(array)[:1], data.inputs)
        data_checks.output_of(model, first, data, "data")


def member_settings(model, optimizer, early_stop, per_member, count):
    """Numbers of each member.

    Parameters
    ----------
    model : keras.Model
    optimizer, early_stop, per_member
        As for `NDN3.training.fit`.
    count : int
        Members.

    Returns
    -------
    dict of ndarray, (members,)

    Raises
    ------
    ValueError
        If `per_member` names something that cannot differ, or has not a number for each member.
    """
    if not isinstance(per_member, dict | None):
        raise ValueError(
            f"per_member is {per_member!r}; it must be a dict of lists by name. Give one, or None."
        )
    per_member = per_member or {}
    settings = {name: getattr(optimizer, name) for name in optimizer.numbers}
    settings["penalty"] = 1.0
    settings["tolerance"] = early_stop.tolerance if early_stop else 0.0
    settings |= numbers_of(model)
    for name, values in per_member.items():
        if name not in settings:
            raise ValueError(
                f"per_member has {name!r}; what may differ between members is "
                f"{', '.join(sorted(settings))}."
            )
        check_member_numbers(name, values, count)
    return {
        name: np.broadcast_to(np.asarray(per_member.get(name, value), float), (count,))
        for name, value in settings.items()
    }


def check_member_numbers(name, values, count):
    """Refuse what are not `count` numbers that a setting may be.

    Raises
    ------
    ValueError
        It names the setting, and what is allowed.
    """
    try:
        shape = np.shape(values)
    except ValueError:  # rows of a list that differ in length
        shape = None
    if shape != (count,):
        given = "lists of several lengths" if shape is None else f"an array of shape {shape}"
        raise ValueError(
            f"per_member[{name!r}] is {given}; it must have one number for each of the {count} "
            "seeds. Give a list of them."
        )
    # an infinite learning rate makes one member diverge, beside others that do not
    limits = (lambda x: x >= 0, "a number from 0") if name == "learning_rate" else LIMITS.get(name)
    for index, value in enumerate(values):
        quantities.real(value, f"per_member[{name!r}][{index}]", *(limits or ()))


def checkpoint_path(checkpoint, index):
    """File that a user's function names for a member.

    Raises
    ------
    ValueError
        If it names none.
    """
    path = checkpoint(index)
    if not isinstance(path, str | os.PathLike):
        raise ValueError(
            f"checkpoint gave {path!r} for the position {index}; it must give the path of a file. "
            "Return one for each position in seeds."
        )
    return Path(path)


def free_variables(model, fit_variables):
    """For each trainable variable whether it is trained, or a 0/1 array.

    Parameters
    ----------
    model : keras.Model
    fit_variables : list of (bool or array_like), or None
        As for `NDN3.training.fit`.

    Returns
    -------
    list of (bool or ndarray)

    Raises
    ------
    ValueError
        If there is not one entry for each variable, of its shape.
    """
    variables = model.trainable_variables
    if fit_variables is None:
        return [True] * len(variables)
    if not isinstance(fit_variables, list | tuple):
        raise ValueError(
            f"fit_variables is {fit_variables!r}; it must be a list of one bool or array for each "
            "trainable variable. Give one, or None."
        )
    if len(fit_variables) != len(variables):
        raise ValueError(
            f"fit_variables has {len(fit_variables)} entries; the model has {len(variables)} "
            "trainable variables. Give one entry for each."
        )
    free = []
    for entry, variable in zip(fit_variables, variables, strict=True):
        try:
            array = np.asarray(entry)
        except ValueError:  # rows of a list that differ in length
            array = np.array(None)
        shapes = ((), tuple(variable.shape))
        numbers = array.shape in shapes and array.dtype.kind in "biuf"
        if not numbers or not np.isin(array, (0, 1)).all():
            raise ValueError(
                f"fit_variables of {variable.path} is {str(entry)[:60]} of shape {array.shape}; it "
                f"must be a bool or a 0/1 array of shape {shapes[1]}. Correct it."
            )
        free.append(array.astype(variable.dtype) if array.ndim else bool(array))
    if not any(np.any(entry) for entry in free):
        raise ValueError("fit_variables leaves nothing to train; free at least one variable.")
    return free


def start_values(model, values):
    """Start values that a user's function gave, if they fit a model.

    Parameters
    ----------
    model : keras.Model
    values : list of ndarray

    Returns
    -------
    list of ndarray

    Raises
    ------
    ValueError
        If they are not in the order and of the shapes of `model.weights`, or no finite numbers.
    """
    wanted = [tuple(variable.shape) for variable in model.weights]
    try:
        values = [np.asarray(value) for value in values]
        shapes = [value.shape for value in values]
    except (TypeError, ValueError):  # no list, or one whose rows differ in length
        values, shapes = [], None
    if shapes != wanted:
        given = "no list of arrays" if shapes is None else f"arrays of shapes {shapes}"
        raise ValueError(
            f"initialize gave {given}; the weights of the model have {wanted}. "
            "Give one array for each, in this order."
        )
    for value, variable in zip(values, model.weights, strict=True):
        if value.dtype.kind not in "biuf":
            raise ValueError(
                f"initialize gave an array of {value.dtype} for {variable.path}; start values are "
                "real numbers. Convert it."
            )
        quantities.finite(value, f"what initialize gave for {variable.path}")
    return values


def chunk_length(source, slots):
    """The most epochs of one call: so many that what is handed over stays small."""
    per_epoch = max(1, source.bytes_per_epoch(slots))
    return int(np.clip(FEED_BYTES // per_epoch, 1, LONGEST_CHUNK))
