"""The trainer: repetitions of one network trained together, whole epochs in one compiled program.

>>> results = fit(model, Data(images, responses), seeds=range(10), epochs=300, batch_size=16,
...               loss=loss, validation=Data(test_images, test_responses))     # doctest: +SKIP
>>> for result in results: ...                                                 # doctest: +SKIP

Each repetition (member) comes out when it ends. What a member becomes depends on its seed alone:
not on who trains beside it, in which order, or how often training was interrupted; every bit, as
long as the size of the group is the same.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from NDN3 import checkpoints, interrupts, quantities, start_values
from NDN3.batches import Ahead, Data, HostBatches, Sample, source_of
from NDN3.dropout import Dropout
from NDN3.evaluations import evaluations_of, watched_cost
from NDN3.groups import Group, Member
from NDN3.lockstep import Program
from NDN3.optimizers import Adam, AdamW

__all__ = [
    "Adam",
    "AdamW",
    "Data",
    "Dropout",
    "EarlyStop",
    "HostBatches",
    "Result",
    "Sample",
    "Summaries",
    "fit",
]

LARGEST_GROUP = 10
LONGEST_CHUNK = 64
FEED_BYTES = 64 * 2**20
CHUNK_SECONDS = 1.0
CHECKPOINT_SECONDS = 15.0


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
    watch : {"test", "train"}
        Rows whose cost is watched: those of `validation`, or all training rows.
    penalized : bool
        Penalties count as well.
    """

    window: int
    tolerance: float = 0.0
    watch: str = "test"
    penalized: bool = True

    def __post_init__(self):
        if self.window < 1:
            raise ValueError(
                f"the window of early stopping is {self.window}; give at least 1 epoch."
            )
        if self.watch not in ("test", "train"):
            raise ValueError(f"watch must be 'test' or 'train', got {self.watch!r}.")


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
    """

    folder_of: Callable[[int], Path] | None = None
    every: int = 1


@dataclass
class Result:
    """What became of one member.

    Attributes
    ----------
    index : int
        Position in `seeds`.
    seed : int
    weights : list of ndarray
        In the order of `model.weights`.
    best_weights : list of ndarray or None
        Those of the best epoch, if they were asked for.
    history : dict of ndarray
        One entry per summary: "epoch", "loss" (mean over the batches), and, such as
        "test/cost", what was evaluated.
    best_epoch : int
        Epoch with the lowest watched cost; -1 if it never was a number.
    stopped_epoch, diverged_epoch : int or None
        Epoch in which early stopping ended the training, or the cost was no longer finite.
    seconds : float
        Wall time since training began.
    group : int
        Number of slots; with the same number every bit comes out again.
    """

    index: int
    seed: int
    weights: list
    best_weights: list | None
    history: dict
    best_epoch: int
    stopped_epoch: int | None
    diverged_epoch: int | None
    seconds: float
    group: int


def fit(
    model,
    data,
    seeds=(0,),
    *,
    epochs,
    loss,
    batch_size=None,
    optimizer=None,
    validation=None,
    metrics=None,
    early_stop=None,
    keep_best=False,
    summaries=None,
    checkpoint=None,
    resume=True,
    per_member=None,
    fit_variables=None,
    initialize=None,
    schedule=None,
    group="auto",
    form="group",
    xla=True,
    order=None,
    last_batch_summary=False,
    evaluate_with_dropout=False,
    progress=None,
):
    """Train one network once for each seed.

    Parameters
    ----------
    model : keras.Model
        The architecture. Its values are neither used nor changed. May offer `precompute(inputs)`,
        a part without parameters that is then computed once.
    data : Data, Sample or HostBatches
        Where batches come from.
    seeds : sequence of int
    epochs : int
    loss : callable
        (response, prediction, mask) -> one value per row, in `keras.ops`. The cost of a batch is
        the mean over its rows; penalties of the model (`add_loss`, regularizers) are added to it.
    batch_size : int
        Rows per step; not with `Sample` and `HostBatches`. The last batch of an epoch may be
        smaller.
    optimizer : Adam, optional
    validation : Data, optional
        Rows that are evaluated, never trained on.
    metrics : dict of callable, optional
        Name -> (response, prediction, mask) -> scalar, over all evaluated rows.
    early_stop : EarlyStop, optional
    keep_best : bool
        Keep the weights of the best epoch.
    summaries : Summaries, optional
        By default the history has every epoch, and the training rows are not evaluated. With it
        they are: at most 500 of them, evenly spaced.
    checkpoint : callable, optional
        Position in `seeds` -> file. Written every 15 s, at an interruption, and when a member ends;
        the caller deletes it once the result is safe.
    resume : bool
        Go on from the checkpoints that exist.
    per_member : dict of sequence, optional
        One number per seed for "penalty" (factor on all penalties) and the optimiser's numbers,
        such as "learning_rate".
    fit_variables : list of (bool or ndarray), optional
        For each of `model.trainable_variables` whether it is trained, or a 0/1 array of its shape.
    initialize : callable, optional
        (model, seed) -> list of start values in the order of `model.weights`; by default drawn from
        the distributions of the model's initialisers.
    schedule : callable, optional
        Step (from 0) -> factor on the learning rate, or a dict of factors on the optimiser's
        numbers.
    group : int or "auto"
        Number of slots; "auto" is the number of seeds, at most 10.
    form : {"group", "turns"}
        Members mapped into one computation, or each on its own, chunk by chunk in turn (for models
        with layers that cannot be mapped, such as recurrent ones).
    xla : bool
        Compile with XLA. On a CPU, native convolutions are faster without.
    order : callable, optional
        (seed, epoch) -> permuted training rows, in place of the documented stream.
    last_batch_summary, evaluate_with_dropout : bool
        Ways of the original program, for its published numbers: train summaries from the last
        batch, dropout active in evaluations.
    progress : callable, optional
        Called after each chunk with (epochs done, all epochs, text), both numbers summed over
        members; the text names the epoch of the members that run and how many have ended.

    Returns
    -------
    iterator of Result
        Each member when it ends; several at once in the order of `seeds`.

    Raises
    ------
    ValueError
        If arguments do not fit each other, or a checkpoint belongs to another training.

    References
    ----------
    The adaptive part is `NDN3.optimizers`; early stopping and summaries follow NDN3 (Butts lab).
    """
    optimizer = Adam() if optimizer is None else optimizer
    functions = dict(
        loss=loss, checkpoint=checkpoint, initialize=initialize, schedule=schedule, order=order
    )
    seeds = check(
        seeds, epochs, batch_size, data, validation, optimizer, early_stop, keep_best, functions
    )
    slots = group_size(group, form, len(seeds))
    settings = member_settings(optimizer, early_stop, per_member or {}, len(seeds))
    build(model, data)
    for name, part in (("data", data), ("validation", validation)):
        if isinstance(part, Data):
            part.check_shapes(model, loss, name)
    dtype = model.trainable_variables[0].dtype
    source = source_of(data, model, batch_size, dtype, order)
    program = Program(
        model=model,
        loss=loss,
        metrics=metrics or {},
        optimizer=optimizer,
        source=source,
        evaluations=evaluations_of(
            model,
            data,
            validation,
            source,
            dtype,
            early_stop=early_stop,
            keep_best=keep_best,
            summaries=summaries,
            last_batch=last_batch_summary,
            training=evaluate_with_dropout,
        ),
        slots=slots,
        length=chunk_length(source, slots),
        mapped=form == "group",
        xla=xla,
        free=free_variables(model, fit_variables),
        schedule=schedule,
        early_stop=early_stop,
        watched=watched_cost(early_stop, keep_best),
        keep_best=keep_best,
        summary_every=summaries.every if summaries else 1,
    )
    identity = None
    if checkpoint is not None:
        identity = checkpoints.signature(
            architecture=checkpoints.architecture(model),
            data=[array for part in (data, validation) for array in arrays_of(part)],
            optimizer=[type(optimizer).__name__, optimizer.clip_norm],
            options=[slots, form, xla, batch_size, str(early_stop), keep_best, last_batch_summary],
            free=[np.asarray(free) for free in program.free],
            records=[*program.record_names, program.summary_every],
        )
    members = []
    for index, seed in enumerate(seeds):
        start = initialize(model, seed) if initialize else start_values.draw(model, seed)
        path = Path(checkpoint(index)) if checkpoint else None
        numbers = {name: values[index] for name, values in settings.items()}
        mark = checkpoints.signature(identity=identity, seed=seed, **numbers)
        member = Member(index, seed, program, start, numbers, epochs, path, mark)
        if path and resume:
            member.restore()
        members.append(member)
    return trained(program, members, slots, epochs, summaries, progress)


def arrays_of(data):
    """Arrays of `Data`; none of what is made while training."""
    if not isinstance(data, Data):
        return []
    parts = keras.tree.flatten((data.inputs, data.responses, data.mask, data.rows))
    return [np.asarray(part) for part in parts if part is not None]


def trained(program, members, slots, epochs, summaries, progress):
    """Results of the members, group after group, or all in turn."""
    began = time.monotonic()
    run = program.compile()
    groups = [
        Group(program, run, members[first : first + slots], slots)
        for first in range(0, len(members), slots)
    ]
    # in turns all members advance together; groups are trained one after the other
    waves = [[group] for group in groups] if program.mapped else [groups]
    ahead = Ahead(program.source)
    try:
        for wave in waves:
            for group in wave:
                group.open_summaries(summaries)
            yield from finished(wave, slots, began)
            while wave := [group for group in wave if group.running]:
                for group in wave:
                    with interrupts.deferred() as pending:
                        group.advance(ahead, CHUNK_SECONDS)
                        if progress is not None:
                            report(progress, members, epochs)
                        ended = any(member.ended for member in group.running_members)
                        if ended or group.since_checkpoint() > CHECKPOINT_SECONDS:
                            group.write_checkpoints()
                        if pending:
                            for interrupted in wave:
                                interrupted.write_checkpoints()
                    yield from finished([group], slots, began)
    finally:
        ahead.close()
        for group in groups:
            group.close_summaries()


def finished(groups, slots, began):
    """Results of the members that ended since the last look."""
    for group in groups:
        for member in group.collect():
            weights, best = member.weights()
            yield Result(
                index=member.index,
                seed=member.seed,
                weights=weights,
                best_weights=best,
                history={name: np.asarray(values) for name, values in member.history.items()},
                best_epoch=int(member.state["best_epoch"]),
                stopped_epoch=member.epoch_or_none("stopped"),
                diverged_epoch=member.epoch_or_none("diverged"),
                seconds=time.monotonic() - began,
                group=slots,
            )


def report(progress, members, epochs):
    """Tell the caller how far the members are."""
    done = sum(epochs if member.ended else member.epoch for member in members)
    running = [member for member in members if not member.ended]
    epoch = max(member.epoch for member in running or members)
    costs = [member.history["loss"][-1] for member in members if member.history["loss"]]
    text = f"epoch {epoch} of {epochs}, {len(members) - len(running)} of {len(members)} "
    text += "repetitions done"
    if costs:
        text += f", training cost {np.median(costs):.4g}"
    progress(done, epochs * len(members), text)


def group_size(group, form, count):
    """Number of slots."""
    if form not in ("group", "turns"):
        raise ValueError(f"form must be 'group' or 'turns', got {form!r}.")
    if form == "turns":
        return 1
    if group == "auto":
        return min(count, LARGEST_GROUP)
    if not isinstance(group, int | np.integer) or group < 1:
        raise ValueError(f"group must be 'auto' or a number of slots from 1, got {group!r}.")
    return int(group)


def check(seeds, epochs, batch_size, data, validation, optimizer, early_stop, keep_best, functions):
    """Refuse arguments of the wrong type or that do not fit each other.

    Returns
    -------
    list of int
        The seeds.
    """
    if isinstance(seeds, str) or not hasattr(seeds, "__iter__"):
        raise ValueError(f"seeds is {seeds!r}; it must be a list, such as seeds=[0]. Correct it.")
    seeds = list(seeds)
    if not seeds:
        raise ValueError("there are no seeds; give at least one, such as seeds=[0].")
    seeds = [quantities.whole(seed, f"seeds[{i}]", 0) for i, seed in enumerate(seeds)]
    quantities.whole(epochs, "epochs")
    for name, value, kinds in (
        ("data", data, (Data, Sample, HostBatches)),
        ("validation", validation, (Data, type(None))),
        ("optimizer", optimizer, (Adam,)),
        ("early_stop", early_stop, (EarlyStop, type(None))),
    ):
        if not isinstance(value, kinds):
            names = ["None" if kind is type(None) else kind.__name__ for kind in kinds]
            shown = value if isinstance(value, str | int | float) else type(value)
            raise ValueError(
                f"{name} is {shown!r}; it must be {' or '.join(names)} of NDN3.training. Make one."
            )
    for name, value in functions.items():
        if not callable(value) and (value is not None or name == "loss"):
            raise ValueError(f"{name} is {value!r}; it must be a function. Give one.")
    if isinstance(data, Data):
        quantities.whole(batch_size, "batch_size")
    if early_stop:
        quantities.whole(early_stop.window, "the window of early stopping")
    if validation is None and (early_stop and early_stop.watch == "test"):
        raise ValueError(
            "early stopping watches test rows, but there are none; give validation=, "
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
    """Make the variables of a model that has none yet."""
    if not model.built:
        if not isinstance(data, Data):
            raise ValueError("the model has no variables yet; call it once, or model.build(shape).")
        first = keras.tree.map_structure(lambda array: np.asarray(array)[:1], data.inputs)
        model(first)


def member_settings(optimizer, early_stop, per_member, count):
    """Numbers of each member: name -> array (members,)."""
    settings = {name: getattr(optimizer, name) for name in optimizer.numbers}
    settings["penalty"] = 1.0
    settings["tolerance"] = early_stop.tolerance if early_stop else 0.0
    for name, values in per_member.items():
        if name not in settings:
            raise ValueError(
                f"per_member has {name!r}; what may differ between members is "
                f"{', '.join(sorted(settings))}."
            )
        if np.shape(values) != (count,):
            raise ValueError(
                f"per_member[{name!r}] has shape {np.shape(values)}; give one number for each of "
                f"the {count} seeds."
            )
    return {
        name: np.broadcast_to(np.asarray(per_member.get(name, value), float), (count,))
        for name, value in settings.items()
    }


def free_variables(model, fit_variables):
    """For each trainable variable whether it is trained, or a 0/1 array."""
    variables = model.trainable_variables
    if fit_variables is None:
        return [True] * len(variables)
    if len(fit_variables) != len(variables):
        raise ValueError(
            f"fit_variables has {len(fit_variables)} entries; the model has {len(variables)} "
            "trainable variables. Give one entry for each."
        )
    free = []
    for entry, variable in zip(fit_variables, variables, strict=True):
        if np.ndim(entry) and np.shape(entry) != tuple(variable.shape):
            raise ValueError(
                f"fit_variables of {variable.path} has shape {np.shape(entry)}; "
                f"it must be a bool or an array of shape {tuple(variable.shape)}."
            )
        free.append(np.asarray(entry, variable.dtype) if np.ndim(entry) else bool(entry))
    if not any(np.any(entry) for entry in free):
        raise ValueError("fit_variables leaves nothing to train; free at least one variable.")
    return free


def chunk_length(source, slots):
    """The most epochs of one call: so many that what is handed over stays small."""
    per_epoch = max(1, source.bytes_per_epoch(slots))
    return int(np.clip(FEED_BYTES // per_epoch, 1, LONGEST_CHUNK))
