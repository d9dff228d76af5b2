"""NDN's arguments of training and what they do."""

import functools
import signal
from types import SimpleNamespace

import numpy as np
import pytest

from NDN3 import fitting, running, training, training_options
from NDN3.events import read_events
from NDN3.NDN import NDN
from NDN3.NDNutils import ffnetwork_params
from NDN3.noise import NOISE

SOURCE = np.random.default_rng(0)
X = SOURCE.normal(size=(50, 49))
Y = SOURCE.poisson(1.0, (50, 5))
TRAIN, TEST = np.arange(40), np.arange(40, 50)


@pytest.fixture(autouse=True)
def without_xla(monkeypatch):
    """Compile faster: what is tested here is what reaches the trainer."""
    monkeypatch.setattr(training, "fit", functools.partial(training.fit, xla=False))


def dense(**options):
    return ffnetwork_params(
        **{
            "input_dims": 49,
            "layer_sizes": [3, 5],
            "layer_types": ["normal", "normal"],
            "act_funcs": "softplus",
            "verbose": False,
            **options,
        }
    )


SHORT = {"learning_rate": 0.01, "batch_size": 16, "epochs_training": 2}


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"learningrate": 1}, "Did you mean 'learning_rate'"),
        ({"batch_size": None}, "batch_size is None"),
        ({"early_stop_mode": 3}, "allowed are 0"),
        ({"early_stop_mode": 1}, "window in epochs"),
        ({"data_pipe_type": "disk"}, "unknown data_pipe_type"),
        ({"run_diagnostics": True}, "Use the profiler"),
    ],
)
def test_options_that_do_not_exist_are_refused(given, sentence):
    with pytest.raises(ValueError, match=sentence):
        training_options.options(given, legacy=False)


def test_early_stopping_is_translated():
    assert training_options.early_stop(training_options.options({}, legacy=False)) is None
    given = {"early_stop_mode": 2, "early_stop": 7, "func_tol": 0.1, "MAPest": False}
    stop = training_options.early_stop(training_options.options(given, legacy=False))
    assert (stop.window, stop.tolerance, stop.watch, stop.penalized) == (7, 0.1, "train", False)


def test_train_gives_the_last_epoch_and_writes_summaries(tmp_path, capsys):
    model = NDN(dense())
    model.log_correlation = "zero-NaNs"
    options = {**SHORT, "epochs_training": 6, "epochs_summary": 3, "epochs_ckpt": 1, "display": 3}
    before = model.get_weights(1)
    last = model.train(
        X, Y, TRAIN, TEST, opt_params=options, output_dir=tmp_path, data_filters=np.ones(Y.shape)
    )
    assert last == 5
    assert (model.get_weights(1) != before).any()
    assert "epoch 6 of 6" in capsys.readouterr().out
    assert len(list(tmp_path.glob("checkpoint-*.npz"))) == 1
    for split in ("train", "test"):
        (file,) = (tmp_path / "summaries" / split).iterdir()
        steps = [
            step for step, _, tag, _ in read_events(file) if tag == "loss/correlation/correlation"
        ]
        assert steps == [0, 2, 5]


def test_a_folder_keeps_every_training_and_goes_on_with_the_same(tmp_path, capsys, monkeypatch):
    """Interrupted after its first epoch and called again, it gives the bits of a whole one."""
    options = {**SHORT, "epochs_training": 5, "epochs_summary": 1, "epochs_ckpt": 1}

    def trained(folder, opt_params=options):
        model = NDN(dense())
        model.train(X, Y, TRAIN, TEST, opt_params=opt_params, output_dir=folder)
        return model

    def files():
        return {path: path.read_bytes() for path in tmp_path.rglob("*.*") if path.is_file()}

    def interrupting(_every, _epochs):
        return lambda *_: signal.raise_signal(signal.SIGINT)

    whole = trained(tmp_path / "whole")
    with monkeypatch.context() as patched:
        patched.setattr(fitting, "display", interrupting)
        with pytest.raises(KeyboardInterrupt):
            trained(tmp_path / "torn", {**options, "display": 1})
    before = files()
    trained(tmp_path / "torn", {**options, "epochs_training": 2})
    assert before.items() <= files().items()
    assert "goes on" not in capsys.readouterr().out
    for _ in range(2):  # the second time it is at its end
        model = trained(tmp_path / "torn")
        assert "it goes on from there" in capsys.readouterr().out
        for one, other in zip(model.arrays, whole.arrays, strict=True):
            np.testing.assert_array_equal(one, other)
        for split in ("train", "test"):
            steps = {}
            for file in (tmp_path / "torn" / "summaries" / split).iterdir():
                told = [step for step, _, tag, _ in read_events(file) if tag == "loss/cost"]
                steps.setdefault(file.suffixes[-2], []).extend(told)
            assert sorted(map(sorted, steps.values())) == [[0, 1], [0, 1, 2, 3, 4]]
    assert len(list((tmp_path / "torn").glob("checkpoint-*.npz"))) == 2


