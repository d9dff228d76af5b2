import contextlib
import json
import os
import random

import numpy as np
import pytest

from NDN3 import events
from utils import job_node, paths, registry
from utils import run as run_module
from utils.run import NothingToDo, Refused, Request, Run


@pytest.fixture
def start(bench_folders):
    """Makes a run as the command line would, named and ready."""
    run_module._code_version.cache_clear()

    def make(run=0, name="toy", data="none", arguments=None, exp="toy", **request):
        made = Run("toys", exp, run, arguments or {"size": 3}, data, Request(**request))
        made.name = name
        return made

    return make


def info(index, name="toy", exp="toy", run=0):
    return registry.read_json(paths.log_dir("toys", exp, run, name, index) / "run.json")


def states(exp="toy", run=0):
    return [found["state"] for found in registry.repetitions("toys", exp, run)]


def indices(repetitions):
    return [repetition.index for repetition in repetitions]


def test_repetitions_have_folders_seeds_and_files(start, bench_folders):
    repetitions = start().repetitions(3)
    assert (len(repetitions), repetitions.declared, repetitions.seeds) == (3, 3, [0, 1, 2])
    assert repetitions.every_index == [0, 1, 2]
    second = list(repetitions)[1]
    assert (second.index, second.seed, second.name) == (1, 1, "toy__1")
    assert second.log_dir == bench_folders.results / "logs/toys/toyx0/toy__1"
    assert second.checkpoint_path == second.log_dir / "checkpoint.npz"
    assert second.model_path == bench_folders.results / "models/toys/toyx0/toy__1.ndnmod"
    assert second.log_dir.is_dir()
    assert second.model_path.parent.is_dir()
    assert states() == ["running"] * 3


def test_run_json_explains_the_repetition(start, monkeypatch):
    monkeypatch.setenv("BENCH_JOB", "0123456789")
    run = start(arguments={"size": 3, "regions": [1, 2]}, data="d" * 64)
    for repetition in run.repetitions(1):
        running = info(0)
        repetition.finish(correlation=np.float32(0.5), count=np.int64(3), cost=np.array(2.0))
    done = info(0)
    assert (running["state"], running["end"], running["scores"]) == ("running", None, {})
    assert done["state"] == "done"
    assert done["scores"] == {"correlation": 0.5, "count": 3, "cost": 2.0}
    assert done["arguments"] == {"size": 3, "regions": [1, 2]}
    assert done["key"] == registry.run_key("toys", "toy", done["arguments"], "d" * 64)
    assert (done["data"], done["job"]) == ("d" * 64, "0123456789")
    assert (done["exp_folder"], done["exp"], done["run"], done["name"]) == ("toys", "toy", 0, "toy")
    assert done["start"] <= done["end"]
    assert done["end"].endswith("+00:00")
    assert 0 <= done["seconds"] < 60
    assert done["pid"] == os.getpid()
    assert done["versions"]["numpy"] == np.__version__
    assert set(done["versions"]) == {"python", "numpy", "tensorflow", "keras"}
    assert (done["log_dir"], done["model_path"]) == (
        "logs/toys/toyx0/toy__0",
        "models/toys/toyx0/toy__0.ndnmod",
    )


def test_the_code_s_version_is_noted(start):
    start().repetitions(1)
    commit = info(0)["commit"]
    head = paths.ROOT / ".git"
    assert (commit is not None and len(commit) == 40) == head.exists()


