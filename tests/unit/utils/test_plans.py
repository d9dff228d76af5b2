import json
import os
import subprocess
import sys
import time

import pytest

from utils import job_node, plans, tasks


@pytest.fixture
def jobs_dir(tmp_path):
    return tmp_path / "job_logs" / "group" / "exp" / ".jobs"


def entries(*runs, **more):
    return [{"run": run, "key": f"key-{run}", **more} for run in runs]


def send(jobs_dir, runs, attempt=1, **more):
    tasks = [(run, 0, attempt) for run in runs]
    return plans.send(jobs_dir, entries(*runs, **more), tasks, {"environment": {}})


def test_a_submission_is_found_again(jobs_dir):
    sent = send(jobs_dir, [0, 7, 12_345])
    (found,) = plans.submissions(jobs_dir)
    assert found.stem == sent.stem
    assert found.token == sent.token
    assert len(found.token) == 10
    assert found.tasks() == [(0, 0, 1), (7, 0, 1), (12_345, 0, 1)]
    assert list(found.entries()) == entries(0, 7, 12_345)
    assert found.about["state"] == "intent"
    assert found.sender_lives()
    lines = found.tasks_file.read_bytes().splitlines(keepends=True)
    assert lines == [b"00000000 00 0001\n", b"00000007 00 0001\n", b"00012345 00 0001\n"]


def test_a_submission_is_named_when_all_of_it_is_there(jobs_dir, monkeypatch):
    write, there = job_node.write_json, []

    def look(path, content):
        there.extend(sorted(name.rpartition(".")[2] for name in os.listdir(jobs_dir)))
        write(path, content)

    monkeypatch.setattr(job_node, "write_json", look)
    send(jobs_dir, [0])
    assert there == ["idx", "jsonl", "tasks"]


def test_a_sender_that_has_ended_is_known(jobs_dir):
    sent = send(jobs_dir, [0])
    path = jobs_dir / f"{sent.stem}.json"
    path.write_text(json.dumps({**sent.about, "pid_start": sent.about["pid_start"] + 1}))
    assert not plans.submissions(jobs_dir)[0].sender_lives()


def test_equal_plans_are_one_file(jobs_dir):
    first, second = send(jobs_dir, [0, 1]), send(jobs_dir, [0, 1], attempt=2)
    assert first.plan_file == second.plan_file
    assert first.token != second.token
    assert len(list(jobs_dir.glob("plan-*.jsonl"))) == 1


def test_what_was_sent_last_counts(jobs_dir):
    send(jobs_dir, [0, 1, 2], note="old")
    newer = send(jobs_dir, [1], attempt=2, note="new")
    found = plans.latest_entries(jobs_dir)
    assert {run: entry["note"] for run, (entry, _) in found.items()} == {
        0: "old",
        1: "new",
        2: "old",
    }
    assert found[1][1].token == newer.token
    assert list(plans.latest_entries(jobs_dir, [2, 99])) == [2]
    assert plans.latest_entries(jobs_dir / "none") == {}


def test_a_plan_is_searched_in_whatever_order_its_runs_were_sent(jobs_dir):
    runs = [7, 0, 12_345, 3, 100]
    sent = send(jobs_dir, runs)
    for run in runs:
        assert tasks.read_plan_line(str(sent.plan_file), run)["key"] == f"key-{run}"
    with pytest.raises(ValueError, match="has no run 8; send the run again with --resume"):
        tasks.read_plan_line(str(sent.plan_file), 8)


def test_half_a_line_about_a_job_or_a_mark_is_none(jobs_dir):
    sent = send(jobs_dir, [0, 1])
    sent.note_queued(0, "51")
    sent.note_cancelled(0, 1)
    for path in (sent.queued_file, sent.cancelled_file):
        with open(path, "a") as stream:
            stream.write("1 5")  # of 52, say
    assert sent.queued() == {0: "51"}
    assert sent.cancelled() == [(0, 1)]


def test_removed_runs_leave_the_other_lines_where_they_were(jobs_dir):
    first, second = send(jobs_dir, [0, 1, 2]), send(jobs_dir, [1], attempt=2)
    plans.forget(jobs_dir, [1])
    (left,) = plans.submissions(jobs_dir)
    assert left.token == first.token
    assert left.tasks() == [(0, 0, 1), None, (2, 0, 1)]
    assert tasks.read_task(str(left.tasks_file), 2) == (2, 0, 1)
    assert sorted(plans.latest_entries(jobs_dir)) == [0, 2]
    assert not second.plan_file.exists()
    left.note_queued(0, "5")
    left.note_cancelled(0, 1)
    for path in (left.setup_file, left.engine_log):
        path.write_text("module load x\n")
    plans.forget(jobs_dir, [0, 2])
    assert os.listdir(jobs_dir) == []


