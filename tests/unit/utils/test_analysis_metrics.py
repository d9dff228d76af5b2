import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from utils import analysis_metrics as metrics
from utils import data

PREDICTIONS = [[0.5, 0.5], [1.5, 2], [0.25, 1], [1, 3]]
RESPONSES = [[1, 0], [2, 3], [0, 1], [1, 4]]
MASK = [[1, 1], [1, 0], [1, 1], [0, 1]]


def test_correlation_of_a_worked_example():
    np.testing.assert_allclose(
        metrics.correlation(RESPONSES, PREDICTIONS), [0.920575, 0.988064], atol=1e-6
    )
    np.testing.assert_allclose(
        metrics.correlation(RESPONSES, PREDICTIONS, MASK), [0.944911, 0.998625], atol=1e-6
    )


def test_correlation_with_a_constant_is_zero():
    first_and_last = [0, 3]
    y, p = np.array(RESPONSES)[first_and_last], np.array(PREDICTIONS)[first_and_last]
    np.testing.assert_allclose(metrics.correlation(y, p), [0, 1])
    # 0.1 summed is not exactly a multiple of 0.1
    assert metrics.correlation(np.full((7, 1), 0.1), np.arange(7.0)[:, None]) == [0]


def test_correlation_without_rows_is_zero():
    assert metrics.correlation(RESPONSES, PREDICTIONS, np.zeros((4, 2))).tolist() == [0, 0]


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**16), rows=st.integers(3, 30), neurons=st.integers(1, 4))
def test_correlation_is_numpys_over_the_rows_of_the_mask(seed, rows, neurons):
    rng = np.random.default_rng(seed)
    y, p = rng.normal(size=(2, rows, neurons))
    mask = rng.random((rows, neurons)) < 0.7
    mask[:3] = True
    wanted = [np.corrcoef(y[m, n], p[m, n])[0, 1] for n, m in enumerate(mask.T)]
    np.testing.assert_allclose(metrics.correlation(y, p, mask), wanted, atol=1e-10)
    # what the mask hides changes nothing
    y[~mask], p[~mask] = np.nan, np.inf
    np.testing.assert_allclose(metrics.correlation(y, p, mask), wanted, atol=1e-10)


def test_shapes_must_agree():
    with pytest.raises(ValueError, match=r"responses \(4, 2\), predictions \(3, 2\)"):
        metrics.correlation(RESPONSES, PREDICTIONS[:3])
    with pytest.raises(ValueError, match="must all be"):
        metrics.explained_variance([1, 2], [1, 2])
    with pytest.raises(ValueError, match="do not fit repeats"):
        metrics.feve(np.ones((2, 4, 2)), np.ones((3, 2)))


def test_explained_variance():
    y = np.array([[0.0, 1], [2, 1], [4, 1]])
    p = np.array([[1.0, 1], [2, 1], [3, 1]])
    # residuals -1, 0, 1 against deviations -2, 0, 2; a constant response has nothing to explain
    np.testing.assert_allclose(metrics.explained_variance(y, p), [0.75, np.nan])
    np.testing.assert_allclose(metrics.explained_variance(y, y)[0], 1)
    assert metrics.explained_variance(y, p + 5)[0] == pytest.approx(0.75)
    mask = np.array([[1, 1], [1, 1], [0, 1]])
    assert metrics.explained_variance(y, p, mask)[0] == pytest.approx(0.75)


def test_null_adjusted_likelihood_of_a_worked_example():
    found = metrics.null_adjusted_likelihood(RESPONSES, PREDICTIONS)
    np.testing.assert_allclose(found, [0.216946, 0.303589], atol=1e-6)
    found = metrics.null_adjusted_likelihood(RESPONSES, PREDICTIONS, MASK)
    np.testing.assert_allclose(found, [0.289261, 0.468064], atol=1e-6)
    nothing = np.array(MASK) * [0, 1]
    assert metrics.null_adjusted_likelihood(RESPONSES, PREDICTIONS, nothing)[0] == 0


