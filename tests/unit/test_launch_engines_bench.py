"""The benchmark of sending runs to engines: bounds, exit status, and what it measures."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[2] / "bench"
ROOT = BENCH.parent


@pytest.fixture(scope="module")
def bench():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCH))
        import launch_engines

        yield launch_engines


def program(name, folder, number):
    command = [sys.executable, str(BENCH / "launch_programs.py"), name, str(folder), str(number)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_every_figure_has_one_row_and_the_targets_stand(bench):
    names = [bound.figure for bound in bench.BOUNDS]
    assert len(names) == len(set(names))
    targets = {bound.figure: bound.most for bound in bench.BOUNDS}
    promised = ("ge_array", "slurm_array", "plan_many", "ge_send", "ge_list", "ge_list_mb", "node")
    assert [targets[name] for name in promised] == [2, 2, 2, 5, 1, 300, 60]


@pytest.mark.parametrize(
    ("seconds", "many", "status"), [(59, None, 0), (61, None, 1), (61, 3000, 0)]
)
def test_exit_status_tells_a_missed_bound(bench, monkeypatch, capsys, seconds, many, status):
    words = ["launch_engines.py", "--only", "node", "--markdown"]
    monkeypatch.setattr(sys, "argv", [*words, *(["--many", str(many)] if many else [])])
    told = {"bare": 20, "node": seconds, "node_cpu": 1}
    monkeypatch.setattr(bench, "answer", lambda *_: told)
    assert bench.main() == status
    assert ("MISSED" in capsys.readouterr().out) == (seconds > 60)


def test_unknown_subjects_and_small_grids_are_refused(bench, monkeypatch, capsys):
    for words, said in (
        (["--only", "nodes"], "no subject nodes"),
        (["--many", "9"], "2000 runs or more"),
    ):
        monkeypatch.setattr(sys, "argv", ["launch_engines.py", *words])
        with pytest.raises(SystemExit) as end:
            bench.main()
        assert end.value.code == 2
        assert said in capsys.readouterr().err


def test_runs_that_were_taken_are_read_from_what_is_said(bench):
    said = (
        "9009 runs of toys/toy sent to Slurm as 9 jobs, 390 to 398\n91 of 99 runs were not sent\n"
    )
    assert bench._taken(said) == 9009
    assert bench._taken("1 run of toys/toy sent to Slurm as job 7\n") == 1


def test_jobs_of_the_benchmark_wait(bench, tmp_path):
    """What is measured must never run, whatever else the queue does."""
    checkout = bench.Held(tmp_path, 200)
    said = {name: checkout.send(name, "--dry-run")[3] for name in bench.SHORT}
    assert "qsub -terse" in said["grid-engine"]
    assert " -h " in said["grid-engine"]
    assert "--begin=now+1days" in said["slurm"]


def test_a_run_on_a_node_is_measured_beside_its_program(bench, tmp_path):
    told = program("node", tmp_path, 3)
    assert 0 < told["bare"] < 5000
    assert 0 < told["node_cpu"] < 5000


def test_an_engine_is_asked_twice_a_minute(bench, tmp_path):
    told = program("watch_queue", tmp_path, 500)
    assert told["queries"] == 2
    assert min(told[kind] for kind in ("files", "times", "listings")) > 0


def test_the_wrapper_of_a_run_loads_little():
    """What makes classes, or reads tables, costs each run ten milliseconds."""
    code = "import sys; sys.path.insert(0, '.'); import utils.tasks; print(*sys.modules)"
    command = [sys.executable, "-I", "-S", "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    heavy = {"dataclasses", "inspect", "asyncio", "tomllib", "tempfile", "shutil", "xml"}
    assert heavy.isdisjoint(done.stdout.split())
