"""Models that work along time, from training over prediction to the file."""

import numpy as np
import pytest

from NDN3 import NDN as module
from NDN3.composition import compose
from NDN3.NDN import NDN
from NDN3.NDNutils import ffnetwork_params

COUNT, INPUTS = 60, 2
FILTER = np.array([0.2, 1.0, -0.7, 0.3])


def description(sizes=(2, 1), **changes):
    found = {
        "input_dims": [INPUTS, 1, 1],
        "layer_sizes": list(sizes),
        "layer_types": ["temporal", "normal"],
        "act_funcs": ["lin", "softplus"],
        "conv_filter_widths": [3],
        "dilation": [2, 1],
        "time_expand": [None, 2],
        "verbose": False,
    }
    return ffnetwork_params(**(found | changes))


def data(count=COUNT, inputs=INPUTS, neurons=1):
    source = np.random.default_rng(2)
    return (
        source.normal(size=(count, inputs)).astype("float32"),
        source.poisson(1.0, (count, neurons)).astype("float32"),
    )


SHORT = {"epochs_training": 3, "batch_size": 8, "learning_rate": 0.01}


def test_predictions_in_chunks_equal_those_in_one_piece(monkeypatch):
    inputs, responses = data(neurons=3)
    model = NDN(description([2, 3]))
    assert model.keras_model.time_spread == 5
    whole = model.generate_prediction(inputs)
    rows = [50, 3, 4, 17]
    for length in (1, 7, 20):
        monkeypatch.setattr(module, "ROWS_PER_CALL", length)
        np.testing.assert_allclose(model.generate_prediction(inputs), whole, rtol=1e-6)
        few = model.generate_prediction(inputs, rows)
        np.testing.assert_allclose(few, whole[rows], rtol=1e-6)
        hidden = model.generate_prediction(inputs, rows, layer_target=0)
        assert hidden.shape == (4, 4)
    costs = model.eval_models(inputs, responses, rows)
    np.testing.assert_allclose(costs, model.eval_preds(whole[rows], responses, rows), rtol=1e-5)


def test_a_planted_filter_is_found():
    """One filter over time for both inputs, behind weights of each."""
    inputs, _ = data(2000)
    filtered = sum(value * np.roll(inputs, 2 * lag, axis=0) for lag, value in enumerate(FILTER))
    responses = filtered @ [[1.0], [-0.5]]
    model = NDN(
        description([1, 1], conv_filter_widths=[4], time_expand=None, act_funcs="lin"), "gaussian"
    )
    model.train(
        inputs,
        responses,
        train_indxs=range(1600),
        test_indxs=range(1600, 2000),
        opt_params={"epochs_training": 40, "batch_size": 50, "learning_rate": 0.01},
        silent=True,
    )
    found = model.networks[0].layers[0].weights[:, 0]
    assert np.corrcoef(found, FILTER)[0, 1] ** 2 > 0.999
    assert model.eval_models(inputs, responses, np.arange(1600, 2000))[0] < 1e-3 * np.var(responses)


