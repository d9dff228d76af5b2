"""What a run costs beyond its training: CPU seconds of whole launches, processes included.

The network is that of the demo grid with five repetitions; the runs differ in a penalty alone, so
that all of them need the same compiled programs. Launches of few and of many epochs tell what an
epoch costs, and so what is left of a launch without its epochs.
"""

import os
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FEW, MANY = 50, 450
SOME, MORE = 2, 10
EXPERIMENT = '''"""one: the network of the demo grid; its runs differ in a penalty."""
from NDN3.NDNutils import ffnetwork_params
from utils import data, experiment, network

DATA = ["region1"]


def train(run, l2: float = 0.1, epochs: int = 50):
    training, validation = data.load_regions([1], images="normalize_mean_std")
    neurons = training.responses.shape[1]
    run.name = f"one_l2{l2}_x{epochs}"
    repetitions = run.repetitions(5)
    description = ffnetwork_params(
        input_dims=[1, 31, 31],
        layer_sizes=[9, int(0.2 * neurons), neurons],
        layer_types=["diff_of_gaussians", "normal", "normal"],
        act_funcs=["softplus", "softplus", "softplus"],
        reg_list={"l2": [None, 0.0, l2]},
    )
    models = network.build(description, noise_dist="poisson", seeds=repetitions.seeds)
    for repetition, model in network.train(
        models, training, validation, repetitions,
        epochs=epochs, batch_size=16, learning_rate=1e-3, epochs_summary=10,
    ):
        network.save(model, repetition.model_path)
        repetition.finish(correlation=network.correlation(model, validation).mean())


if __name__ == "__main__":
    experiment.main(train)
'''
RUNNER = '''"""Runs that differ in a penalty."""
from utils import grid, runners

RUNS = grid.product("speed", "one", l2=[number / 100 for number in range(1, 21)])

if __name__ == "__main__":
    runners.main(RUNS)
'''


class LaunchFailed(Exception):
    """A launch ended with another exit status than 0."""


class Launches:
    """Launches in a checkout of their own: this code, synthetic data, empty results.

    Parameters
    ----------
    folder : path
        Where it is made.
    environment : dict
        Variables of the launches; `BENCH_DATA`, `BENCH_RESULTS` and `PYTHONPATH` are added.
    """

    def __init__(self, folder, environment):
        self._checkout = Path(folder) / "checkout"
        group = self._checkout / "experiments" / "speed"
        group.mkdir(parents=True)
        (group / "one.py").write_text(EXPERIMENT)
        (group / "one_runner.py").write_text(RUNNER)
        for package in ("utils", "NDN3"):
            unneeded = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / package, self._checkout / package, ignore=unneeded)
        self._environment = {
            **environment,
            "PYTHONPATH": str(self._checkout),
            "BENCH_DATA": str(Path(folder) / "Data"),
            "BENCH_RESULTS": str(Path(folder) / "training_data"),
        }
        self._number = 0
        Path(self._environment["BENCH_DATA"]).mkdir()
        self._run([sys.executable, "-m", "utils.make_data"])

    def cost(self, runs, epochs, *options):
        """CPU seconds of a launch of so many runs, its processes included."""
        self._number += 1
        runner = self._checkout / "experiments" / "speed" / "one_runner.py"
        chosen = ["--only", f"0-{runs - 1}", "--set", f"epochs={epochs}"]
        own = ["--as", f"launch{self._number}", "--jobs", "1"]
        return self._run([sys.executable, str(runner), "linux", *chosen, *own, *options])

    def _run(self, command):
        log = self._checkout / "launch.log"
        with log.open("w") as said:
            process = subprocess.Popen(
                command,
                cwd=self._checkout,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                env=self._environment,
            )
            _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise LaunchFailed(f"{' '.join(command)} failed:\n{log.read_text()[-3000:]}")
        return used.ru_utime + used.ru_stime


def overheads(launches, rounds, say):
    """CPU seconds of a run beyond its training, alone and together with others.

    Parameters
    ----------
    launches : Launches
    rounds : int
        How often everything is measured; the figures are medians.
    say : callable
        Takes a line about what is being done.

    Returns
    -------
    dict of str to float
        ``epoch``: CPU seconds of an epoch of five repetitions; ``cold``, ``alone``: of a run
        beyond its epochs, with an empty and with a warm cache of compiled programs; ``together``:
        of one more run in the same program; ``mean``: of a run where there are `MORE` in all.
    """
    say("a run with an empty cache of compiled programs")
    first = launches.cost(1, FEW)
    launches.cost(1, MANY)  # whatever only long trainings compile
    figures = {name: [] for name in ("epoch", "cold", "alone", "together", "mean")}
    for number in range(rounds):
        say(f"runs alone and together, round {number + 1} of {rounds}")
        few, many = launches.cost(1, FEW), launches.cost(1, MANY)
        some, more = (launches.cost(runs, FEW, "--together") for runs in (SOME, MORE))
        epoch = (many - few) / (MANY - FEW)
        figures["epoch"].append(epoch)
        figures["cold"].append(first - FEW * epoch)
        figures["alone"].append(few - FEW * epoch)
        figures["together"].append((more - some) / (MORE - SOME) - FEW * epoch)
        figures["mean"].append(more / MORE - FEW * epoch)
    return {name: statistics.median(of) for name, of in figures.items()}
