"""Pages about clusters, typed as they are printed, with runs that real engines start.

Models of this tree are trained in an instant, and take memory: what is asked is whether the
commands do what the pages say.
"""

import sys

import pytest
from document_commands import PAGES
from document_pages import ROOT
from document_trees import cluster_tree
from real_engines import GridEngine

TUTORIAL = "docs/tutorials/first-grid-on-a-cluster.md"
CONTAINERS = "docs/how-to/run-in-a-container-on-the-cluster.md"
# the runs must find this tree, and not the one in which this Python was made
SITE = '[{environment}]\nenvironment = ["PATH", "PYTHONPATH"]\n'
# takes the words that the page shows, and starts the command without a container
STAND_IN = """#!/bin/sh
[ "$1 $2 $4" = "exec --env containers/neuro-bench-cpu.sif" ] || exit 255
export "$3"
shift 5
exec {python} "$@"
"""


@pytest.fixture
def environment(engine):
    """Environment in which the engine starts runs."""
    return "qsub-cpu" if isinstance(engine, GridEngine) else "slurm-cpu"


@pytest.fixture
def reader(engine, environment, cluster_folder, monkeypatch):
    """A reader in a tree whose runs go to the engine."""
    monkeypatch.delenv("QUEUES", raising=False)
    tree = cluster_tree(cluster_folder / "tree")
    (tree.folder / "queues.local.toml").write_text(SITE.format(environment=environment))
    return tree


def test_the_tutorial(engine, environment, reader, cluster_folder):
    """On Slurm with the other environment, as its text says."""
    text = (ROOT / TUTORIAL).read_text()
    lines = text.replace("qsub-cpu", environment).replace("Grid Engine", engine.name).splitlines()
    # of the dry run only Grid Engine's is shown
    hidden = () if isinstance(engine, GridEngine) else ("qsub ", "in …: each run", "arrays of")
    page = cluster_folder / "page.md"
    page.write_text("\n".join(line for line in lines if not line.startswith(hidden)))
    assert PAGES[TUTORIAL].tree == "cluster"
    said = reader.read(page, PAGES[TUTORIAL])
    assert "4 cancelled" in said["runs list demo/first_grid_long"]
    rows = said["runs table demo/first_grid"].splitlines()[2:]
    assert [row.split()[-1] for row in rows] == ["5", "5", "5", "5"], "each repetition is done"
    assert "first_grid_long" not in reader.type_line("runs list"), "removed as the page says"


def test_the_page_about_containers(grid_engine, cluster_folder, monkeypatch):
    program = cluster_folder / "bin" / "apptainer"
    program.parent.mkdir()
    program.write_text(STAND_IN.format(python=sys.executable))
    program.chmod(0o755)
    monkeypatch.delenv("QUEUES", raising=False)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    reader = cluster_tree(cluster_folder / "tree")
    said = reader.read(ROOT / CONTAINERS, PAGES[CONTAINERS])
    assert "first_grid_boxed" in said['PYTHONPATH="$PWD" python3 -m utils.jobs list demo']


def test_one_short_run(environment, reader):
    label = "--only 0 --repetitions 0 --set epochs=5 --as try"
    reader.type_line(f"python experiments/demo/first_grid_runner.py {environment} {label}")
    said = reader.type_line("runs watch demo/first_grid_try --every 1")
    assert said.splitlines()[-2:] == ["demo/first_grid_try  1 done", ""]
    shown = reader.type_line("runs show demo/first_grid_try:0")
    assert "queue" in shown and "epochs=5" in shown


def test_the_founding_commands(engine, environment, reader):
    """With GPUs, too; those runs go where the GPUs are."""
    queues = {environment: "cpu", environment.replace("cpu", "gpu"): "gpu"}
    tables = [SITE.format(environment=name) for name in queues]
    (reader.folder / "queues.local.toml").write_text("\n".join(tables))
    for name, queue in queues.items():
        exp = f"bs4_exp3_{queue}"
        command = f"python experiments/experiments_3/bs4_exp3_runner.py {name}"
        reader.type_line(f"{command} --set epochs=20 --as {queue}")
        said = reader.type_line(f"runs watch experiments_3/{exp} --every 1")
        assert f"experiments_3/{exp}  1 done" in said
        assert "20" in reader.type_line(f"runs show experiments_3/{exp}:0")
        reader.type_line(f"runs plot experiments_3/{exp}")
    said = reader.type_line("runs table experiments_3")
    assert "experiments_3/bs4_exp3_cpu" in said and "experiments_3/bs4_exp3_gpu" in said
