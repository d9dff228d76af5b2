"""Likelihoods: hand-worked costs and evaluations, with and without a mask."""

import numpy as np
import pytest

from NDN3.noise import NOISE, mean_response, noise

P = np.array([(0.5, 0.5), (1.5, 2), (0.25, 1), (1, 3)])
Y = np.array([(1, 0), (2, 3), (0, 1), (1, 4)], float)
M = np.array([(1, 1), (1, 0), (1, 1), (0, 1)], float)


@pytest.mark.parametrize(
    ("name", "mask", "expected"),
    [
        ("poisson", None, (0.783053, 0.003263)),
        ("poisson", M, (0.710738, 0.021110)),
        ("gaussian", None, (0.140625, 0.5625)),
        ("gaussian", M, (0.1875, 0.416667)),
        ("bernoulli", None, (0.078673, -1.442143)),
        ("bernoulli", M, (0.231526, -1.394185)),
    ],
)
def test_evaluation(name, mask, expected):
    values = noise(name).evaluation(Y, P, mask)
    np.testing.assert_allclose(values, expected, atol=1e-6)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(
    ("mask", "null", "adjusted"),
    [
        (None, (-0.999999, -0.306852), (0.216946, 0.303589)),
        (M, (-0.999999, -0.489174), (0.289261, 0.468064)),
    ],
)
def test_null_model_of_spikes(mask, null, adjusted, legacy):
    poisson = noise("poisson")
    np.testing.assert_allclose(poisson.null(Y, mask, legacy), null, atol=1e-6)
    above = -poisson.evaluation(Y, P, mask) - poisson.null(Y, mask, legacy)
    np.testing.assert_allclose(above, adjusted, atol=1e-6)


def test_null_model_of_less_than_one_spike():
    poisson, responses = noise("poisson"), np.array([[0.25], [0.0], [0.25]])
    expected = -poisson.evaluation(responses, np.full_like(responses, responses.mean()))
    np.testing.assert_allclose(poisson.null(responses), expected, atol=1e-6)


def test_null_model_of_squared_errors_is_the_variance_of_each_neuron():
    gaussian = noise("gaussian")
    np.testing.assert_allclose(gaussian.null(Y), -Y.var(axis=0))
    seen = [np.var([1, 2, 0]), np.var([0, 1, 4])]
    np.testing.assert_allclose(gaussian.null(Y, M), -np.array(seen))


SPIKES = np.array([(1, 0), (0, 1), (1, 1), (0, 1)], float)


@pytest.mark.parametrize("mask", [None, M])
def test_null_model_of_log_odds_is_the_best_constant_one(mask):
    bernoulli = noise("bernoulli")
    null = bernoulli.null(SPIKES, mask)

    def constant(value):
        return -bernoulli.evaluation(SPIKES, np.full_like(SPIKES, value), mask)

    best = np.max([constant(value) for value in np.linspace(-3, 3, 6001)], axis=0)
    np.testing.assert_allclose(null, best, atol=1e-6)
    certain = np.array([(0.0, 1.0), (0.0, 1.0)])
    np.testing.assert_allclose(bernoulli.null(certain), [0, 0], atol=1e-12)


@pytest.mark.parametrize("mask", [None, M])
def test_the_prediction_of_the_mean_scores_as_the_null_model(mask):
    for name, responses in (("poisson", Y), ("gaussian", Y), ("bernoulli", SPIKES)):
        likelihood = noise(name)
        constant = likelihood.prediction_of_mean(mean_response(responses, mask))
        score = -likelihood.evaluation(responses, np.tile(constant, (4, 1)), mask)
        np.testing.assert_allclose(score, likelihood.null(responses, mask), atol=1e-5)


@pytest.mark.parametrize(
    ("mask", "norm", "cost"), [(None, (1, 2), 0.786316), (M, (0.75, 1.25), 0.731848)]
)
def test_training_cost_of_spikes(mask, norm, cost):
    poisson = noise("poisson")
    np.testing.assert_array_equal(poisson.unit_norm(Y, mask), norm)
    seen = np.ones_like(Y) if mask is None else mask
    rows = poisson.cost(Y * seen, P * seen, poisson.unit_norm(Y, mask))
    assert rows.shape == (4,)
    assert float(np.mean(rows)) == pytest.approx(cost, abs=1e-6)


def test_training_cost_of_some_rows():
    rows = [0, 3]
    cost = noise("poisson").cost(Y[rows], P[rows], np.array([1.0, 2.0]))
    assert float(np.mean(cost)) == pytest.approx(0.872960, abs=1e-6)


@pytest.mark.parametrize(("mask", "cost"), [(None, 0.703125), (M, 0.453125)])
def test_training_cost_of_squared_errors(mask, cost):
    seen = np.ones_like(Y) if mask is None else mask
    gaussian = noise("gaussian")
    assert gaussian.unit_norm(Y, mask) is None
    assert float(np.mean(gaussian.cost(Y * seen, P * seen))) == pytest.approx(cost)


@pytest.mark.parametrize(("mask", "cost"), [(None, -1.402807), (M, -0.784543)])
def test_training_cost_of_log_odds(mask, cost):
    seen = np.ones_like(Y) if mask is None else mask
    bernoulli = noise("bernoulli")
    assert bernoulli.unit_norm(Y, mask) is None
    rows = bernoulli.cost(Y * seen, P * seen)
    assert rows.shape == (4,)
    assert float(np.mean(rows)) == pytest.approx(cost, abs=1e-6)


def test_large_log_odds_are_no_trouble():
    odds = np.array([(1000.0, -1000.0)])
    for responses, cost in (((1.0, 0.0), 0.0), ((0.0, 1.0), 1000.0)):
        assert float(noise("bernoulli").cost(np.array([responses]), odds)[0]) == cost


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("hidden", [1e6, np.nan, np.inf])
@pytest.mark.parametrize("name", NOISE)
def test_masked_entries_change_nothing(name, hidden, legacy):
    likelihood = noise(name)
    other, predictions = np.where(M > 0, Y, hidden), np.where(M > 0, P, hidden)
    np.testing.assert_array_equal(
        likelihood.evaluation(other, predictions, M), likelihood.evaluation(Y, P, M)
    )
    null = likelihood.null(Y, M, legacy)
    assert np.isfinite(null).all()
    np.testing.assert_array_equal(likelihood.null(other, M, legacy), null)
    np.testing.assert_array_equal(likelihood.unit_norm(other, M), likelihood.unit_norm(Y, M))


@pytest.mark.parametrize("name", NOISE)
def test_a_neuron_that_is_masked_throughout_counts_zero(name):
    likelihood = noise(name)
    nothing = np.zeros_like(Y)
    assert likelihood.evaluation(Y, P, nothing).tolist() == [0, 0]
    assert likelihood.null(Y, nothing).tolist() == [0, 0]


def test_the_norm_of_a_silent_neuron_is_not_zero():
    assert noise("poisson").unit_norm(np.zeros((3, 1))).tolist() == [1e-8]


def test_unknown_noise_is_refused():
    with pytest.raises(ValueError, match="Did you mean 'poisson'"):
        noise("poison")
