"""Every notebook runs in a fresh kernel, on tiny runs that the real command has trained."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from utils import make_data, paths

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "playgrounds").glob("*.ipynb"))
FIRST_GRID = ROOT / "playgrounds" / "first_grid.ipynb"
TIMEOUT_S = 240
# pyzmq and the kernel's client leave this to Python's defaults on some platforms
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:zmq.*")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Folders with a region of twelve neurons and two runs of the demo grid, three epochs each."""
    root = tmp_path_factory.mktemp("bench")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENCH_DATA", str(root / "Data"))
        patch.setenv("BENCH_RESULTS", str(root / "training_data"))
        make_data.make_region(paths.region_dir(1), 12, 80, 50, 4, seed=0, noise="low")
        command = [
            sys.executable, "experiments/demo/first_grid_runner.py", "linux",
            "--set", "epochs=3", "--as", "quick", "--repetitions", "0-1", "--only", "0,3",
        ]  # fmt: skip
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S)
        assert done.returncode == 0, done.stdout + done.stderr
    return root


@pytest.fixture
def folders(trained, monkeypatch):
    monkeypatch.setenv("BENCH_DATA", str(trained / "Data"))
    monkeypatch.setenv("BENCH_RESULTS", str(trained / "training_data"))
    return trained


@pytest.fixture(autouse=True)
def backend_of_notebooks(monkeypatch):
    """Let kernels show figures as they do for users; the tests' own choice, Agg, shows none."""
    monkeypatch.delenv("MPLBACKEND", raising=False)


@pytest.fixture(scope="module")
def executed(trained):
    """Notebooks after their run on these results, by path; filled as they are asked for."""
    return {}


def execute(path):
    """Notebook with the output of a fresh kernel, started where its user would start it."""
    notebook = nbformat.read(path, as_version=4)
    where = {"metadata": {"path": str(path.parent)}}
    NotebookClient(notebook, timeout=TIMEOUT_S, kernel_name="python3", resources=where).execute()
    return notebook


def outputs(notebook):
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


def pictures(notebook):
    return [o for o in outputs(notebook) if "image/png" in o.get("data", {})]


def text(notebook):
    return "\n".join(o.get("text", "") or o.get("data", {}).get("text/plain", "")
                     for o in outputs(notebook))  # fmt: skip


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_runs_in_a_fresh_kernel(path, folders, executed):
    executed[path] = execute(path)
    assert pictures(executed[path]), "a notebook shows a figure at least"


def test_first_grid_shows_and_saves_what_it_promises(folders, executed):
    notebook = executed.get(FIRST_GRID) or execute(FIRST_GRID)
    assert len(pictures(notebook)) == 3
    found = text(notebook)
    # two runs of two repetitions each, all finished
    assert re.search(r"filters\s+hidden\s+median\s+10th\s+90th\s+count", found)
    assert re.search(r"^0\s+4\s+0\.1\s.*\s2\s+0\s+0$", found, re.MULTILINE)
    assert re.search(r"^1\s+9\s+0\.2\s.*\s2\s+0\s+0$", found, re.MULTILINE)
    assert "Similarity of planted and found fields" in found
    # what was found is computed from these runs, a row for each number of filters
    assert re.search(r"filters\s+median\s+10th", found)
    assert re.search(r"^1\s+9\s+(-?0\.\d+\s+){3}2\s+0\s+0", found, re.MULTILINE)
    assert re.search(r"median / ceiling\s+0\s+-?0\.\d+\s+1\s+-?0\.\d+", found)
    saved = {path.name for path in (folders / "training_data" / "figures").iterdir()}
    assert saved >= {
        f"first_grid_quick_{name}"
        for name in (
            "curves.png", "curves.pdf", "filters.png", "filters.pdf", "fields.png", "fields.pdf",
            "table.csv", "table.tex",
        )
    }  # fmt: skip


def test_first_grid_on_recordings_without_planted_truth(folders):
    # without its line in the manifest a file counts as somebody's recording
    manifest = paths.manifest_file()
    kept = manifest.read_bytes()
    manifest.unlink()
    try:
        notebook = execute(FIRST_GRID)
    finally:
        manifest.write_bytes(kept)
    assert "not the synthetic ones" in text(notebook)
    assert len(pictures(notebook)) == 3


def test_first_grid_without_any_run_says_what_to_do(bench_folders):
    with pytest.raises(CellExecutionError, match="call `make demo`"):
        execute(FIRST_GRID)
    assert not (bench_folders.results / "figures").exists()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_nothing_is_stored_and_nothing_tied_to_a_machine(path):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    nbformat.validate(notebook)
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        assert "/home/" not in source
        assert os.environ.get("HOME", "/root") + "/" not in source
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [], "clear the output before storing the notebook"
            assert cell["execution_count"] is None
            assert not re.search(r"sys\.path|os\.chdir|%cd|BENCH_", source), "no path tricks"
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
