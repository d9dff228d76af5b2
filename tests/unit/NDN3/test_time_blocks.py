"""Blocks of successive rows, and the pieces into which the trainer cuts them."""

import numpy as np
import pytest

from NDN3 import quantities, time_blocks


def test_blocks_that_users_give_count_from_one():
    assert time_blocks.from_pairs([[6, 10], [1, 5]], 10) == ((0, 5), (5, 10))
    assert time_blocks.checked([(5, 10), (0, 5)], 10) == ((0, 5), (5, 10))
    assert time_blocks.from_pairs([[3, 3]], 3) == ((2, 3),)


@pytest.mark.parametrize(
    ("blocks", "message"),
    [
        ([[0, 5]], r"\[0, 5\]; a block is \[first, last\]"),
        ([[1, 11]], "inside of the 10 rows"),
        ([[5, 4]], "has a row at least"),
        ([[1, 5], [5, 8]], "share rows: one ends after row 4"),
        ([1, 5], "must be pairs"),
        ([[1.0, 5.0]], "must be pairs of whole numbers"),
        ([[1, 5], [6]], "must be pairs"),
        ([], "at least one pair"),
        (3, "must be pairs"),
    ],
)
def test_refused_blocks(blocks, message):
    with pytest.raises(ValueError, match=message):
        time_blocks.from_pairs(blocks, 10)


def test_blocks_and_rows_in_bytes():
    assert time_blocks.from_pairs(np.array([[1, 255]], np.uint8), 255) == ((0, 255),)
    rows = quantities.rows(np.array([250, 255], np.uint8), 300, "rows")
    assert time_blocks.with_context(rows, 1, 300).tolist() == [249, 250, 254, 255]


def test_blocks_from_zero_have_an_end_of_their_own():
    for wrong in ([(3, 3)], [(-1, 3)], [(0, 11)]):
        with pytest.raises(ValueError, match="the end not included"):
            time_blocks.checked(wrong, 10)


def test_history():
    np.testing.assert_array_equal(time_blocks.history(4), [0, 1, 2, 3])
    blocks = ((1, 3), (3, 6))
    np.testing.assert_array_equal(time_blocks.history(7, blocks), [-1, 0, 1, 0, 1, 2, -1])


def test_rows_that_count():
    rows = np.array([5, 0, 2, 4, 1, 3])
    np.testing.assert_array_equal(time_blocks.counted(rows, 2, 6), [5, 2, 4, 3])
    np.testing.assert_array_equal(time_blocks.counted(rows, 1, 6, ((0, 2), (3, 5))), [4, 1])
    np.testing.assert_array_equal(time_blocks.counted(rows, 0, 6, ((0, 2),)), [0, 1])
    with pytest.raises(ValueError, match="train_indxs are 2 rows, of which none has 3 rows"):
        time_blocks.counted(np.array([0, 2]), 3, 6, name="train_indxs")
    with pytest.raises(ValueError, match="none has 2 rows of its block before it"):
        time_blocks.counted(rows, 2, 6, ((0, 2),))
    with pytest.raises(ValueError, match="none is in a block"):
        time_blocks.counted(np.array([5]), 0, 6, ((0, 2),))


def test_context():
    rows = np.array([9, 3, 4])
    np.testing.assert_array_equal(time_blocks.with_context(rows, 2, 12), [1, 2, 3, 4, 7, 8, 9])
    np.testing.assert_array_equal(time_blocks.with_context(rows, 0, 12), [3, 4, 9])


def test_pieces_by_hand():
    # a hole at row 6 is bridged, row 12 is far away, the last piece is filled up with row 14
    rows = np.array([2, 3, 4, 5, 7, 12, 13, 14])
    windows, weights = time_blocks.pieces(rows, 3, 2, 15)
    np.testing.assert_array_equal(windows[:, 2], [2, 5, 12])
    np.testing.assert_array_equal(windows[1], [3, 4, 5, 6, 7])
    np.testing.assert_array_equal(weights[1], [0, 0, 1, 0, 1])
    np.testing.assert_array_equal(weights[[0, 2]], [[0, 0, 1, 1, 1]] * 2)
    windows, weights = time_blocks.pieces(np.array([12, 14, 14]), 10, 1, 15)
    np.testing.assert_array_equal(windows, [[11, 12, 13, 14]])
    np.testing.assert_array_equal(weights, [[0, 1, 0, 2]])


def test_every_row_is_in_one_piece_with_all_that_it_needs():
    source = np.random.default_rng(3)
    for _ in range(200):
        count = int(source.integers(4, 60))
        spread, length = int(source.integers(0, 4)), int(source.integers(1, 12))
        cuts = np.unique(source.integers(0, count + 1, 4))
        blocks = None
        if len(cuts) > 1 and source.random() < 0.7:
            blocks = tuple(zip(cuts[:-1].tolist(), cuts[1:].tolist(), strict=True))[::2]
        before = time_blocks.history(count, blocks)
        rows = np.flatnonzero((before >= spread) & (source.random(count) < 0.7))
        if not len(rows):
            continue
        windows, weights = time_blocks.pieces(rows, length, spread, count, blocks)
        seen = windows[weights > 0]
        np.testing.assert_array_equal(np.sort(seen), rows)
        assert windows.shape[1] <= spread + length
        assert not weights[:, :spread].any()
        for window, counted in zip(windows, weights > 0, strict=True):
            assert counted[spread]
            for place in np.flatnonzero(counted):
                past = window[place - spread : place + 1]
                np.testing.assert_array_equal(past, window[place] - np.arange(spread, -1, -1))
                assert before[window[place]] >= spread
        context = time_blocks.with_context(rows, spread, count)
        places = np.searchsorted(context, rows)
        for step in range(spread + 1):
            np.testing.assert_array_equal(context[places - step], rows - step)
