"""Commands, recordings and networks that make no sense: a sentence, an exit status, no results."""

import io
import json
import subprocess
import sys

import numpy as np
import pytest
from toy_checkout import DEADLINE_S, Checkout

from utils import make_data

READING = '''"""toy: reads a region, and describes a network."""
from NDN3.NDNutils import ffnetwork_params
from utils import data, experiment

DATA = ["region1"]


def train(run, number: int = 0, types: list = ["normal", "normal"]):
    training, validation = data.load_regions([1])
    run.name = f"toy_{number}"
    ffnetwork_params(
        input_dims=[1, 31, 31], layer_sizes=[3, 5], layer_types=types, act_funcs="softplus",
        verbose=False,
    )
    for repetition in run.repetitions(2):
        repetition.finish(mean=float(training.responses.mean()))


if __name__ == "__main__":
    experiment.main(train)
'''
HAND, GRID = ["experiments/toys/toy.py"], ["experiments/toys/toy_runner.py"]


@pytest.fixture
def checkout(tmp_path):
    return Checkout(tmp_path)


@pytest.fixture
def reading(checkout, tmp_path):
    """A checkout whose experiment reads a recording, and the recording's folder."""
    region = tmp_path / "Data" / "region1"
    make_data.make_region(region, n_neurons=4, n_training=20, n_validation=8, n_repeats=2, seed=1)
    (checkout.group / "toy.py").write_text(READING)
    checkout.write_grid('product("toys", "toy", number=range(2))')
    return checkout, region


def one_line(text):
    assert len(text.splitlines()) == 1, text
    return text.rstrip("\n")


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ([*GRID, "lnux"], ["'lnux' is no environment", "Did you mean linux?"]),
        ([*GRID, "linux", "--resum"], ["--resum is not known", "Did you mean --resume?"]),
        ([*GRID, "linux", "--jobs", "many"], ["'many'", "whole number from 1 on"]),
        ([*GRID, "linux", "--set", "numbr=3"], ["no hyper-parameter numbr", "mean number?"]),
        ([*GRID, "linux", "--set", "wait=soon"], ["'soon'", "must be a number"]),
        ([*HAND, "--nubmer", "3"], ["no flag --nubmer", "Did you mean --number?"]),
        ([*HAND, "--number", "3.5"], ["--number is '3.5'", "whole number"]),
        ([*HAND, "--fail", "maybe"], ["--fail is 'maybe'", "true or false"]),
        ([*HAND, "--number"], ["--number has no value"]),
        ([*HAND, "number=3"], ["'number=3' is not a flag"]),
        ([*HAND, "--run", "first"], ["--run is 'first'"]),
        (["utils/runners.py", "tyos", "toy", "linux"], ["no group 'tyos'", "mean toys?"]),
        (["utils/runners.py", "toys", "tyo", "linux"], ["no experiment file tyo.py", "mean toy?"]),
        (["-m", "utils.jobs", "lits"], ["'lits'", "Did you mean list?"]),
        (["-m", "utils.jobs", "show", "toys/toy:x"], ["toys/toy:x"]),
        (["-m", "utils.make_data", "--regions", "4"], ["region must be 1, 2 or 3"]),
    ],
    ids=lambda value: " ".join(value) if value[0][:1] in "eu-" else "",
)
def test_a_command_that_is_wrong_starts_nothing(checkout, words, parts):
    checkout.write_grid('product("toys", "toy", number=range(2))')
    ended = checkout.python(*words)
    assert (ended.returncode, ended.stdout) == (2, "")
    sentence = one_line(ended.stderr)
    assert [part for part in parts if part not in sentence] == [], sentence
    assert not checkout.results.exists()
    assert not (checkout.results.parent / "Data").exists()


