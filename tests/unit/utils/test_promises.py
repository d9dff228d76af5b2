"""Done by the record is done where the results say so, too."""

import pytest

from utils import grid, job_node, paths, promises, registry
from utils.promises import Wish

EXPERIMENT = """from utils import experiment

DATA = []


def train(run, number: int = 0):
    pass


experiment.main(train)
"""


@pytest.fixture
def runs(bench_folders, tmp_path, monkeypatch):
    group = tmp_path / "bench" / "experiments" / "toy"
    group.mkdir(parents=True)
    (group / "e.py").write_text(EXPERIMENT)
    monkeypatch.setattr(paths, "ROOT", tmp_path / "bench")
    return grid.one("toy", "e", number=4)


@pytest.fixture
def files(runs):
    """A run of three repetitions that is done by its record and its results."""
    (entry,) = promises.by_experiment(runs, Wish())["toy", "e"]
    about = {"key": entry["key"], "arguments": entry["arguments"], "declared": 3}
    written = []
    for index, state in enumerate(["done", "diverged", "done"]):
        folder = paths.log_dir("toy", "e", 0, "name", index)
        folder.mkdir(parents=True)
        registry.write_json(folder / "run.json", {**about, "seed": index, "state": state})
        written.append(folder / "run.json")
    jobs_dir = paths.jobs_dir("toy", "e")
    job_node.claim(jobs_dir, 0, 0, 1, {"token": None, "repetitions": None})
    job_node.record(jobs_dir, 0, 0, 1, "done", {"exit": 0, "arguments": entry["arguments"]})
    return written


def decide(runs, **wish):
    entries = promises.by_experiment(runs, Wish(**wish))["toy", "e"]
    return promises.decide("toy", "e", entries, Wish(**wish))


def test_a_whole_run_is_kept(runs, files):
    assert decide(runs, resume=True).kept == {"done": [0]}


@pytest.mark.parametrize("content", [None, "", "{", '{"state": "done"}'])
@pytest.mark.parametrize("index", [0, 2])
def test_a_run_with_a_hole_is_sent_again_on_resume(runs, files, content, index):
    if content is None:
        files[index].unlink()
    else:
        files[index].write_text(content)
    with pytest.raises(registry.RunExists, match=r"\(done in part\).*--resume"):
        decide(runs)
    batch = decide(runs, resume=True)
    assert batch.tasks == [(0, 0, 2)]
    assert batch.entries[0]["again"] is True
    assert decide(runs, resume=True, repetitions="1").kept == {"done": [0]}


def test_a_run_without_any_results_is_sent_again(runs, files):
    for path in files:
        path.unlink()
    assert decide(runs, resume=True).tasks == [(0, 0, 2)]


def test_data_that_have_gone_are_not_other_data(runs, files):
    told = registry.read_json(files[0])
    registry.write_json(files[0], {**told, "key": "other", "data": "a" * 64})
    with pytest.raises(registry.RunExists, match="Bring them back, or set BENCH_DATA"):
        decide(runs)
