"""NDN's arguments of training, translated for the trainer.

`fit_together` trains several models that differ only in their seed and start values, in one
program; `NDN.train` is the case of one model. Options are in `NDN3.training_options`.
"""

import dataclasses

import numpy as np

from NDN3 import (
    advice,
    correlation,
    folds,
    lbfgs,
    noise,
    output_folders,
    paths,
    quantities,
    schedules,
    segments,
    streams,
    suggestions,
    time_blocks,
    trained_parts,
    training,
    training_options,
    variants,
)
from NDN3.observations import check_mask, check_values, inputs_for, responses_for, row_count

# The rows that are held out are the same for all members, whatever their seeds
HOLDOUT_SEED = 0
# What `fit_together` hands on to `NDN3.lbfgs.fit`
OF_LBFGS = ("group", "declared", "decided", "per_member", "progress", "memory", "xla")


def fit_together(
    models,
    inputs,
    responses,
    train_rows=None,
    test_rows=None,
    data_filters=None,
    opt_params=None,
    *,
    blocks=None,
    learning_alg="adam",
    fit_variables=None,
    use_dropout=True,
    folder_of=None,
    mark=None,
    **arguments,
):
    """Train models that share one Keras model, in one program.

    Parameters
    ----------
    models : list of NDN3.NDN.NDN
        As made by `NDN.for_seeds`. Training starts from the arrays that they hold.
    inputs, responses
        As in `NDN.train`.
    train_rows, test_rows : sequence of int or of one bool per row, optional
        By default all rows are trained on, and none is evaluated.
    data_filters : ndarray, (rows, neurons), or list of it, optional
        0 where a response does not count.
    opt_params : dict, optional
        See `NDN3.training_options`.
    blocks : sequence of (int, int), optional
        As in `NDN.train`.
    learning_alg : {"adam", "lbfgs"}
        L-BFGS always trains without dropout, on all training rows, and looks at no test rows.
    fit_variables : list, optional
        From `NDN.fit_variables`; by default everything is trained.
    use_dropout : bool
        False trains as if no layer had dropout.
    folder_of : callable, optional
        Position in `models` -> folder of its summaries; Adam writes some.
    mark : str, optional
        Part of the names of their files, by default from `NDN3.output_folders.mark_of`.
    **arguments
        Handed on to `NDN3.training.fit`: `checkpoint`, `resume`, `group`, `progress`,
        `per_member`, `summaries` (instead of `folder_of` and `epochs_summary`), …; or those of
        `OF_LBFGS` to `NDN3.lbfgs.fit`.

    Yields
    ------
    position : int
        Which of `models` ended.
    model : NDN3.NDN.NDN
        It holds what was learned now: with early stopping the best weights, otherwise the last.
    result : NDN3.training.Result
        Of L-BFGS an `NDN3.lbfgs.Minimum`.

    Raises
    ------
    ValueError
        If models, data or options do not fit each other, or something is not finite. The models
        that have not been handed out are as they were.
    """
    models = list(models) if isinstance(models, (list, tuple)) else [models]
    first = checked_siblings(models)
    quantities.truth(use_dropout, "use_dropout")
    found = training_options.options(opt_params, first.legacy, first.batch_size, learning_alg)
    full = first.keras_model
    inputs = inputs_for(full, inputs)
    count = row_count(inputs)
    if responses is None:
        raise ValueError("output_data is None; it must be responses (rows, neurons). Give them.")
    responses = responses_for(full, responses, count)
    mask = responses_for(full, data_filters, count, "data_filters")
    if train_rows is None:
        train_rows = np.arange(count)
    train_rows = quantities.rows(train_rows, count, "rows of train_indxs")
    tested = test_rows is not None and not quantities.is_empty(test_rows)
    test_rows = quantities.rows(test_rows, count, "rows of test_indxs") if tested else None
    if found.get("early_stop_mode") == 1 and found["inner_holdout"] is None and not tested:
        raise ValueError(
            "early_stop_mode is 1 and there are no test rows; it watches those of test_indxs or of "
            "inner_holdout. Give one of them, or early_stop_mode 2."
        )
    blocks = None if blocks is None else time_blocks.from_pairs(blocks, count)
    if blocks is not None and np.max(train_rows) < len(blocks):
        raise ValueError(
            f"train_indxs reach to {np.max(train_rows)}, and there are {len(blocks)} blocks; they "
            "are numbers of rows, not of blocks. Give the rows of the blocks, from "
            "NDNutils.make_block_indices."
        )
    spread = segments.spread_of(full)
    train_rows = time_blocks.counted(train_rows, spread, count, blocks, "train_indxs")
    if tested:
        test_rows = time_blocks.counted(test_rows, spread, count, blocks, "test_indxs")
    used = np.union1d(train_rows, test_rows) if tested else train_rows
    check_values(first.noise_dist, inputs, responses, mask, used, spread)
    if tested:
        check_mask(mask, test_rows)
    along_time = [(0, count)] if spread and blocks is None else blocks
    train_rows, held_rows = split_rows(train_rows, found.get("inner_holdout"), along_time)
    check_mask(mask, train_rows)
    if held_rows is not None:
        check_mask(mask, held_rows)
    for model in models:
        for variable, array in zip(full.weights, model.arrays, strict=True):
            hint = "Set other values, begin anew with start_over, or load a saved model."
            quantities.finite(array, f"array {variable.path} of the model", advice=hint)
    norm = unit_norm(first, found["poisson_unit_norm"], responses, mask, train_rows)
    by_lbfgs = learning_alg == "lbfgs"
    network = full if use_dropout and not by_lbfgs else variants.without_dropout(full)
    kinds = trained_parts.kinds_of_averages(network, fit_variables, by_lbfgs)
    network = variants.with_averages(network, kinds)
    free = trained_parts.free_variables(network, fit_variables)
    starts = iter([variants.carried_over(full, model.arrays, network) for model in models])
    data = training.Data(inputs, responses, mask, train_rows, blocks)
    seeds = [model.tf_seed for model in models]
    common = {
        "loss": Loss(first.noise_dist, norm),
        "initialize": lambda _network, _seed: next(starts),
        "fit_variables": free,
        "reuse": True,
    }
    if by_lbfgs:
        for name in arguments:
            suggestions.known(name, OF_LBFGS, "argument of fit_together under 'lbfgs'")
        results = lbfgs.fit(network, data, seeds, limits=limits(found), **common, **arguments)
    else:
        written = found["epochs_summary"] is not None or "checkpoint" in arguments
        if folder_of is not None and written:
            for position in range(len(models)):  # before anything that might be lost is computed
                paths.made(folder_of(position))
        if found["epochs_summary"] is not None and "summaries" not in arguments:
            if mark is None:
                parts = (inputs, responses, mask, train_rows, test_rows, held_rows, blocks)
                parts += (fit_variables, use_dropout, arguments)
                mark = output_folders.mark_of(models, found, *parts)
            arguments["summaries"] = training.Summaries(folder_of, found["epochs_summary"], mark)
        if first.legacy:
            arguments |= {
                "order": streams.SequentialOrder(train_rows),
                "last_batch_summary": True,
                "evaluate_with_dropout": True,
            }
        results = training.fit(
            network,
            data,
            seeds,
            epochs=found["epochs_training"],
            batch_size=found["batch_size"],
            optimizer=training.Adam(
                found["learning_rate"], found["beta1"], found["beta2"], found["epsilon"]
            ),
            schedule=schedule(found, network, data),
            validation=dataclasses.replace(data, rows=test_rows) if tested else None,
            holdout=None if held_rows is None else dataclasses.replace(data, rows=held_rows),
            metrics=correlation.metrics(first.log_correlation),
            early_stop=training_options.early_stop(found),
            keep_best=bool(found["early_stop_mode"]),
            **common,
            **arguments,
        )
    for result in results:
        model = models[result.index]
        learned = result.weights if result.best_weights is None else result.best_weights
        model.take(network, trained_parts.constrained(network, learned, free))
        model.poisson_unit_norm = norm
        yield result.index, model, result


