"""Losses and the correlation in ordinary Keras models: values, training, files."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from NDN3 import correlation
from NDN3.keras_losses import BernoulliLoss, Correlation, GaussianLoss, PoissonLoss
from NDN3.layers.dense import Normal
from NDN3.NDN import NDN
from NDN3.NDNutils import ffnetwork_params

P = np.array([(0.5, 0.5), (1.5, 2), (0.25, 1), (1, 3)], "float32")
Y = np.array([(1, 0), (2, 3), (0, 1), (1, 4)], "float32")
M = np.array([(1, 1), (1, 0), (1, 1), (0, 1)], "float32")
HIDDEN = np.where(M > 0, Y, np.nan)
LOSSES = [PoissonLoss([0.5, 2.0, 1.0]), GaussianLoss(), BernoulliLoss()]


@pytest.mark.parametrize(
    ("loss", "responses", "cost"),
    [
        (PoissonLoss([1, 2]), Y, 0.786316),
        (PoissonLoss([0.75, 1.25]), HIDDEN, 0.731848),
        (PoissonLoss(), Y, 0.783053 + 2 * 0.003263),
        (PoissonLoss(2), Y, (0.783053 + 2 * 0.003263) / 2),
        (GaussianLoss(), Y, 0.703125),
        (GaussianLoss(), HIDDEN, 0.453125),
        (BernoulliLoss(), Y, -1.402807),
        (BernoulliLoss(), HIDDEN, -0.784543),
    ],
)
def test_hand_worked_costs(loss, responses, cost):
    assert float(loss(responses, P)) == pytest.approx(cost, abs=2e-6)
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    assert type(again) is type(loss)
    assert float(again(responses, P)) == float(loss(responses, P))


def test_norms_must_be_positive():
    for given in (0, [1, -1], "mean"):
        with pytest.raises(ValueError, match="poisson_unit_norm is .* must be one positive number"):
            PoissonLoss(given)


@pytest.mark.parametrize("loss", LOSSES)
def test_gradients_are_those_of_central_differences(loss):
    source = np.random.default_rng(0)
    responses = (source.random((6, 3)) < 0.5).astype(float)
    responses[2, 1] = np.nan
    predictions = source.random((6, 3)) + 0.2
    loss = type(loss).from_config({**loss.get_config(), "dtype": "float64"})

    def cost(values):
        return float(loss(responses, values))

    numeric = np.zeros_like(predictions)
    for index in np.ndindex(predictions.shape):
        step = np.zeros_like(predictions)
        step[index] = 1e-5
        numeric[index] = (cost(predictions + step) - cost(predictions - step)) / 2e-5
    assert numeric[2, 1] == 0
    with tf.GradientTape() as tape:
        given = tf.constant(predictions)
        tape.watch(given)
        value = loss(responses, given)
    np.testing.assert_allclose(tape.gradient(value, given), numeric, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("mode", correlation.MODES)
def test_correlation_of_batches_is_that_of_all_rows(mode):
    source = np.random.default_rng(0)
    predictions = source.normal(size=(50, 4)) + 100
    responses = predictions + source.normal(size=(50, 4))
    responses[:, 2] = 3
    responses[:, 3] *= 1e-3  # varies little, and enough for each mode
    mask = source.random((50, 4)) < 0.7
    mask[:20, 1] = False
    expected = correlation.metrics(mode)[correlation.TAG](responses, predictions, mask * 1.0)
    metric = Correlation(mode)
    assert float(metric.result()) == 0
    hidden = np.where(mask, responses, np.nan)
    for rows in (slice(0, 7), slice(7, 8), slice(8, 50)):
        metric.update_state(hidden[rows], predictions[rows])
    assert float(metric.result()) == pytest.approx(float(expected), rel=1e-5)
    metric.reset_state()
    metric.update_state(responses, predictions, mask)
    assert float(metric.result()) == pytest.approx(float(expected), rel=1e-5)
    again = Correlation.from_config(metric.get_config())
    again.update_state(responses, predictions, np.ones(50))
    whole = correlation.metrics(mode)[correlation.TAG](responses, predictions, None)
    assert float(again.result()) == pytest.approx(float(whole), rel=1e-5)


def test_hand_worked_correlation():
    for responses, expected in ((Y, (0.920575, 0.988064)), (HIDDEN, (0.944911, 0.998625))):
        metric = Correlation()
        metric.update_state(responses, P)
        assert float(metric.result()) == pytest.approx(np.mean(expected), rel=1e-5)


def test_unknown_modes_are_refused():
    with pytest.raises(ValueError, match="Did you mean 'zero-NaNs'"):
        Correlation("zero-nans")
    with pytest.raises(ValueError, match="the mode of a correlation is None"):
        Correlation(None)


def test_a_sequential_model_trains_and_is_stored(tmp_path):
    source = np.random.default_rng(0)
    images = source.normal(size=(64, 4)).astype("float32")
    rates = np.log1p(np.exp(images @ source.normal(size=(4, 3))))
    responses = source.poisson(rates).astype("float32")
    responses[source.random((64, 3)) < 0.1] = np.nan
    model = keras.Sequential([keras.Input((4,)), Normal([3], activation="softplus", seed=1)])
    model.compile(
        optimizer=keras.optimizers.Adam(0.05),
        loss=PoissonLoss([0.5, 2.0, 1.0]),
        metrics=[Correlation("filter-NaNs")],
    )
    before = model.evaluate(images, responses, batch_size=16, verbose=0, return_dict=True)
    model.fit(images, responses, batch_size=16, epochs=15, verbose=0)
    after = model.evaluate(images, responses, batch_size=16, verbose=0, return_dict=True)
    assert after["loss"] < before["loss"]
    predictions = model.predict(images, batch_size=64, verbose=0)
    metric = correlation.metrics("filter-NaNs")[correlation.TAG]
    mask = np.isfinite(responses).astype("float32")
    expected = float(metric(np.nan_to_num(responses), predictions, mask))
    assert after["correlation"] == pytest.approx(expected, rel=1e-4)
    assert expected > 0.4
    # the same number as an NDN with these weights gives
    network = ffnetwork_params(
        input_dims=[4, 1, 1],
        layer_sizes=[3],
        layer_types=["normal"],
        act_funcs="softplus",
        verbose=False,
    )
    ndn = NDN(network)
    ndn.import_weights({"layer0/weights": model.get_weights()[0]})
    ndn.import_weights({"layer0/biases": model.get_weights()[1]})
    ndn.poisson_unit_norm = np.array([0.5, 2.0, 1.0])
    cost = ndn.get_LL(images, responses, data_filters=mask)
    assert after["loss"] == pytest.approx(cost, rel=1e-5)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.predict(images, batch_size=64, verbose=0), predictions)
    assert loaded.loss.unit_norm == [0.5, 2.0, 1.0]
    again = loaded.evaluate(images, responses, batch_size=16, verbose=0, return_dict=True)
    assert again == pytest.approx(after, rel=1e-6)
