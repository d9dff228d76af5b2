"""Rows to train and to test on: by hand, as partitions, and against loops."""

import numpy as np
import pytest

import NDN3.NDNutils as NDNutils
from NDN3.NDNutils import inner_holdout, make_block_indices, process_blocks, speckled_folds


def test_folds_by_hand():
    train, test = NDNutils.generate_xv_folds(20, 5, 2)
    assert test.tolist() == [4, 5, 14, 15]
    assert train.tolist() == [t for t in range(20) if t not in (4, 5, 14, 15)]
    assert NDNutils.generate_xv_folds(20, 5, 2, which_fold=4)[1].tolist() == [8, 9, 18, 19]


@pytest.mark.parametrize(
    ("count", "folds", "blocks"), [(100, 5, 3), (47, 4, 3), (31, 10, 3), (9, 3, 1)]
)
def test_every_row_is_tested_in_one_fold(count, folds, blocks):
    tested = []
    for fold in range(folds):
        train, test = NDNutils.generate_xv_folds(count, folds, blocks, fold)
        assert sorted([*train, *test]) == list(range(count))
        # one piece in each stretch
        assert np.count_nonzero(np.diff(test) > 1) < blocks
        tested += test.tolist()
    assert sorted(tested) == list(range(count))


def test_rows_of_blocks():
    assert make_block_indices([[1, 3], [5, 6]]).tolist() == [0, 1, 2, 4, 5]
    assert make_block_indices(np.array([[1, 3], [5, 6]]), lag_skip=2).tolist() == [2]
    assert make_block_indices([[1, 2]], lag_skip=9).tolist() == []
    assert make_block_indices([[1, 3]], 1).dtype.kind == "i"


def test_blocks_in_bytes():
    """What is counted from small whole numbers, as of MATLAB files, is not small itself."""
    lims = np.array([[1, 250], [251, 255]], np.uint8)
    expected = make_block_indices(lims.tolist(), 10)
    np.testing.assert_array_equal(make_block_indices(lims, 10), expected)


def test_blocks_against_a_loop():
    source = np.random.default_rng(0)
    filters = [source.integers(0, 2, (30, 2)), source.integers(0, 2, (30, 1))]
    blocks, skip = [[1, 8], [12, 13], [20, 30]], 3
    expected = [np.zeros(each.shape) for each in filters]
    counted = 0
    for first, last in blocks:
        for row in range(first - 1, last):
            if row - (first - 1) >= skip:
                counted += 1
                for found, given in zip(expected, filters, strict=True):
                    found[row] = given[row]
    lists, found, together = process_blocks(blocks, filters, batch_size=20, skip=skip)
    assert [each.tolist() for each in lists] == [[*range(8)], [11, 12], [*range(19, 30)]]
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)
    assert together == round(20 * 3 / counted) == 5
    assert process_blocks(blocks, filters, batch_size=1, skip=skip)[2] == 1


def test_held_out_rows_and_the_others_are_all():
    rows = [3, 9, 4, 7, 0, 20]
    train, held = inner_holdout(rows, 0.34, seed=0)
    assert len(held) == 2
    assert sorted([*train, *held]) == sorted(rows)
    # the order is that of the rows
    assert [row for row in rows if row in train] == train.tolist()
    assert [row for row in rows if row in held] == held.tolist()


def test_held_out_rows_are_a_function_of_the_seed():
    draws = [inner_holdout(range(50), 0.2, seed)[1].tolist() for seed in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2]


def test_each_row_is_held_out_as_often():
    times = np.zeros(10)
    for seed in range(400):
        times[inner_holdout(range(10), 0.3, seed)[1]] += 1
    # binomial: 120 with a standard deviation of 9.2
    assert abs(times - 120).max() < 4 * 9.2


@pytest.mark.parametrize(("share", "count"), [(0.01, 1), (0.5, 2), (0.99, 3)])
def test_at_least_one_row_is_held_out_and_one_left(share, count):
    assert len(inner_holdout([1, 2, 5, 6], share, 0)[1]) == count


def test_rows_may_be_bools():
    train, held = inner_holdout([True, False, True, True], 0.4, 0)
    assert sorted([*train, *held]) == [0, 2, 3]


def test_held_out_rows_of_blocks_follow_each_other():
    blocks = [[1, 10], [15, 34]]
    rows = np.random.default_rng(0).permutation(40)
    pieces = set()
    for seed in range(5):
        train, held = inner_holdout(rows, 0.2, seed, blocks)
        first, second = np.sort(held[held < 10]), np.sort(held[held >= 10])
        assert len(first) == 2 and len(second) == 4
        assert (np.diff(first) == 1).all() and (np.diff(second) == 1).all()
        assert second.min() >= 14 and second.max() < 34
        assert sorted([*train, *held]) == list(range(40))
        pieces.add((first[0], second[0]))
    assert len(pieces) > 1


def test_each_row_of_a_block_is_held_out_for_some_seed():
    held = [inner_holdout(range(5), 0.4, seed, [[1, 5]])[1].tolist() for seed in range(40)]
    assert {tuple(rows) for rows in held} == {(0, 1), (1, 2), (2, 3), (3, 4)}