def torn(content):
    return content[: len(content) // 2]


def changed(change):
    """Bytes of an array file -> those of the array after a change."""

    def rewrite(content):
        stored = io.BytesIO()
        np.save(stored, change(np.load(io.BytesIO(content))), allow_pickle=False)
        return stored.getvalue()

    return rewrite


def with_nan(array):
    array = array.astype(float)
    array[1, 2] = np.nan
    return array


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (None, "is missing; it is part of"),
        (changed(with_nan), "holds 1 values that are not finite"),
        (changed(lambda array: array[:-1]), "has 19 rows, training_inputs.npy has 20"),
        (changed(lambda array: array[:, 0]), "has shape (20,); expected 2 axes"),
        (torn, "is no readable array"),
    ],
    ids=["missing", "NaN", "a row less", "an axis less", "torn"],
)
def test_recordings_that_cannot_be_used_are_named(reading, damage, sentence):
    """By hand and in a grid; brought back, everything goes on without removing anything."""
    checkout, region = reading
    file = region / "training_set.npy"
    content = file.read_bytes()
    file.unlink() if damage is None else file.write_bytes(damage(content))
    by_hand = checkout.python(*HAND, "--run", "7")
    assert by_hand.returncode == 1
    said = one_line(by_hand.stderr)
    assert said.startswith(str(file)) and sentence in said
    assert "Data/README.md" in said
    grid = checkout.run("linux")
    assert (grid.returncode, grid.stderr) == (1, "")
    assert f"toys/toy:0  failed  {said}" in grid.stdout
    assert said in checkout.runs("list", "toys/toy").stdout
    assert not (checkout.results / "models").exists()

    file.write_bytes(content)
    resumed = checkout.run("linux", "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert checkout.states() == {0: "done", 1: "done", 7: "failed"}


def test_without_any_data_the_way_to_get_some_is_named(checkout):
    (checkout.group / "toy.py").write_text(READING)
    checkout.write_grid('product("toys", "toy", first_run=5, number=[5])')
    for words in (HAND, [*GRID, "linux"]):
        ended = checkout.python(*words)
        assert ended.returncode == 1
        assert "`make data` writes a synthetic stand-in." in ended.stdout + ended.stderr


def test_a_layer_list_of_the_wrong_length_is_one_sentence(reading):
    checkout, _ = reading
    by_hand = checkout.python(*HAND, "--run", "7", "--types", '["normal"]')
    assert by_hand.returncode == 1
    said = one_line(by_hand.stderr)
    assert "layer_types" in said and "layer_sizes" in said
    checkout.write_grid('product("toys", "toy", types=[["normal"] * 2, ["normal"] * 3])')
    grid = checkout.run("linux")
    assert grid.returncode == 1
    assert "1/2 done" in grid.stdout and "toys/toy:1  failed  layer_types" in grid.stdout
    assert checkout.states() == {0: "done", 1: "failed", 7: "failed"}


def test_results_from_other_data_stay_what_they_are(reading):
    checkout, region = reading
    assert checkout.run("linux").returncode == 0
    before = {path: path.read_bytes() for path in checkout.results.rglob("run.json")}
    table = checkout.runs("table", "toys/toy").stdout
    file = region / "training_set.npy"
    content = file.read_bytes()
    file.write_bytes(changed(lambda array: array + 1)(content))
    for words in (["linux"], ["linux", "--resume"], ["linux", "--diverged"]):
        refused = checkout.run(*words)
        assert (refused.returncode, refused.stdout) == (2, "")
        assert "exists with other data in Data/ than there are now" in one_line(refused.stderr)
        assert "runs remove toys/toy:0" in refused.stderr
    by_hand = checkout.python(*HAND, "--run", "1", "--number", "1", "--resume")
    assert by_hand.returncode == 2
    assert "other data in Data/" in one_line(by_hand.stderr)
    assert before == {path: path.read_bytes() for path in before}
    assert checkout.runs("table", "toys/toy").stdout == table
    file.write_bytes(content)
    assert checkout.run("linux").stdout == "toys/toy: 2 done; not started again\n"


def test_of_scripts_started_at_once_one_trains(checkout):
    command = [sys.executable, *HAND, "--number", "3", "--wait", "1.0"]
    scripts = [subprocess.Popen(command, **checkout._options()) for _ in range(4)]
    ended = [(script.communicate(timeout=DEADLINE_S), script.returncode) for script in scripts]
    assert sorted(status for _, status in ended) == [0, 2, 2, 2], ended
    for (_, errors), status in ended:
        if status:
            assert "is being run by process" in one_line(errors)
    (folder,) = (checkout.results / "logs" / "toys").iterdir()
    starts = [path.read_text().split() for path in sorted(folder.glob("*/starts"))]
    assert starts == [["0"], ["1"]], "each repetition once"
    told = [json.loads(path.read_text())["state"] for path in folder.glob("*/run.json")]
    assert told == ["done", "done"]


def test_a_script_that_raises_says_where(checkout):
    checkout.write_grid('zipped("toys", "toy", number=range(3), fail=[False, True, False])')
    ended = checkout.run("linux")
    assert (ended.returncode, "2/3 done" in ended.stdout) == (1, True)
    assert "toys/toy:1  failed  RuntimeError: number 1 is no good" in ended.stdout
    errors = (checkout.logs() / "e_1.log").read_text()
    assert "Traceback" in errors and 'toys/toy.py", line' in errors, (
        "a fault in code is shown whole"
    )
    assert checkout.starts(0) == checkout.starts(2) == [1, 1]