def fit_alone(
    model,
    inputs,
    responses,
    train_rows,
    test_rows,
    data_filters,
    opt_params,
    *,
    blocks,
    learning_alg,
    fit_variables,
    use_dropout,
    output_dir,
    silent,
):
    """Train one model; parameters as in `NDN.train`.

    Returns
    -------
    int or float
        Index of the last epoch: the one in which the cost was no longer finite, if that happened; a
        sentence is printed then, unless `silent`. NaN for L-BFGS, which has no epochs.
    """
    found = training_options.options(opt_params, model.legacy, model.batch_size, learning_alg)
    quantities.truth(silent, "silent")
    arguments = {}
    folder = None if output_dir is None else paths.new_folder(output_dir, "output_dir")
    if folder is not None and learning_alg == "adam":
        arguments = output_folders.kept(
            *(folder, model, found, silent),
            *(inputs, responses, train_rows, test_rows, data_filters, blocks, fit_variables),
            use_dropout,
        )
    if found["display"] and not silent:
        whole = found["maxiter"] if learning_alg == "lbfgs" else found["epochs_training"]
        arguments["progress"] = display(found["display"], whole)
    if not silent:
        asked = (opt_params, learning_alg, use_dropout, output_dir)
        for sentence in advice.without_meaning(model, *asked):
            print(sentence)
    trained = fit_together(
        [model],
        inputs,
        responses,
        train_rows,
        test_rows,
        data_filters,
        opt_params,
        blocks=blocks,
        learning_alg=learning_alg,
        fit_variables=fit_variables,
        use_dropout=use_dropout,
        **arguments,
    )
    ((_, _, result),) = trained
    if found["display"] and not silent:
        print(ending(result, learning_alg))
    if result.diverged_epoch is not None and not silent:
        print(advice.on_divergence(model, learning_alg, result.diverged_epoch))
    if learning_alg == "lbfgs":
        return float("nan")
    for ended in (result.diverged_epoch, result.stopped_epoch):
        if ended is not None:
            return ended
    return found["epochs_training"] - 1


