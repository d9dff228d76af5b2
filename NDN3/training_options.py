"""Options of training: the keys of `opt_params`, their defaults, and what they may be.

Options have the names that users of NDN3 know. Adam and L-BFGS share some of them; what is for the
other one is checked, too, and then left out.
"""

import math

from NDN3 import arguments, quantities, schedules, suggestions

# Options under learning_alg="adam"
DEFAULTS = {
    "learning_rate": 1e-3,
    "beta1": 0.9,
    "beta2": 0.999,
    "epsilon": 1e-8,
    "schedule": None,
    "batch_size": 128,
    "epochs_training": 100,
    "epochs_summary": None,
    "epochs_ckpt": None,
    "early_stop_mode": 0,
    "early_stop": 0,
    "inner_holdout": None,
    "MAPest": True,
    "func_tol": 0.0,
    "display": None,
    "use_gpu": False,
    "data_pipe_type": "data_as_var",
    "poisson_unit_norm": None,
    "run_diagnostics": False,
}
# Options under learning_alg="lbfgs"; maxiter may be called max_iter
LBFGS_DEFAULTS = {
    "maxiter": 500,
    "grad_tol": 1e-5,
    "func_tol": 2.2e-9,
    "eps": 1e-8,
    "display": None,
    "use_gpu": False,
    "data_pipe_type": "data_as_var",
    "poisson_unit_norm": None,
    "run_diagnostics": False,
}
# Where the original program really had another default than its documentation said
LEGACY_DEFAULTS = {"learning_rate": 1e-4, "batch_size": None, "early_stop": 1}

# Counts of epochs and rows are numbers of 32 bits, and other numbers of single precision
LARGEST_COUNT = 2**31 - 1
LARGEST = 3e38

ALGORITHMS = {"adam": DEFAULTS, "lbfgs": LBFGS_DEFAULTS}
ALIASES = {"max_iter": "maxiter"}
DATA_PIPES = ("data_as_var", "feed_dict", "iterator")


def options(opt_params, legacy, batch_size=None, learning_alg="adam"):
    """Options of training, completed.

    Parameters
    ----------
    opt_params : dict or None
        What the user gave.
    legacy : bool
        Use the defaults of the original program.
    batch_size : int, optional
        That of the model, used when `opt_params` has none.
    learning_alg : {"adam", "lbfgs"}

    Returns
    -------
    dict
        With every key of the algorithm, and no other one.

    Raises
    ------
    ValueError
        If a key is unknown, or a value is not one of those allowed.
    """
    suggestions.known(learning_alg, ALGORITHMS, "learning_alg")
    given = named(opt_params)
    everything = LBFGS_DEFAULTS | DEFAULTS | (LEGACY_DEFAULTS if legacy else {})
    own = {name: everything[name] for name in ALGORITHMS[learning_alg]}
    if learning_alg == "lbfgs":
        own["func_tol"] = LBFGS_DEFAULTS["func_tol"]
        if given.get("batch_size") is None:  # Adam alone needs one
            given["batch_size"] = DEFAULTS["batch_size"]
    elif batch_size is not None:
        own["batch_size"] = batch_size
    found = everything | own | given
    check(found)
    return {name: found[name] for name in own}


def named(opt_params):
    """What the user gave, under the names that options have here.

    Parameters
    ----------
    opt_params : dict or None

    Returns
    -------
    dict

    Raises
    ------
    ValueError
        If it is no dict, or a key is unknown or there under two names.
    """
    if not isinstance(opt_params, dict | None):
        raise ValueError(
            f"opt_params is {quantities.shown(opt_params)}; it must be a dict. "
            "Give for example opt_params={'batch_size': 16}."
        )
    known = [*DEFAULTS, *(name for name in [*LBFGS_DEFAULTS, *ALIASES] if name not in DEFAULTS)]
    found = {}
    for name, value in (opt_params or {}).items():
        name = ALIASES.get(suggestions.known(name, known, "key of opt_params"), name)
        if name in found:
            raise ValueError(
                f"opt_params has {name} under two names; one of them is allowed. Take one out."
            )
        found[name] = value
    return found


