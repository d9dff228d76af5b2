"""What `runs table` and `runs plot` make of results."""

import pandas as pd
import pytest

from NDN3 import events
from utils import analysis_curves, data, make_data, paths, registry, run_results, summaries

SCRIPT = 'DATA = ["region1"]\n\n\ndef train(run, number: int = 0):\n    pass\n'
TINY = (5, 20, 10, 4)


@pytest.fixture
def grid(bench_folders, tmp_path, monkeypatch):
    """An experiment that reads a synthetic region, with a file of its own."""
    folder = tmp_path / "experiments" / "demo"
    folder.mkdir(parents=True)
    (folder / "grid.py").write_text(SCRIPT)
    monkeypatch.setattr(paths, "experiments_dir", lambda: folder.parent)
    make_data.make_region(paths.region_dir(1), *TINY, seed=0)
    return folder / "grid.py"


def leave(run, index, exp="grid", state="done", checksum=None, **scores):
    """Leave what a repetition leaves: its run.json and a curve of three epochs."""
    folder = paths.log_dir("demo", exp, run, "name", index)
    folder.mkdir(parents=True)
    place = {"exp_folder": "demo", "exp": exp, "run": run, "repetition": index, "name": "name"}
    number = run if isinstance(run, int) else 7
    info = {"seed": index, "state": state, "arguments": {"number": number}, "scores": scores}
    info["key"] = f"{exp} {number}"
    checksum = checksum or registry.data_checksum(["region1"])
    log_dir = folder.relative_to(paths.results_dir()).as_posix()
    kept = {**place, **info, "data": checksum, "log_dir": log_dir, "model_path": "m"}
    registry.write_json(folder / "run.json", kept)
    rows = [(step, 0.0, {summaries.CORRELATION: step / 4}) for step in range(3)]
    (folder / "summaries" / "test").mkdir(parents=True)
    events.write_scalars(folder / "summaries" / "test", rows)


@pytest.fixture
def drawn(monkeypatch, tmp_path):
    """Return a function that draws and returns the axis."""
    seen = []
    bands = analysis_curves.bands

    def keep(*args, **options):
        seen.append(bands(*args, **options))
        return seen[-1]

    monkeypatch.setattr(analysis_curves, "bands", keep)

    def draw(what, tag=None):
        assert run_results.plot(what, None, tag, str(tmp_path / "figure.png")) == 0
        return seen[-1]

    return draw


def labels(ax):
    return [text.get_text() for text in ax.texts]


def test_scores_have_three_decimals_under_a_head_that_says_median(grid, capsys):
    for index, score in enumerate([0.1, 0.2, 0.3]):
        leave(0, index, correlation=score)
    leave(1, 0, correlation=0.12345)
    run_results.table("demo", csv=False)
    lines = capsys.readouterr().out.splitlines()
    assert lines[1:] == [
        "RUN  number  median correlation   10th   90th  done",
        "  0       0               0.200  0.120  0.280     3",
        "  1       1               0.123  0.123  0.123     1",
    ]


def test_runs_started_by_hand_are_drawn_when_named_or_alone(grid, drawn, capsys):
    leave("hand-0a1b2c", 0)
    assert len(labels(drawn("demo/grid"))) == 2, "one curve and the ceiling"
    assert not capsys.readouterr().err
    leave(0, 0)
    leave(1, 0)
    assert labels(drawn("demo/grid"))[:2] == ["number 0", "number 1"]
    assert "demo/grid:hand-0a1b2c" in capsys.readouterr().err
    assert labels(drawn("demo/grid:1,hand-0a1b2c"))[:2] == ["number 1", "number 7"]


def test_the_caption_counts_what_is_not_done(grid, drawn):
    leave(0, 0)
    assert "unfinished" not in drawn("demo/grid").get_title(loc="left")
    leave(0, 1, state="failed")
    leave(1, 0, state="failed")
    leave(1, 1, state="diverged")
    caption = drawn("demo/grid").get_title(loc="left")
    assert "2 repetitions unfinished, 1 repetition diverged" in caption
    assert "region 1 (synthetic)" in caption


@pytest.mark.parametrize("exp", ["grid", "grid_quick"])
def test_the_ceiling_is_that_of_the_region(grid, drawn, exp):
    leave(0, 0, exp=exp)
    planted = data.truth(1)["ceiling"].mean()
    ax = drawn(f"demo/{exp}")
    assert labels(ax)[-1] == f"noise ceiling {planted:.2f}"
    (line,) = [line for line in ax.get_lines() if line.get_label().startswith("noise")]
    assert list(line.get_ydata()) == pytest.approx([planted, planted])


def test_the_ceiling_of_recordings_comes_from_repeats(grid, drawn):
    paths.manifest_file().unlink()
    leave(0, 0)
    estimated = data.noise_ceiling(data.load_regions(1)[1]).cc_max
    ax = drawn("demo/grid")
    assert labels(ax)[-1] == f"noise ceiling {estimated[estimated > 0].mean():.2f}"
    assert "region 1 (measured)" in ax.get_title(loc="left")


@pytest.mark.parametrize("why", ["other data", "no DATA", "no region", "no file", "no Python"])
def test_no_ceiling_where_it_cannot_be_told(grid, drawn, why):
    leave(0, 0, checksum="0" * 64 if why == "other data" else None)
    texts = {"no DATA": "", "no region": 'DATA = ["region1", "mine"]\n', "no Python": "("}
    if why in texts:
        grid.write_text(texts[why])
    if why == "no file":
        grid.unlink()
    ax = drawn("demo/grid")
    assert not [text for text in labels(ax) if "ceiling" in text]
    assert "region" not in ax.get_title(loc="left")


def test_other_tags_have_no_ceiling(grid, drawn):
    leave(0, 0)
    folder = paths.log_dir("demo", "grid", 0, "name", 0) / "summaries" / "test"
    events.write_scalars(folder, [(0, 0.0, {"loss/cost": 1.0}), (1, 0.0, {"loss/cost": 0.5})])
    assert not [text for text in labels(drawn("demo/grid", "loss/cost")) if "ceiling" in text]
    assert isinstance(run_results.repetitions_of("demo/grid"), pd.DataFrame)
