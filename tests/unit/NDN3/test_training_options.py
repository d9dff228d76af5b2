"""Keys of `opt_params`, rows held out for early stopping, and models after a failed call."""

import functools
import math
import re
from types import SimpleNamespace

import numpy as np
import pytest

from NDN3 import fitting, folds, groups, training, training_options
from NDN3.NDN import NDN
from NDN3.NDNutils import ffnetwork_params
from NDN3.training import EarlyStop

SOURCE = np.random.default_rng(0)
X = SOURCE.normal(size=(50, 9))
Y = SOURCE.poisson(1.0, (50, 2)).astype(float)
TRAIN, TEST = np.arange(40), np.arange(40, 50)
HOLD = {"inner_holdout": 0.25, "early_stop_mode": 1, "early_stop": 3, "batch_size": 16}
QUICK = {**HOLD, "learning_rate": 0.1, "epochs_training": 30}


@pytest.fixture(autouse=True)
def without_xla(monkeypatch):
    """Compile faster: what is tested here is what reaches the trainer."""
    monkeypatch.setattr(training, "fit", functools.partial(training.fit, xla=False))


def network(**options):
    given = {"input_dims": 9, "layer_sizes": [2], "layer_types": ["normal"], "verbose": False}
    return ffnetwork_params(**{**given, "act_funcs": "softplus", **options})


# ---- epochs that are recorded ------------------------------------------------------------------


@pytest.mark.parametrize(("epochs", "every", "count"), [(5000, 100, 51), (35000, 700, 51)])
def test_epochs_that_are_recorded(epochs, every, count):
    member = SimpleNamespace(
        epoch=0,
        program=SimpleNamespace(summary_every=every),
        history={"epoch": [], "wall_time": [], "loss": []},
    )
    records = {"active": np.ones((epochs, 1), bool), "loss": np.arange(epochs)[:, None]}
    groups.Member.record(member, records, 0, epochs)
    assert len(member.history["epoch"]) == count
    assert member.history["epoch"][:4] == [0, every - 1, 2 * every - 1, 3 * every - 1]
    assert member.history["epoch"][-1] == epochs - 1
    assert member.history["loss"] == member.history["epoch"]


# ---- keys and values ---------------------------------------------------------------------------


def test_each_algorithm_has_its_options():
    adam = training_options.options({}, legacy=False)
    assert adam == training_options.DEFAULTS
    lbfgs = training_options.options({}, legacy=False, learning_alg="lbfgs")
    assert lbfgs == training_options.LBFGS_DEFAULTS
    assert (lbfgs["maxiter"], lbfgs["grad_tol"], lbfgs["eps"]) == (500, 1e-5, 1e-8)
    assert (lbfgs["func_tol"], adam["func_tol"]) == (2.2e-9, 0.0)
    assert training_options.options({}, legacy=True, learning_alg="lbfgs") == lbfgs
    given = {"max_iter": 7, "learning_rate": 0.1, "batch_size": None, "func_tol": 0.5}
    found = training_options.options(given, legacy=False, learning_alg="lbfgs")
    assert found == {**lbfgs, "maxiter": 7, "func_tol": 0.5}
    assert training_options.left_out(given, "lbfgs") == ["learning_rate", "batch_size"]
    assert training_options.left_out(given, "adam") == ["maxiter"]


@pytest.mark.parametrize("learning_alg", ["adam", "lbfgs"])
def test_display_may_be_a_truth(learning_alg, capsys):
    limits = {"epochs_training": 2} if learning_alg == "adam" else {"maxiter": 2}
    for given, printed in ((True, True), (False, False), (0, False)):
        options = {**limits, "display": given}
        NDN(network()).train(X, Y, learning_alg=learning_alg, opt_params=options)
        said = capsys.readouterr().out
        assert bool(said) == printed
        assert ("ended after 2 iterations" in said) == (printed and learning_alg == "lbfgs")


def test_a_training_that_is_displayed_says_how_it_ended(capsys):
    last = NDN(network()).train(X, Y, opt_params=QUICK | {"display": 1})
    stopped, best = map(
        int, re.search(r"epoch (\d+), best epoch (\d+)", capsys.readouterr().out).groups()
    )
    assert best < stopped == last < 29


