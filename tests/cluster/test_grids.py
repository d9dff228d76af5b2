"""Grids through real engines: what comes of their runs, and the failed ones once more."""

import os
import random
import re
import subprocess
import sys
from pathlib import Path

from cluster_checkout import ClusterCheckout
from cluster_toys import (
    CPU,
    engine_logs,
    infos,
    put_toys,
    rows,
    sent,
    submissions,
    told,
    wait_for,
)
from real_engines import GridEngine
from toy_checkout import wait_until

# None of these may be read by a shell, an engine, or a program that takes it for a flag.
TEXTS = [
    "two  blanks",
    "single ' quote",
    'double " quote',
    "$HOME and ${PATH} and $(id)",
    "one; exit 5",
    "`id`",
    "two\nlines\n",
    "a mouse \N{MOUSE FACE}",
    "",
    "--run=7",
    "-pe smp 8",
    "\\ and % and * and #$ -N x",
]
FAILING = {2, 5, 11}
TRACES = ["blanks", "quote", "HOME", "exit 5", "`", "lines", "mouse", "--run", "#$"]


def description(engine, job):
    """All that an engine knows of a job that has not ended."""
    command = ["qstat", "-j"] if isinstance(engine, GridEngine) else ["scontrol", "show", "job"]
    said = engine.call(*command, job)
    assert said.returncode == 0, said.stderr
    return said.stdout


def test_a_grid_of_which_some_fail(engine, checkout):
    grid = f'zipped("toys", "toy", number=range(12), text={TEXTS!r}, wait=[True] * 12, fail='
    grid += f"{[0 if run in FAILING else -1 for run in range(12)]})"
    put_toys(checkout, grid)
    checkout.environment["BENCH_SECRET"] = "stays here"
    (job,) = sent(checkout.run(CPU[engine.name]))
    (submission,) = (checkout.logs() / ".jobs").glob("send-*.json")
    name = f"r{submission.stem.rpartition('-')[2]}c0"
    wait_until(lambda: "running" in checkout.runs("list", "toys/toy").stdout, "a start")
    known = description(engine, job)
    assert "run_in_env.sh" in known
    assert not [trace for trace in TRACES if trace in known], known
    assert "stays here" not in known
    (checkout.root / "go").touch()
    expected = {run: "failed" if run in FAILING else "done" for run in range(12)}
    wait_for(checkout, expected)
    # what came of it
    wait_until(lambda: not engine.jobs(checkout.root), "the end of the job")
    statuses = [engine.exit_status(name, job, run + engine.first_task) for run in (4, 5)]
    assert statuses == [0, 1]
    for run in range(12):
        assert told(checkout, run)["text"] == TEXTS[run]
        assert "BENCH_SECRET" not in told(checkout, run)["variables"]
        head, *_ = (checkout.logs() / f"o_{run}.log").read_text().splitlines()
        assert re.match(r"# \S+ \S+ attempt 1: .*toys/toy\.py .*--run=", head), head
        errors = (checkout.logs() / f"e_{run}.log").read_text()
        assert (f"RuntimeError: number {run} is no good" in errors) == (run in FAILING)
        assert bool(errors) == (run in FAILING)
    for info in infos(checkout):
        assert info["queue_job"] == f"{job}.{info['run'] + engine.first_task}"
        assert info["state"] == expected[info["run"]]
        score = info["run"] + random.Random(info["seed"]).random()
        assert info["scores"] == ({} if info["run"] in FAILING else {"score": score})
    ledger = (checkout.results / "experiments.txt").read_text().splitlines()
    assert sorted(ledger) == sorted(
        f"toys/toyx{run}/toy_{run}" for run in range(12) if run not in FAILING
    )
    listed = checkout.runs("list", "toys/toy")
    assert rows(listed) == {run: (state, "1") for run, state in expected.items()}
    assert "9 done" in listed.stdout and "3 failed" in listed.stdout
    assert "RuntimeError: number 5 is no good" in listed.stdout
    assert f"job {job}.{5 + engine.first_task}\n" in checkout.runs("show", "toys/toy:5").stdout
    assert "two\\nlines" in checkout.runs("show", "toys/toy:6").stdout
    printed = checkout.runs("log", "toys/toy:5", "--errors").stdout
    assert "number 5 is no good" in printed
    if checkout.user is None:  # whose Python has no pandas
        table = checkout.runs("table", "toys/toy").stdout.splitlines()[2:]
        counts = [["0", "1"] if run in FAILING else ["1", "0"] for run in range(12)]
        assert [line.split()[-2:] for line in table] == counts
    assert engine_logs(checkout) == ""
    refused = checkout.run(CPU[engine.name])
    assert refused.returncode == 2
    assert "--resume" in refused.stderr
    # the failed ones alone once more
    (checkout.root / "mended").touch()
    (again,) = sent(checkout.runs("retry", "--failed", "toys/toy"))
    wait_for(checkout, dict.fromkeys(range(12), "done"))
    attempts = {run: "2" if run in FAILING else "1" for run in range(12)}
    assert rows(checkout.runs("list", "toys/toy")) == {
        run: ("done", attempt) for run, attempt in attempts.items()
    }
    assert [one["calls"] for one in submissions(checkout)] == [[[0, 12]], [[0, 3]]]
    assert again != job
    kept = {path.name for path in checkout.logs().glob("*.try*.log")}
    assert kept == {f"{stream}_{run}.try1.log" for stream in "oe" for run in FAILING}
    assert "is no good" in (checkout.logs() / "e_5.try1.log").read_text()
    places = {info["run"]: info["queue_job"] for info in infos(checkout)}
    assert [places[run] for run in sorted(FAILING)] == [
        f"{again}.{task + engine.first_task}" for task in range(3)
    ]
    assert len((checkout.results / "experiments.txt").read_text().splitlines()) == 12
    assert engine_logs(checkout) == ""
    assert {path.owner() for path in checkout.results.rglob("*")} == {checkout.owner}


def python_of(checkout, folder):
    """A Python in which the modules of a checkout are found as if they were installed.

    It lies elsewhere: Python makes no environment in a folder with a colon.
    """
    made = [sys.executable, "-m", "venv", "--without-pip", folder]
    subprocess.run(made, check=True, capture_output=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    here = next(path for path in sys.path if Path(path, "numpy").is_dir())
    (packages / "all.pth").write_text(f"{checkout.root}\n{here}\n", "utf-8")
    return str(folder / "bin" / "python")


def test_a_checkout_whose_folder_has_an_odd_name(engine, cluster_folder):
    checkout = ClusterCheckout(cluster_folder / "a b:c \N{MOUSE FACE}")
    put_toys(checkout, 'product("toys", "toy", number=range(2))')
    checkout.interpreter = python_of(checkout, cluster_folder / "env")
    del checkout.environment["PYTHONPATH"]
    checkout.results = checkout.root / "training_data"
    del checkout.environment["BENCH_RESULTS"]
    (job,) = sent(checkout.run(CPU[engine.name]))
    wait_for(checkout, {0: "done", 1: "done"})
    assert engine_logs(checkout) == ""
    assert [info["queue_job"].partition(".")[0] for info in infos(checkout)] == [job] * 2
    assert os.path.samefile(told(checkout, 1)["folder"], checkout.root)
    assert checkout.runs("list").stdout.count("done") == 3
