import json
import os

import pytest

from utils import job_node, needs

GROUP, EXP = "g", "train"


@pytest.fixture
def results(tmp_path):
    (tmp_path / "job_logs" / GROUP / EXP / ".jobs").mkdir(parents=True)
    return tmp_path


def mark(results, run, attempt, *kinds, part=0, **info):
    jobs_dir = results / "job_logs" / GROUP / EXP / ".jobs"
    for kind in kinds:
        if kind == "claim":
            assert job_node.claim(jobs_dir, run, part, attempt, info)
        else:
            job_node.record(jobs_dir, run, part, attempt, kind, info)


def repetition(results, run, index, state, declared):
    folder = results / "logs" / GROUP / f"{EXP}x{run}" / f"name__{index}"
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps({"state": state, "declared": declared}))


def missing(results, runs, exp=EXP, allow_missing=False):
    need = {"exp_folder": GROUP, "exp": exp, "runs": runs, "allow_missing": allow_missing}
    return needs.missing(str(results), [need])


def test_done_runs_are_not_missing(results):
    for run in (0, 1, 1000):
        mark(results, run, 1, "claim", "done")
    mark(results, 2, 1, "failed")
    mark(results, 2, 2, "done")
    assert missing(results, "0-2,1000") == ""


@pytest.mark.parametrize(
    ("kinds", "stands"),
    [
        (["failed"], "is failed"),
        (["claim", "cancelled"], "is cancelled"),
        (["skipped"], "is skipped"),
        (["claim"], "is running"),
        ([], "was not started"),
    ],
)
def test_a_run_that_is_not_done_is_named_with_its_state(results, kinds, stands):
    mark(results, 3, 1, *kinds)
    assert missing(results, "3") == f"g/train:3 {stands}"
    assert missing(results, "3", allow_missing=True) == ""


def test_the_newest_attempt_counts(results):
    mark(results, 3, 9, "done")
    mark(results, 3, 10, "failed")
    assert missing(results, "3") == "g/train:3 is failed"


def test_a_claim_of_a_process_that_has_ended_is_lost(results):
    mark(results, 3, 1, "claim")
    jobs_dir = results / "job_logs" / GROUP / EXP / ".jobs"
    path = job_node.state_file(jobs_dir, 3, 0, 1, "claim")
    job_node.write_json(path, {**job_node.read_json(path), "pid_start": 1})
    assert missing(results, "3") == "g/train:3 is lost"


def test_several_are_counted_and_the_first_is_named(results):
    for run in range(20):
        mark(results, run, 1, "failed" if run in (4, 11, 13) else "done")
    assert missing(results, "0-19") == (
        "3 of 20 runs of g/train are not done, the first: g/train:4 is failed"
    )


def test_several_needs_are_told_apart(results):
    mark(results, 0, 1, "failed")
    listed = [
        {"exp_folder": GROUP, "exp": exp, "runs": "0", "allow_missing": False}
        for exp in (EXP, "other")
    ]
    assert needs.missing(str(results), listed) == ("g/train:0 is failed; g/other:0 was not started")


@pytest.mark.parametrize("last", [1, 2, 3])
def test_a_divided_run_is_done_when_all_of_its_parts_are(results, last):
    first, second = {1, 2, 3} - {last}
    mark(results, 3, 1, "done", part=first, parts=3)
    mark(results, 3, 2, "done", part=second, parts=3)
    assert missing(results, "3") == "g/train:3 is done in part"
    mark(results, 3, 1, "failed", part=last, parts=3)
    assert missing(results, "3") == "g/train:3 is failed"
    mark(results, 3, 2, "done", part=last, parts=3)
    assert missing(results, "3") == ""


def test_a_part_that_does_not_say_of_how_many_leaves_it_to_the_results(results):
    mark(results, 3, 1, "done", part=1)
    repetition(results, 3, 0, "done", declared=2)
    assert missing(results, "3") == "g/train:3 is done in part"
    repetition(results, 3, 1, "done", declared=2)
    assert missing(results, "3") == ""


def test_results_answer_where_no_record_is_left(results):
    repetition(results, 3, 0, "done", declared=3)
    repetition(results, 3, 1, "diverged", declared=3)
    assert missing(results, "3") == "g/train:3 was not started"
    repetition(results, 3, 2, "done", declared=3)
    assert missing(results, "3") == ""
    mark(results, 3, 1, "failed")
    assert missing(results, "3") == "g/train:3 is failed"


def test_many_runs_take_a_listing_for_each_folder(results, monkeypatch):
    jobs_dir = results / "job_logs" / GROUP / EXP / ".jobs"
    for run in range(3000):
        path = job_node.state_file(jobs_dir, run, 0, 1, "done")
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w"):
            pass
    listed = []
    list_folder = os.listdir
    monkeypatch.setattr(os, "listdir", lambda path: listed.append(path) or list_folder(path))
    assert missing(results, "0-2999") == ""
    assert len(listed) == 3


def test_an_old_listing_of_a_file_server_is_not_believed(results, monkeypatch):
    """A folder is listed as it was until a probe file has been made in it."""
    mark(results, 3, 1, "done")
    probed, list_folder, probe = [], os.listdir, job_node.server_clock
    monkeypatch.setattr(job_node, "server_clock", lambda path: probed.append(path) or probe(path))
    monkeypatch.setattr(os, "listdir", lambda path: list_folder(path) if probed else [])
    assert missing(results, "3") == ""
    assert len(probed) == 1


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("g/e:0", [("g", "e", 0)]),
        ("g/e:5,0-2", [("g", "e", 0), ("g", "e", 1), ("g", "e", 2), ("g", "e", 5)]),
        ("g/e:7+h/f:1-2", [("g", "e", 7), ("h", "f", 1), ("h", "f", 2)]),
        ("g/e:hand-0a1b2c", [("g", "e", "hand-0a1b2c")]),
    ],
)
def test_what_is_needed_is_read(text, places):
    assert needs.parse(text) == places


@pytest.mark.parametrize("text", ["", "g", "g/e", "g/e:", "g/e:x", "g/e:0,h/f:1", "g/e:0+"])
def test_what_names_no_runs_is_refused(text):
    with pytest.raises(ValueError, match=r"names no run|says nothing about runs|no list of"):
        needs.parse(text)


def test_text_and_needs_belong_together():
    listed = [
        {"exp_folder": "g", "exp": "a.b-c_d", "runs": "0-2,7", "allow_missing": True},
        {"exp_folder": "h", "exp": "f", "runs": "3", "allow_missing": False},
    ]
    text = needs.as_text(listed)
    assert text == "g/a.b-c_d:0-2,7+h/f:3"
    runs = [("g", "a.b-c_d", run) for run in (0, 1, 2, 7)]
    assert needs.parse(text) == [*runs, ("h", "f", 3)]
    assert needs.lists(listed) == (("g", "a.b-c_d", "0-2,7"), ("h", "f", "3"))