def test_without_git_the_version_is_unknown(start, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    start().repetitions(1)
    assert (info(0)["commit"], info(0)["clean"]) == (None, None)


def test_the_version_is_that_of_the_loaded_code(start, monkeypatch):
    start().repetitions(1)
    monkeypatch.setattr(registry, "code_version", lambda: {"commit": "later", "clean": True})
    start(run=1).repetitions(1)
    first, second = (registry.repetitions("toys", "toy", run)[0]["commit"] for run in (0, 1))
    assert first == second


def test_seeds_may_be_listed(start):
    run = start()
    repetitions = run.repetitions(seeds=[3, 3, 23])
    assert repetitions.seeds == [3, 3, 23]
    assert [info(i)["seed"] for i in range(3)] == [3, 3, 23]


def test_generators_are_seeded_as_a_safety_net(start):
    drawn = {}
    for repetition in start().repetitions(seeds=[7, 7, 8]):
        drawn[repetition.index] = (random.random(), np.random.random())  # noqa: NPY002
    assert drawn[0] == drawn[1] != drawn[2]
    assert drawn[0] == (random.Random(7).random(), np.random.RandomState(7).random())  # noqa: NPY002


def test_a_run_needs_a_name(start):
    with pytest.raises(Refused, match=r"run.name is not set.*before run.repetitions\(\)"):
        start(name=None).repetitions(3)


@pytest.mark.parametrize("name", ["a/b", "../up", "a\\b", "a\nb", " a", "x" * 201, "a:b"])
def test_a_name_is_that_of_a_file(start, name):
    with pytest.raises(Refused, match="run.name is"):
        start(name=name).repetitions(3)
    assert registry.repetitions() == []


def test_a_run_starts_once(start):
    run = start()
    run.repetitions(1)
    with pytest.raises(Refused, match="called twice"):
        run.repetitions(1)


@pytest.mark.parametrize("score", ["0.5", None, [0.5], np.array([0.5, 1.0]), {}])
def test_a_score_is_a_number(start, score):
    (repetition,) = start().repetitions(1)
    with pytest.raises(ValueError, match="score correlation is"):
        repetition.finish(correlation=score)
    assert states() == ["running"]


def test_scores_that_are_not_finite_are_missing(start):
    (repetition,) = start().repetitions(1)
    repetition.finish(a=float("nan"), b=np.inf, c=True)
    text = (repetition.log_dir / "run.json").read_text()
    assert json.loads(text, parse_constant=pytest.fail)["scores"] == {
        "a": None,
        "b": None,
        "c": True,
    }


def test_a_repetition_ends_once(start):
    (repetition,) = start().repetitions(1)
    repetition.finish()
    with pytest.raises(ValueError, match="repetition 0 is done already"):
        repetition.diverged(3)


def test_the_checkpoint_goes_when_the_repetition_is_done(start):
    first, second = start().repetitions(2)
    for repetition in (first, second):
        repetition.checkpoint_path.write_bytes(b"")
    first.finish()
    second.failed("disk full")
    assert not first.checkpoint_path.exists()
    assert second.checkpoint_path.exists()


def test_tensorboard_is_told_arguments_and_scores(start):
    (repetition,) = start(arguments={"size": 3}).repetitions(1)
    repetition.finish(correlation=0.25, missing=float("nan"))
    (path,) = events.event_files(repetition.log_dir)
    scalars = {tag: value for _, _, tag, value in events.read_events(path)}
    assert scalars == {"score/correlation": 0.25}
    assert b"toys/toyx0" in path.read_bytes()  # the session's group


# starting again


def ended(run, count, *ends):
    """Starts a run and ends its first repetitions; the rest is left as by a process that died."""
    for repetition, end in zip(run.repetitions(count), ends, strict=False):
        getattr(repetition, end)(*{"finish": (), "diverged": (4,), "failed": ("why",)}[end])
    for found in registry.repetitions(*run.place):
        if found["state"] == "running":
            path = found.pop("path")
            registry.write_json(path, found | {"pid_start": -1})


def test_done_ones_are_not_started_again(start):
    ended(start(), 2, "finish", "finish")
    for resume in (False, True):
        with pytest.raises(NothingToDo, match="already done, 2 repetitions") as nothing:
            start(resume=resume).repetitions(2)
        assert nothing.value.status == 0


def test_unfinished_ones_need_resume(start):
    ended(start(), 4, "finish", "failed")
    assert states() == ["done", "failed", "running", "running"]
    before = info(0)
    with pytest.raises(registry.RunExists, match=r"toys/toy:0 .*3 of .*--resume.*runs remove toys"):
        start().repetitions(4)
    again = start(resume=True).repetitions(4)
    assert indices(again) == [1, 2, 3]
    assert again.seeds == [1, 2, 3]
    assert again.declared == 4
    assert info(0) == before
    assert info(1)["state"] == "running"
    assert info(1)["reason"] is None


def test_diverged_ones_are_tried_again_when_asked(start):
    ended(start(), 3, "finish", "diverged", "diverged")
    checkpoint = paths.log_dir("toys", "toy", 0, "toy", 1) / "checkpoint.npz"
    checkpoint.write_bytes(b"")
    assert info(1)["reason"] == "the cost was not finite in epoch 4"
    with pytest.raises(NothingToDo, match="2 of them diverged: --diverged") as nothing:
        start(resume=True).repetitions(3)
    assert nothing.value.status == 3
    assert checkpoint.exists()
    assert indices(start(diverged=True).repetitions(3)) == [1, 2]
    assert not checkpoint.exists()


def test_more_repetitions_may_be_asked_for_later(start):
    ended(start(selection=[0, 1]), 5, "finish", "finish")
    more = start(selection=[1, 2, 4]).repetitions(5)
    assert indices(more) == [2, 4]
    assert more.declared == 5


def test_repetitions_that_do_not_exist_are_refused(start):
    with pytest.raises(Refused, match="asks for 5; this run has the repetitions 0 to 4"):
        start(selection=[0, 5]).repetitions(5)


@pytest.mark.parametrize(
    "selection, shares", [(None, [[0], [1, 2], [3, 4]]), ([1, 3], [[], [1], [3]])]
)
def test_parts_are_consecutive_shares(start, selection, shares):
    found = []
    for part in (1, 2, 3):
        run = start(exp=f"toy{part}", selection=selection, part=part, parts=3)
        with contextlib.suppress(Refused):
            run.repetitions(5)
        found.append(indices(run.started or []))
    assert found == shares


def test_an_empty_share_and_no_repetitions_are_refused(start):
    with pytest.raises(Refused, match=r"--part 1/3 is empty: 2 repetitions"):
        start(part=1, parts=3).repetitions(2)
    with pytest.raises(Refused, match="at least one repetition"):
        start().repetitions(0)


def test_missing_data_are_not_other_data(start):
    ended(start(data="a" * 64), 1, "finish")
    with pytest.raises(registry.RunExists, match=r"data that are not in .* Bring them back"):
        start().repetitions(1)


def test_a_repetition_at_work_is_not_started_twice(start):
    start().repetitions(1)
    with pytest.raises(registry.RunExists, match=rf"process {os.getpid()} on "):
        start(resume=True).repetitions(1)


def test_other_arguments_are_refused_with_both_sets(start):
    ended(start(arguments={"size": 3, "kind": "a", "regions": [1]}), 1, "finish")
    other = start(arguments={"size": 30, "kind": "a", "regions": [1, 2]}, resume=True)
    with pytest.raises(registry.RunExists) as refusal:
        other.repetitions(1)
    assert str(refusal.value) == (
        "run 0 of toys/toy exists with size=3, regions=[1]; it is now asked for with size=30, "
        "regions=[1, 2]. Give it another number (--run, or first_run of a grid), or remove it with "
        "`runs remove toys/toy:0`."
    )


def test_an_argument_more_is_another_run(start):
    ended(start(arguments={"size": 3}), 1, "finish")
    with pytest.raises(registry.RunExists, match=r"exists with no depth; .* with depth=2\."):
        start(arguments={"size": 3, "depth": 2}).repetitions(1)


def test_other_data_are_refused(start):
    ended(start(data="a" * 64), 1, "finish")
    with pytest.raises(registry.RunExists, match="same arguments and other data in Data/"):
        start(data="b" * 64).repetitions(1)


def test_a_new_name_for_an_old_run_is_refused(start):
    ended(start(name="old"), 1)
    with pytest.raises(registry.RunExists, match="under the name old; .* calls it new"):
        start(name="new", resume=True).repetitions(1)


def test_a_file_that_cannot_be_read_counts_as_unfinished(start):
    ended(start(), 2, "finish", "finish")
    (paths.log_dir("toys", "toy", 0, "toy", 1) / "run.json").write_text("{")
    with pytest.raises(registry.RunExists, match="1 of its repetitions"):
        start().repetitions(2)
    assert indices(start(resume=True).repetitions(2)) == [1]


def test_the_size_of_the_group_is_kept_for_later_starts(start):
    first = start().repetitions(4)
    assert first.group is None
    first.trained_in("group", 4)
    assert info(2)["group"] == 4
    assert info(2)["form"] == "group"
    for found in registry.repetitions("toys", "toy", 0):
        registry.write_json(found.pop("path"), found | {"pid_start": -1})
    again = start(selection=[3], resume=True).repetitions(4)
    assert again.group == 4
    assert start(selection=[5]).repetitions(6).group == 4


# the ledger


def ledger():
    path = paths.ledger_file()
    return path.read_text().splitlines() if path.exists() else []


def test_the_ledger_gets_a_line_when_the_run_ends(start):
    first, second, third = start().repetitions(3)
    first.finish()
    second.diverged(1)
    assert ledger() == []
    third.finish()
    assert ledger() == ["toys/toyx0/toy"]
    ended(start(diverged=True), 3, "finish")
    assert ledger() == ["toys/toyx0/toy"]


def test_a_failed_run_is_not_in_the_ledger(start):
    ended(start(), 2, "finish", "failed")
    assert ledger() == []


def test_a_divided_run_is_in_the_ledger_when_its_last_part_ends(start):
    ended(start(part=1, parts=2), 4, "finish", "finish")
    assert ledger() == []
    ended(start(part=2, parts=2), 4, "finish", "finish")
    assert ledger() == ["toys/toyx0/toy"]


def test_the_rest_can_be_marked_as_failed(start):
    run = start()
    first, *_ = run.repetitions(3)
    first.finish()
    assert run.started.fail_rest("ValueError: no") == 2
    assert states() == ["done", "failed", "failed"]
    assert info(2)["reason"] == "ValueError: no"
    assert run.started.states() == {"done": 1, "failed": 2}
    assert job_node.here(info(2))


def test_seeds_of_a_run_stay_what_they_were(start):
    for repetition in start().repetitions(seeds=[3, 4]):
        repetition.finish()
    with pytest.raises(registry.RunExists, match="exists with seed 3"):
        start(resume=True).repetitions(seeds=[100, 4])


def test_the_checkpoint_outlives_a_disk_that_is_full(start, monkeypatch):
    """What is not recorded as done must be able to go on."""
    (repetition,) = start().repetitions(1)
    repetition.checkpoint_path.write_bytes(b"state")

    def full():
        raise OSError("No space left on device")

    monkeypatch.setattr(repetition, "write", full)
    with pytest.raises(OSError, match="No space"):
        repetition.finish()
    assert repetition.checkpoint_path.exists()
