import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils import grid

VALUES = st.lists(st.integers(), min_size=1, max_size=4)


def test_product_counts_like_nested_loops():
    runs = grid.product("g", "e", first_run=5, hidden=[0.1, 0.2], filters=[4, 9, 30])
    assert [(run.run, *run.arguments.values()) for run in runs] == [
        (5, 0.1, 4),
        (6, 0.1, 9),
        (7, 0.1, 30),
        (8, 0.2, 4),
        (9, 0.2, 9),
        (10, 0.2, 30),
    ]
    assert all(list(run.arguments) == ["hidden", "filters"] for run in runs)
    assert {run.script for run in runs} == {"g/e.py"}


@given(first=st.integers(0, 1000), slow=VALUES, middle=VALUES, fast=VALUES)
def test_product_equals_loops(first, slow, middle, fast):
    expected, number = [], first
    for a in slow:
        for b in middle:
            for c in fast:
                expected.append((number, {"a": a, "b": b, "c": c}))
                number += 1
    runs = grid.product("g", "e", first_run=first, a=slow, b=middle, c=fast)
    assert [(run.run, run.arguments) for run in runs] == expected


def test_product_of_nothing_is_the_run_of_defaults():
    assert grid.product("g", "e") == grid.one("g", "e")


def test_zipped_goes_through_all_names_at_once():
    runs = grid.zipped("g", "e", first_run=3, script="other/file.py", batch=[2, 16], epochs=[5, 10])
    assert runs == [
        grid.Run("g", "e", 3, {"batch": 2, "epochs": 5}, "other/file.py"),
        grid.Run("g", "e", 4, {"batch": 16, "epochs": 10}, "other/file.py"),
    ]


def test_zipped_refuses_lists_of_different_length():
    with pytest.raises(ValueError, match="batch has 2, epochs has 3"):
        grid.zipped("g", "e", batch=[1, 2], epochs=[1, 2, 3])
    with pytest.raises(ValueError, match="none"):
        grid.zipped("g", "e")


def test_one_takes_values_as_they_are():
    (run,) = grid.one("g", "e", run=4, regions=[1, 2], kind="l1")
    assert (run.run, run.arguments) == (4, {"regions": [1, 2], "kind": "l1"})


@pytest.mark.parametrize("make", [grid.product, grid.zipped])
@pytest.mark.parametrize("values", ["l1", b"l1", 3, {"a": 1}, None])
def test_a_value_list_is_a_list(make, values):
    with pytest.raises(ValueError, match=r"kind is .*needs a list.*kind=\["):
        make("g", "e", kind=values)


@pytest.mark.parametrize("make", [grid.product, grid.zipped])
def test_a_value_list_has_values(make):
    with pytest.raises(ValueError, match="kind is an empty list"):
        make("g", "e", kind=[])


def test_value_lists_may_be_anything_that_is_gone_through():
    runs = grid.product("g", "e", x=range(2), y=(v / 2 for v in (1, 2)))
    assert [tuple(run.arguments.values()) for run in runs] == [(0, 0.5), (0, 1.0), (1, 0.5), (1, 1)]


@pytest.mark.parametrize("name", ["", "a b", "-a", ".a", "a/b", "a;b", "ä", "a\n", None, 3])
def test_names_that_are_no_folder_are_refused(name):
    with pytest.raises(ValueError, match="exp_folder is"):
        grid.one(name, "e")
    with pytest.raises(ValueError, match="exp is"):
        grid.one("g", name)


@pytest.mark.parametrize("name", ["bs4_exp3", "3", "first-grid", "a.b", "X"])
def test_names_that_are_folders_are_taken(name):
    assert grid.one(name, name)[0].script == f"{name}/{name}.py"


@pytest.mark.parametrize("number", [-1, 1.0, "3", True, None])
def test_a_run_number_is_a_whole_number(number):
    with pytest.raises(ValueError, match="run is"):
        grid.one("g", "e", run=number)


def test_a_number_stands_for_one_run():
    runs = grid.product("g", "e", filters=[4, 9])
    grid.check_numbers(runs + grid.one("g", "other") + grid.one("h", "e"))
    with pytest.raises(ValueError, match=r"run 1 of g/e .*filters=9 .*filters=30.*first_run"):
        grid.check_numbers(runs + grid.one("g", "e", run=1, filters=30))


# the search


def column(runs, name):
    return [run.arguments[name] for run in runs]


