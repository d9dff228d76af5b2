"""One damaged file of any kind: it is named in a sentence, and all that is whole is still read."""

import json
import os

import pytest

from NDN3 import events
from utils import job_node, jobs, paths, plans, registry, states, summaries
from utils.command_lines import answer

GROUP, EXP = "demo", "grid"
GARBAGE = [b"", b"\x00\xff\xfe", b"{", b"[1, 2]", b'{"run": 0}\n[]\n', bytes(5000)]


@pytest.fixture
def files(bench_folders):
    """Three runs of one repetition, a failed one among them, with all files that they leave."""
    states._say.cache_clear()
    jobs_dir = paths.jobs_dir(GROUP, EXP)
    lines = [
        {"run": run, "key": str(run), "script": "e.py", "argv": [], "arguments": {"number": run}}
        for run in range(3)
    ]
    found = {}
    for run, line in enumerate(lines):
        sent = plans.send(jobs_dir, [line], [(run, 0, 1)], {"python": "python"})
        about = {**sent.about, "pid_start": -1}
        found["submission", run] = jobs_dir / f"{sent.stem}.json"
        job_node.write_json(str(found["submission", run]), about)
        found["tasks", run], found["plan", run] = sent.tasks_file, sent.plan_file
        folder = paths.log_dir(GROUP, EXP, run, "name", 0)
        with events.EventWriter(folder / "summaries" / "test") as writer:
            for step in range(5):
                writer.scalars(step, {summaries.CORRELATION: run + step / 10})
        found["events", run] = writer.path
        content = {
            **{"exp_folder": GROUP, "exp": EXP, "run": run, "repetition": 0, "seed": 0},
            **{"name": "name", "state": "done", "arguments": {"number": run}, "key": str(run)},
            **{"scores": {"correlation": run + 0.5}, "seconds": 2.0, "end": "2026-01-01"},
            "log_dir": str(folder.relative_to(paths.results_dir())),
            "model_path": "none",
        }
        registry.write_json(folder / "run.json", content)
        found["run.json", run] = folder / "run.json"
        job_node.claim(jobs_dir, run, 0, 1, {"token": sent.token})
        kind = "failed" if run == 1 else "done"
        job_node.record(jobs_dir, run, 0, 1, kind, {"reason": f"because {run}", "seconds": 61.0})
        for name in ("claim", kind):
            path = job_node.state_file(jobs_dir, run, 0, 1, name)
            found["claim" if name == "claim" else "record", run] = path
    return {key: paths.results_dir() / path for key, path in found.items()}


def said(capsys, *arguments):
    """What a command says on both streams, as one text, with status 0 and no traceback."""
    assert answer(lambda: jobs.follow(arguments)) == 0
    told = capsys.readouterr()
    return told.out + told.err


def rows(text):
    return [line for line in text.splitlines() if line.startswith(f"{GROUP}/{EXP}:")]


def damaged(path, more=()):
    """Damage a file in one way after the other; gives what it holds then."""
    whole = path.read_bytes()
    for content in [*GARBAGE, *more]:
        path.write_bytes(content)
        states._say.cache_clear()
        yield content
    path.write_bytes(whole)


@pytest.mark.parametrize(
    "kind", ["submission", "tasks", "plan", "events", "run.json", "claim", "record"]
)
def test_the_list_shows_all_runs(files, capsys, kind):
    for content in damaged(files[kind, 1]):
        text = said(capsys, "list")
        assert text.startswith("demo/grid  2 done · 1 failed\n")
        told = {row.split()[0].rpartition(":")[2]: row for row in rows(text)}
        assert sorted(told) == ["0", "1", "2"]
        assert told["0"].endswith("because 0")
        reason = f"{files[kind, 1]} is damaged" if kind == "record" else "because 1"
        assert told["1"].endswith(reason)
        if kind == "submission" or (kind == "tasks" and content):
            assert f"{files[kind, 1]} is damaged" in text


def test_a_damaged_list_of_tasks_hides_no_other(files, capsys):
    for kind in ("claim", "record"):
        files[kind, 2].unlink()
    files["tasks", 1].write_bytes(b"?")
    text = said(capsys, "list")
    assert f"{files['tasks', 1]} is damaged" in text
    assert len(rows(text)) == 3


def test_a_damaged_claim_is_lost_in_time_and_named(files, capsys):
    files["record", 1].unlink()
    for _ in damaged(files["claim", 1]):
        os.utime(files["claim", 1], (1e9, 1e9))
        (row,) = rows(said(capsys, "list", "demo/grid:1"))
        assert row.split()[1] == "lost"
        assert row.endswith(f"{files['claim', 1]} is damaged")


def test_the_table_counts_a_damaged_repetition_apart(files, caplog, capsys):
    whole = registry.read_json(files["run.json", 1])
    wrong = [{**whole, name: [1]} for name in ("state", "key", "arguments", "scores")]
    for _ in damaged(files["run.json", 1], [json.dumps(content).encode() for content in wrong]):
        caplog.clear()
        text = said(capsys, "table", "demo")
        scored = [line for line in text.splitlines() if "0.5" in line or "2.5" in line]
        assert [line.split()[0] for line in scored] == ["0", "2"]
        assert "unreadable" in text
        (sentence,) = caplog.messages
        assert sentence.startswith(f"{files['run.json', 1]} is damaged")
        assert said(capsys, "show", "demo/grid:1").count("unreadable") == 1


def test_the_picture_is_drawn_without_what_is_damaged(files, caplog, capsys):
    files["events", 1].write_bytes(bytes(5000))
    files["run.json", 2].write_bytes(b"{")
    written = said(capsys, "plot", "demo/grid").splitlines()
    assert all(paths.results_dir().joinpath(line).exists() for line in written)
    assert [message.partition(" is damaged")[0] for message in caplog.messages] == [
        str(files["run.json", 2]),
        str(files["events", 1]),
    ]


def test_runs_are_shown_without_a_damaged_plan(files, capsys):
    for content in damaged(files["plan", 1]):
        text = said(capsys, "show", "demo/grid")
        assert text.count("state ") == 3
        if content:
            assert f"{files['plan', 1]} is damaged" in text


def test_a_damaged_ledger_is_mended(files, capsys):
    paths.ledger_file().write_bytes(b"\xff\xfe\n" + bytes(300))
    os.utime(paths.ledger_file(), (0, 0))
    said(capsys, "list")
    lines = paths.ledger_file().read_text().splitlines()
    assert lines == ["demo/gridx0/name", "demo/gridx2/name"]