@pytest.mark.parametrize("closed", [True, False])
def test_a_folder_that_cannot_be_made_is_refused_before_the_training(closed, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "fit", None)
    folder, sentence = "/proc/x", "folder '/proc/x' cannot be made .No such file"
    if closed:
        monkeypatch.setattr("os.access", lambda path, _mode: path != tmp_path)
        folder, sentence = tmp_path / "new", "may not be written to; it must be a folder of yours"
    with pytest.raises(OSError, match=sentence):
        NDN(dense()).train(X, Y, opt_params={**SHORT, "epochs_ckpt": 1}, output_dir=folder)


def test_training_goes_on_from_the_arrays():
    model, other = NDN.for_seeds(dense(), seeds=[0, 0])
    other.networks[0].layers[0].weights[:] = 0
    list(NDN.fit_together([model, other], X, Y, opt_params={**SHORT, "learning_rate": 1e-9}))
    np.testing.assert_allclose(other.get_weights(0), 0, atol=1e-6)
    assert np.abs(model.get_weights(0)).max() > 0.1


def test_training_sets_the_norm_and_divides_by_it():
    one, other = NDN(dense()), NDN(dense())
    one.train(X, Y, TRAIN, opt_params=SHORT)
    np.testing.assert_allclose(one.poisson_unit_norm, Y[TRAIN].mean(axis=0))
    # a gradient far below epsilon moves nothing
    norm = np.array([1, 1, 1, 1, 1e9])
    other.train(X, Y, TRAIN, opt_params={**SHORT, "epsilon": 1e-4, "poisson_unit_norm": norm})
    moved = np.abs(other.networks[0].layers[1].biases[0])
    assert moved[:4].min() > 1e-3 > 1e-5 > moved[4]


@pytest.mark.parametrize("name", NOISE)
def test_masked_responses_change_no_bit(name):
    """The last neuron is masked throughout: it counts zero, and nothing is NaN."""
    responses, mask = np.minimum(Y, 1), np.ones(Y.shape)
    mask[::3, 1] = mask[:, 4] = 0
    found = []
    for hidden in (1e6, np.nan):
        shown = np.where(mask > 0, responses, hidden)
        model = NDN(dense(), name)
        model.log_correlation = "zero-NaNs"
        options = {**SHORT, "epochs_summary": 1}
        ((_, _, result),) = NDN.fit_together([model], X, shown, TRAIN, TEST, mask, options)
        scores = [model.eval_models(X, shown, TEST, mask, adjusted) for adjusted in (False, True)]
        assert [each[4] for each in scores] == [0, 0]
        predictions = model.generate_prediction(X)
        total = model.get_LL(X, shown, TEST, mask)
        history = [values for part, values in result.history.items() if part != "wall_time"]
        found.append([*model.arrays, *history, *scores, total, predictions])
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)
        assert np.isfinite(one).all()
    correlations = [
        np.corrcoef(responses[rows, neuron], predictions[rows, neuron])[0, 1]
        for neuron in range(4)
        for rows in [TEST[mask[TEST, neuron] > 0]]
    ]
    mean = result.history["test/correlation/correlation"][-1]
    assert mean == pytest.approx(np.sum(correlations) / 5, abs=1e-5)


def test_only_what_is_asked_for_is_fitted():
    model = NDN(dense(normalization=[1, 1]))
    before = [array.copy() for array in model.arrays]
    wanted = model.fit_variables(layers_to_skip=[0])
    model.train(X, Y, fit_variables=wanted, opt_params=SHORT)
    for position in (0, 1, 3):
        np.testing.assert_array_equal(model.arrays[position], before[position])
    assert (model.arrays[2] != before[2]).all()
    with pytest.raises(ValueError, match="one list for each network, of .2. layers"):
        model.train(X, Y, fit_variables=[wanted[0][:1]], opt_params=SHORT)


@pytest.mark.parametrize("part", ["features", "mask"])
def test_features_or_mask_alone_are_fitted(part):
    separable = ffnetwork_params(
        [2, 4, 6], [5], ["sep"], "softplus", normalization=[-1], verbose=False
    )
    model = NDN(separable)
    wanted = model.fit_variables()
    wanted[0][0]["weights"] = part
    before = model.get_weights()
    model.train(X[:, :48], Y, fit_variables=wanted, opt_params=SHORT)
    moved = (model.get_weights() != before).all(axis=1)
    assert moved.tolist() == [(row < 2) == (part == "features") for row in range(26)]


@pytest.mark.parametrize(
    ("types", "part", "sentence"),
    [
        (["sep"], "masks", "unknown part of the weights 'masks'.* Did you mean 'mask'"),
        (["normal"], "mask", "parts have names in layers whose weights are features and a mask"),
    ],
)
def test_parts_that_do_not_exist_are_refused(types, part, sentence):
    model = NDN(ffnetwork_params([2, 4, 6], [5], types, "lin", verbose=False))
    with pytest.raises(ValueError, match=sentence):
        model.train(X[:, :48], Y, fit_variables=[[{"weights": part}]], opt_params=SHORT)