def test_likelihood_of_the_mean_gains_nothing():
    y = np.random.default_rng(0).poisson(3.0, (50, 2)).astype(float)
    mean = np.broadcast_to(y.mean(0), y.shape)
    np.testing.assert_allclose(metrics.null_adjusted_likelihood(y, mean), 0, atol=1e-9)


@pytest.fixture(scope="module")
def planted():
    rng = np.random.default_rng(1)
    rates = rng.gamma(2.0, 1.0, (3000, 3))
    return rates, rng.poisson(rates, (5, 3000, 3)).astype(float)


def test_noise_power(planted):
    assert metrics.noise_power([[[0.0], [1]], [[2.0], [1]]]) == pytest.approx([1.0])
    rates, repeats = planted
    # a Poisson variance is its mean
    np.testing.assert_allclose(metrics.noise_power(repeats), rates.mean(0), rtol=0.05)
    with pytest.raises(ValueError, match="two repeats at least"):
        metrics.noise_power(repeats[:1])


def test_feve_is_one_for_the_truth_and_zero_for_the_mean(planted):
    rates, repeats = planted
    np.testing.assert_allclose(metrics.feve(repeats, rates), 1, atol=0.05)
    mean = np.broadcast_to(repeats.mean((0, 1)), rates.shape)
    np.testing.assert_allclose(metrics.feve(repeats, mean), 0, atol=1e-9)
    half = (rates + rates.mean(0)) / 2  # leaves a quarter of the variance
    np.testing.assert_allclose(metrics.feve(repeats, half), 0.75, atol=0.05)


def test_feve_is_undefined_where_noise_is_all():
    repeats = np.array([[[0.0], [1]], [[1.0], [0]]])
    assert np.isnan(metrics.feve(repeats, np.full((2, 1), 0.5)))


def test_cc_norm_is_one_for_the_truth(planted):
    rates, repeats = planted
    np.testing.assert_allclose(metrics.cc_norm(repeats, rates), 1, atol=0.02)
    noisy = rates + np.random.default_rng(2).normal(0, rates.std(0), rates.shape)
    np.testing.assert_allclose(metrics.cc_norm(repeats, noisy), np.sqrt(0.5), atol=0.03)
    signal = data.cc_max(repeats) * metrics.cc_norm(repeats, noisy)
    np.testing.assert_allclose(signal, metrics.correlation(repeats.mean(0), noisy))


def test_percentiles_of_one_to_ten():
    values = np.arange(1.0, 11)
    np.testing.assert_allclose(metrics.percentiles(values), [1.9, 5.5, 9.1])
    np.testing.assert_allclose(metrics.percentiles(values, (25, 75)), [3.25, 7.75])
    assert metrics.spread(values) == pytest.approx((9.1, 1.9, 5.5, 3.25))
    assert metrics.spread(values, median_mode=False) == pytest.approx((9.55, 1.45, 7.75, 3.25))
    assert metrics.spread(values).second_bottom == pytest.approx(3.25)


def test_percentiles_leave_out_what_diverged():
    table = np.array([[1.0, np.nan, 5], [3, np.nan, np.nan]])
    found = metrics.percentiles(table, (50,))
    np.testing.assert_array_equal(found, [[2, np.nan, 5]])
    np.testing.assert_array_equal(metrics.percentiles(table.T, (50,), axis=1), found)


@pytest.mark.parametrize("value", [0.0, 0.1, 0.3, 1.1])
@pytest.mark.parametrize("count", [2, 3, 4])
def test_what_never_varies_has_no_explainable_variance(value, count):
    """Also where rounding leaves a spread."""
    constant, ramp = np.full((count, 50, 1), value), np.linspace(0, 1, 50)[:, None]
    assert np.isnan(metrics.explained_variance(constant[0], ramp))
    assert np.isnan(metrics.feve(constant, ramp))
    assert np.isnan(metrics.cc_norm(constant, ramp))
