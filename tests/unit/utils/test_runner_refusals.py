"""What no grid and no command line of a runner may say."""

import pytest

from utils import environments, grid, paths, registry, runners
from utils.command_lines import Refusal

EXPERIMENT = '''"""e: a toy."""
from utils import experiment

DATA = []


def train(run, number: int = 0, rate: float = 0.1, text: str = "x"):
    pass


if __name__ == "__main__":
    experiment.main(train)
'''
RESOURCES = {"threads": 1, "memory": None, "gpus": 0, "hours": None}


@pytest.fixture
def checkout(bench_folders, tmp_path, monkeypatch):
    root = tmp_path / "bench"
    (root / "experiments" / "toy").mkdir(parents=True)
    (root / "experiments" / "toy" / "e.py").write_text(EXPERIMENT)
    monkeypatch.setattr(paths, "ROOT", root)
    return root


@pytest.fixture
def runs(checkout):
    return grid.product("toy", "e", number=[0, 1], text=["a b", "x"])


def launch(runs, *arguments):
    return runners.launch(runs, RESOURCES, arguments, "python e_runner.py")


def refused(runs, *arguments):
    with pytest.raises((Refusal, ValueError, registry.RunExists)) as problem:
        launch(runs, *arguments)
    assert "\n" not in str(problem.value)
    return str(problem.value)


def test_a_generator_is_a_grid_and_a_number_is_none(runs, capsys):
    assert launch((run for run in runs), "linux", "--dry-run") == 0
    assert "4 runs" in capsys.readouterr().out
    assert "make it with grid.product" in refused(5, "linux", "--dry-run")
    assert "make it with grid.product" in refused("ab", "linux", "--dry-run")


def test_so_many_jobs_as_there_are_runs():
    terms = environments.Terms(at_once=10**9, shares=[{"A": "0"}, {"A": "1"}])
    assert terms.places(3) == [{"A": "0"}, {"A": "1"}, {"A": "0"}]


def test_a_jobs_number_without_an_end_is_refused(runs):
    assert "has 23 digits, and 9 at most" in refused(runs, "linux", "--jobs", "9" * 23)
    assert "has 5000 digits" in refused(runs, "linux", "--retries", "9" * 5000)
    assert "no whole number" in refused(runs, "linux", "--jobs", "²")


def test_a_setting_is_given_once(runs):
    sentence = refused(runs, "linux", "--dry-run", "--set", "number=1", "number=2")
    assert sentence.startswith("--set gives number twice, as '1' and '2'; once is allowed.")


def test_runs_with_the_same_arguments_are_named(runs, capsys):
    assert launch(runs, "linux", "--dry-run", "--set", "number=5", "--as", "same") == 0
    said = capsys.readouterr().err
    assert (
        "toy/e_same: runs 0,2 have the same arguments (as do, among themselves, 1,3); each" in said
    )
    assert launch(runs, "linux", "--dry-run") == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("memory", value) for value in ("lots", 5, "", "0G", "1.5G", "16 G")],
        *[("hours", value) for value in (-1, 0, "x", True, float("nan"), float("inf"))],
        *[("threads", value) for value in (10**9, 0, 1.0, True)],
        ("gpus", 10**9),
    ],
)
def test_resources_that_no_run_can_be_given(runs, name, value):
    with pytest.raises(Refusal, match=f"^{name} is .*; it is a .*in main\\(\\)"):
        runners.launch(runs, {**RESOURCES, name: value}, ["linux", "--dry-run"], "e")


def test_resources_that_can_be(runs, capsys):
    wished = {"threads": 2, "memory": "16G", "gpus": 0, "hours": 0.5}
    assert runners.launch(runs, wished, ["linux", "--dry-run"], "e") == 0


def test_a_label_that_no_folder_can_have(runs):
    assert "300 letters; a folder's name has at most 255" in refused(
        runs, "linux", "--dry-run", "--as", "a" * 300
    )
    assert launch(runs, "linux", "--dry-run", "--as", "a" * 230) == 0


def test_an_argument_that_no_program_can_be_given(checkout):
    fits = 131_071 - len("--text=")
    assert launch(grid.product("toy", "e", text=["é" * (fits // 2)]), "linux", "--dry-run") == 0
    sentence = refused(grid.product("toy", "e", text=["a" * (fits + 1)]), "linux", "--dry-run")
    assert "run 0: --text takes 131072 bytes on a command line, and 131071 at most" in sentence
