"""Correlation per neuron and its means over neurons."""

import numpy as np
import pytest

from NDN3 import correlation

P = np.array([(0.5, 0.5), (1.5, 2), (0.25, 1), (1, 3)], "float32")
Y = np.array([(1, 0), (2, 3), (0, 1), (1, 4)], "float32")
M = np.array([(1, 1), (1, 0), (1, 1), (0, 1)], "float32")


@pytest.mark.parametrize(
    ("mask", "expected"), [(None, (0.920575, 0.988064)), (M, (0.944911, 0.998625))]
)
def test_hand_worked_values(mask, expected):
    values, defined = correlation.pearson(Y, P, mask)
    np.testing.assert_allclose(values, expected, rtol=1e-5)
    assert np.all(defined)


def test_a_constant_response_has_none():
    values, defined = correlation.pearson(Y[[0, 3]], P[[0, 3]])
    np.testing.assert_allclose(values, [0, 1], rtol=1e-6)
    assert np.asarray(defined).tolist() == [False, True]


@pytest.mark.parametrize("level", [0.1, 1e-4, 123.4])
def test_rounding_does_not_make_a_constant_vary(level):
    source = np.random.default_rng(0)
    flat = np.full((97, 1), level, "float32")
    varied = source.normal(size=(97, 1)).astype("float32")
    for pair in ((flat, varied), (varied, flat)):
        values, defined = correlation.pearson(*pair)
        assert (float(values[0]), bool(defined[0])) == (0.0, False)


def test_equals_numpy():
    source = np.random.default_rng(0)
    responses = source.poisson(2, size=(200, 7)).astype(float)
    predictions = responses + source.normal(size=(200, 7))
    mask = (source.random((200, 7)) < 0.7).astype(float)
    values, _ = correlation.pearson(responses, predictions, mask)
    for neuron in range(7):
        seen = mask[:, neuron] > 0
        expected = np.corrcoef(responses[seen, neuron], predictions[seen, neuron])[0, 1]
        assert float(values[neuron]) == pytest.approx(expected, rel=1e-9)


def test_tiny_values_are_no_trouble():
    values, _ = correlation.pearson(Y * np.float32(1e-12), P * np.float32(1e-12))
    np.testing.assert_allclose(values, (0.920575, 0.988064), rtol=1e-5)


def test_modes():
    responses = np.array([(0, 1, 0.001), (1, 1, 0.00101), (2, 1, 0.00102)])
    predictions = np.array([(0, 3, 2), (1, 4, 1), (2, 6, 0)], float)
    # 1, undefined, -1 with hardly any variation
    means = {
        mode: {
            tag: float(metric(responses, predictions, None))
            for tag, metric in correlation.metrics(mode).items()
        }
        for mode in correlation.MODES
    }
    tag, count = correlation.TAG, correlation.COUNT_TAG
    assert means["zero-NaNs"] == {tag: pytest.approx(0, abs=1e-6)}
    assert means["filter-NaNs"] == {tag: pytest.approx(0, abs=1e-6), count: 2}
    assert means["filter-low-std-gold"] == {tag: pytest.approx(1), count: 1}


def test_no_neuron_left_gives_zero():
    flat = np.ones((4, 2))
    for mode in correlation.MODES:
        for metric in correlation.metrics(mode).values():
            assert float(metric(flat, P, None)) == 0


@pytest.mark.parametrize("hidden", [1e6, np.nan, np.inf])
def test_masked_entries_change_nothing(hidden):
    other, predictions = (np.where(M > 0, each, hidden).astype("float32") for each in (Y, P))
    for mode in correlation.MODES:
        for metric in correlation.metrics(mode).values():
            assert float(metric(other, predictions, M)) == float(metric(Y, P, M))


def test_unknown_mode_is_refused():
    assert correlation.metrics(None) == {}
    with pytest.raises(ValueError, match="Did you mean 'zero-NaNs'"):
        correlation.metrics("zero-nans")