def test_sample_is_the_same_for_a_seed_and_another_for_another():
    ranges = {"x": (0.0, 1.0), "y": (1, 100)}
    assert grid.sample("g", "e", 20, seed=3, **ranges) == grid.sample(
        "g", "e", 20, seed=3, **ranges
    )
    assert grid.sample("g", "e", 20, seed=3, **ranges) != grid.sample(
        "g", "e", 20, seed=4, **ranges
    )


def test_a_longer_search_begins_with_the_shorter_one():
    short = grid.sample("g", "e", 7, x=(0.0, 1.0), y=[1, 2, 3])
    assert grid.sample("g", "e", 30, x=(0.0, 1.0), y=[1, 2, 3])[:7] == short


@pytest.mark.parametrize("seed", range(5))
def test_points_are_spread_evenly(seed):
    """Of base**k points each cell of that width has one, as in van der Corput's sequence."""
    runs = grid.sample("g", "e", 243, seed=seed, x=(0.0, 1.0), y=(0.0, 1.0), z=(0.0, 1.0))
    for name, base, powers in (("x", 2, 7), ("y", 3, 5), ("z", 5, 3)):
        for power in range(1, powers + 1):
            count = base**power
            cells = [math.floor(value * count) for value in column(runs, name)[:count]]
            assert sorted(cells) == list(range(count)), (name, count)


def test_two_names_are_not_searched_along_a_line():
    runs = grid.sample("g", "e", 36, x=(0.0, 1.0), y=(0.0, 1.0))
    cells = {(int(run.arguments["x"] * 4), int(run.arguments["y"] * 9)) for run in runs}
    assert len(cells) == 36  # Halton: 2² · 3² points, one in each cell of 1/4 by 1/9


def test_whole_numbers_reach_both_ends_equally_often():
    values = column(grid.sample("g", "e", 64, x=(1, 4)), "x")
    assert {value: values.count(value) for value in (1, 2, 3, 4)} == dict.fromkeys((1, 2, 3, 4), 16)
    assert all(type(value) is int for value in values)


def test_choices_are_taken_equally_often():
    values = column(grid.sample("g", "e", 32, kind=["l1", "l2"]), "kind")
    assert values.count("l1") == values.count("l2") == 16


def test_log_ranges_give_each_power_of_ten_its_share():
    values = column(grid.sample("g", "e", 32, x=grid.Log(1e-4, 1.0)), "x")
    assert all(1e-4 <= value < 1.0 for value in values)
    decades = [math.floor(math.log10(value)) for value in values]
    assert [decades.count(decade) for decade in (-4, -3, -2, -1)] == [8, 8, 8, 8]


@given(
    seed=st.integers(0, 10**6),
    count=st.integers(1, 50),
    low=st.integers(-5, 5),
    width=st.integers(1, 9),
)
def test_points_lie_in_their_range(seed, count, low, width):
    high = low + width
    runs = grid.sample("g", "e", count, seed=seed, n=(low, high), x=(float(low), float(high)))
    assert len(runs) == count
    assert all(low <= value <= high for value in column(runs, "n"))
    assert all(low <= value < high for value in column(runs, "x"))


@pytest.mark.parametrize(
    "given_range",
    [(1, 1), (2, 1), (1,), "ab", [], 3, (0.0, math.inf), ("a", "b"), (True, 2), grid.Log(0, 1)],
)
def test_a_range_is_a_range(given_range):
    with pytest.raises(ValueError, match="x is"):
        grid.sample("g", "e", 3, x=given_range)


@pytest.mark.parametrize("count", [0, -1, 2.0, True])
def test_a_count_is_a_count(count):
    with pytest.raises(ValueError, match="count is"):
        grid.sample("g", "e", count, x=(0, 1))


def test_without_ranges_the_runs_are_the_defaults():
    assert [run.arguments for run in grid.sample("g", "e", 2)] == [{}, {}]


@pytest.mark.parametrize(
    "values",
    [
        {"a": range(10**9)},
        {"a": range(10**40)},
        {"a": range(10**5), "b": range(10**5)},
        {"a": itertools.count()},
    ],
)
def test_a_grid_without_an_end_is_refused_before_it_is_walked(values):
    with pytest.raises(ValueError, match="at most|needs an end"):
        grid.product("g", "e", **values)


def test_a_search_without_an_end_is_refused():
    with pytest.raises(ValueError, match="the grid has 1000000000000 runs"):
        grid.sample("g", "e", 10**12, a=(0, 1))
