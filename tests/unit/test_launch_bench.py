"""The benchmark of the launcher: bounds, exit status, and programs that measure what they say."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[2] / "bench"


@pytest.fixture(scope="module")
def launch():
    """The script, which finds its neighbours as it does when it is started."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCH))
        spec = importlib.util.spec_from_file_location("bench_launch", BENCH / "launch.py")
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module  # dataclasses look their module up
        spec.loader.exec_module(module)
        yield module
    for name in ("bench_launch", "launch_runs", "tables"):
        sys.modules.pop(name, None)


def test_bounds_from_above_from_below_and_none(launch):
    most, least = launch.Bound("a", "", most=2), launch.Bound("a", "", least=3)
    assert [most.holds(value) for value in (2, 2.1)] == [True, False]
    assert [least.holds(value) for value in (3, 2.9)] == [True, False]
    shown = launch.Bound("a", "")
    assert shown.holds(1e9)
    assert [str(bound) for bound in (most, least, shown)] == ["≤ 2", "≥ 3", ""]


def test_every_figure_has_one_row_and_the_targets_stand(launch):
    names = [bound.figure for bound in launch.BOUNDS]
    assert len(names) == len(set(names))
    targets = {bound.figure: bound.most for bound in launch.BOUNDS}
    assert [targets[name] for name in ("plan", "list", "list_mb", "alone", "together")] == [
        *(2, 1, 300, 8, 1.5),
    ]


@pytest.mark.parametrize(
    ("seconds", "runs", "status"), [(1.9, 100_000, 0), (2.1, 100_000, 1), (2.1, 5000, 0)]
)
def test_exit_status_tells_a_missed_bound(launch, monkeypatch, capsys, seconds, runs, status):
    command = ["launch.py", "--only", "plan", "--markdown", "--runs", str(runs)]
    monkeypatch.setattr(sys, "argv", command)
    monkeypatch.setattr(launch, "median", lambda name, *_: seconds if name == "plan" else 0.5)
    assert launch.main() == status
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "| figure | unit | bound | measured |  |"
    assert [line.split("|")[-2].strip() for line in out[2:]] == [
        "reached" if seconds < 2 else "MISSED",
        "reached",
    ]


def test_a_program_that_fails_ends_with_2(launch, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["launch.py", "--only", "plan"])
    monkeypatch.setattr(launch, "PROGRAMS_FILE", Path("no such program.py"))
    assert launch.main() == 2
    assert "plan ended without an answer" in capsys.readouterr().err


def test_unknown_subjects_are_refused(launch, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["launch.py", "--only", "plan,lists"])
    with pytest.raises(SystemExit) as end:
        launch.main()
    assert end.value.code == 2
    assert "no subject lists; choose from plan, list" in capsys.readouterr().err


def program(name, folder, number):
    command = [sys.executable, str(BENCH / "launch_programs.py"), name, str(folder), str(number)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_programs_do_what_they_are_measured_for(tmp_path):
    assert program("plan", tmp_path / "plan", 1100)["runs"] == 1100
    told = program("dry_run", tmp_path / "dry", 1100)
    assert told["said"].startswith("1100 runs, 1 at a time, ")
    place = tmp_path / "tree"
    assert program("tree", place, 1100) == {}
    assert program("listed", place, 1100)["said"] == "many/grid  1100 done"
    assert program("listed_by_reading", place, 1100)["said"] == "1100 done"
    said = program("resume", place, 1100)["said"]
    assert said == "many/grid: 1100 done; not started again"
    assert program("ledger_anew", place, 1100)["said"] == "1100 lines"


def test_watching_asks_for_less_than_listing(tmp_path):
    told = program("watch", tmp_path, 500)
    asked = [told[kind] for kind in ("files", "times", "listings")]
    assert min(asked) > 0
    assert 2 * sum(asked) < told["by_list"]


def test_one_more_run_of_a_program_is_told_from_its_start_and_its_epochs(launch):
    """Planted: 6 s to start alone, 40 with nothing compiled, 1 s for each more, 0.01 s an epoch."""

    class Planted:
        asked = 0

        def cost(self, runs, epochs, *options):
            self.asked += 1
            assert bool(options) == (runs > 1)
            return (40 if self.asked == 1 else 6) + (runs - 1) * 1.0 + runs * epochs * 0.01

    found = launch.overheads(Planted(), 2, lambda _: None)
    expected = {"epoch": 0.01, "cold": 40, "alone": 6, "together": 1, "mean": 1.5}
    assert found == pytest.approx(expected)