def test_each_response_is_held_out_once():
    times = np.zeros((31, 4), int)
    for fold in range(5):
        train, test = speckled_folds(31, 4, 5, fold, seed=2)
        assert not (train & test).any() and (train | test).all()
        # each neuron is tested and trained on in each fold, about as often
        assert set(test.sum(axis=0)) <= {6, 7}
        times += test
    assert (times == 1).all()
    assert len({column.tobytes() for column in test.T}) > 1, "neurons have speckles of their own"


def test_speckles_depend_on_the_seed_alone():
    one, same, other = (speckled_folds(20, 3, seed=seed)[1] for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


def test_successive_rows_are_held_out_together():
    _, test = speckled_folds(23, 5, 4, 1, rows_together=3)
    for first in range(0, 23, 3):
        assert (test[first : first + 3] == test[first]).all()


def test_responses_that_do_not_count_are_in_no_filter():
    filters = np.random.default_rng(0).integers(0, 2, (20, 3))
    train, test = speckled_folds(20, 3, data_filters=filters)
    np.testing.assert_array_equal(train | test, filters == 1)


def test_speckled_filters_tell_apart_models_of_the_right_and_of_a_larger_rank():
    # as in factor analysis: held-out entries of a matrix of rank 1 with noise
    source = np.random.default_rng(0)
    table = source.normal(size=(30, 1)) @ source.normal(size=(1, 20))
    table = table + 0.5 * source.normal(size=table.shape)
    errors = np.zeros(6)
    for fold in range(4):
        train, test = speckled_folds(30, 20, 4, fold, seed=1)
        for rank in range(6):
            filled = np.where(train, table, 0.0)
            for _ in range(30):
                u, s, v = np.linalg.svd(np.where(train, table, filled), full_matrices=False)
                filled = u[:, :rank] * s[:rank] @ v[:rank]
            errors[rank] += np.sum((table - filled)[test] ** 2)
    assert errors.argmin() == 1


folds = NDNutils.generate_xv_folds


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: folds(0), "nt .* is 0"),
        (lambda: folds(20, 1), "num_folds is 1"),
        (lambda: folds(20, 5, 0), "num_blocks is 0"),
        (lambda: folds(20, 5, 2, 5), "which_fold is 5; there are 5 folds"),
        (lambda: folds(20, 5, 2, -1), "which_fold is -1"),
        (lambda: folds(20, 5, 2, True), "which_fold is True"),
        (lambda: folds(12, 5, 3), "more pieces than rows"),
        (lambda: make_block_indices([[0, 3]]), r"a block \[0, 3\]; rows count from 1"),
        (lambda: make_block_indices([[4, 3]]), r"a block \[4, 3\]"),
        (lambda: make_block_indices([1, 3]), "first row, last row"),
        (lambda: make_block_indices([[1.0, 3.0]]), "first row, last row"),
        (lambda: make_block_indices([[1, 3]], -1), "lag_skip .* is -1"),
        (lambda: process_blocks([[1, 9]], [np.ones((8, 1))]), "reach to row 9, .* have"),
        (lambda: process_blocks([[1, 9]], np.ones((9, 1))), "data_filters is ndarray"),
        (lambda: process_blocks([[1, 9]], [np.ones((9, 1))], skip=None), "skip .* is None"),
        (
            lambda: process_blocks([[1, 9]], [np.ones((9, 1))], skip=9),
            "longest of the blocks has 9",
        ),
        (lambda: process_blocks([[1, 9]], [np.ones((9, 1)), np.ones((10, 1))]), r"have \[9, 10\]"),
        (lambda: inner_holdout([1, 2], 0, 0), "share is 0; it must be above 0 and below 1"),
        (lambda: inner_holdout([1, 2], 1.0, 0), "share is 1.0"),
        (lambda: inner_holdout([1, 2], 0.5, -1), "seed is -1"),
        (lambda: inner_holdout([1], 0.5, 0), "rows is one row"),
        (lambda: inner_holdout([], 0.5, 0), "rows must lie in"),
        (lambda: inner_holdout([1.5, 2], 0.5, 0), "whole numbers"),
        (lambda: inner_holdout([1, 2], 0.5, 0, [[9, 12]]), "none has two of the 2 rows"),
        (lambda: inner_holdout([1, 2], 0.5, 0, [[9, 3]]), "blocks has a block"),
        (lambda: speckled_folds(0, 3), "n_rows is 0"),
        (lambda: speckled_folds(9, 0), "n_neurons is 0"),
        (lambda: speckled_folds(9, 3, 1), "num_folds is 1"),
        (lambda: speckled_folds(9, 3, 5, 5), "which_fold is 5"),
        (lambda: speckled_folds(9, 3, 5, seed=0.5), "seed is 0.5"),
        (lambda: speckled_folds(9, 3, 5, rows_together=2.5), "rows_together is 2.5"),
        (lambda: speckled_folds(9, 3, 5, rows_together=3), "3 pieces of 3 rows; the 5 folds"),
        (lambda: speckled_folds(9, 3, data_filters=np.ones((9, 2))), "responses have .9, 3."),
    ],
)
def test_what_does_not_fit_is_refused(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()
