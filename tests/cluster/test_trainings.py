"""Networks that are trained in the queues of real engines, one of them in two pieces."""

import re
import shutil

import pytest
from cluster_checkout import ClusterCheckout
from cluster_toys import CPU, GPU, sent
from toy_checkout import ROOT, wait_until

from utils import make_data

# resources as they are delivered; the modules are those of the copy
SITE = "".join(
    f'[{name}]\nenvironment = ["PATH", "PYTHONPATH", "XDG_CACHE_HOME"]\n'
    for name in (*CPU.values(), *GPU.values())
)
LONG = 2000  # epochs, of which a machine does some hundred in a second


class Trainings(ClusterCheckout):
    """A checkout with an experiment of the house and a small recording."""

    def __init__(self, folder):
        super().__init__(folder)
        group = "experiments/experiments_3"
        shutil.copytree(ROOT / group, self.root / group)
        (self.root / "queues.local.toml").write_text(SITE)
        region = folder / "Data" / "region1"
        sizes = {"n_neurons": 12, "n_training": 60, "n_validation": 20, "n_repeats": 4}
        make_data.make_region(region, **sizes, seed=3)

    def train(self, environment, epochs, label):
        """Type the printed command, with less to do."""
        changed = ["--set", f"epochs={epochs}", "--repetitions", "0-1", "--as", label]
        return self.python("experiments/experiments_3/bs4_exp3_runner.py", environment, *changed)

    def wait_for(self, state, label, attempt=1):
        folder = self.results / f"job_logs/experiments_3/bs4_exp3_{label}/.jobs/state/0000"
        wait_until(lambda: (folder / f"0.0.{attempt}.{state}").exists(), f"{label} {state}")

    def models(self, label):
        """Stored models; equal models are equal files."""
        folder = self.results / f"models/experiments_3/bs4_exp3_{label}x0"
        return [path.read_bytes() for path in sorted(folder.glob("*.ndnmod"))]

    def folder(self, label):
        return self.results / f"logs/experiments_3/bs4_exp3_{label}x0"


@pytest.fixture
def trainings(cluster_folder):
    return Trainings(cluster_folder)


def test_the_printed_command_trains_in_a_queue(engine, trainings, tmp_path):
    environment = {"Grid Engine": "qsub-cpu", "Slurm": "slurm-gpu"}[engine.name]
    sent(trainings.train(environment, 20, "short"))
    trainings.wait_for("done", "short")
    assert len(trainings.models("short")) == 2
    table = trainings.runs("table", "experiments_3/bs4_exp3_short")
    assert table.returncode == 0, table.stderr
    head, row = table.stdout.splitlines()[1:]
    assert "median correlation" in head
    assert (row.split()[0], row.split()[-1]) == ("0", "2"), "both repetitions are done"
    picture = tmp_path / "curves.png"
    drawn = trainings.runs("plot", "experiments_3/bs4_exp3_short", "--out", str(picture))
    assert drawn.returncode == 0, drawn.stderr
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_training_that_is_cancelled_goes_on_as_if_undisturbed(engine, trainings):
    environment = {"Grid Engine": "qsub-gpu", "Slurm": "slurm-cpu"}[engine.name]
    sent(trainings.train(environment, LONG, "queue"))
    left = trainings.folder("queue").glob
    summaries = "*__0/summaries/train/events*"
    wait_until(lambda: any(path.stat().st_size for path in left(summaries)), "a summary")
    answer = trainings.runs("cancel", "experiments_3/bs4_exp3_queue:0")
    assert answer.returncode == 0, answer.stdout + answer.stderr
    trainings.wait_for("cancelled", "queue")
    assert len(list(left("*/checkpoint.npz"))) == 2, "it was stopped in the middle"
    assert not trainings.models("queue")
    sent(trainings.runs("retry", "experiments_3/bs4_exp3_queue:0"))
    alone = trainings.train("linux", LONG, "alone")
    assert alone.returncode == 0, alone.stdout + alone.stderr
    trainings.wait_for("done", "queue", attempt=2)
    assert len(trainings.models("alone")) == 2
    assert trainings.models("queue") == trainings.models("alone")
    assert not list(left("*/checkpoint.npz"))
    shown = trainings.runs("show", "experiments_3/bs4_exp3_queue:0").stdout
    assert re.search(r"attempt +2\n", shown), shown
