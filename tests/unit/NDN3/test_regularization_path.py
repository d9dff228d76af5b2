"""A sweep over strengths: each as it would be alone, and the planted one is found."""

import numpy as np
import pytest

from NDN3.NDN import NDN
from NDN3.NDNutils import ffnetwork_params, reg_path

OPTIONS = {"batch_size": 32, "epochs_training": 3, "learning_rate": 0.01}
TRAIN, TEST = np.arange(60), np.arange(60, 100)


@pytest.fixture(scope="module")
def data():
    source = np.random.default_rng(0)
    stimulus = source.normal(size=(100, 6))
    return stimulus, source.poisson(np.exp(0.5 * stimulus[:, :2])).astype(float)


def model(**changes):
    arguments = {
        "input_dims": [1, 6, 1],
        "layer_sizes": [3, 2],
        "layer_types": ["normal", "normal"],
        "act_funcs": ["lin", "softplus"],
        "verbose": False,
    }
    return NDN(ffnetwork_params(**{**arguments, **changes}), tf_seed=4)


def trained_alone(start, data, reg_type, value, layer, blocks=None, filters=None):
    alone = start.copy_model(start.tf_seed)
    alone.set_regularization(reg_type, value, 0, layer)
    alone.train(*data, TRAIN, TEST, blocks, data_filters=filters, opt_params=OPTIONS)
    return alone


def test_strengths_in_company_equal_those_alone(data, capsys):
    start = model(reg_list={"l2": [None, 0.1]})
    before = [array.copy() for array in start.arrays]
    values, blocks = [0, 0.5], [[1, 50], [61, 90]]
    filters = np.random.default_rng(2).random((100, 2)) < 0.8
    scores, models = reg_path(
        start, *data, TRAIN, TEST, blocks, reg_type="l1", reg_vals=values, layer_target=[0, 1],
        data_filters=filters, opt_params=OPTIONS, silent=False,
    )  # fmt: skip
    for value, score, found in zip(values, scores, models, strict=True):
        assert [layer.reg for layer in found.networks[0].layers] == [
            {"l1": value},
            {"l2": 0.1, "l1": value},
        ]
        assert score == pytest.approx(found.eval_models(*data, TEST, filters, blocks=blocks).mean())
    alone = trained_alone(start, data, "l1", values[1], [0, 1], blocks, filters)
    for array, expected in zip(models[1].arrays, alone.arrays, strict=True):
        np.testing.assert_array_equal(array, expected)
    assert scores[0] != scores[1]
    assert models[0].get_reg_pen()["net0L0"] == {"l1": 0.0}
    lines = capsys.readouterr().out.splitlines()
    assert lines == [f"l1 = 0: {scores[0]:.6g}", f"l1 = 0.5: {scores[1]:.6g}"]
    # the model that the sweep starts from is left as it was
    for array, expected in zip(start.arrays, before, strict=True):
        np.testing.assert_array_equal(array, expected)
    assert [layer.reg for layer in start.networks[0].layers] == [{}, {"l2": 0.1}]
    assert start.poisson_unit_norm is None


def test_cumulative_strengths_go_on_from_the_one_before(data):
    start = model(layer_sizes=[2], layer_types=["normal"], act_funcs="softplus")
    arguments = {"reg_type": "l2", "reg_vals": [0.1, 1.0], "opt_params": OPTIONS}
    scores, models = reg_path(start, *data, TRAIN, TEST, cumulative=True, **arguments)
    first = trained_alone(start, data, "l2", 0.1, 0)
    second = trained_alone(first, data, "l2", 1.0, 0)
    for found, expected in zip(models, (first, second), strict=True):
        for array, other in zip(found.arrays, expected.arrays, strict=True):
            np.testing.assert_array_equal(array, other)
    assert scores[1] == pytest.approx(second.eval_models(*data, TEST).mean())


def test_scores_are_means_over_the_neurons_of_all_networks(data, monkeypatch):
    monkeypatch.setattr(NDN, "train", lambda *_, **options: None)
    descriptions = [
        ffnetwork_params([1, 6, 1], [units], ["normal"], "softplus", verbose=False)
        for units in (2, 1)
    ]
    start = NDN(descriptions, ffnet_out=[0, 1])
    stimulus, responses = data[0], [data[1], data[1][:, :1]]
    scores, _ = reg_path(start, stimulus, responses, TRAIN, TEST, reg_vals=[0.1], cumulative=True)
    expected = np.concatenate(start.eval_models(stimulus, responses, TEST)).mean()
    assert scores.tolist() == [pytest.approx(expected)]


def test_dropout_and_strengths_of_units_are_swept_one_after_the_other(data, tmp_path):
    options = OPTIONS | {"epochs_training": 1, "epochs_summary": 1}
    start = model(layer_sizes=[2], layer_types=["normal"], act_funcs="softplus")
    _, models = reg_path(
        start, *data, TRAIN, TEST, reg_type="l2", reg_vals=[[0.1, 0.2]],
        opt_params=options, output_dir=tmp_path,
    )  # fmt: skip
    assert models[0].networks[0].layers[0].reg == {"l2": [0.1, 0.2]}
    assert (tmp_path / "l2_0.1_0.2" / "summaries" / "test").is_dir()
    _, models = reg_path(
        start, *data, TRAIN, TEST, reg_type="dropout", reg_vals=[0.5], opt_params=options
    )
    assert models[0].networks[0].layers[0].reg == {"dropout": 0.5}


def test_a_sparse_filter_is_best_with_a_strength_between():
    source = np.random.default_rng(1)
    stimulus = source.normal(size=(160, 40))
    weights = np.zeros((40, 1))
    weights[[3, 17]] = 1.0
    responses = stimulus @ weights + 1.5 * source.normal(size=(160, 1))
    description = ffnetwork_params([1, 40, 1], [1], ["normal"], "lin", verbose=False)
    start = NDN(description, noise_dist="gaussian")
    scores, models = reg_path(
        start, stimulus, responses, np.arange(80), np.arange(80, 160),
        reg_type="l1", reg_vals=[0.0, 0.6, 30.0],
        opt_params={"batch_size": 80, "epochs_training": 300, "learning_rate": 0.02},
    )  # fmt: skip
    assert scores.argmin() == 1
    found = np.abs(models[1].networks[0].layers[0].weights[:, 0])
    assert set(np.argsort(found)[-2:]) == {3, 17}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"reg_type": "l3"}, "unknown regularizer in reg_type 'l3'"),
        ({"reg_type": "max_level"}, "max_level"),
        ({"reg_vals": 0.1}, "reg_vals is 0.1; it must be a list"),
        ({"reg_vals": []}, r"reg_vals is \[\]"),
        ({"reg_vals": [0.1, -1]}, r"reg_vals\[1\] is -1"),
        ({"reg_type": "dropout", "reg_vals": [0]}, r"reg_vals\[0\] is 0; .* to keep a unit"),
        ({"train_indxs": None}, "train_indxs is None; a sweep needs rows"),
        ({"test_indxs": []}, "test_indxs is empty; a sweep needs rows"),
        ({"layer_target": 7}, "layer_target is 7"),
        ({"ffnet_target": 3}, "ffnet_target is 3"),
        ({"opt_params": {"epochs": 3}}, "epochs"),
    ],
)
def test_what_does_not_fit_is_refused(data, changes, sentence):
    arguments = {"train_indxs": TRAIN, "test_indxs": TEST, "opt_params": OPTIONS}
    with pytest.raises(ValueError, match=sentence):
        reg_path(model(), *data, **{**arguments, **changes})
