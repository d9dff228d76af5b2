"""Tent functions and the designs made of them: by hand, and against loops."""

import numpy as np
import pytest

import NDN3.NDNutils as NDNutils


def tent(value, anchors, k):
    """Tent k at one value, by its definition."""
    if value <= anchors[k]:
        if k == 0:
            return 1.0
        return max(0.0, (value - anchors[k - 1]) / (anchors[k] - anchors[k - 1]))
    if k == len(anchors) - 1:
        return 1.0
    return max(0.0, (anchors[k + 1] - value) / (anchors[k + 1] - anchors[k]))


def test_tents_over_lags_by_hand():
    found = NDNutils.tent_basis_generate(num_params=4, doubling_time=2)
    columns = [[1, 0, 0, 0, 0], [0, 1, 0, 0, 0], [0, 0, 1, 0.5, 0], [0, 0, 0, 0.5, 1]]
    np.testing.assert_allclose(found.T, columns)
    np.testing.assert_allclose(NDNutils.tent_basis_generate([0, 1, 2, 4]), found)


@pytest.mark.parametrize(
    ("options", "peaks"),
    [
        ({"num_params": 3}, [0, 1, 2]),
        ({"num_params": 1}, [0]),
        ({"num_params": 3, "init_spacing": 4}, [0, 4, 8]),
        ({"num_params": 4, "doubling_time": 1, "first_lag": 2}, [2, 3, 5, 9]),
        ({"num_params": 7, "doubling_time": 3}, [0, 1, 2, 3, 5, 7, 9]),
        ({"xs": [1, 5]}, [1, 5]),
        ({"xs": [2, 3], "num_params": 2}, [2, 3]),
    ],
)
def test_peaks_of_tents_over_lags(options, peaks):
    found = NDNutils.tent_basis_generate(**options)
    assert found.shape == (peaks[-1] + 1, len(peaks))
    np.testing.assert_array_equal(found[peaks], np.eye(len(peaks)))
    inside = found[peaks[0] :]
    np.testing.assert_allclose(inside.sum(axis=1), 1)
    # before the first peak its tent rises from zero
    rise = np.arange(peaks[0]) / max(peaks[0], 1)
    np.testing.assert_allclose(found[: peaks[0], 0], rise)


def test_tents_of_a_variable_against_their_definition():
    anchors = [-1.0, 0.0, 0.5, 2.0]
    values = np.concatenate([np.random.default_rng(0).normal(0, 2, 40), anchors])
    found = NDNutils.design_matrix_tent_basis(values, anchors)
    expected = [[tent(value, anchors, k) for k in range(4)] for value in values]
    np.testing.assert_allclose(found, expected)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    column = values[:, np.newaxis]
    without_ends = NDNutils.design_matrix_tent_basis(column, anchors, True, True)
    np.testing.assert_array_equal(without_ends, found[:, 1:-1])


def test_each_column_of_a_stimulus_gets_its_tents():
    stim = np.random.default_rng(1).normal(size=(9, 3))
    bounds = [-0.5, 0.0, 1.0]
    found = NDNutils.create_NL_embedding(stim, bounds)
    assert found.shape == (9, 9)
    for t, i, k in np.ndindex(9, 3, 3):
        assert found[t, i * 3 + k] == pytest.approx(tent(stim[t, i], bounds, k))


def test_a_linear_layer_on_tents_is_a_function_of_the_stimulus():
    bounds = np.linspace(-2, 2, 9)
    stim = np.random.default_rng(2).uniform(-2, 2, size=(50, 1))
    found = NDNutils.create_NL_embedding(stim, bounds) @ bounds**2
    # chords of a parabola lie above it by spacing² / 4 at most, and are it at the bounds
    excess = found - stim[:, 0] ** 2
    assert excess.min() > -1e-12 and excess.max() <= 0.5**2 / 4 + 1e-12
    assert excess.max() > 0.01


def test_events_against_a_loop():
    basis = np.random.default_rng(3).normal(size=(4, 2))
    kinds, first_lag, count = [[0, 3, 3, 9], [8], []], -2, 10
    expected = np.zeros((count, 6))
    for i, events in enumerate(kinds):
        for event in events:
            for row in range(4):
                t = event + first_lag + row
                if 0 <= t < count:
                    expected[t, 2 * i : 2 * i + 2] += basis[row]
    found = NDNutils.design_matrix_event_basis(kinds, count, basis, first_lag)
    np.testing.assert_allclose(found, expected)
    events = np.array([0, 3, 3, 9], np.uint8)  # too small a type for rows before the first
    one = NDNutils.design_matrix_event_basis(events, count, basis, first_lag)
    np.testing.assert_allclose(one, expected[:, :2])
    late = NDNutils.design_matrix_event_basis([9], count, basis, first_lag=30)
    early = NDNutils.design_matrix_event_basis([0], count, basis, first_lag=-30)
    assert not late.any() and not early.any()


generate = NDNutils.tent_basis_generate


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: generate(), "xs and num_params are None"),
        (lambda: generate([0, 2, 2]), "each larger than the one before"),
        (lambda: generate([-1, 2]), "whole numbers of lags, from 0"),
        (lambda: generate([0, 1.5]), "whole numbers of lags, from 0"),
        (lambda: generate([0, 1], num_params=3), "num_params is 3, and xs has 2"),
        (lambda: generate(num_params=0), "num_params is 0"),
        (lambda: generate(num_params=3, doubling_time=0), "doubling_time .* is 0"),
        (lambda: generate(num_params=3, init_spacing=0.5), "init_spacing .* is 0.5"),
        (lambda: generate(num_params=3, first_lag=-1), "first_lag is -1"),
        (lambda: generate(num_params=99, doubling_time=1), "the basis may have 100000"),
        (lambda: NDNutils.create_NL_embedding([[1.0]], [0]), "2 or more finite numbers"),
        (lambda: NDNutils.create_NL_embedding([[1.0]], [0, np.inf]), "2 or more finite numbers"),
        (lambda: NDNutils.create_NL_embedding(["x"], [0, 1]), "stim is"),
        (lambda: NDNutils.design_matrix_tent_basis([[1, 2]], [0, 1]), "s has 2 columns"),
        (lambda: NDNutils.design_matrix_tent_basis([1], [1, 0]), "anchors is"),
        (lambda: NDNutils.design_matrix_tent_basis([1], np.uint8([5, 3])), "anchors is"),
        (lambda: NDNutils.design_matrix_tent_basis([1], [0, 1], 1), "zero_left is 1"),
        (lambda: NDNutils.design_matrix_tent_basis([1], [0, 1], True, True), "none of the 2"),
        (lambda: NDNutils.design_matrix_event_basis([5], 5, [[1]]), "rows of events must lie in"),
        (lambda: NDNutils.design_matrix_event_basis([[0], [7]], 5, [[1]]), r"rows of events\[1\]"),
        (lambda: NDNutils.design_matrix_event_basis([0], 5, [[1]], 0.5), "first_lag is 0.5"),
        (lambda: NDNutils.design_matrix_event_basis([0], 0, [[1]]), "num_time_pts is 0"),
        (lambda: NDNutils.design_matrix_event_basis([0], 5, "x"), "basis is 'x'"),
    ],
)
def test_what_does_not_fit_is_refused(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()
