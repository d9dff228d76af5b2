"""The trainer: repetitions of one network trained together, whole epochs in one compiled program.

>>> results = fit(model, Data(images, responses), seeds=range(10), epochs=300, batch_size=16,
...               loss=loss, validation=Data(test_images, test_responses))     # doctest: +SKIP
>>> for result in results: ...                                                 # doctest: +SKIP

Each repetition (member) comes out when it ends. What a member becomes depends on its seed alone:
not on who trains beside it, in which order, or how often training was interrupted; every bit, as
long as the size of the group is the same. (Without XLA a group's evaluations differ by rounding
from slot to slot, the weights do not.)
"""

import keras
import numpy as np

from NDN3 import arguments, checkpoints, data_checks, forms, programs, start_values
from NDN3.arguments import EarlyStop, Summaries
from NDN3.batches import Data, HostBatches, HostSource, RowSource, Sample, SampleSource
from NDN3.dropout import Dropout
from NDN3.evaluations import evaluations_of, watched_cost
from NDN3.groups import Member
from NDN3.layers.windows import native_convolutions
from NDN3.lockstep import Program
from NDN3.optimizers import Adam, AdamW
from NDN3.running import Result, Training
from NDN3.segments import SegmentSource, spread_of

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
    holdout=None,
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
    form="auto",
    xla="auto",
    threads=1,
    memory=forms.MEMORY,
    declared=None,
    decided=None,
    reuse=False,
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
        a part without parameters that is then computed once. May have a `time_spread`: so many
        rows a row needs before it. Batches are then successive rows, see
        `NDN3.segments.SegmentSource`, and rows without those before them do not count.
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
    holdout : Data, optional
        Rows that are kept from the training to be watched by `EarlyStop(watch="holdout")`.
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
        One number per seed for "penalty" (factor on all penalties), the optimiser's numbers, such
        as "learning_rate", and numbers of the model (`model.numbers`), such as "layer1/l2".
    fit_variables : list of (bool or ndarray), optional
        For each of `model.trainable_variables` whether it is trained, or a 0/1 array of its shape.
    initialize : callable, optional
        (model, seed) -> list of start values in the order of `model.weights`; by default drawn from
        the distributions of the model's initialisers.
    schedule : callable, optional
        Step (from 0) -> factor on the learning rate, or a dict of factors on the optimiser's
        numbers.
    group : int or "auto"
        Number of slots, of which each trains a member; those who find none free wait for one.
        "auto" is the number of seeds, at most 10, shared between `threads`, and fewer where
        `memory` is short.
    form : {"auto", "group", "turns"}
        Members mapped into one computation, or each on its own, chunk by chunk in turn. "auto" is
        "turns" for models that cannot be mapped or gain nothing by it: with native convolutions or
        large ones of NDN3, loops (recurrent models), Keras' own random layers, or from 100 000
        parameters on.
    xla : bool or "auto"
        Compile with XLA. "auto" does not on a CPU for models with native convolutions or large ones
        of NDN3, which are faster without.
    threads : int
        Groups that work at the same time, each in a thread of its own.
    memory : int
        What the members of a group may take together [bytes]; 2 GiB by default.
    declared : int, optional
        Number of members that the rule for the size of the group counts, when these are only some
        of them; by default the number of seeds.
    decided : callable, optional
        Called before the training begins with its form and number of slots, for the record.
    reuse : bool
        Use the compiled program of an earlier call whose model had the same `structure`, with equal
        functions and data, and keep this one for later calls. Functions must then depend on their
        arguments alone.
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
    seeds = arguments.check(
        model=model,
        seeds=seeds,
        epochs=epochs,
        batch_size=batch_size,
        data=data,
        validation=validation,
        holdout=holdout,
        optimizer=optimizer,
        early_stop=early_stop,
        keep_best=keep_best,
        summaries=summaries,
        threads=threads,
        memory=memory,
        declared=declared,
        functions=dict(
            loss=loss,
            checkpoint=checkpoint,
            initialize=initialize,
            schedule=schedule,
            order=order,
            progress=progress,
            decided=decided,
        ),
        metrics=metrics,
        switches=dict(
            keep_best=keep_best,
            resume=resume,
            reuse=reuse,
            last_batch_summary=last_batch_summary,
            evaluate_with_dropout=evaluate_with_dropout,
        ),
    )
    forms.checked(form, group, xla)
    arguments.build(model, data)
    settings = arguments.member_settings(model, optimizer, early_stop, per_member, len(seeds))
    for name, part in (("data", data), ("validation", validation), ("holdout", holdout)):
        if isinstance(part, Data):
            data_checks.check(part, model, loss, metrics or {}, name)
    dtype = model.trainable_variables[0].dtype
    native = forms.takes_native(model, form, xla)
    if native:
        form, xla = "turns", False
    with native_convolutions(native):
        source = source_of(data, model, batch_size, dtype, order)
        evaluations = evaluations_of(
            model,
            data,
            validation,
            holdout,
            source,
            dtype,
            early_stop=early_stop,
            keep_best=keep_best,
            summaries=summaries,
            last_batch=last_batch_summary,
            training=evaluate_with_dropout,
        )
    chosen = forms.choose(
        model,
        source,
        form=form,
        group=group,
        xla=xla,
        count=declared or len(seeds),
        threads=threads,
        memory=memory,
    )
    program = Program(
        model=model,
        loss=loss,
        metrics=metrics or {},
        optimizer=optimizer,
        source=source,
        evaluations=evaluations,
        slots=chosen.slots,
        length=arguments.chunk_length(source, chosen.slots),
        mapped=chosen.mapped,
        xla=chosen.xla,
        free=arguments.free_variables(model, fit_variables),
        schedule=schedule,
        early_stop=early_stop,
        watched=watched_cost(early_stop, keep_best, last_batch_summary),
        keep_best=keep_best,
        summary_every=summaries.every if summaries else 1,
    )
    options = dict(
        data=[arrays_of(part) for part in (data, validation, holdout)[: 3 if holdout else 2]],
        optimizer=[type(optimizer).__name__, optimizer.clip_norm],
        options=[
            *(chosen.slots, chosen.name, chosen.xla, batch_size),
            *(str(early_stop), keep_best, last_batch_summary, evaluate_with_dropout),
        ],
        free=[np.asarray(free) for free in program.free],
        records=[*program.record_names, program.summary_every],
    )
    if reuse:
        functions = (loss, *(metrics or {}).values(), schedule, getattr(data, "draw", None))
        key = (model.structure, checkpoints.signature(**options), functions)
        run = programs.compiled(program, key, sum(part.nbytes for part in sum(options["data"], [])))
    else:
        run = program.compile()
    identity = None
    if checkpoint is not None:
        identity = checkpoints.signature(
            architecture=checkpoints.architecture(model),
            functions=[checkpoints.named(function) for function in (loss, schedule, order)],
            **options,
        )
    members = []
    for index, seed in enumerate(seeds):
        if initialize is None:
            start = start_values.draw(model, seed)
        else:
            start = arguments.start_values(model, initialize(model, seed))
        path = arguments.checkpoint_path(checkpoint, index) if checkpoint else None
        numbers = {name: values[index] for name, values in settings.items()}
        mark = checkpoints.signature(identity=identity, seed=seed, **numbers)
        member = Member(index, seed, program, start, numbers, epochs, path, mark)
        if path and resume:
            member.restore()
        members.append(member)
    if decided is not None:
        decided(chosen.name, chosen.slots)
    return Training(program, run, members, epochs, threads, summaries, progress).results()


def source_of(data, model, batch_size, dtype, order):
    """Source of batches for what the user handed over (`Data`, `Sample` or `HostBatches`)."""
    spread = spread_of(model)
    if isinstance(data, Sample):
        return SampleSource(data, dtype, spread)
    if isinstance(data, HostBatches):
        return HostSource(data, dtype, spread)
    kind = SegmentSource if spread else RowSource
    return kind(data, model, batch_size, dtype, order)


def arrays_of(data):
    """Arrays that are in memory; what is made while training is not."""
    parts = []
    if isinstance(data, Data):
        parts = keras.tree.flatten((data.inputs, data.responses, data.mask, data.rows))
        parts.append(data.blocks)
    if isinstance(data, Sample):
        parts = keras.tree.flatten(data.arrays)
    return [np.asarray(part) for part in parts if part is not None]
