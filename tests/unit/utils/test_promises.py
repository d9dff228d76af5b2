"""Done by the record is done where the results say so, too."""

import hashlib
import json
import os
import shutil

import pytest

from utils import finished, grid, job_node, paths, plans, promises, registry, signatures, states
from utils.promises import Wish

EXPERIMENT = """from utils import experiment

DATA = []


def train(run, number: int = 0):
    pass


experiment.main(train)
"""


@pytest.fixture
def runs(bench_folders, tmp_path, monkeypatch):
    group = tmp_path / "bench" / "experiments" / "toy"
    group.mkdir(parents=True)
    (group / "e.py").write_text(EXPERIMENT)
    monkeypatch.setattr(paths, "ROOT", tmp_path / "bench")
    return grid.one("toy", "e", number=4)


@pytest.fixture
def files(runs):
    """A run of three repetitions that is done by its record and its results."""
    (entry,) = promises.by_experiment(runs, Wish())["toy", "e"]
    about = {"key": entry["key"], "arguments": entry["arguments"], "declared": 3}
    written = []
    for index, state in enumerate(["done", "diverged", "done"]):
        folder = paths.log_dir("toy", "e", 0, "name", index)
        folder.mkdir(parents=True)
        registry.write_json(folder / "run.json", {**about, "seed": index, "state": state})
        written.append(folder / "run.json")
    jobs_dir = paths.jobs_dir("toy", "e")
    job_node.claim(jobs_dir, 0, 0, 1, {"token": None, "repetitions": None})
    job_node.record(jobs_dir, 0, 0, 1, "done", {"exit": 0, "arguments": entry["arguments"]})
    return written


def decide(runs, **wish):
    entries = promises.by_experiment(runs, Wish(**wish))["toy", "e"]
    return promises.decide("toy", "e", entries, Wish(**wish))


def test_a_whole_run_is_kept(runs, files):
    assert decide(runs, resume=True).kept == {"done": [0]}


@pytest.mark.parametrize("content", [None, "", "{", '{"state": "done"}'])
@pytest.mark.parametrize("index", [0, 2])
def test_a_run_with_a_hole_is_sent_again_on_resume(runs, files, content, index):
    if content is None:
        files[index].unlink()
    else:
        files[index].write_text(content)
    with pytest.raises(registry.RunExists, match=r"\(done in part\).*--resume"):
        decide(runs)
    batch = decide(runs, resume=True)
    assert batch.tasks == [(0, 0, 2)]
    assert batch.entries[0]["again"] is True
    assert decide(runs, resume=True, repetitions="1").kept == {"done": [0]}


def test_what_is_done_over_stays_so_until_it_is_done(runs, files):
    files[1].unlink()
    batch = decide(runs, resume=True)
    plans.send(batch.jobs_dir, batch.entries, batch.tasks, {})
    job_node.claim(batch.jobs_dir, 0, 0, 2, {})
    job_node.record(batch.jobs_dir, 0, 0, 2, "failed", {})
    batch = decide(runs, resume=True)
    assert (batch.tasks, batch.entries[0]["again"]) == ([(0, 0, 3)], True)


@pytest.mark.parametrize("state", ["running", "pending", "unknown"])
def test_what_may_be_under_way_is_never_sent_again(runs, monkeypatch, state):
    told = states.RunState(0, state, 1, 0, "qstat is not well")
    monkeypatch.setattr(states, "by_part", lambda *_: {(0, 0): told})
    for wish in ({}, {"resume": True}, {"resume": True, "diverged": True}):
        batch = decide(runs, **wish)
        assert (batch.tasks, batch.kept) == ([], {f"{state} (qstat is not well)": [0]})


@pytest.fixture
def older(files):
    """The results of the run, as old as they are a while after it was recorded."""
    for path in files:
        for place in (path, path.parent, path.parent.parent):
            os.utime(place, (1e9, 1e9))
    return files


def test_results_older_than_the_record_are_not_read(runs, older, monkeypatch):
    monkeypatch.setattr(finished.Finished, "_told", lambda *_: pytest.fail("was read"))
    assert decide(runs, resume=True).kept == {"done": [0]}
    assert decide(runs, resume=True, repetitions="1").kept == {"done": [0]}


@pytest.mark.parametrize("what", ["emptied", "replaced", "file", "folder", "part of it", "all"])
def test_results_that_changed_after_the_record_are_read(runs, older, what):
    damaged = older[2]
    if what == "emptied":
        damaged.write_text("")
    elif what == "replaced":
        registry.write_json(damaged, {**registry.read_json(damaged), "state": "running"})
    elif what == "file":
        damaged.unlink()
    elif what == "folder":
        shutil.rmtree(damaged.parent)
    elif what == "all":  # and put back as an empty folder that is as old
        for path in older:
            shutil.rmtree(path.parent)
        os.utime(damaged.parent.parent, (1e9, 1e9))
    else:
        damaged.unlink()
        os.utime(damaged.parent, (1e9, 1e9))
    assert decide(runs, resume=True).tasks == [(0, 0, 2)]


