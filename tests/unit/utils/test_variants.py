"""Grids of several experiments: other arguments, needs in the plan, remarks at the start."""

import pytest

from utils import grid, job_node, launches, paths, promises, stages, variants
from utils.promises import Wish

EXPERIMENT = """from utils import experiment

DATA = []


def train(run, {parameters}):
    pass


experiment.main(train)
"""


@pytest.fixture
def group(bench_folders, tmp_path, monkeypatch):
    folder = tmp_path / "bench" / "experiments" / "g"
    folder.mkdir(parents=True)
    for name, parameters in {
        "train": "epochs: int = 500, rate: float = 0.1",
        "test": "images: str = 'all', rate: float = 1.0",
        "figure": "",
    }.items():
        (folder / f"{name}.py").write_text(EXPERIMENT.format(parameters=parameters))
    monkeypatch.setattr(paths, "ROOT", tmp_path / "bench")
    return folder


TRAININGS = grid.product("g", "train", rate=[0.1, 0.2])
TESTS = grid.stage(grid.product("g", "test", images=["a", "b"]), TRAININGS)
FIGURE = grid.stage(grid.one("g", "figure"), TESTS, grid.one("h", "old"))
RUNS = TRAININGS + TESTS + FIGURE


def told(runs):
    return [
        (
            f"{run.exp}:{run.run}",
            run.arguments,
            [f"{n.exp_folder}/{n.exp}:{n.runs}" for n in run.needs],
        )
        for run in runs
    ]


# --- other arguments


def test_those_get_an_argument_that_have_it_and_needs_follow(group):
    assert told(variants.changed(RUNS, ["epochs=20"], "short")) == [
        ("train_short:0", {"rate": 0.1, "epochs": 20}, []),
        ("train_short:1", {"rate": 0.2, "epochs": 20}, []),
        ("test_short:0", {"images": "a"}, ["g/train_short:0"]),
        ("test_short:1", {"images": "b"}, ["g/train_short:1"]),
        ("figure_short:0", {}, ["g/test_short:0-1", "h/old:0"]),
    ]


def test_a_value_is_read_as_each_experiment_declares_it(group):
    changed = variants.changed(RUNS, ["rate=3"], "x")
    assert [run.arguments.get("rate") for run in changed] == [3.0, 3.0, 3.0, 3.0, None]


def test_a_label_alone_renames_the_needs_as_well(group):
    assert [needs for _, _, needs in told(variants.changed(RUNS, [], "b"))] == [
        *([], [], ["g/train_b:0"], ["g/train_b:1"], ["g/test_b:0-1", "h/old:0"])
    ]
    assert variants.changed(RUNS, [], "") == RUNS


def test_needs_on_other_grids_keep_their_names(group):
    (_, _, needs) = told(variants.changed(FIGURE, [], "b"))[0]
    assert needs == ["g/test:0-1", "h/old:0"]


def test_another_groups_experiment_of_the_same_name_is_another_one(group):
    figure = grid.stage(grid.one("g", "figure"), TRAININGS, grid.one("h", "train"))
    changed = variants.changed(TRAININGS + figure, [], "b")
    assert told(changed)[-1][2] == ["g/train_b:0-1", "h/train:0"]


def test_the_order_of_settings_makes_no_other_name(group):
    settings = ["epochs=20", "rate=3"]
    names = [{run.exp for run in variants.changed(RUNS, s, "")} for s in (settings, settings[::-1])]
    assert names[0] == names[1]


def test_what_may_be_missing_stays_so(group):
    figure = grid.stage(grid.one("g", "figure"), TRAININGS, allow_missing=True)
    changed = variants.changed(TRAININGS + figure, [], "b")
    assert changed[-1].needs == (grid.Need("g", "train_b", "0-1", True),)


def test_a_name_with_a_dash_is_that_with_an_underscore(group):
    (group / "figure.py").write_text(EXPERIMENT.format(parameters="dot_size: int = 3"))
    (changed,) = variants.changed(grid.one("g", "figure"), ["dot-size=4"], "b")
    assert changed.arguments == {"dot_size": 4}
    with pytest.raises(ValueError, match=r"^--set gives dot_size twice, as '4' and '5'; once is"):
        variants.changed(grid.one("g", "figure"), ["dot-size=4", "dot_size=5"], "b")


def test_what_no_experiment_has_is_refused(group):
    with pytest.raises(
        ValueError, match=r"^the grid of train, test, figure has no .* epoch; it has"
    ):
        variants.changed(RUNS, ["epoch=20"], "")
    with pytest.raises(ValueError, match=r"^train has no hyper-parameter images; it has epochs, "):
        variants.changed(TRAININGS, ["images=c"], "")


# --- the plan