def left_out(opt_params, learning_alg):
    """Options that the user gave and that have no meaning for the algorithm.

    Parameters
    ----------
    opt_params : dict or None
    learning_alg : {"adam", "lbfgs"}

    Returns
    -------
    list of str
    """
    return [name for name in named(opt_params) if name not in ALGORITHMS[learning_alg]]


def check(found):
    """Refuse options of the wrong type or size, or that do not fit each other.

    Parameters
    ----------
    found : dict
        Completed options of both algorithms.

    Raises
    ------
    ValueError
        It names the option and what is allowed.
    """
    if found["batch_size"] is None:
        raise ValueError(
            "batch_size is None; it must be a number of rows. Give opt_params={'batch_size': 16}."
        )
    check_numbers(found)
    for name in ("MAPest", "use_gpu", "run_diagnostics"):
        quantities.truth(found[name], name)
    suggestions.known(found["data_pipe_type"], DATA_PIPES, "data_pipe_type")
    if found["run_diagnostics"]:
        raise ValueError(
            "run_diagnostics is True; the trainer runs whole epochs in one program and cannot time "
            "single operations, so it must be False. Use the profiler of TensorFlow."
        )
    if found["schedule"] is not None:
        schedules.schedule(found["schedule"], 1)
    check_stopping(found)


def check_numbers(found):
    """Refuse options that are numbers of the wrong type or size; parameters as in `check`."""
    for name in ("batch_size", "epochs_training", "maxiter"):
        quantities.whole(found[name], name, 1, LARGEST_COUNT)
    for name in ("epochs_summary", "epochs_ckpt"):
        if found[name] is not None:
            title = f"{name} (None or a number of epochs)"
            quantities.whole(found[name], title, 1, LARGEST_COUNT)
    if found["display"] is not None and not isinstance(found["display"], bool):
        quantities.whole(
            found["display"], "display (a number of epochs; None, False and 0 are off)", 0
        )
    quantities.whole(found["early_stop"], "early_stop", 0, LARGEST_COUNT)
    for name in ("learning_rate", "epsilon", "eps"):
        allowed = f"a finite number above 0, up to {LARGEST:g}"
        quantities.real(found[name], name, lambda x: 0 < x <= LARGEST, allowed)
    for name in ("beta1", "beta2"):
        quantities.real(found[name], name, lambda x: 0 <= x < 1, "at least 0 and below 1")
    quantities.real(
        found["grad_tol"], "grad_tol", lambda x: 0 <= x < math.inf, "a finite number from 0"
    )
    quantities.real(found["func_tol"], "func_tol")
    if found["inner_holdout"] is not None:
        quantities.real(
            found["inner_holdout"],
            "inner_holdout",
            lambda x: 0 < x < 1,
            "None or a share of the training rows above 0 and below 1",
        )


def check_stopping(found):
    """Refuse options of early stopping that do not fit each other; parameters as in `check`."""
    mode = found["early_stop_mode"]
    if not quantities.is_whole(mode) or mode not in (0, 1, 2):
        raise ValueError(
            f"early_stop_mode is {quantities.shown(mode)}; allowed are 0 (off), 1 (watch "
            "test rows, or those of inner_holdout) and 2 (watch training rows). Choose one of them."
        )
    if mode and found["early_stop"] < 1:
        raise ValueError(
            f"early_stop is {found['early_stop']!r}; with early_stop_mode {mode} it is the window "
            "in epochs, at least 1. Give it."
        )
    if found["inner_holdout"] is not None and mode != 1:
        raise ValueError(
            f"inner_holdout is {found['inner_holdout']!r} and early_stop_mode {mode}; the rows "
            "that are held out are watched in mode 1. Give early_stop_mode=1 and early_stop, the "
            "window in epochs."
        )


def early_stop(found):
    """Early stopping as the trainer wants it.

    Parameters
    ----------
    found : dict
        From `options`.

    Returns
    -------
    NDN3.arguments.EarlyStop or None
    """
    if not found["early_stop_mode"]:
        return None
    watch = "test" if found["inner_holdout"] is None else "holdout"
    return arguments.EarlyStop(
        window=found["early_stop"],
        tolerance=found["func_tol"],
        watch=watch if found["early_stop_mode"] == 1 else "train",
        penalized=found["MAPest"],
    )