def test_a_block_is_trained_as_a_recording_of_its_own():
    """Rows are counted from 1, the last one included; what lies outside may be anything."""
    inputs, responses = data()
    alone, within = NDN(description()), NDN(description())
    alone.train(inputs[20:50], responses[20:50], opt_params=SHORT)
    before = [array.copy() for array in within.arrays]
    spoiled = np.full_like(inputs, np.nan)
    spoiled[20:50] = inputs[20:50]
    with pytest.raises(ValueError, match="NaN"):
        within.train(spoiled, responses, opt_params=SHORT)
    for wrong, message in (
        ([[0, 30]], "counted from 1"),
        ([[21, 61]], "inside of the 60 rows"),
        ([[21, 25]], "train_indxs are 60 rows, of which none has 5 rows of its block"),
    ):
        with pytest.raises(ValueError, match=message):
            within.train(spoiled, responses, blocks=wrong, opt_params=SHORT)
    with pytest.raises(ValueError, match="test_indxs are 10 rows, of which none"):
        within.train(inputs, responses, test_indxs=range(10), blocks=[[21, 50]], opt_params=SHORT)
    for one, other in zip(within.arrays, before, strict=True):
        np.testing.assert_array_equal(one, other)
    within.train(spoiled, responses, blocks=[[21, 50]], opt_params=SHORT)
    for one, other in zip(within.arrays, alone.arrays, strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_allclose(within.poisson_unit_norm, responses[25:50].mean(axis=0), rtol=1e-6)


def test_blocks_of_models_without_time():
    inputs, responses = data()
    plain = ffnetwork_params(
        input_dims=[INPUTS, 1, 1], layer_sizes=[1], layer_types=["normal"],
        act_funcs="softplus", verbose=False,
    )  # fmt: skip
    blocked, chosen = NDN(plain), NDN(plain)
    blocked.train(inputs, responses, blocks=[[1, 10], [41, 60]], opt_params=SHORT)
    chosen.train(inputs, responses, np.r_[:10, 40:60], opt_params=SHORT)
    for one, other in zip(blocked.arrays, chosen.arrays, strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_old_order_orders_pieces():
    """In the legacy profile summaries are of the last batch: the piece that comes last."""
    inputs, responses = data()
    model = NDN(description(), tf_seed=3, legacy=True)
    predictions = model.generate_prediction(inputs)
    options = {"epochs_training": 1, "batch_size": 8, "learning_rate": 1e-12, "epochs_summary": 1}
    ((_, _, result),) = NDN.fit_together([model], inputs, responses, opt_params=options)
    rows = np.arange(5, COUNT)
    places = np.argsort(np.random.RandomState(3).permutation(rows))  # of each row
    first = rows[::8][np.argmax(places[::8])]
    last = slice(first, min(first + 8, COUNT))
    norm = responses.mean()
    costs = -(responses * np.log(predictions + 1e-5) - predictions)[last] / norm
    assert result.history["train/cost"][0] == pytest.approx(costs.mean(), rel=1e-4)


@pytest.mark.parametrize("learning_alg", ["adam", "lbfgs"])
def test_schedules_held_out_rows_and_both_algorithms(learning_alg):
    inputs, responses = data(200)
    model = NDN(description())
    before = model.eval_models(inputs, responses)
    extra = {"maxiter": 20}
    if learning_alg == "adam":
        extra = SHORT | {"schedule": "cosine", "inner_holdout": 0.2, "early_stop_mode": 1}
        extra |= {"early_stop": 2}
    model.train(
        inputs, responses, blocks=[[1, 90], [101, 200]], learning_alg=learning_alg,
        opt_params=extra, silent=True,
    )  # fmt: skip
    assert model.eval_models(inputs, responses)[0] < before[0]


def test_stored_and_loaded_with_equal_bits(tmp_path):
    inputs, _ = data()
    told = description()
    told["temporal_basis"] = [{"num_params": 3, "doubling_time": 1}, None]
    told["conv_filter_widths"] = [None, None]
    model = NDN(told, tf_seed=4)
    model.save_model(tmp_path / "model.ndnmod")
    loaded = NDN.load_model(tmp_path / "model.ndnmod")
    assert loaded.keras_model.time_spread == model.keras_model.time_spread == 7
    np.testing.assert_array_equal(
        loaded.generate_prediction(inputs), model.generate_prediction(inputs)
    )


def test_two_networks_of_different_reach():
    """The second one reads the first: what both need of the past adds up."""
    inputs, responses = data()
    first = description()
    second = ffnetwork_params(
        xstim_n=0, ffnet_n=0, layer_sizes=[1], layer_types=["normal"], time_expand=[3],
        act_funcs="softplus", verbose=False,
    )  # fmt: skip
    model = NDN([first, second], input_dim_list=[[INPUTS, 1, 1]])
    assert model.keras_model.time_spread == 5 + 2
    model.train(inputs, responses, opt_params=SHORT)
    whole = model.generate_prediction(inputs)
    part = model.generate_prediction(inputs[20:])
    np.testing.assert_allclose(part[7:], whole[27:], rtol=1e-5)
    assert not np.allclose(part[6], whole[26], rtol=1e-5)


@pytest.mark.parametrize("lags", [(3, 5), (5, 3)])
def test_the_network_that_needs_most_rows_counts(lags):
    one, other = (
        ffnetwork_params([1, 1, 1], [2], ["temporal"], conv_filter_widths=[width], verbose=False)
        for width in lags
    )
    both = ffnetwork_params(
        layer_sizes=[2], layer_types=["add"], xstim_n=None, ffnet_n=[0, 1], verbose=False
    )
    assert compose([one, other, both]).time_spread == 4
    assert compose([one, other], ffnet_out=[0, 1]).time_spread == 4
