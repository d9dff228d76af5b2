"""NDN's arguments of training, translated for the trainer.

`fit_together` trains several models that differ only in their seed and start values, in one
program; `NDN.train` is the case of one model. Options have the names that users of NDN3 know.
"""

import dataclasses
import math
from pathlib import Path

import numpy as np

from NDN3 import correlation, noise, quantities, streams, suggestions, training, variants
from NDN3.observations import check_values, inputs_for, responses_for, row_count

# Options of `opt_params` and their defaults
DEFAULTS = {
    "learning_rate": 1e-3,
    "beta1": 0.9,
    "beta2": 0.999,
    "epsilon": 1e-8,
    "batch_size": 128,
    "epochs_training": 100,
    "epochs_summary": None,
    "epochs_ckpt": None,
    "early_stop_mode": 0,
    "early_stop": 0,
    "MAPest": True,
    "func_tol": 0.0,
    "display": None,
    "use_gpu": False,
    "data_pipe_type": "data_as_var",
    "poisson_unit_norm": None,
    "run_diagnostics": False,
}
# Where the original program really had another default than its documentation said
LEGACY_DEFAULTS = {"learning_rate": 1e-4, "batch_size": None, "early_stop": 1}

DATA_PIPES = ("data_as_var", "feed_dict", "iterator")


def options(opt_params, legacy, batch_size=None):
    """Options of training, completed.

    Parameters
    ----------
    opt_params : dict or None
        What the user gave.
    legacy : bool
        Use the defaults of the original program.
    batch_size : int, optional
        That of the model, used when `opt_params` has none.

    Returns
    -------
    dict
        With every key of `DEFAULTS`.

    Raises
    ------
    ValueError
        If a key is unknown, or a value is not one of those allowed.
    """
    if not isinstance(opt_params, dict | None):
        raise ValueError(
            f"opt_params is {opt_params!r}; it must be a dict. "
            "Give for example opt_params={'batch_size': 16}."
        )
    given = dict(opt_params or {})
    for name in given:
        suggestions.known(name, DEFAULTS, "key of opt_params")
    defaults = DEFAULTS | (LEGACY_DEFAULTS if legacy else {})
    if batch_size is not None:
        defaults["batch_size"] = batch_size
    found = defaults | given
    if found["batch_size"] is None:
        raise ValueError(
            "batch_size is None; it must be a number of rows. Give opt_params={'batch_size': 16}."
        )
    check_numbers(found)
    if found["early_stop_mode"] not in (0, 1, 2):
        raise ValueError(
            f"early_stop_mode is {found['early_stop_mode']!r}; allowed are 0 (off), 1 (watch test "
            "rows) and 2 (watch training rows). Choose one of them."
        )
    if found["early_stop_mode"] and found["early_stop"] < 1:
        raise ValueError(
            f"early_stop is {found['early_stop']!r}; with early_stop_mode "
            f"{found['early_stop_mode']} it is the window in epochs, at least 1. Give it."
        )
    suggestions.known(found["data_pipe_type"], DATA_PIPES, "data_pipe_type")
    if found["run_diagnostics"]:
        raise ValueError(
            "run_diagnostics is True; the trainer runs whole epochs in one program and cannot time "
            "single operations, so it must be False. Use the profiler of TensorFlow."
        )
    return found


def check_numbers(found):
    """Refuse options that are numbers of the wrong type or size.

    Parameters
    ----------
    found : dict
        Completed options.

    Raises
    ------
    ValueError
        It names the option and what is allowed.
    """
    for name in ("batch_size", "epochs_training"):
        quantities.whole(found[name], name)
    for name in ("epochs_summary", "epochs_ckpt", "display"):
        if found[name] is not None:
            quantities.whole(found[name], f"{name} (None or a number of epochs)")
    quantities.whole(found["early_stop"], "early_stop", 0)
    for name in ("learning_rate", "epsilon"):
        quantities.real(found[name], name, lambda x: 0 < x < math.inf, "a finite number above 0")
    for name in ("beta1", "beta2"):
        quantities.real(found[name], name, lambda x: 0 <= x < 1, "at least 0 and below 1")
    quantities.real(found["func_tol"], "func_tol")


