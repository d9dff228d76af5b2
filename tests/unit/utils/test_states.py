import os
import time

import pytest

from utils import job_node, paths, plans, registry, states

GROUP, EXP = "group", "exp"


@pytest.fixture
def jobs_dir(bench_folders):
    return paths.jobs_dir(GROUP, EXP)


def claim(jobs_dir, run, attempt=1, part=0, **content):
    path = job_node.state_file(jobs_dir, run, part, attempt, "claim")
    os.makedirs(os.path.dirname(path), exist_ok=True)
    job_node.write_json(path, {**job_node.own_process(), **content})
    return path


def send(jobs_dir, runs, attempt=1, alive=True, part=0):
    tasks = [(run, part, attempt) for run in runs]
    sent = plans.send(jobs_dir, [{"run": run} for run in runs], tasks, {})
    if not alive:
        about = {**sent.about, "pid_start": -1}
        job_node.write_json(str(jobs_dir / f"{sent.stem}.json"), about)
    return sent


def found():
    return {run: state.state for run, state in states.states(GROUP, EXP).items()}


def test_nothing_is_known_of_nothing(jobs_dir):
    assert states.states(GROUP, EXP) == {}
    assert list(states.experiments()) == []


def test_the_table_of_states(jobs_dir):
    dead = {"pid_start": -1}
    send(jobs_dir, range(12), alive=False)
    send(jobs_dir, [1, 6, 9], attempt=2)
    for run, kind in enumerate(("done", "failed", "cancelled", "skipped")):
        claim(jobs_dir, run)
        job_node.record(jobs_dir, run, 0, 1, kind, {})
    claim(jobs_dir, 4)
    claim(jobs_dir, 5, **dead)
    claim(jobs_dir, 6, **dead)
    claim(jobs_dir, 7, **dead)
    claim(jobs_dir, 7, attempt=2)
    claim(jobs_dir, 8)
    job_node.record(jobs_dir, 8, 0, 1, "failed", {})
    claim(jobs_dir, 8, attempt=2)
    job_node.record(jobs_dir, 8, 0, 2, "done", {})
    claim(jobs_dir, "hand-0a1b2c")
    assert found() == {
        0: "done",
        1: "pending",  # failed, and waiting in a living launcher for another attempt
        2: "cancelled",
        3: "skipped",
        4: "running",
        5: "lost",
        6: "pending",
        7: "running",
        8: "done",
        9: "pending",
        10: "new",
        11: "new",
        "hand-0a1b2c": "running",
    }
    attempts = {run: state.attempt for run, state in states.states(GROUP, EXP).items()}
    assert [attempts[run] for run in (0, 1, 7, 8, 9, 10)] == [1, 1, 2, 2, 0, 0]
    assert list(states.experiments()) == [(GROUP, EXP)]


def test_a_run_in_parts_is_done_when_all_are(jobs_dir):
    for part in (1, 2, 3):
        send(jobs_dir, [0], part=part, alive=False)
        claim(jobs_dir, 0, part=part)
    job_node.record(jobs_dir, 0, 1, 1, "done", {})
    job_node.record(jobs_dir, 0, 2, 1, "failed", {})
    state = states.states(GROUP, EXP)[0]
    assert (state.state, state.part) == ("failed", 2)
    job_node.record(jobs_dir, 0, 2, 2, "done", {})
    assert found() == {0: "running"}
    job_node.record(jobs_dir, 0, 3, 1, "done", {})
    assert found() == {0: "done"}


def test_a_part_that_was_never_started_keeps_a_run_from_being_done(jobs_dir):
    send(jobs_dir, [0], part=1, alive=False)
    send(jobs_dir, [0], part=2, alive=False)
    claim(jobs_dir, 0, part=1)
    job_node.record(jobs_dir, 0, 1, 1, "done", {})
    assert found() == {0: "new"}
    folder = paths.log_dir(GROUP, EXP, 0, "name", 0)
    folder.mkdir(parents=True)
    registry.write_json(folder / "run.json", {"state": "done", "key": "", "seed": 0})
    assert found() == {0: "new"}  # its results are those of the other part


def test_each_part_has_a_state_and_attempts_of_its_own(jobs_dir):
    send(jobs_dir, [0, 1], part=1, alive=False)
    send(jobs_dir, [0, 1], part=2)
    send(jobs_dir, [0], part=1, attempt=2)
    claim(jobs_dir, 0, part=1)
    job_node.record(jobs_dir, 0, 1, 1, "failed", {})
    claim(jobs_dir, 1, part=2)
    parts = states.by_part(GROUP, EXP)
    told = {place: (state.state, state.attempt, state.part) for place, state in parts.items()}
    assert told == {
        (0, 1): ("pending", 1, 1),
        (0, 2): ("pending", 0, 2),
        (1, 1): ("new", 0, 1),
        (1, 2): ("running", 1, 2),
    }
    assert {run: state.state for run, state in states.worst(parts).items()} == {
        0: "pending",
        1: "running",
    }


