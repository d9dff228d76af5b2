"""Lags of a stimulus and shifted arrays: by hand, and against loops."""

import numpy as np
import pytest

import NDN3.NDNutils as NDNutils


def looped_embedding(stim, lags, up_fac, spacing):
    """X[t, i * lags + l] = averaged[t - l * spacing, i], one number at a time."""
    rows = [row for row in stim for _ in range(up_fac)]
    count, width = len(rows), len(rows[0])

    def averaged(t, i):
        if not 0 <= t < count:
            return 0.0
        total = 0.0
        for k in range(-spacing, spacing + 1):
            if 0 <= t + k < count:
                total += (1 - abs(k) / spacing) / spacing * rows[t + k][i]
        return total

    found = np.zeros((count, width * lags))
    for t in range(count):
        for i in range(width):
            for lag in range(lags):
                found[t, i * lags + lag] = averaged(t - lag * spacing, i)
    return found


@pytest.mark.parametrize(
    ("stim", "pdims", "options", "rows"),
    [
        ([1, 2, 3, 4], [3, 1, 1], {}, [[1, 0, 0], [2, 1, 0], [3, 2, 1], [4, 3, 2]]),
        (
            [[1, 10], [2, 20], [3, 30]],
            [2, 2, 1],
            {},
            [[1, 0, 10, 0], [2, 1, 20, 10], [3, 2, 30, 20]],
        ),
        ([1, 2], [2, 1, 1], {"up_fac": 2}, [[1, 0], [1, 1], [2, 1], [2, 2]]),
        (
            [[0, 0], [4, 8], [0, 0], [0, 0]],
            [2, 2],
            {"tent_spacing": 2},
            [[1, 0, 2, 0], [2, 0, 4, 0], [1, 1, 2, 2], [0, 2, 0, 4]],
        ),
        ([1, 2], 5, {}, [[1, 0, 0, 0, 0], [2, 1, 0, 0, 0]]),
    ],
)
def test_embeddings_by_hand(stim, pdims, options, rows):
    np.testing.assert_allclose(NDNutils.create_time_embedding(stim, pdims, **options), rows)


@pytest.mark.parametrize(
    ("lags", "up_fac", "spacing"), [(1, 1, 1), (4, 2, 1), (3, 1, 3), (9, 2, 4), (2, 1, 9)]
)
def test_embeddings_against_a_loop(lags, up_fac, spacing):
    stim = np.random.default_rng(0).normal(size=(7, 3))
    found = NDNutils.create_time_embedding(stim, [lags, 3, 1], up_fac, spacing)
    np.testing.assert_allclose(found, looped_embedding(stim.tolist(), lags, up_fac, spacing))


def test_images_are_folded_width_first():
    images = np.arange(12.0).reshape(2, 2, 3)  # two images of height 2 and width 3
    found = NDNutils.create_time_embedding(images, [2, 3, 2])
    # dims [lags, width, height]: pixel (w, h) at lag l is in column l + 2 * (w + 3 * h)
    assert found[1, 1 + 2 * (2 + 3 * 1)] == images[0, 1, 2]
    assert found[1, 0 + 2 * (1 + 3 * 0)] == images[1, 0, 1]


def test_single_precision_stays_single():
    assert NDNutils.create_time_embedding(np.ones((3, 1), np.float32), [2]).dtype == np.float32
    assert NDNutils.create_time_embedding(np.ones((3, 1), int), [2]).dtype == np.float64


@pytest.mark.parametrize("dim", [0, 1, 2, -1])
@pytest.mark.parametrize("shift", [-9, -2, 0, 1, 3, 9])
def test_shifts_against_a_loop(dim, shift):
    array = np.random.default_rng(1).normal(size=(4, 3, 5))
    padded, wrapped = np.zeros_like(array), np.zeros_like(array)
    for index in np.ndindex(array.shape):
        source = list(index)
        source[dim] -= shift
        wrapped[index] = np.take(array, source[dim] % array.shape[dim], axis=dim)[
            tuple(np.delete(index, dim))
        ]
        if 0 <= source[dim] < array.shape[dim]:
            padded[index] = array[tuple(source)]
    np.testing.assert_array_equal(NDNutils.shift_mat(array, shift, dim), padded)
    np.testing.assert_array_equal(NDNutils.shift_mat(array, shift, dim, zpad=False), wrapped)


def test_shifting_leaves_the_array_and_its_type():
    array = np.array([1, 2, 3])
    assert NDNutils.shift_mat_zpad(array, 1).tolist() == [0, 1, 2]
    assert NDNutils.shift_mat_zpad(array, -1).tolist() == [2, 3, 0]
    assert NDNutils.shift_mat_zpad([[1, 2], [3, 4]], 1, dim=1).tolist() == [[0, 1], [0, 3]]
    assert array.tolist() == [1, 2, 3]
    assert NDNutils.shift_mat_zpad(array, 1).dtype == array.dtype


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: NDNutils.create_time_embedding([[1, 2]], [3]), "stim has 2 columns"),
        (lambda: NDNutils.create_time_embedding([[1, 2]], [3, 3, 1]), "which is 3 columns at 3"),
        (lambda: NDNutils.create_time_embedding([1, 2], [0]), r"pdims\[0\] is 0"),
        (lambda: NDNutils.create_time_embedding([1, 2], [2, 1.5]), r"pdims\[1\] is 1.5"),
        (lambda: NDNutils.create_time_embedding([1, 2], []), "pdims is empty"),
        (lambda: NDNutils.create_time_embedding([1, 2], [2], up_fac=0), "up_fac is 0"),
        (
            lambda: NDNutils.create_time_embedding([1], [2], tent_spacing=-1),
            "tent_spacing .* is -1",
        ),
        (lambda: NDNutils.create_time_embedding(["a"], [2]), "stim is .* array of real numbers"),
        (lambda: NDNutils.create_time_embedding([[1], [1, 2]], [2]), "array of real numbers"),
        (lambda: NDNutils.create_time_embedding([], [2]), "at least one row"),
        (lambda: NDNutils.shift_mat([1, 2], 1, 1), "dim is 1; .* axes 0 to 0"),
        (lambda: NDNutils.shift_mat([1, 2], 0.5, 0), "the shift is 0.5"),
        (lambda: NDNutils.shift_mat([1, 2], 1, 0, zpad=2), "zpad is 2"),
    ],
)
def test_what_does_not_fit_is_refused(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()