def test_stored_weights_are_those_in_use():
    model = NDN(dense(normalization=[1, 0], ei_layers=[1, None]))
    model.train(X, Y, opt_params=SHORT)
    first, second = model.networks[0].layers
    np.testing.assert_allclose(np.linalg.norm(first.weights, axis=0), 1, rtol=1e-5)
    assert second.weights.min() >= 0


def test_training_without_dropout_equals_a_network_that_has_none():
    plain, dropping = (
        NDN(dense(reg_list=regularizers)) for regularizers in ({}, {"dropout": [0.5]})
    )
    plain.train(X, Y, opt_params=SHORT)
    dropping.train(X, Y, use_dropout=False, opt_params=SHORT)
    for one, other in zip(plain.networks[0].layers, dropping.networks[0].layers, strict=True):
        np.testing.assert_array_equal(one.weights, other.weights)
    again = NDN(dense(reg_list={"dropout": [0.5]}))
    again.train(X, Y, opt_params=SHORT)
    assert (again.get_weights(1) != plain.get_weights(1)).any()


def test_early_stopping_gives_the_best_weights():
    model = NDN(dense())
    options = {
        **SHORT,
        "learning_rate": 0.1,
        "epochs_training": 60,
        "early_stop_mode": 1,
        "early_stop": 3,
    }
    ((_, _, result),) = NDN.fit_together([model], X, Y, TRAIN, TEST, opt_params=options)
    assert result.stopped_epoch is not None
    for array, best in zip(model.arrays, result.best_weights, strict=True):
        np.testing.assert_array_equal(array, best)
    twin = NDN(dense())
    assert twin.train(X, Y, TRAIN, TEST, opt_params=options) == result.stopped_epoch


def test_strangers_are_not_trained_together():
    with pytest.raises(ValueError, match="differ in more than their seeds"):
        list(NDN.fit_together([NDN(dense()), NDN(dense())], X, Y, opt_params=SHORT))
    with pytest.raises(ValueError, match="no models"):
        list(NDN.fit_together([], X, Y, opt_params=SHORT))


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (["batch_size"], "opt_params is .* must be a dict"),
        ({"learning_rate": float("nan")}, "learning_rate is nan; it must be a finite number above"),
        ({"learning_rate": -1}, "learning_rate is -1"),
        ({"beta1": 1.0}, "beta1 is 1.0; it must be at least 0 and below 1"),
        ({"epsilon": 0}, "epsilon is 0"),
        ({"batch_size": "16"}, "batch_size is '16'; it must be a whole number from 1"),
        ({"epochs_training": 2.5}, "epochs_training is 2.5"),
        ({"epochs_summary": 0}, "epochs_summary .* is 0"),
        ({"early_stop": -1}, "early_stop is -1"),
        ({"display": "all"}, "display .* is 'all'"),
    ],
)
def test_numbers_without_sense_are_refused(given, sentence):
    with pytest.raises(ValueError, match=sentence):
        training_options.options(given, legacy=False)


def test_weights_that_are_not_finite_are_refused():
    model = NDN(dense())
    model.networks[0].layers[1].biases[0, 3] = np.nan
    with pytest.raises(ValueError, match="biases of the model has NaN .* with start_over, or load"):
        model.train(X, Y)


def test_rows_may_be_a_mask_and_unused_rows_hold_anything():
    trained = []
    images = X.copy()
    images[45:] = np.nan
    for rows in (TRAIN, np.arange(50) < 40):
        model = NDN(dense())
        model.train(images, Y, rows, np.arange(50) == 42, opt_params=SHORT)
        trained.append(model.arrays)
    for one, other in zip(*trained, strict=True):
        np.testing.assert_array_equal(one, other)
    mask = np.arange(50) < 3
    assert model.generate_prediction(X, mask).shape == (3, 5)
    np.testing.assert_array_equal(model.eval_models(X, Y, mask), model.eval_models(X, Y, [0, 1, 2]))


def test_divergence_is_told(capsys):
    model = NDN(dense(act_funcs="exp"))
    options = {**SHORT, "learning_rate": 1e6}
    assert model.train(X, Y, opt_params=options) == 0
    assert "diverged in epoch 0" in capsys.readouterr().out
    for learning_alg, when in (("adam", "diverged in epoch 0: its"), ("lbfgs", "diverged: its")):
        model = NDN(dense(act_funcs=["softplus", "tanh"]))
        model.train(X, Y, opt_params=SHORT, learning_alg=learning_alg)
        said = capsys.readouterr().out
        assert when in said and "with activation 'tanh' can be negative" in said


def test_divergence_in_the_last_step_is_told():
    model = NDN(dense(act_funcs="exp"))
    options = {"epochs_training": 1, "batch_size": 40, "learning_rate": 1e3, "epochs_summary": 1}
    ((_, _, result),) = NDN.fit_together([model], X, Y, TRAIN, opt_params=options)
    assert np.isfinite(result.history["loss"]).all()
    assert result.diverged_epoch == 0
    member = SimpleNamespace(epoch_or_none=lambda _: None, epoch=4, history={"epoch": [3]})
    assert running.diverged_epoch(member, [np.ones(2), np.ones(3)]) is None
    assert running.diverged_epoch(member, [np.ones(2), np.array([1, np.nan])]) == 3