def test_files_without_a_folder_are_named(capsys):
    NDN(network()).train(X, Y, opt_params={"epochs_training": 1, "epochs_ckpt": 1})
    assert "output_dir is None; epochs_ckpt of opt_params asks for" in capsys.readouterr().out


def test_keys_of_the_other_algorithm_are_named(capsys):
    model = NDN(network())
    model.train(X, Y, opt_params={"epochs_training": 1, "maxiter": 5})
    said = capsys.readouterr().out
    assert "learning_alg is 'adam'; of opt_params maxiter has a meaning under 'lbfgs' only" in said
    model.train(X, Y, opt_params={"epochs_training": 1, "maxiter": 5}, silent=True)
    assert not capsys.readouterr().out


WRONG = [
    ({"learning_rate": "fast"}, "learning_rate is 'fast'"),
    ({"learning_rate": math.inf}, "learning_rate is inf"),
    ({"learning_rate": True}, "learning_rate is True"),
    ({"beta1": -0.1}, "beta1 is -0.1"),
    ({"beta2": 1}, "beta2 is 1"),
    ({"epsilon": 0.0}, "epsilon is 0.0"),
    ({"schedule": "cos"}, "unknown schedule 'cos'"),
    ({"batch_size": 0}, "batch_size is 0"),
    ({"batch_size": True}, "batch_size is True"),
    ({"epochs_training": 0}, "epochs_training is 0"),
    ({"epochs_summary": 1.5}, "epochs_summary .* is 1.5"),
    ({"epochs_ckpt": -1}, "epochs_ckpt .* is -1"),
    ({"early_stop_mode": True, "early_stop": 2}, "early_stop_mode is True"),
    ({"early_stop_mode": [1]}, r"early_stop_mode is \[1\]"),
    ({"early_stop_mode": 1, "early_stop": 0}, "early_stop is 0; .* the window"),
    ({"early_stop": 2.0}, "early_stop is 2.0"),
    ({"inner_holdout": 0}, "inner_holdout is 0; it must be None or a share"),
    ({"inner_holdout": 1.0}, "inner_holdout is 1.0"),
    ({"inner_holdout": "0.1"}, "inner_holdout is '0.1'"),
    ({"inner_holdout": 0.1}, "inner_holdout is 0.1 and early_stop_mode 0; .* in mode 1"),
    ({**HOLD, "early_stop_mode": 2}, "and early_stop_mode 2"),
    ({"MAPest": 1}, "MAPest is 1; it must be True or False"),
    ({"func_tol": math.nan}, "func_tol is nan"),
    ({"display": -1}, "display .* is -1"),
    ({"use_gpu": "yes"}, "use_gpu is 'yes'"),
    ({"data_pipe_type": "iteratr"}, "Did you mean 'iterator'"),
    ({"poisson_unit_norm": "mean"}, "poisson_unit_norm is 'mean'"),
    ({"poisson_unit_norm": [1, 0]}, "must be one positive number, or 2"),
    ({"run_diagnostics": True}, "Use the profiler"),
    ({"maxiter": 2.5}, "maxiter is 2.5"),
    ({"max_iter": 0}, "maxiter is 0"),
    ({"grad_tol": -1e-5}, "grad_tol is -1e-05"),
    ({"eps": 0}, "eps is 0"),
    ({"maxitr": 5}, "unknown key of opt_params 'maxitr'.* Did you mean 'maxiter'"),
    ({3: 5}, "unknown key of opt_params 3"),
    ([], r"opt_params is \[\]; it must be a dict"),
]


@pytest.mark.parametrize("learning_alg", ["adam", "lbfgs"])
@pytest.mark.parametrize(("given", "sentence"), WRONG)
def test_what_is_wrong_gets_a_sentence_and_changes_nothing(given, sentence, learning_alg):
    model = NDN(network())
    before = [array.copy() for array in model.arrays]
    with pytest.raises(ValueError, match=sentence) as refusal:
        model.train(X, Y, TRAIN, learning_alg=learning_alg, opt_params=given, silent=True)
    assert "\n" not in str(refusal.value)
    unchanged(model, before)


def test_every_key_is_among_them():
    keys = {key for given, _ in WRONG if isinstance(given, dict) for key in given}
    assert keys >= {*training_options.DEFAULTS, *training_options.LBFGS_DEFAULTS, "max_iter"}


