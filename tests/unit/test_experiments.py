"""Every experiment file says what the catalogue says: numbers, names, layers and settings.

The files are executed with stand-ins for data, models and training, so that the whole
catalogue is checked without a recording and without TensorFlow.
"""

import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from utils import data, experiment, network, registry, runners

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
N_NEURONS = 103
GAUSSIANS = ["diff_of_gaussians", "normal", "normal"]
ZEROS, RANDOM = ["zeros"] * 3, ["trunc_normal"] * 3
L2 = {"l2": [None, 0.0, 0.1]}

# file: exp, name at the defaults, images, activation of the first layer, biases, penalties,
#       learning rate, epochs, summary period, repetitions
CATALOGUE = {
    "baseline/bl1.py": (
        *("b1", "baseline_1mult1e6_Dog9xN0x2N_LxSpxSp_Nonorm_1e3x16x35000"),
        *("times_mil", "lin", ZEROS, None, 1e-4, 35_000, 100, 50),
    ),
    "baseline/bl2.py": (
        *("b2", "baseline2_1normIms_Dog9xN02xN_LxSpxSp_Nonorm_1e3x16x35000"),
        *("normalize_mean_std", "lin", ZEROS, None, 1e-4, 35_000, 100, 25),
    ),
    "baseline/bl3.py": (
        *("bl3", "baseline3_1normIms_Dog9xN0x2N_LxSpxSp_Wn_Btn_Nonorm_0.001x16x35000"),
        *("normalize_mean_std", "lin", RANDOM, None, 1e-3, 35_000, 100, 25),
    ),
    "baseline/bl4.py": (
        "bl4",
        "baseline4_1normIms_Dog9xN0x2N_LxSpxSp_Wn_Btn_Nonorm_regL2Last0.1_0.001x16x35000",
        *("normalize_mean_std", "lin", RANDOM, L2, 1e-3, 35_000, 700, 25),
    ),
    "experiments_3/bs4.py": (
        "bs4",
        "baseline4_1normIms_Dog9xN0x2N_LxSpxSp_Wn_Btn_Nonorm_regL2Last0.1_0.001x16x5000",
        *("normalize_mean_std", "lin", RANDOM, L2, 1e-3, 5000, 100, 25),
    ),
    "experiments_3/bs4_exp3.py": (
        *("bs4_exp3", "baseline4_DoGsoftplus_5000"),
        *("normalize_mean_std", "softplus", RANDOM, L2, 1e-3, 5000, 100, 10),
    ),
    "experiments_2/bs3_exp3.py": (
        *("bs3_exp3", "baseline3_DoG9xN0.2x5000"),
        *("normalize_mean_std", "lin", RANDOM, None, 1e-3, 5000, 100, 10),
    ),
    "demo/first_grid.py": (
        *("first_grid", "first_grid_DoG9xN0.2x500"),
        *("normalize_mean_std", "softplus", RANDOM, L2, 1e-3, 500, 10, 5),
    ),
}
FILES = sorted(CATALOGUE)


class StandInRun:
    """Stands in for the run that an experiment receives; hands out numbered repetitions."""

    def __init__(self):
        self.name = None
        self.scores = []

    def repetitions(self, n=10, seeds=None):
        seeds = list(range(n)) if seeds is None else list(seeds)
        repetitions = [
            SimpleNamespace(
                index=index,
                seed=seed,
                model_path=f"{self.name}__{index}.ndnmod",
                finish=lambda **scores: self.scores.append(scores),
            )
            for index, seed in enumerate(seeds)
        ]
        return _Repetitions(repetitions, seeds)


class _Repetitions(list):
    def __init__(self, repetitions, seeds):
        super().__init__(repetitions)
        self.seeds = seeds


@pytest.fixture
def perform(monkeypatch):
    """Return a function that executes an experiment and says what it asked for."""

    def execute(file, **arguments):
        seen = SimpleNamespace(run=StandInRun(), saved=[])

        def load_regions(regions, images="normalize_mean_std", responses="identity", legacy=False):
            seen.regions, seen.images, seen.responses = regions, images, responses
            seen.legacy_data = legacy
            return SimpleNamespace(responses=np.zeros((4, N_NEURONS))), "validation"

        def build(description, noise_dist, seeds, log_correlation, legacy=False):
            seen.description, seen.noise, seen.seeds = description, noise_dist, list(seeds)
            seen.log_correlation, seen.legacy_model = log_correlation, legacy
            return [f"model {seed}" for seed in seeds]

        def train(models, training, validation, repetitions, **settings):
            seen.settings = settings
            yield from zip(repetitions, models, strict=True)

        def main(trained, exp=None):
            seen.train, seen.exp = trained, exp

        monkeypatch.setattr(data, "load_regions", load_regions)
        monkeypatch.setattr(network, "build", build)
        monkeypatch.setattr(network, "train", train)
        monkeypatch.setattr(network, "save", lambda model, path: seen.saved.append((model, path)))
        monkeypatch.setattr(network, "correlation", lambda model, recording: np.array([0.2, 0.4]))
        monkeypatch.setattr(experiment, "main", main)
        seen.module = runpy.run_path(str(EXPERIMENTS / file), run_name="__main__")
        seen.train(seen.run, **arguments)
        return seen

    return execute


