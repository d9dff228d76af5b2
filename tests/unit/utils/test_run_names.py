import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils import run_names
from utils.run_names import RunName


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("3", [3]),
        ("0-4,7", [0, 1, 2, 3, 4, 7]),
        ("7,0-2,1-3", [0, 1, 2, 3, 7]),
        ("5-5", [5]),
    ],
)
def test_lists_of_numbers(text, expected):
    assert run_names.numbers(text, "--only") == expected


@pytest.mark.parametrize("text", ["", "x", "3-", "-3", "3,,4", "3;4", "1.5", "3 4", "3\n"])
def test_what_is_no_list_is_refused(text):
    with pytest.raises(ValueError, match="--only .* is no list of numbers"):
        run_names.numbers(text, "--only")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("0-99999999999", "too large"),
        ("9" * 5000, "too large"),
        ("0-99999999", "more than 1000000 numbers"),
        ("0-999999,1-2", "more than 1000000 numbers"),
    ],
)
def test_a_list_that_no_machine_holds_is_refused(text, sentence):
    with pytest.raises(ValueError, match=sentence):
        run_names.numbers(text, "--only")
    assert run_names.numbers("00000000000099999999", "--only") == [99_999_999]


def test_a_backward_range_is_turned_around():
    with pytest.raises(ValueError, match="write 4-9"):
        run_names.numbers("1,9-4", "--only")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("demo", RunName("demo")),
        ("demo/grid", RunName("demo", "grid")),
        ("demo/grid:3", RunName("demo", "grid", (3,))),
        ("demo/grid:3-5", RunName("demo", "grid", (3, 4, 5))),
        ("demo/grid:5,1-2", RunName("demo", "grid", (1, 2, 5))),
        ("demo/grid:hand-0a1b2c", RunName("demo", "grid", ("hand-0a1b2c",))),
        ("demo/grid:2,hand-0a1b2c,1", RunName("demo", "grid", (1, 2, "hand-0a1b2c"))),
        ("a.b-c/d_e.1:0", RunName("a.b-c", "d_e.1", (0,))),
    ],
)
def test_names_of_runs(text, expected):
    assert run_names.parse(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "demo:3", "demo/", "/grid", "demo/grid:", "a/b/c", "demo/grid:x", "demo/grid:hand-1"],
)
def test_what_names_no_run_is_refused(text):
    with pytest.raises(ValueError, match=r"names no run|is no list of numbers"):
        run_names.parse(text)


@given(st.sets(st.integers(0, 60)), st.sets(st.integers(0, 0xFFFFFF), max_size=3))
def test_ranges_are_read_back(numbers, hashes):
    runs = (*sorted(numbers), *(f"hand-{number:06x}" for number in sorted(hashes)))
    if runs:
        name = RunName("demo", "grid", runs)
        assert run_names.parse(str(name)) == name


def test_ranges_are_short():
    assert run_names.as_ranges([7, 0, 1, 2, 9, 10, "hand-0a1b2c"]) == "0-2,7,9-10,hand-0a1b2c"


def test_a_long_list_is_cut_for_a_sentence():
    runs = [*range(0, 40, 2), 41, 42, "hand-0a1b2c"]
    assert run_names.as_ranges(runs, most=3) == "0,2,4,…"
    assert run_names.as_ranges([3, 4, 5], most=1) == "3-5"
    assert run_names.as_ranges(runs, most=99) == run_names.as_ranges(runs)
