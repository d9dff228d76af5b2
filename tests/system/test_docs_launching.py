"""Pages about launching and about what became of runs, typed as they are printed.

The experiments of this tree have their own command lines and train nothing: what is asked is
whether the commands do what the pages say, and whether the files are those that the pages list.
"""

import fnmatch
import json
import re

from document_pages import ROOT
from document_trees import launching_tree, read_pages

REFERENCE = ROOT / "docs" / "reference"


def listed_in(page, within=""):
    """Code in the first column of the tables of a page, or of a part of it."""
    text = (REFERENCE / page).read_text()
    text = text[text.index(within) :]
    return [
        c
        for line in re.findall(r"^\|(.*?)\|", text, flags=re.M)
        for c in re.findall(r"`(.*?)`", line)
    ]


def test_pages_about_launching(tmp_path):
    reader = launching_tree(tmp_path / "tree")
    said = read_pages(reader, "launching")
    resumed = said["docs/how-to/resume-a-crashed-grid.md"]
    assert "4 done" in resumed["runs watch demo/first_grid_longer"]
    assert "nothing to try again" in resumed["runs retry --failed demo/first_grid"]
    started = said["README.md"]["python experiments/experiments_3/bs4_exp3_runner.py linux"]
    assert "1/1 done" in started
    results = reader.folder / "training_data"
    every_field_is_listed(results)
    every_file_is_listed(results)


def every_field_is_listed(results):
    """Fields of run.json: the page's table, the page's example, and files of real runs."""
    listed = listed_in("run-json.md")
    shown = (REFERENCE / "run-json.md").read_text()
    example = json.loads(re.search(r"```json\n(.*?)```", shown, flags=re.S)[1])
    assert sorted(listed) == sorted(example)
    of_the_trainer = {"form"}  # which stand-ins do not have
    for path in results.rglob("run.json"):
        found = json.loads(path.read_text())
        assert set(found) == set(listed) - of_the_trainer
        for name in ("arguments", "versions", "scores"):
            assert isinstance(found[name], type(example[name]))


def every_file_is_listed(results):
    """Names of all files below training_data/ fit a row of the page."""
    page = "training-data.md"
    patterns = [re.sub(r"\{\w+\}", "*", code) for code in listed_in(page)]
    patterns = [
        code.replace("logs/…", "logs/*").replace("state/…", "state/*/*") for code in patterns
    ]
    # `e_{run}.log`, `.failed`: the same place as what stands before them in the row
    short = {"e_*.log": "job_logs/*/*/e_*.log"}
    short |= {f".{kind}": f"state/*/*.{kind}" for kind in ("failed", "cancelled", "skipped")}
    patterns = [short.get(code, code) for code in patterns]
    jobs = [p for p in patterns if p.startswith(("plan-", "send-", "pool-", "state/"))]
    patterns += [f"job_logs/*/*/.jobs/{p}" for p in jobs]
    patterns += ["job_logs/*/*/*.try*.log"]
    for path in (path for path in results.rglob("*") if path.is_file()):
        name = path.relative_to(results).as_posix()
        if path.name == "lock":
            continue
        assert any(
            fnmatch.fnmatchcase(name, p + ("*" if p.endswith("/") else "")) for p in patterns
        ), name
