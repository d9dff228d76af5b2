"""What the train function is told of runs that it needs, and what is written down of it."""

import pytest

from utils import experiment_flags, paths, registry
from utils.run import NothingToDo, Refused, Request, Run


@pytest.fixture
def start(bench_folders):
    def make(**request):
        made = Run("g", "test", 0, {}, registry.NO_DATA, Request(**request))
        made.name = "test"
        return made

    return make


def request(*argv):
    return experiment_flags.parse_flags(argv, {}).request()


def test_the_runs_behind_the_flag_in_order(start, monkeypatch):
    monkeypatch.setenv("BENCH_JOB", "0123456789")  # who started it has looked whether they are done
    run = start(needs=request("--needs", "h/train:7,0-1+g/old:3").needs)
    assert run.needed == [("h", "train", 0), ("h", "train", 1), ("h", "train", 7), ("g", "old", 3)]
    assert request("--repetitions", "0-2").needs == ""


def test_by_hand_runs_that_are_not_done_are_refused_in_one_sentence(start, monkeypatch):
    monkeypatch.delenv("BENCH_JOB", raising=False)
    with pytest.raises(Refused, match=r"not done: h/train:7 was not started"):
        _ = start(needs="h/train:7").needed


def test_none_are_named_in_one_sentence(start):
    with pytest.raises(
        Refused, match=r"g/test:0 uses the results of other runs, .*--needs g/EXP:0"
    ):
        _ = start().needed


@pytest.mark.parametrize("text", ["", "g/train", "3"])
def test_a_flag_without_runs_is_refused_at_once(text):
    with pytest.raises(ValueError, match="names no run|says nothing about runs"):
        request(f"--needs={text}")


def test_run_json_says_what_was_used(start):
    for repetition in start(needs="g/train:0-1").repetitions(1):
        repetition.finish()
    path = paths.log_dir("g", "test", 0, "test", 0) / "run.json"
    assert registry.read_json(path)["needs"] == "g/train:0-1"
    assert "needs" not in registry.table("g", "test").columns


def test_done_with_the_results_of_other_runs_is_not_done(start):
    for repetition in start(needs="g/train:0-1").repetitions(1):
        repetition.finish()
    for same in ("g/train:0-1", "g/train:0,1", ""):
        with pytest.raises(NothingToDo):
            start(needs=same).repetitions(1)
    with pytest.raises(
        registry.RunExists, match=r"g/test:0 is done with the results of g/train:0-1; .*g/train:0-2"
    ):
        start(needs="g/train:0-2").repetitions(1)


def test_what_is_not_done_may_use_more_than_before(start):
    start(needs="g/train:0-1").repetitions(1)
    registry_file = paths.log_dir("g", "test", 0, "test", 0) / "run.json"
    registry.write_json(registry_file, {**registry.read_json(registry_file), "state": "failed"})
    (repetition,) = start(needs="g/train:0-2", resume=True).repetitions(1)
    assert repetition.info["needs"] == "g/train:0-2"