@pytest.mark.parametrize("file", FILES)
def test_experiment_is_as_catalogued(perform, file):
    exp, name, images, activation, biases, penalties, rate, epochs, period, count = CATALOGUE[file]
    seen = perform(file)
    assert (seen.exp or Path(file).stem) == exp
    assert seen.run.name == name
    assert (seen.regions, seen.images, seen.responses) == ([1], images, "identity")
    assert seen.module["DATA"] == ["region1"]
    layers = seen.description
    assert layers["input_dims"] == [1, 31, 31]
    assert layers["layer_sizes"] == [9, 20, N_NEURONS]
    assert layers["layer_types"] == GAUSSIANS
    assert layers["activation_funcs"] == [activation, "softplus", "softplus"]
    assert layers["weights_initializers"] == ["random", "normal", "normal"]
    assert layers["biases_initializers"] == biases
    strengths = [layer.get("l2") for layer in layers["reg_initializers"]]
    assert strengths == (penalties["l2"] if penalties else [None] * 3)
    assert (seen.noise, seen.log_correlation) == ("poisson", "zero-NaNs")
    assert seen.seeds == list(range(count))
    assert seen.settings == dict(
        epochs=epochs, batch_size=16, learning_rate=rate, epochs_summary=period
    )


@pytest.mark.parametrize("file", FILES)
def test_every_repetition_is_saved_and_scored(perform, file):
    seen = perform(file, epochs=20)
    count = CATALOGUE[file][-1]
    assert seen.saved == [(f"model {i}", f"{seen.run.name}__{i}.ndnmod") for i in range(count)]
    assert seen.run.scores == [{"correlation": pytest.approx(0.3)}] * count


@pytest.mark.parametrize("file", FILES)
def test_name_and_summary_period_follow_the_epochs(perform, file):
    seen = perform(file, epochs=20)
    full = CATALOGUE[file]
    assert seen.run.name == full[1].removesuffix(str(full[7])) + "20"
    assert seen.settings["epochs"] == 20
    assert seen.settings["epochs_summary"] >= 1


@pytest.mark.parametrize("file", [file for file in FILES if not file.startswith("demo/")])
def test_legacy_reaches_data_and_model(perform, file):
    seen = perform(file)
    assert (seen.legacy_data, seen.legacy_model) == (False, False)
    seen = perform(file, legacy=True)
    assert (seen.legacy_data, seen.legacy_model) == (True, True)


@pytest.mark.parametrize(
    ("hidden", "units"), [(0.05, 5), (0.1, 10), (0.2, 20), (0.3, 30), (0.4, 41)]
)
def test_grid_arguments_reach_layers_and_name(perform, hidden, units):
    seen = perform("experiments_2/bs3_exp3.py", filters=30, hidden=hidden)
    assert seen.description["layer_sizes"] == [30, units, N_NEURONS]
    assert seen.run.name == f"baseline3_DoG30xN{hidden}x5000"
    seen = perform("demo/first_grid.py", filters=4, hidden=hidden)
    assert seen.description["layer_sizes"] == [4, units, N_NEURONS]
    assert seen.run.name == f"first_grid_DoG4xN{hidden}x500"


@pytest.mark.parametrize("file", FILES)
def test_signature_is_read_without_importing(file):
    parameters = registry.signature(EXPERIMENTS / file, CATALOGUE[file][0])
    defaults = {name: default for name, (default, _) in parameters.items()}
    expected = {"epochs": CATALOGUE[file][7]}
    if file in ("experiments_2/bs3_exp3.py", "demo/first_grid.py"):
        expected = {"filters": 9, "hidden": 0.2, **expected}
    if not file.startswith("demo/"):
        expected["legacy"] = False
    assert list(defaults.items()) == list(expected.items())


def runs_of(file, monkeypatch):
    started = []
    monkeypatch.setattr(runners, "main", lambda runs, **options: started.append((runs, options)))
    runs = runpy.run_path(str(EXPERIMENTS / file), run_name="__main__")["RUNS"]
    assert started == [(runs, {})]
    return runs


def test_grid_of_bs3_exp3(monkeypatch):
    runs = runs_of("experiments_2/bs3_exp3_runner.py", monkeypatch)
    assert [run.run for run in runs] == list(range(25))
    assert {(run.exp_folder, run.exp, run.script) for run in runs} == {
        ("experiments_2", "bs3_exp3", "experiments_2/bs3_exp3.py")
    }
    # the hidden layer is the outer loop, the filters the inner one
    assert runs[0].arguments == {"hidden": 0.05, "filters": 4}
    assert runs[1].arguments == {"hidden": 0.05, "filters": 9}
    assert runs[11].arguments == {"hidden": 0.2, "filters": 9}
    assert runs[24].arguments == {"hidden": 0.4, "filters": 30}


def test_grid_of_bs4_exp3(monkeypatch):
    (run,) = runs_of("experiments_3/bs4_exp3_runner.py", monkeypatch)
    assert (run.exp_folder, run.exp, run.run) == ("experiments_3", "bs4_exp3", 0)
    assert run.arguments == {}
    assert run.script == "experiments_3/bs4_exp3.py"


def test_grid_of_first_grid(monkeypatch):
    runs = runs_of("demo/first_grid_runner.py", monkeypatch)
    assert [(run.run, run.arguments["filters"], run.arguments["hidden"]) for run in runs] == [
        *((0, 4, 0.1), (1, 4, 0.2), (2, 9, 0.1), (3, 9, 0.2))
    ]
