"""The tutorials and what follows them, typed as they are printed, with smaller numbers.

A copy of the tree takes the reader's files; every command of a page is run in it, in order.
"""

import shutil

from document_pages import ROOT, Command, steps_of
from document_trees import read_pages, tiny_tree

FIRST = "docs/tutorials/first-experiment.md"
SECOND = "docs/tutorials/from-runs-to-a-figure.md"
PICTURES = ("curves", "filters", "fields")


def test_the_first_experiment_takes_twenty_typed_lines():
    """Lines of the page that are not in the file it starts from."""
    given = (ROOT / "experiments" / "demo" / "first_grid.py").read_text().splitlines()
    given += (ROOT / "experiments" / "demo" / "first_grid_runner.py").read_text().splitlines()
    said = []
    for step in steps_of(ROOT / FIRST):
        said += [step.line] if isinstance(step, Command) else step.text.splitlines()
    besides = ("make ", "source ", "runs remove", "runs list", "runs table demo", "runs table mine")
    asides = [line for line in said if "--help" in line or "--csv" in line]
    typed = [line for line in said if line and line not in (*given, *asides)]
    typed = [line for line in typed if not line.startswith(besides)] + ["runs table mine"]
    assert len(typed) <= 20, typed


def test_the_tutorials_as_they_are_printed(tmp_path):
    reader = tiny_tree(tmp_path / "tree")
    reader.type_line("python experiments/demo/first_grid_runner.py linux --together --jobs 1")
    said = read_pages(reader, "tiny")
    ends_with_a_table(said[FIRST])
    figures = {path.name for path in (reader.folder / "playgrounds" / "figures").iterdir()}
    assert {"mine-plain.png", "demo-first_grid.png"} <= figures, "runs plot drew them"
    drawn = {f"first_{name}.{kind}" for name in PICTURES for kind in ("png", "pdf")}
    assert {*drawn, "first_table.csv", "first_table.tex", "front_end.png"} <= figures
    assert "median" in said[SECOND]["page.py"] and "10th" in said[SECOND]["page.py"]
    compared = said["docs/how-to/compare-two-experiments.md"]["page.py"].split()
    assert "without" in compared and 0 <= float(compared[-1]) <= 1
    told = said["docs/reference/run-json.md"]["page.py"].splitlines()
    assert [line.split()[:3] for line in told] == [["0", "0", "done"], ["1", "1", "done"]]
    table = said["docs/how-to/add-a-hyper-parameter.md"]["runs table mine/plain"].splitlines()
    assert [line.split()[0] for line in table[2:]] == ["0", "1", "100", "101"]
    assert "l2" in table[1]
    shutil.rmtree(reader.folder / "docs")
    reader.type_line("runs remove mine/plain --yes")  # the last line of the first page
    assert not list((reader.folder / "training_data").rglob("plainx0"))


def ends_with_a_table(said):
    table = said["runs table mine"].splitlines()
    head = next(line for line in table if "RUN" in line)
    columns = head.replace("median correlation", "correlation").split()
    rows = {line.split()[0]: dict(zip(columns, line.split(), strict=True)) for line in table[2:]}
    assert list(rows)[:2] == ["0", "1"] and list(rows)[2].startswith("hand-")
    assert [row["done"] for row in rows.values()] == ["2", "2", "1"]
    assert [row["smooth"] for row in rows.values()] == ["0.01", "1.0", "0.1"]
    assert all(-1 <= float(row["correlation"]) <= 1 for row in rows.values())
    dry = said["python experiments/mine/plain_runner.py linux --dry-run"]
    assert "--smooth=0.01" in dry and "--smooth=1.0" in dry
    assert "mine-plain.png" in said["runs plot mine/plain --by smooth"]
