"""The comparison of models chooses without the validation images, keeps what it found, judges."""

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[2] / "bench"))  # its programs import each other so
best_models, forms = map(importlib.import_module, ["best_models", "best_models_forms"])


@pytest.fixture
def told(monkeypatch, tmp_path):
    """Function that runs the program on tiny data and returns its exit status."""
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))  # it sets this variable for itself

    def run(*options):
        arguments = ["best_models.py", "--out", str(tmp_path / "out"), "--sets", "low", "--quick"]
        monkeypatch.setattr(sys, "argv", [*arguments, *options])
        return best_models.main()

    run.folder = tmp_path / "out" / "low-quick"
    return run


class Planted:
    """A model whose predictions are the responses, with noise of a given size."""

    def __init__(self, bench, noise):
        self.bench, self.noise, self.models = bench, noise, [self]

    def generate_prediction(self, images, rows):
        recorded = self.bench.training
        if len(images) != recorded.n_images:
            recorded = self.bench.validation
        drawn = np.random.default_rng(3).standard_normal(recorded.responses.shape)
        return (recorded.responses + self.noise * drawn)[rows]

    def save_model(self, file):
        file.write_text("a model")


def test_a_model_is_trained_and_kept(told, capsys):
    assert told("--only", "baseline 4", "--markdown") == 0
    first = capsys.readouterr()
    row = next(line for line in first.out.splitlines() if line.startswith("| baseline 4"))
    assert row.startswith("| baseline 4 | as it is | 2 |")
    # the second call says the same and trains nothing
    assert told("--only", "baseline 4", "--markdown") == 0
    again = capsys.readouterr()
    assert row in again.out
    assert "as it is: kept" in again.err and "as it is …" not in again.err
    # what was found for another form counts no more
    path = told.folder / "results.json"
    kept = json.loads(path.read_text())
    kept["baseline 4, as it is"]["asked"][1]["learning_rate"] = 7
    path.write_text(json.dumps(kept))
    bench = best_models.Bench(told.folder.parent, "low", quick=True)
    form = forms.MODELS["baseline 4"].forms[0]
    asked = bench.asked(form, best_models.SHOWN[:2])
    assert bench.once("baseline 4, as it is", asked, dict).keys() == {"seconds", "cpu"}


def test_the_form_that_does_best_on_held_out_training_rows_is_chosen(told, monkeypatch, capsys):
    asked = []

    def trained(bench, form, seeds, rows):
        asked.append((form.name, tuple(seeds), len(rows)))
        return Planted(bench, 0.1 if "rate 0.03" in form.name else 1.0)

    monkeypatch.setattr(best_models.Bench, "trained", trained)
    assert told("--only", "bounded HSM") == 0
    names = [form.name for form in forms.MODELS["bounded HSM"].forms[:2]]
    choosing, shown = best_models.CHOOSING, tuple(best_models.SHOWN[:2])
    # 48 of 60 rows, then all of them
    assert asked == [(name, choosing, 48) for name in names] + [(names[1], shown, 60)]
    assert not set(choosing) & set(best_models.SHOWN)
    assert f"bounded HSM  {names[1]}" in capsys.readouterr().out


def test_forms_are_descriptions():
    for name, model in forms.MODELS.items():
        assert len({form.name for form in model.forms}) == len(model.forms), name
        for form in model.forms:
            description = form.description(40)
            assert description["layer_sizes"][-1] == 40
            assert description["input_dims"] == [1, 31, 31]


def test_shares_and_bounds():
    low, middle, high = best_models.share(np.linspace(0.4, 0.8, 11), 0.8)
    assert (low, middle, high) == pytest.approx((0.55, 0.75, 0.95))
    good, poor = {"bounded HSM": (0.82, 0.85, 0.9)}, {"bounded HSM": (0.7, 0.79, 0.9)}
    assert best_models.reached(good)[1] and not best_models.reached(poor)[1]
    assert best_models.reached(good | {"baseline 4": (0.6, 0.7, 0.8)})[1]
    assert not best_models.reached(good | {"baseline 4": (0.6, 0.7, 0.83)})[1]


def test_unknown_names_are_refused(told, capsys):
    for options in (["--only", "LNL"], ["--sets", "high"]):
        with pytest.raises(SystemExit) as ended:
            told(*options)
        assert ended.value.code == 2
        assert f"unknown {'models' if 'LNL' in options else 'sets'}" in capsys.readouterr().err