def unchanged(model, before):
    assert model.poisson_unit_norm is None
    for one, other in zip(model.arrays, before, strict=True):
        np.testing.assert_array_equal(one, other)


def test_an_interrupted_training_changes_nothing():
    model = NDN(network())
    before = [array.copy() for array in model.arrays]

    def progress(done, whole, text):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(NDN.fit_together([model], X, Y, opt_params={"epochs_training": 9}, progress=progress))
    unchanged(model, before)


# ---- rows that are held out --------------------------------------------------------------------


def trained(options, inputs=X, responses=Y, tests=TEST):
    model = NDN(network())
    ((_, _, result),) = NDN.fit_together(
        [model], inputs, responses, TRAIN, tests, opt_params=options
    )
    return model, result


def test_rows_held_out_are_watched_and_not_trained_on():
    inner, held = folds.inner_holdout(TRAIN, 0.25, fitting.HOLDOUT_SEED)
    model, result = trained(QUICK)
    # the same by hand: held out as test rows
    by_hand = NDN(network())
    ((_, _, wanted),) = NDN.fit_together(
        [by_hand], X, Y, inner, held, opt_params={**QUICK, "inner_holdout": None}
    )
    assert result.stopped_epoch == wanted.stopped_epoch
    assert result.stopped_epoch is not None
    assert result.best_epoch == wanted.best_epoch
    for name in ("cost", "reg_pen", "cost_penalized"):
        np.testing.assert_allclose(
            result.history[f"holdout/{name}"], wanted.history[f"test/{name}"], rtol=1e-5
        )
    for one, other in zip(model.arrays, by_hand.arrays, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    np.testing.assert_allclose(model.poisson_unit_norm, Y[inner].mean(axis=0))


def test_test_rows_are_left_alone():
    model, result = trained(QUICK)
    inputs, responses = X.copy(), Y.copy()
    inputs[TEST], responses[TEST] = 3.0, 7.0
    other, elsewhere = trained(QUICK, inputs, responses)
    assert (result.history["test/cost"] != elsewhere.history["test/cost"]).all()
    assert result.stopped_epoch == elsewhere.stopped_epoch
    for one, another in zip(model.arrays, other.arrays, strict=True):
        np.testing.assert_array_equal(one, another)
    without, alone = trained(QUICK, tests=None)
    assert "test/cost" not in alone.history
    assert alone.stopped_epoch == result.stopped_epoch


def test_the_rows_are_the_same_for_all_members():
    models = NDN.for_seeds(network(), seeds=[3, 8])
    together = {p: r for p, _, r in NDN.fit_together(models, X, Y, TRAIN, opt_params=QUICK)}
    alone = NDN.for_seeds(network(), seeds=[8])
    ((_, _, result),) = NDN.fit_together(alone, X, Y, TRAIN, opt_params=QUICK, group=2)
    assert result.stopped_epoch == together[1].stopped_epoch
    np.testing.assert_allclose(result.history["loss"], together[1].history["loss"], rtol=1e-6)


def test_along_time_a_piece_is_held_out():
    described = ffnetwork_params(
        input_dims=[1, 9, 1],
        layer_sizes=[1, 2],
        layer_types=["temporal", "normal"],
        conv_filter_widths=[3],
        act_funcs=["lin", "softplus"],
        verbose=False,
    )
    held = []

    def fit(*arguments, **options):
        held.append(options["holdout"].rows)
        return iter(())

    pieces = [(0, 50)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "fit", fit)
        list(NDN.fit_together([NDN(described)], X, Y, TRAIN, opt_params=HOLD))
    assert (np.diff(held[0]) == 1).all()
    rows, wanted = fitting.split_rows(np.arange(2, 40), 0.25, pieces)
    np.testing.assert_array_equal(held[0], wanted)
    assert not set(rows) & set(wanted)


def test_a_holdout_is_watched_only_if_it_is_there():
    with pytest.raises(ValueError, match="rows that are held out, but there are none"):
        model = NDN(network()).keras_model
        training.fit(
            model,
            training.Data(X, Y),
            epochs=1,
            batch_size=5,
            loss=lambda y, p, mask: (y - p)[:, 0],
            early_stop=EarlyStop(2, watch="holdout"),
        )
