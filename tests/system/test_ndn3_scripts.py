"""Scripts as users of the original library wrote them run unchanged, and find what was planted."""

import itertools
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from NDN3.NDN import NDN

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "tests" / "fixtures" / "ndn3_scripts"


def run(name, folder):
    """Run a script as a program of its own; what it prints and the arrays that it saves."""
    done = subprocess.run(
        [sys.executable, SCRIPTS / f"{name}.py"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Warning" not in done.stderr and "retracing" not in done.stderr
    with np.load(folder / f"{name}.npz") as file:
        return done.stdout, dict(file)


def alike(one, other):
    return np.corrcoef(np.ravel(one), np.ravel(other))[0, 1]


def shifted(image, rows, columns):
    """An image moved by some pixels, with zeros from outside."""
    height, width = image.shape
    padded = np.roll(np.pad(image, 2), (rows, columns), axis=(0, 1))
    return padded[2 : 2 + height, 2 : 2 + width]


def test_a_cell_with_time_lags(tmp_path):
    said, found = run("single_cell", tmp_path)
    model = NDN.load_model(tmp_path / "single_cell.ndn")
    weights = model.get_weights(0)
    assert alike(found["filters"][:, 0], weights[:, 0]) > 0.95, "excitation"
    assert alike(found["filters"][:, 1], weights[:, 1]) > 0.9, "suppression"
    assert (model.networks[0].layers[1].weights > 0).all()
    assert found["LL_nim"] > found["LL_ln"] + 0.05 > 0.4
    assert 0 < np.argmin(found["LLs"]) < 4, "neither the weakest nor the strongest smoothness"
    assert re.search(r"strongest lags \[2, [45]\]", said)


def test_a_model_with_a_network_for_each_eye(tmp_path):
    said, found = run("binocular", tmp_path)
    strengths = np.abs(found["add_weights"])
    correlations = np.array(
        [
            [min(alike(found[f"filters{eye}"][:, n], found[f"k{eye}"][:, m]) for eye in "LR")
             for m in range(3)]
            for n in range(3)
        ]
    )  # fmt: skip
    # the last subunit suppresses, the two others may change places
    pair = max(([0, 1, 2], [1, 0, 2]), key=lambda order: correlations[range(3), order].sum())
    assert (correlations[range(3), pair] > 0.95).all(), correlations
    dominance = np.log(found["dominance"][0] / found["dominance"][1])
    learned = np.log(strengths[0] / strengths[1])[pair]
    np.testing.assert_allclose(learned, dominance, atol=0.3)
    assert (found["subs"][:, :2] >= 0).all() and (found["subs"][:, 2] <= 0).all()
    assert (found["both"] > found["closed"]).all()
    stopped = [int(epoch) for epoch in re.findall(r"last epoch (\d+)", said)]
    assert len(stopped) == 3 and max(stopped) < 59, "early stopping"
    assert "training cost" in said, "display"


def test_a_population_on_a_scaffold(tmp_path):
    said, found = run("population", tmp_path)
    kernels = [found["kernels"][:, :, n] for n in range(2)]
    # what the scaffold is moved by, the readout moves back
    moves = list(itertools.product((-1, 0, 1), repeat=2))
    for kernel in kernels:
        best = max(
            alike(kernel, shifted(found["found"][:, :, 0, n], *move))
            for n in range(4)
            for move in moves
        )
        assert best > 0.9
    assert found["first"].mean() > 0.6 and (found["first"] > 0.3).all()
    assert found["second"].mean() > found["first"].mean() - 0.01
    assert (found["second"] != found["first"]).all()
    assert "scaffold moved by 0.0\n" in said and "same as before True" in said
    np.testing.assert_array_equal(found["features"], np.maximum(found["linear"], 0))
    model = NDN.load_model(tmp_path / "population.ndn")
    np.testing.assert_array_equal(model.get_weights(0, reshape=True), found["found"])
    for part in ("train", "test"):
        assert list((tmp_path / "population_logs" / "summaries" / part).iterdir())


@pytest.mark.parametrize("path", sorted(SCRIPTS.glob("*.py")), ids=lambda path: path.stem)
def test_scripts_are_such_as_they_were(path):
    text = path.read_text()
    assert 60 <= len(text.splitlines()) <= 100
    assert "import NDN3.NDN as NDN\nimport NDN3.NDNutils as NDNutils\n" in text
    imports = set(re.findall(r"^(?:import|from) (\S+)", text, flags=re.M))
    assert imports == {"numpy", "NDN3.NDN", "NDN3.NDNutils"}
    new = (
        "fit_together",
        "for_seeds",
        "legacy",
        "units=",
        "schedule",
        "inner_holdout",
        "ensembles",
    )
    assert not [word for word in new if word in text]
