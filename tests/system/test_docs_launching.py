"""Pages about launching and about what became of runs, typed as they are printed.

Models of this tree are trained in an instant: what is asked is whether the commands do what the
pages say, and whether the files are those that the pages list.
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
    told = said["docs/reference/run-json.md"]["page.py"].splitlines()
    assert [line.split()[:3] for line in told] == [[str(n), str(n), "done"] for n in range(5)]
    the_first_experiment_ends_with_a_table(said["docs/tutorials/first-experiment.md"])
    figures = {path.name for path in (reader.folder / "playgrounds" / "figures").iterdir()}
    assert {"mine-plain.png", "experiments_3-bs4_exp3.png", "front_end.png"} <= figures
    compared = said["docs/how-to/compare-two-experiments.md"]["page.py"].split()
    wins, of, pairs, seeds = compared[-4:]  # each seed once, of the best runs alone
    assert "without" in compared and (of, pairs, seeds) == ("of", "5", "seeds")
    assert 0 <= int(wins) <= 5
    table = said["docs/how-to/add-a-hyper-parameter.md"]["runs table mine/plain"].splitlines()
    assert [line.split()[0] for line in table[2:]] == ["0", "1", "2", "100", "101"]
    assert "l2" in table[1]
    results = reader.folder / "training_data"
    every_field_is_listed(results)
    every_file_is_listed(results)
    # the last line of the first page, which clears the way
    reader.type_line("runs remove mine/plain --yes")
    assert not list(results.rglob("plainx*"))


def test_a_page_that_sends_nothing(tmp_path):
    """What becomes of a site's names is shown without an engine."""
    read_pages(launching_tree(tmp_path / "tree"), "sites")


def the_first_experiment_ends_with_a_table(said):
    head, *rows = said["runs table mine"].splitlines()[1:]
    columns = head.replace("median correlation", "correlation").split()
    found = {line.split()[0]: dict(zip(columns, line.split(), strict=True)) for line in rows}
    assert list(found)[:3] == ["0", "1", "2"] and list(found)[3].startswith("hand-")
    assert [row["done"] for row in found.values()] == ["5", "5", "5", "1"]
    assert [row["smooth"] for row in found.values()] == ["0.01", "0.1", "1.0", "0.1"]
    dry = said["python experiments/mine/plain_runner.py linux --dry-run"]
    assert "--smooth=0.01" in dry and "--smooth=1.0" in dry
    drawn = said["runs plot mine/plain --by smooth"]
    assert "mine-plain.png" in drawn
    assert "left out, started by hand: mine/plain:hand-" in drawn


def every_field_is_listed(results):
    """Fields of run.json: the page's table, the page's example, and files of real runs."""
    listed = listed_in("run-json.md")
    shown = (REFERENCE / "run-json.md").read_text()
    example = json.loads(re.search(r"```json\n(.*?)```", shown, flags=re.S)[1])
    assert sorted(listed) == sorted(example)
    for path in results.rglob("run.json"):
        found = json.loads(path.read_text())
        # that of a run which trains nothing has no form
        assert set(listed) - {"form"} <= set(found) <= set(listed)
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
    kinds = ("failed", "cancelled", "skipped", "timeout", "memory")
    short |= {f".{kind}": f"state/*/*.{kind}" for kind in kinds}
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