def test_the_newest_submission_decides_about_a_part_that_waits():
    def held(place):
        raise AssertionError("nobody holds anything")

    claimed = {(0, 1): (1, "failed"), (0, 2): (2, "lost"), (0, 3): (1, "done")}
    tasks = [
        *[("pending", "", (0, part, 1)) for part in (1, 2, 3, 4)],
        ("pending", "", (0, 1, 2)),
        ("stuck", "", (0, 2, 2)),  # which has been claimed since
        ("pending", "", (0, 4, 1)),
        ("unknown", "no answer", (0, 1, 2)),
        ("new", "", (0, 4, 1)),
        ("new", "", (0, 3, 2)),  # sent again, and never started
    ]
    found = states.standing(claimed, tasks, held)
    assert {part: found[0, part].state for part in (1, 2, 3, 4)} == {
        1: "unknown",
        2: "lost",
        3: "done",
        4: "new",
    }
    assert found[0, 1].note == "no answer"
    assert [found[0, part].attempt for part in (1, 2, 3, 4)] == [1, 2, 1, 0]


@pytest.mark.parametrize(
    ("age_s", "state", "note"),
    [(60, "running", ""), (12 * 60, "lost", "")],
)
def test_elsewhere_the_heartbeat_decides(jobs_dir, age_s, state, note):
    path = claim(jobs_dir, 0, machine="another boot")
    moment = time.time() - age_s
    os.utime(path, (moment, moment))
    assert states.states(GROUP, EXP)[0] == states.RunState(0, state, 1, 0, note)


def test_a_silent_process_of_this_machine_is_marked(jobs_dir):
    path = claim(jobs_dir, 0)
    moment = time.time() - 12 * 60
    os.utime(path, (moment, moment))
    assert states.states(GROUP, EXP)[0].note == "silent for 12 min"
    assert found() == {0: "running"}


def test_runs_without_records_are_told_by_their_repetitions(jobs_dir):
    known = {"key": "", "seed": 0, "arguments": {}}
    for run, ends in (
        (0, ["done", "diverged"]),
        (1, ["done", "failed"]),
        ("hand-00ff00", ["done"]),
    ):
        for number, state in enumerate(ends):
            folder = paths.log_dir(GROUP, EXP, run, "name", number)
            folder.mkdir(parents=True)
            registry.write_json(folder / "run.json", {"state": state, **known})
    # another experiment, whose name begins alike
    paths.log_dir(GROUP, "expx1", 0, "name", 0).mkdir(parents=True)
    assert found() == {0: "done", 1: "lost", "hand-00ff00": "done"}
    assert list(states.experiments()) == [(GROUP, EXP), (GROUP, "expx1")]


def test_a_damaged_list_of_tasks_is_left_out_and_said_once(jobs_dir, capsys):
    sent = send(jobs_dir, [0, 1], alive=False)
    send(jobs_dir, [2], alive=False)
    sent.tasks_file.write_bytes(b"no task\n")
    assert found() == found() == {2: "new"}
    (sentence,) = capsys.readouterr().err.splitlines()
    assert sentence.startswith(f"{sent.tasks_file} is damaged")


def test_reading_states_leaves_no_trace(jobs_dir):
    send(jobs_dir, [0, 1])
    claim(jobs_dir, 0, machine="another boot")

    def tree():
        return {path: path.stat().st_mtime_ns for path in jobs_dir.rglob("*") if path.is_file()}

    before = tree()
    found()
    assert tree() == before


def test_counts_begin_with_what_is_done():
    kinds = ["failed", "done", "new", "done", "running"]
    some = [states.RunState(run, kind) for run, kind in enumerate(kinds)]
    assert states.counts(some) == "2 done · 1 failed · 1 running · 1 new"
    assert states.counts([]) == ""


def test_details_join_claim_and_record(jobs_dir):
    claim(jobs_dir, 0, token="aa")
    state = states.states(GROUP, EXP)[0]
    assert states.details(GROUP, EXP, state)["token"] == "aa"
    job_node.record(jobs_dir, 0, 0, 1, "failed", {"reason": "no"})
    state = states.states(GROUP, EXP)[0]
    joined = states.details(GROUP, EXP, state)
    assert (joined["token"], joined["reason"], joined["state"]) == ("aa", "no", "failed")
    for waits in ("pending", "stuck"):  # as its next attempt, of which nothing is written yet
        assert states.details(GROUP, EXP, state._replace(state=waits)) == {}
