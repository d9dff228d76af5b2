"""The referee of the trainer's benchmark: medians within rounds, bounds, exit status."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[2] / "bench"


def module_of(name):
    spec = importlib.util.spec_from_file_location(f"bench_{name}", BENCH / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


trainer = module_of("trainer")
programs = module_of("trainer_programs")


def turn(epochs, cpu):
    return {"epochs": epochs, "cpu": cpu, "wall": 2 * cpu, "mb": 1.0}


def test_ratio_is_the_median_within_rounds():
    # the machine is three times slower in the second round: no program is to blame
    rates = trainer.rates(
        {
            "fit": [turn(10, 1.0), turn(10, 3.0), turn(20, 2.0)],
            "all": [turn(150, 1.0), turn(150, 3.0), turn(320, 2.0)],
        }
    )
    assert rates["all"] == [150, 50, 160]
    assert trainer.ratio(rates, "all", "fit") == pytest.approx(15)


def test_bounds_from_below_and_from_above():
    fast = trainer.Bound("", "all", "fit", least=14)
    cheap = trainer.Bound("", "ten seeds", "one seed", below=4)
    assert fast.holds(14)
    assert not fast.holds(13.9)
    assert cheap.holds(3.9)
    assert not cheap.holds(4)
    assert (str(fast), str(cheap)) == ("≥ 14", "< 4")


def test_only_bounds_of_programs_that_worked_are_judged():
    judged = trainer.judged({"all": [100.0], "group": [110.0]})
    assert [(bound.reference, round(value, 3)) for bound, value in judged] == [("group", 0.909)]


@pytest.mark.parametrize(("rate", "status"), [(150, 0), (130, 1)])
def test_exit_status_tells_a_missed_bound(monkeypatch, capsys, rate, status):
    monkeypatch.setattr(sys, "argv", ["trainer.py", "--only", "fit,all", "--markdown"])
    starts = {name: {"start_cpu": 1.0} for name in ("fit", "all")}
    turns = {"fit": [turn(10, 1.0)], "all": [turn(rate, 1.0)]}
    monkeypatch.setattr(trainer, "in_turn", lambda *_: (starts, turns))
    assert trainer.main() == status
    shown = capsys.readouterr().out
    assert ("MISSED" in shown) == bool(status)
    assert f"| ≥ 14 | {rate / 10:.2f} |" in shown


def test_a_program_that_dies_is_status_two(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["trainer.py", "--only", "fit"])

    def dies(*_):
        raise trainer.ProgramFailed("fit ended without an answer")

    monkeypatch.setattr(trainer, "in_turn", dies)
    assert trainer.main() == 2
    assert "fit ended" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--only", "session,other"], ["--rounds", "0"]])
def test_wrong_arguments_are_refused_in_a_sentence(monkeypatch, capsys, words):
    monkeypatch.setattr(sys, "argv", ["trainer.py", *words])
    with pytest.raises(SystemExit) as refusal:
        trainer.main()
    assert refusal.value.code == 2
    assert "Traceback" not in capsys.readouterr().err


def test_programs_take_turns(tmp_path, monkeypatch):
    """A stand-in for the programs counts what it was asked for."""
    stand_in = tmp_path / "programs.py"
    stand_in.write_text(
        "import json, sys\n"
        "print(json.dumps({'start_cpu': 1.0}), flush=True)\n"
        "for line in sys.stdin:\n"
        "    seconds = float(line.split()[1])\n"
        "    print(json.dumps({'epochs': 10, 'cpu': seconds}), flush=True)\n"
    )
    monkeypatch.setattr(trainer, "PROGRAMS_FILE", stand_in)
    starts, turns = trainer.in_turn(["fit", "all"], tmp_path, rounds=3, seconds=0.5)
    assert starts == {"fit": {"start_cpu": 1.0}, "all": {"start_cpu": 1.0}}
    assert turns == {name: [{"epochs": 10, "cpu": 0.5}] * 3 for name in ("fit", "all")}


def test_a_dying_program_is_named_with_its_last_words(tmp_path, monkeypatch):
    stand_in = tmp_path / "programs.py"
    stand_in.write_text("import sys; sys.exit('no such network')\n")
    monkeypatch.setattr(trainer, "PROGRAMS_FILE", stand_in)
    with pytest.raises(trainer.ProgramFailed, match="(?s)fit.*no such network"):
        trainer.in_turn(["fit"], tmp_path, rounds=1, seconds=0.1)


def test_reference_network_against_numbers_worked_by_hand():
    """One filter on the whole image, one hidden unit, one neuron: an impulse at the peak."""
    import numpy as np

    gaussians = np.array([[1, 1, 15, 15, 0.5, 2, 0, 0]], float).T
    image = np.zeros((1, 31 * 31))
    image[0, 15 * 31 + 15] = 1
    values = [gaussians, np.array([0.1]), np.array([[2.0]]), np.array([-1.0])]
    values += [np.array([[3.0]]), np.array([0.5])]
    first = 1 / (2 * np.pi) - 0.5 / (2 * np.pi * 3) + 0.1
    hidden = np.log1p(np.exp(2 * first - 1))
    expected = np.log1p(np.exp(3 * hidden + 0.5))
    assert programs.forward(values, image)[0, 0] == pytest.approx(expected)


def test_recording_is_the_same_in_every_process():
    first, second = programs.recording(), programs.recording()
    for one, other in zip(first, second, strict=True):
        assert one.dtype == "float32"
        assert (one == other).all()
    assert [array.shape for array in first] == [(1850, 961), (1850, 103)]
    json.dumps(programs.cost(programs.start_values(0), first[0][:20], first[1][:20] + 1))
