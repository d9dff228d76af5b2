"""The tutorials, typed as they are printed, with smaller numbers.

A copy of the tree takes the reader's files; every command of the page is run in it, in order.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TUTORIALS = ROOT / "docs" / "tutorials"
# What the page prints, and what is typed instead so that a test ends soon.
SMALLER = {
    "epochs: int = 500": "epochs: int = 4",
    "run.repetitions(5)": "run.repetitions(2)",
    "smooth=[0.01, 0.1, 1.0]": "smooth=[0.01, 1.0]",
}
# The second page goes on with the demo grid; here it goes on with what the first one left.
OTHER_RUNS = {
    '"demo", exp="first_grid"': '"mine", exp="plain"',
    '["run", "filters", "hidden",': '["run", "smooth", "hidden",',
    'by=["filters", "hidden"]': 'by=["smooth", "hidden"]',
}
PICTURES = ("curves", "filters", "fields")


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """The tree with synthetic data and room for results of its own."""
    folder = tmp_path_factory.mktemp("tutorials") / "tree"
    for name in ("NDN3", "utils", "experiments"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", folder)
    type_line(folder, "python -m utils.make_data")
    return folder


def type_line(folder, line):
    """Run one printed command with the Python and the tree of this test."""
    words = shlex.split(line)
    programs = {"python": [sys.executable], "runs": [sys.executable, "-m", "utils.jobs"]}
    environment = {k: v for k, v in os.environ.items() if not k.startswith("BENCH_")}
    done = subprocess.run(
        [*programs.get(words[0], words[:1]), *words[1:]],
        cwd=folder,
        env={**environment, "PYTHONPATH": str(folder), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=240,
    )
    assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def steps(name):
    """(file or None, language, text) of each block of a page."""
    page = (TUTORIALS / name).read_text()
    for match in re.finditer(r"^```(\w+)\n(.*?)^```$", page, flags=re.M | re.S):
        lead = page[: match.start()].rstrip().splitlines()[-1]
        typed = re.search(r"`([\w/.-]+\.py)`[^`]*:$", lead)
        yield typed and typed.group(1), match.group(1), match.group(2)


def replaced(text, changes):
    """The text with all changes, and those that were made."""
    made = [old for old in changes if old in text]
    for old in made:
        text = text.replace(old, changes[old])
    return text, made


@pytest.fixture(scope="module")
def first_experiment(copy):
    """What the commands of the first page said, by command."""
    said, changed = {}, []
    for file, language, text in steps("first-experiment.md"):
        text, made = replaced(text, SMALLER)
        changed += made
        if file:
            (copy / file).write_text(text)
        elif language == "bash":
            for line in text.splitlines():
                # the environment of the reader is the one that runs this test
                if line and not line.startswith(("make ", "source ", "runs remove")):
                    said[line] = type_line(copy, line)
    assert set(changed) == set(SMALLER), "the page prints other numbers now"
    return said


def test_the_first_experiment_takes_twenty_typed_lines():
    """Lines of the page that are not in the file it starts from."""
    given = (ROOT / "experiments" / "demo" / "first_grid.py").read_text().splitlines()
    given += (ROOT / "experiments" / "demo" / "first_grid_runner.py").read_text().splitlines()
    typed = [
        line
        for _, _, text in steps("first-experiment.md")
        for line in text.splitlines()
        if line and line not in given and not line.startswith(("make ", "source ", "runs remove"))
    ]
    assert len(typed) <= 20, typed


def test_the_first_experiment_ends_with_a_table(first_experiment, copy):
    table = first_experiment["runs table mine"].splitlines()
    head = next(line for line in table if "RUN" in line)
    columns = head.replace("median correlation", "correlation").split()
    rows = {line.split()[0]: dict(zip(columns, line.split(), strict=True)) for line in table[2:]}
    assert list(rows)[:2] == ["0", "1"] and list(rows)[2].startswith("hand-")
    assert [row["done"] for row in rows.values()] == ["2", "2", "1"]
    assert [row["smooth"] for row in rows.values()] == ["0.01", "1.0", "0.1"]
    assert all(-1 <= float(row["correlation"]) <= 1 for row in rows.values())
    dry = first_experiment["python experiments/mine/plain_runner.py linux --dry-run"]
    assert "--smooth=0.01" in dry and "--smooth=1.0" in dry
    assert list((copy / "playgrounds" / "figures").glob("*.png")), "runs plot drew a figure"
    listed = first_experiment["runs plot mine/plain --by smooth"]
    assert "mine-plain.png" in listed and "hand-" not in listed


def test_the_last_line_of_the_first_page_clears_the_way(first_experiment, copy):
    spare = copy.with_name("spare")
    shutil.copytree(copy, spare)
    line = next(
        line
        for _, language, text in steps("first-experiment.md")
        for line in text.splitlines()
        if language == "bash" and line.startswith("runs remove")
    )
    type_line(spare, line + " --yes")
    assert not list((spare / "training_data").rglob("plainx0"))


def test_runs_become_figures(first_experiment, copy):
    lines, changed = ["import matplotlib", "matplotlib.use('Agg')"], []
    for _, language, text in steps("from-runs-to-a-figure.md"):
        if language == "python":
            text, made = replaced(text, OTHER_RUNS)
            changed += made
            lines.append(text)
    assert set(changed) == set(OTHER_RUNS), "the page prints other names now"
    lines.append("print(table.to_string())")
    (copy / "page.py").write_text("\n".join(lines))
    said = type_line(copy, "python page.py")
    assert "median" in said and "10th" in said
    figures = {path.name for path in (copy / "playgrounds" / "figures").iterdir()}
    drawn = {f"first_{name}.{kind}" for name in PICTURES for kind in ("png", "pdf")}
    assert {*drawn, "first_table.csv", "first_table.tex"} <= figures
