"""The tutorials, with real models: the reader's experiment trains, and runs become figures.

That every command of the first tutorial does what it says is asked in test_docs_launching.py.
"""

import re

from document_pages import ROOT, blocks_of, commands_in
from document_trees import read_pages, training_tree

FIRST = ROOT / "docs" / "tutorials" / "first-experiment.md"
PICTURES = ("curves", "filters", "fields")


def test_the_first_experiment_takes_twenty_typed_lines():
    """Lines of the page's blocks that are not in the files that the reader starts from."""
    demo = ROOT / "experiments" / "demo"
    given = [
        line
        for name in ("first_grid.py", "first_grid_runner.py")
        for line in (demo / name).read_text().splitlines()
    ]
    typed = []
    for block in blocks_of(FIRST):
        commands = [command.line for command in commands_in(block)]
        typed += [line for line in commands if not line.startswith(("make ", "source "))]
        typed += block.text.splitlines() if block.typed else []
    typed = [line for line in typed if line and line not in given and "runs remove" not in line]
    assert 10 < len(typed) <= 20, typed


def test_the_first_experiment_trains(tmp_path):
    reader = training_tree(tmp_path / "tree")
    (experiment,) = (b for b in blocks_of(FIRST) if b.typed == "experiments/mine/plain.py")
    (reader.folder / "experiments" / "mine").mkdir()
    (reader.folder / experiment.typed).write_text(experiment.text)
    trial = next(
        command.line
        for block in blocks_of(FIRST)
        for command in commands_in(block)
        if "--epochs 2" in command.line
    )
    reader.type_line(trial)
    columns, row = (line.split() for line in reader.type_line("runs table mine").splitlines()[1:])
    assert row[0].startswith("hand-") and row[-1] == "1"
    assert -1 <= float(row[columns.index("median")]) <= 1
    assert len(list((reader.folder / "training_data" / "models").rglob("*.ndnmod"))) == 1


def test_runs_become_figures(tmp_path):
    reader = training_tree(tmp_path / "tree")
    reader.type_line("python experiments/demo/first_grid_runner.py linux")
    said, of_ensembles = read_pages(reader, "training").values()
    figures = {path.name for path in (reader.folder / "playgrounds" / "figures").iterdir()}
    drawn = {f"first_{name}.{kind}" for name in PICTURES for kind in ("png", "pdf")}
    assert {*drawn, "first_table.csv", "first_table.tex", "demo-first_grid.png"} <= figures
    assert "median" in said["page.py"] and "10th" in said["page.py"]
    assert re.search(r"alone [-.\d]+ to [-.\d]+, together [-.\d]+", of_ensembles["page.py"])
    assert "bits per spike" in of_ensembles["page.py"]
    assert (reader.folder / "three.ndnmod").is_file()