def fit_together(
    models,
    inputs,
    responses,
    train_rows=None,
    test_rows=None,
    data_filters=None,
    opt_params=None,
    *,
    fit_variables=None,
    use_dropout=True,
    folder_of=None,
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
        See `options`.
    fit_variables : list, optional
        From `NDN.fit_variables`; by default everything is trained.
    use_dropout : bool
        False trains as if no layer had dropout.
    folder_of : callable, optional
        Position in `models` -> folder of its summaries.
    **arguments
        Handed on to `NDN3.training.fit`: `checkpoint`, `resume`, `group`, `progress`,
        `per_member`, `summaries` (instead of `folder_of` and `epochs_summary`), …

    Yields
    ------
    position : int
        Which of `models` ended.
    model : NDN3.NDN.NDN
        It holds what was learned now: with early stopping the best weights, otherwise the last.
    result : NDN3.training.Result

    Raises
    ------
    ValueError
        If models, data or options do not fit each other, or something is not finite.
    """
    first = checked_siblings(models)
    found = options(opt_params, first.legacy, first.batch_size)
    full = first.keras_model
    inputs = inputs_for(full, inputs)
    count = row_count(inputs)
    responses = responses_for(full, responses, count)
    mask = responses_for(full, data_filters, count, "data_filters")
    if train_rows is None:
        train_rows = np.arange(count)
    train_rows = quantities.rows(train_rows, count, "rows of train_indxs")
    tested = test_rows is not None and len(test_rows) > 0
    test_rows = quantities.rows(test_rows, count, "rows of test_indxs") if tested else None
    used = np.union1d(train_rows, test_rows) if tested else train_rows
    check_values(first.noise_dist, inputs, responses, mask, used)
    if mask is not None and not mask[train_rows].any():
        raise ValueError(
            "data_filters are 0 in all rows that are trained on; responses count where they are 1. "
            "Give 1 for those that were recorded."
        )
    for model in models:
        for variable, array in zip(full.weights, model.arrays, strict=True):
            quantities.finite(array, f"array {variable.path} of the model")
    set_unit_norm(models, found["poisson_unit_norm"], responses, mask, train_rows)
    network = full if use_dropout else variants.without_dropout(full)
    free = free_variables(network, fit_variables)
    starts = iter([variants.carried_over(full, model.arrays, network) for model in models])
    validation = None
    if tested:
        validation = training.Data(inputs, responses, mask, test_rows)
    if found["epochs_summary"] is not None:
        arguments.setdefault(
            "summaries", training.Summaries(folder_of, every=found["epochs_summary"])
        )
    if first.legacy:
        arguments |= {
            "order": streams.SequentialOrder(train_rows),
            "last_batch_summary": True,
            "evaluate_with_dropout": True,
        }
    results = training.fit(
        network,
        training.Data(inputs, responses, mask, train_rows),
        [model.tf_seed for model in models],
        epochs=found["epochs_training"],
        batch_size=found["batch_size"],
        optimizer=training.Adam(
            found["learning_rate"], found["beta1"], found["beta2"], found["epsilon"]
        ),
        loss=Loss(first.noise_dist, first.poisson_unit_norm),
        validation=validation,
        metrics=correlation.metrics(first.log_correlation),
        early_stop=early_stop(found),
        keep_best=bool(found["early_stop_mode"]),
        initialize=lambda _network, _seed: next(starts),
        fit_variables=free,
        form="group" if all(layer.mapped for layer in network.stack) else "turns",
        reuse=True,
        **arguments,
    )
    for result in results:
        model = models[result.index]
        learned = result.weights if result.best_weights is None else result.best_weights
        model.take(network, constrained(network, learned, free))
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
    fit_variables,
    use_dropout,
    output_dir,
    silent,
):
    """Train one model; parameters as in `NDN.train`.

    Returns
    -------
    int
        Index of the last epoch: the one in which the cost was no longer finite, if that happened; a
        sentence is printed then, unless `silent`.
    """
    found = options(opt_params, model.legacy, model.batch_size)
    arguments = {}
    if output_dir is not None:
        folder = Path(output_dir)
        arguments["folder_of"] = lambda position: folder
        if found["epochs_ckpt"] is not None:
            # a second call of train goes on from the arrays of the model, not from this file
            arguments["checkpoint"] = lambda position: folder / "checkpoint.npz"
            arguments["resume"] = False
    if found["display"] and not silent:
        arguments["progress"] = display(found["display"], found["epochs_training"])
    trained = fit_together(
        [model],
        inputs,
        responses,
        train_rows,
        test_rows,
        data_filters,
        opt_params,
        fit_variables=fit_variables,
        use_dropout=use_dropout,
        **arguments,
    )
    ((_, _, result),) = trained
    if result.diverged_epoch is not None and not silent:
        print(
            f"The training diverged in epoch {result.diverged_epoch}: its cost is no longer finite."
            " Lower the learning_rate and train a new model."
        )
    for ended in (result.diverged_epoch, result.stopped_epoch):
        if ended is not None:
            return ended
    return found["epochs_training"] - 1


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
        If there is none, or they differ in more than seed and arrays.
    """
    if not models:
        raise ValueError("there are no models to train; give at least one. Use NDN.for_seeds.")
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


def set_unit_norm(models, given, responses, mask, train_rows):
    """Set the factors of the cost at the first training; they stay with the models.

    Parameters
    ----------
    models : list of NDN3.NDN.NDN
    given : array_like, (neurons,), or None
        What the user wants.
    responses, mask : ndarray, (rows, neurons)
    train_rows : ndarray of int
    """
    first = models[0]
    norm = first.poisson_unit_norm
    if given is not None:
        norm = noise.checked_unit_norm(given, responses.shape[1])
    elif norm is None:
        # the original program took the mean over all rows that it was given, test rows too
        rows = slice(None) if first.legacy else train_rows
        norm = noise.noise(first.noise_dist).unit_norm(
            responses[rows], None if mask is None else mask[rows]
        )
    for model in models:
        model.poisson_unit_norm = norm


def early_stop(found):
    """Early stopping as the trainer wants it.

    Parameters
    ----------
    found : dict
        From `options`.

    Returns
    -------
    NDN3.training.EarlyStop or None
    """
    if not found["early_stop_mode"]:
        return None
    return training.EarlyStop(
        window=found["early_stop"],
        tolerance=found["func_tol"],
        watch="test" if found["early_stop_mode"] == 1 else "train",
        penalized=found["MAPest"],
    )


def free_variables(network, fit_variables):
    """Which variables are trained, in the order of the network's trainable variables.

    Parameters
    ----------
    network : NDN3.network_model.NetworkModel
    fit_variables : list or None
        [network][layer]{"weights": bool or 0/1 array, "biases": …}

    Returns
    -------
    list of (bool or ndarray) or None

    Raises
    ------
    ValueError
        If it does not have one entry per layer.
    """
    if fit_variables is None:
        return None
    networks = network.composition.networks
    lengths = [len(each.layers) for each in networks]
    listed = isinstance(fit_variables, list | tuple)
    if not listed or [len(each) for each in fit_variables] != lengths:
        raise ValueError(
            f"fit_variables must have one list for each network, of {lengths} layers. "
            "Make it with the method fit_variables of the model."
        )
    wanted = {}
    for each, entries in zip(networks, fit_variables, strict=True):
        for layer, entry in zip(each.layers, entries, strict=True):
            for name, variable in layer.arrays.items():
                # what a layer has beside weights and biases goes with the weights
                wanted[id(variable)] = entry.get(name, bool(np.any(entry["weights"])))
    return [wanted[id(variable)] for variable in network.trainable_variables]


def constrained(network, arrays, free):
    """Arrays in which the weights that were trained are rectified and normalized.

    Parameters
    ----------
    network : NDN3.network_model.NetworkModel
    arrays : list of ndarray
        In the order of `network.weights`.
    free : list or None
        From `free_variables`.

    Returns
    -------
    list of ndarray
    """
    frozen = set()
    if free is not None:
        pairs = zip(network.trainable_variables, free, strict=True)
        frozen = {id(variable) for variable, on in pairs if not np.all(on)}
    stored = {
        id(layer.kernel): layer.stored for layer in network.stack if id(layer.kernel) not in frozen
    }
    return [
        stored[id(variable)](array) if id(variable) in stored else array
        for variable, array in zip(network.weights, arrays, strict=True)
    ]


def display(every, n_epochs):
    """Progress that prints a line whenever `every` more epochs are done.

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