def test_a_half_written_submission_is_no_submission(jobs_dir):
    send(jobs_dir, [0])
    (jobs_dir / "send-20990101T000000000000-0123456789.json").write_text('{"plan": "pl')
    (jobs_dir / ".send-20990101T000000000000-aaaaaaaaaa.json.host.7").write_text("{}")
    assert len(plans.submissions(jobs_dir)) == 1


@pytest.mark.parametrize("content", [b"\x00\xff\n", b"1 2\n", b"a b c\n", b"{}\n"])
def test_a_damaged_file_is_named_with_the_remedy(jobs_dir, content):
    sent = send(jobs_dir, [0])
    for path in (sent.tasks_file, sent.plan_file):
        before = path.read_bytes()
        path.write_bytes(content)
        with pytest.raises(plans.Damaged) as problem:
            plans.latest_entries(jobs_dir)
        assert f"{path} is damaged" in str(problem.value)
        assert "Delete it" in str(problem.value)
        path.unlink()
        assert plans.latest_entries(jobs_dir) == {}
        path.write_bytes(before)


def test_a_lock_is_held_by_one(jobs_dir):
    with (
        plans.lock(jobs_dir),
        pytest.raises(TimeoutError, match=f"process {os.getpid()}"),
        plans.lock(jobs_dir, patience_s=0.2),
    ):
        pass
    assert not (jobs_dir / "lock").exists()
    with plans.lock(jobs_dir, patience_s=0.2):
        assert (jobs_dir / "lock").is_dir()


def test_a_lock_is_given_back_after_an_error(jobs_dir):
    with pytest.raises(KeyError), plans.lock(jobs_dir):
        raise KeyError
    assert not (jobs_dir / "lock").exists()


def test_the_lock_of_a_dead_process_is_broken(jobs_dir, capsys):
    program = f"""
import os, pathlib
from utils import plans
held = plans.lock(pathlib.Path({str(jobs_dir)!r}))
held.__enter__()
os._exit(1)
"""
    subprocess.run([sys.executable, "-c", program], check=False, timeout=60)
    assert (jobs_dir / "lock" / "owner.json").exists()
    with plans.lock(jobs_dir, patience_s=5):
        assert "left behind" in capsys.readouterr().out
    assert not jobs_dir.exists()  # nothing was left in it


@pytest.mark.parametrize(("age_s", "broken"), [(500, False), (700, True)])
def test_an_old_lock_of_another_machine_is_broken(jobs_dir, age_s, broken):
    (jobs_dir / "lock").mkdir(parents=True)
    (jobs_dir / "lock" / "owner.json").write_text('{"host": "far", "machine": "x", "pid": 1}')
    moment = time.time() - age_s
    os.utime(jobs_dir / "lock", (moment, moment))
    if broken:
        with plans.lock(jobs_dir, patience_s=5):
            pass
    else:
        with pytest.raises(TimeoutError, match="process 1 on far"), plans.lock(jobs_dir, 0.2):
            pass


def test_where_nobody_can_write_a_lock_has_to_be_older(jobs_dir, monkeypatch):
    (jobs_dir / "lock").mkdir(parents=True)
    (jobs_dir / "lock" / "owner.json").write_text('{"host": "far", "machine": "x", "pid": 1}')
    monkeypatch.setattr(job_node, "server_clock", lambda folder: (time.time(), 10.0))
    moment = time.time() - 2 * plans.LOCK_OLD_S
    os.utime(jobs_dir / "lock", (moment, moment))
    with pytest.raises(TimeoutError, match="process 1 on far"), plans.lock(jobs_dir, 0.2):
        pass


def test_a_lock_that_another_has_broken_and_taken_is_left_to_him(jobs_dir, monkeypatch):
    owner = jobs_dir / "lock" / "owner.json"
    owner.parent.mkdir(parents=True)
    owner.write_text(json.dumps({**job_node.own_process(), "pid_start": -1}))
    judge, taken = plans._is_stale, {**job_node.own_process(), "taken": "meanwhile"}

    def slowly(folder, holder):
        stale = judge(folder, holder)
        owner.write_text(json.dumps(taken))
        return stale

    monkeypatch.setattr(plans, "_is_stale", slowly)
    with pytest.raises(TimeoutError, match=f"process {os.getpid()}"), plans.lock(jobs_dir, 0.2):
        pass
    assert job_node.read_json(str(owner)) == taken
    assert os.listdir(jobs_dir) == ["lock"]
