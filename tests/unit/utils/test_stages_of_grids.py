import pytest

from utils import grid
from utils.grid import GridError, Need

TRAININGS = grid.product("g", "train", a=[1, 2, 3])


def needs_of(runs):
    return [[(n.exp_folder, n.exp, n.runs, n.allow_missing) for n in run.needs] for run in runs]


def test_equal_numbers_need_each_other_one_by_one():
    stage = grid.stage(grid.product("g", "test", b=[7, 8, 9]), TRAININGS)
    assert needs_of(stage) == [[("g", "train", str(run), False)] for run in (0, 1, 2)]
    assert [run.arguments for run in stage] == [{"b": 7}, {"b": 8}, {"b": 9}]


@pytest.mark.parametrize("first_run", [1, 100])
def test_other_numbers_need_all(first_run):
    stage = grid.stage(grid.product("g", "test", first_run, b=[7, 8, 9]), TRAININGS)
    assert needs_of(stage) == 3 * [[("g", "train", "0-2", False)]]


def test_numbers_are_written_as_ranges():
    gappy = TRAININGS + grid.one("g", "train", 7) + grid.one("g", "train", 5)
    assert needs_of(grid.stage(grid.one("g", "figure"), gappy)) == [
        [("g", "train", "0-2,5,7", False)]
    ]


def test_each_experiment_is_compared_for_itself():
    tests = grid.product("g", "same", b=[1, 2, 3]) + grid.one("g", "single")
    others = TRAININGS + grid.product("h", "more", c=[1, 2])
    assert needs_of(grid.stage(tests, others)) == [
        *([("g", "train", str(run), False), ("h", "more", "0-1", False)] for run in (0, 1, 2)),
        [("g", "train", "0-2", False), ("h", "more", "0-1", False)],
    ]


def test_several_stages_add_up_and_nothing_is_needed_twice():
    once = grid.stage(grid.one("g", "figure"), TRAININGS)
    again = grid.stage(once, TRAININGS, grid.one("g", "test"))
    assert needs_of(again) == [[("g", "train", "0-2", False), ("g", "test", "0", False)]]
    assert needs_of(once) == [[("g", "train", "0-2", False)]]


def test_missing_runs_can_be_allowed():
    assert needs_of(grid.stage(grid.one("g", "figure"), TRAININGS, allow_missing=True)) == [
        [("g", "train", "0-2", True)]
    ]


@pytest.mark.parametrize(
    ("needed", "sentence"),
    [
        ([], "a stage was given no runs that it needs"),
        ([[]], "a stage was given an empty list of runs that it needs"),
        ([TRAININGS, []], "a stage was given an empty list"),
        ([["train"]], r"a stage was given \['train'\]; it is made of lists of runs"),
    ],
)
def test_what_is_no_earlier_stage(needed, sentence):
    with pytest.raises(GridError, match=sentence):
        grid.stage(grid.one("g", "figure"), *needed)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        (("g", "../e", "0"), "exp is '../e'"),
        (("g h", "e", "0"), "exp_folder is 'g h'"),
        (("g", "e", "3-"), "runs of a Need '3-' is no list of numbers"),
    ],
)
def test_what_is_no_need(fields, sentence):
    with pytest.raises(ValueError, match=sentence):
        Need(*fields)


def test_stages_in_a_row_are_no_circle():
    tests = grid.stage(grid.product("g", "test", b=[1, 2, 3]), TRAININGS)
    grid.check_needs(grid.stage(grid.one("g", "figure"), tests, TRAININGS) + tests + TRAININGS)


def test_a_circle_is_refused_with_its_way():
    tests = grid.stage(grid.one("g", "test"), grid.one("h", "train"))
    trainings = grid.stage(grid.one("h", "train"), grid.one("g", "figure"))
    figures = grid.stage(grid.one("g", "figure"), grid.one("g", "test"))
    with pytest.raises(GridError, match="a stage waits for itself: ") as problem:
        grid.check_needs(tests + trainings + figures)
    way = str(problem.value).partition(": ")[2].partition(";")[0].split(" needs ")
    assert way[0] == way[-1]
    following = list(zip(way, way[1:], strict=False))
    assert set(following) == {
        ("g/test", "h/train"),
        ("h/train", "g/figure"),
        ("g/figure", "g/test"),
    }


def test_runs_that_need_their_own_experiment_are_refused():
    with pytest.raises(GridError, match="waits for itself: g/train needs g/train;"):
        grid.check_needs(grid.stage(grid.one("g", "train", 9), TRAININGS))