def test_the_plan_says_what_a_run_needs(group):
    planned = promises.by_experiment(RUNS, Wish())
    assert [entry.get("needs") for entry in planned["g", "train"]] == [None, None]
    assert not any("--needs" in word for word in planned["g", "train"][0]["argv"])
    assert planned["g", "test"][1]["needs"] == [
        {"exp_folder": "g", "exp": "train", "runs": "1", "allow_missing": False}
    ]
    assert planned["g", "test"][1]["argv"][-1] == "--needs=g/train:1"
    assert planned["g", "figure"][0]["argv"][-1] == "--needs=g/test:0-1+h/old:0"


def test_what_is_needed_is_no_part_of_the_key(group):
    (alone,) = promises.by_experiment(grid.one("g", "figure"), Wish())["g", "figure"]
    (behind,) = promises.by_experiment(FIGURE, Wish())["g", "figure"]
    assert alone["key"] == behind["key"]


def test_missing_runs_are_allowed_for_the_launch(group):
    planned = promises.by_experiment(RUNS, Wish(allow_missing=True))
    (entry,) = planned["g", "figure"]
    assert [need["allow_missing"] for need in entry["needs"]] == [True, True]


def test_a_list_that_no_command_line_takes_is_refused(group):
    gaps = [grid.Run("g", "train", number) for number in range(0, 60_000, 2)]
    with pytest.raises(ValueError, match="--needs takes 1[0-9]{5} bytes .* numbers without gaps"):
        promises.by_experiment(grid.stage(grid.one("g", "figure"), gaps), Wish())


def test_a_stage_that_waits_for_itself_is_refused(group):
    circle = grid.stage(grid.one("g", "train"), FIGURE)
    with pytest.raises(ValueError, match="a stage waits for itself"):
        promises.by_experiment(circle + TESTS + FIGURE, Wish())


def test_equal_runs_that_need_others_are_not_alike(group):
    tests = [grid.Run("g", "test", number) for number in range(3)]
    together = promises.by_experiment(grid.stage(tests, grid.one("h", "old", 7)), Wish())
    assert "runs 0-2 have the same arguments" in promises.alike(together)[0]
    apart = grid.stage(tests, [grid.Run("g", "train", number) for number in range(3)])
    assert promises.alike(promises.by_experiment(apart, Wish())) == []


# --- remarks


def remarks(runs, **wish):
    wish = Wish(**wish)
    planned = promises.by_experiment(runs, wish)
    batches = [promises.decide(*place, entries, wish) for place, entries in planned.items()]
    return stages.remarks(planned, batches)


def end(exp, run, state, **info):
    jobs_dir = paths.jobs_dir("g", exp)
    job_node.claim(jobs_dir, run, 0, 1, {"repetitions": None})
    job_node.record(jobs_dir, run, 0, 1, state, {"exit": 0, **info})


def test_what_is_sent_with_it_is_no_remark(group):
    assert remarks(TRAININGS + TESTS) == []


def test_runs_that_nobody_is_at_are_named(group):
    end("train", 1, "failed")
    (sentence,) = remarks(TESTS)
    assert sentence.startswith("g/test needs g/train:0-1: not done, not under way and not among")
    assert "--allow-missing" in sentence
    assert remarks(TESTS, allow_missing=True) == []
    (sentence,) = remarks(TRAININGS[:1] + TESTS)
    assert sentence.startswith("g/test needs g/train:1: ")


def test_what_is_done_or_under_way_is_no_remark(group):
    end("train", 0, "done")
    job_node.claim(paths.jobs_dir("g", "train"), 1, 0, 1, {"repetitions": None})
    assert remarks(TESTS) == []


def test_two_experiments_that_need_the_same(group):
    figure = grid.stage(grid.one("g", "figure"), TRAININGS)
    (sentence,) = remarks(TESTS + figure)
    assert sentence.startswith("g/test and g/figure need g/train:0-1: ")


def test_what_is_done_with_fewer_runs_is_named(group, tmp_path):
    end("test", 0, "done")
    end("test", 1, "done")
    first = grid.stage(grid.one("g", "figure"), TESTS)
    (entry,) = promises.by_experiment(first, Wish())["g", "figure"]
    terms = {"environment": {}, "run_folder": str(tmp_path)}
    launches.plans.send(paths.jobs_dir("g", "figure"), [entry], [(0, 0, 1)], terms)
    end("figure", 0, "done", key=entry["key"])
    folder = paths.log_dir("g", "figure", 0, "name", 0)
    folder.mkdir(parents=True)
    state = {"key": entry["key"], "arguments": {}, "seed": 0, "state": "done", "declared": 1}
    promises.registry.write_json(folder / "run.json", state)
    assert remarks(first) == []
    tests = grid.stage(grid.product("g", "test", images=["a", "b", "c"]), TRAININGS)
    end("test", 2, "done")
    (sentence,) = remarks(grid.stage(grid.one("g", "figure"), tests))
    assert sentence == (
        "g/figure:0 is done with the results of g/test:0-1, and now needs g/test:0-2; "
        "`runs remove g/figure:0` lets it be done over"
    )