def split_rows(rows, share, blocks=None):
    """Training rows without those that are held out of them.

    Parameters
    ----------
    rows : ndarray of int
    share : float or None
    blocks : sequence of (int, int), optional
        (start, end), from 0, the end not included: of each, one piece is held out.

    Returns
    -------
    ndarray of int, ndarray of int or None
    """
    if share is None:
        return rows, None
    pairs = None if blocks is None else [[start + 1, end] for start, end in blocks]
    return folds.inner_holdout(rows, share, HOLDOUT_SEED, pairs)


def schedule(found, network, data):
    """Schedule of the learning rate as the trainer wants it.

    Parameters
    ----------
    found : dict
        From `training_options.options`.
    network : NDN3.network_model.NetworkModel
    data : NDN3.training.Data
        What is trained on.

    Returns
    -------
    NDN3.schedules.Schedule or None
    """
    if found["schedule"] is None:
        return None
    spread = segments.spread_of(network)
    rows, size = data.selected(spread), found["batch_size"]
    if spread:
        steps = len(time_blocks.pieces(rows, size, spread, len(data.responses), data.blocks)[0])
    else:
        steps = -(-len(rows) // size)
    return schedules.schedule(found["schedule"], steps * found["epochs_training"])


def limits(found):
    """Where L-BFGS ends.

    Parameters
    ----------
    found : dict
        From `training_options.options`.

    Returns
    -------
    NDN3.lbfgs.Limits
    """
    return lbfgs.Limits(found["maxiter"], found["grad_tol"], found["func_tol"])


@dataclasses.dataclass(frozen=True, eq=False)
class Loss:
    """Cost of each row, as the trainer wants it; equal where noise and unit norm are.

    Parameters
    ----------
    noise_dist : str
    unit_norm : ndarray, (neurons,), or None
    """

    noise_dist: str
    unit_norm: np.ndarray | None

    @property
    def identity(self):
        """What tells two of them apart."""
        return self.noise_dist, None if self.unit_norm is None else self.unit_norm.tobytes()

    def __eq__(self, other):
        return isinstance(other, Loss) and self.identity == other.identity

    def __hash__(self):
        return hash(self.identity)

    def __call__(self, responses, predictions, mask):
        """Cost of each row; the trainer has multiplied both by the mask."""
        return noise.noise(self.noise_dist).cost(responses, predictions, self.unit_norm)


def checked_siblings(models):
    """Return the first of models that can be trained together.

    Parameters
    ----------
    models : list of NDN3.NDN.NDN

    Returns
    -------
    NDN3.NDN.NDN

    Raises
    ------
    ValueError
        If there is none, one is there twice, or they differ in more than seed and arrays.
    """
    if not models:
        raise ValueError("there are no models to train; give at least one. Use NDN.for_seeds.")
    for model in models:
        if not hasattr(model, "keras_model") or not hasattr(model, "arrays"):
            raise ValueError(
                f"models has {quantities.shown(model)} in it; all must be NDN models. Make them "
                "with NDN.for_seeds."
            )
    if len({id(model) for model in models}) < len(models):
        raise ValueError(
            "models has one model twice; each is trained once, and its arrays are its own. Make "
            "others with NDN.for_seeds or copy_model."
        )
    first = models[0]
    for model in models[1:]:
        alike = (
            model.keras_model is first.keras_model
            and model.noise_dist == first.noise_dist
            and model.log_correlation == first.log_correlation
            and np.array_equal(model.poisson_unit_norm, first.poisson_unit_norm)
        )
        if not alike:
            raise ValueError(
                "the models differ in more than their seeds; those that are trained together must "
                "share network, noise, correlation mode and unit norm. Make them with "
                "NDN.for_seeds, or train them one after the other."
            )
    return first


def unit_norm(model, given, responses, mask, train_rows):
    """Factors of the cost; the first training sets them, and they stay with the model.

    Parameters
    ----------
    model : NDN3.NDN.NDN
    given : array_like, (neurons,), or None
        What the user wants.
    responses, mask : ndarray, (rows, neurons)
    train_rows : ndarray of int

    Returns
    -------
    ndarray, (neurons,), or None
    """
    if given is not None:
        return noise.checked_unit_norm(given, responses.shape[1])
    if model.poisson_unit_norm is not None:
        return model.poisson_unit_norm
    # the original program took the mean over all rows that it was given, test rows too
    rows = slice(None) if model.legacy else train_rows
    return noise.noise(model.noise_dist).unit_norm(
        responses[rows], None if mask is None else mask[rows]
    )


def ending(result, learning_alg):
    """How a training ended, in words."""
    if learning_alg == "lbfgs":
        return (
            f"ended after {result.iterations} iterations and {result.evaluations} evaluations in "
            f"{result.seconds:.1f} s: {result.message}"
        )
    stopped = "" if result.stopped_epoch is None else f", stopped in epoch {result.stopped_epoch}"
    best = "" if result.best_weights is None else f", best epoch {result.best_epoch}"
    return f"ended after {result.seconds:.1f} s{stopped}{best} (epochs count from 0)"


def display(every, n_epochs):
    """Progress that prints a line whenever `every` more epochs are done.

    The trainer reports after stretches of a second or so, so that small models print fewer lines.

    Parameters
    ----------
    every, n_epochs : int

    Returns
    -------
    callable
        For `progress` of the trainer.
    """
    printed = 0

    def report(done, _all_epochs, text):
        nonlocal printed
        if done - printed >= every or done == n_epochs:
            printed = done
            print(text)

    return report