def test_a_run_without_any_results_is_sent_again(runs, files):
    for path in files:
        path.unlink()
    assert decide(runs, resume=True).tasks == [(0, 0, 2)]


def test_data_that_have_gone_are_not_other_data(runs, files):
    told = registry.read_json(files[0])
    registry.write_json(files[0], {**told, "key": "other", "data": "a" * 64})
    with pytest.raises(registry.RunExists, match="Bring them back, or set BENCH_DATA"):
        decide(runs)


# --- the plan


def keys_and_flags(runs):
    (entries,) = promises.by_experiment(runs, Wish()).values()
    return [(entry["key"], entry["argv"][4:]) for entry in entries]


def plain_key(arguments):
    """The key as the documents describe it: the checksum of sorted JSON."""
    content = {"exp_folder": "toy", "exp": "e", "arguments": arguments, "data": registry.NO_DATA}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


VALUED = """from utils import experiment

DATA = []


def train(run, z: float = 0.5, a: object = None, m: list = [1], t: str = "é"):
    pass


experiment.main(train)
"""


@pytest.fixture
def valued(runs):
    (paths.experiments_dir() / "toy" / "e.py").write_text(VALUED)


def test_values_that_are_equal_and_not_the_same_stay_apart(valued):
    """True, 1 and 1.0 are equal in Python, and so are the two zeros."""
    several = [True, 1, 1.0, 0.0, -0.0, 0, False, "1", [1], [1.0], [True]]
    for values in (several, several[::-1]):
        told = keys_and_flags(grid.product("toy", "e", a=values))
        arguments = [{"z": 0.5, "a": value, "m": [1], "t": "é"} for value in values]
        # a text for any kind of value is read as JSON: "1" stands for 1
        arguments = [{**given, "a": 1 if given["a"] == "1" else given["a"]} for given in arguments]
        assert [key for key, _ in told] == [plain_key(given) for given in arguments]
        assert len({key for key, _ in told}) == len(several) - 1
        assert told[values.index("1")][1] == ["--a=1"]


def test_each_run_of_a_grid_has_the_key_that_it_would_have_alone(valued):
    many = grid.product("toy", "e", z=[1, 0.25], m=[[], [2, 3]], t=["a b", '"q"', "é"])
    many += grid.sample("toy", "e", 4, first_run=100, z=(0.0, 1.0), m=[[5]])
    alone = [keys_and_flags([run])[0] for run in many]
    assert keys_and_flags(many) == alone
    by_run = [signatures.resolve(promises.script_file(run), "e", run.arguments) for run in many]
    assert [key for key, _ in alone] == [plain_key(arguments) for arguments in by_run]


def test_values_drawn_at_random_are_not_remembered_for_ever(valued, monkeypatch):
    monkeypatch.setattr(promises, "MOST_KEPT", 3)
    drawn = grid.sample("toy", "e", 20, z=(0.0, 1.0), t=["x", "y"])
    told = keys_and_flags(drawn)
    assert told == [keys_and_flags([run])[0] for run in drawn]
    assert len({key for key, _ in told}) == 20


def test_the_plan_names_the_run_with_a_wrong_value(valued):
    good = grid.product("toy", "e", z=[1.0, 2.0])
    with pytest.raises(ValueError, match=r"^run 7: z of e is 'x'; it must be a number"):
        promises.by_experiment(good + grid.one("toy", "e", 7, z="x"), Wish())
    with pytest.raises(ValueError, match=r"^run 7: e has no hyper-parameter zz; it has z, a, m, t"):
        promises.by_experiment(good + grid.one("toy", "e", 7, zz=1.0), Wish())


def test_a_required_value_counts_for_the_key_like_any_other(valued):
    script = paths.experiments_dir() / "toy" / "e.py"
    script.write_text(VALUED.replace("z: float = 0.5", "z: float"))
    with pytest.raises(ValueError, match=r"^run 3: e was given no z, which has no default"):
        promises.by_experiment(grid.one("toy", "e", 3, t="x"), Wish())
    told = keys_and_flags(grid.one("toy", "e", 3, z=2.0))
    assert told == [(plain_key({"z": 2.0, "a": None, "m": [1], "t": "é"}), ["--z=2.0"])]


def test_many_unfinished_runs_are_refused_in_a_short_sentence(valued):
    many = grid.product("toy", "e", z=[float(number) for number in range(200)])
    for number in range(0, 200, 2):
        job_node.claim(paths.jobs_dir("toy", "e"), number, 0, 1, {})
        job_node.record(paths.jobs_dir("toy", "e"), number, 0, 1, "failed", {})
    with pytest.raises(registry.RunExists) as problem:
        decide(many)
    sentence = str(problem.value)
    assert "run 0 of toy/e was started before and is not done (failed), like 99 others." in sentence
    assert "`runs list toy/e --all` names them" in sentence
    assert len(sentence) < 300
