"""The referee of the trainer's benchmark: medians within rounds, bounds, exit status."""

import importlib
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

BENCH = Path(__file__).parents[2] / "bench"
sys.path.append(str(BENCH))  # its programs import each other as scripts do
trainer, bounds, processes, reference, turns_module = map(
    importlib.import_module,
    ["trainer", "trainer_bounds", "trainer_processes", "trainer_reference", "trainer_turns"],
)


def turn(epochs, cpu):
    return {"epochs": epochs, "cpu": cpu, "wall": 2 * cpu, "mb": 1.0}


def test_ratio_is_the_median_within_rounds():
    # the machine is three times slower in the second round: no program is to blame
    figures = bounds.figures_of(
        {
            "fit": [turn(10, 1.0), turn(10, 3.0), turn(20, 2.0)],
            "all": [turn(150, 1.0), turn(150, 3.0), turn(320, 2.0)],
        }
    )
    assert figures["all", "per CPU s"] == [150, 50, 160]
    assert figures["all", "per wall s"] == [75, 25, 80]
    found = bounds.Bound("", "all", "per CPU s", "fit", least=14).value(figures)
    assert found == pytest.approx(15)


def test_an_epoch_of_ten_members_against_one_of_one():
    """Ten members at 100 member-epochs a second need .1 s for one each, one alone 1/20 s."""
    figures = bounds.figures_of({"group": [turn(100, 1.0)], "one": [turn(20, 1.0)]})
    ten = bounds.Bound("", "group", "s per epoch", "one", below=10)
    assert ten.value(figures) == pytest.approx(0.1 / 0.05)
    assert bounds.Bound("", "one", "ms").value(figures) == pytest.approx(50)


def test_bounds_from_below_and_from_above():
    fast = bounds.Bound("", "all", "per CPU s", "fit", least=14)
    cheap = bounds.Bound("", "cold", "CPU s", below=10)
    shown = bounds.Bound("", "next", "CPU s", "first")
    assert fast.holds(14)
    assert not fast.holds(13.9)
    assert cheap.holds(9.9)
    assert not cheap.holds(10)
    assert shown.holds(1e9)
    assert [str(bound) for bound in (fast, cheap, shown)] == ["≥ 14", "< 10 s", "–"]
    assert shown.verdict(1) == "not judged"


def test_only_bounds_of_programs_that_worked_are_judged():
    figures = {("all", "per CPU s"): [100.0], ("group", "per CPU s"): [110.0]}
    found = bounds.judged(figures)
    assert [(bound.against, round(value, 3)) for bound, value in found] == [("group", 0.909)]


def test_every_bound_names_figures_that_are_measured(monkeypatch, tmp_path):
    figures = bounds.figures_of({name: [turn(1, 1.0)] for name in bounds.PROGRAMS})
    answer = dict(cpu=8.0, wall=9.0, mb=900.0, compilations=0, first=[6, 7], next=[1, 2])
    asked = []
    monkeypatch.setattr(trainer, "whole", lambda *words: asked.append(words) or answer)
    figures |= trainer.whole_processes(list(trainer.WHOLE), tmp_path, 2, 300)
    assert len(bounds.judged(figures)) == len(bounds.BOUNDS)
    assert {name for name, *_ in asked} == set(trainer.WHOLE)
    places = [folder for name, folder, *_ in asked if name == "first_result"]
    # the second process of a round finds the cache of the first; the next round a fresh one
    assert places[0::2] == places[1::2]
    assert len(set(places)) == 4


def test_every_program_can_be_started():
    programs = importlib.import_module("trainer_programs")
    wholes = importlib.import_module("trainer_wholes")
    assert set(programs.PROGRAMS) == set(bounds.PROGRAMS)
    assert set(wholes.PROGRAMS) == set(trainer.WHOLE)


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
        raise processes.ProgramFailed("fit ended without an answer")

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


def stand_in(monkeypatch, tmp_path, text):
    path = tmp_path / "programs.py"
    path.write_text(text)
    monkeypatch.setattr(processes, "PROGRAMS_FILE", path)


def starters(tmp_path, *names):
    return {name: lambda name=name: processes.started(name, tmp_path) for name in names}


def test_programs_take_turns(tmp_path, monkeypatch):
    """A stand-in for the programs counts what it was asked for."""
    stand_in(
        monkeypatch,
        tmp_path,
        "import json, sys\n"
        "print(json.dumps({'start_cpu': 1.0}), flush=True)\n"
        "for line in sys.stdin:\n"
        "    seconds = float(line.split()[1])\n"
        "    print(json.dumps({'epochs': 10, 'cpu': seconds}), flush=True)\n",
    )
    starts, turns = processes.in_turn(starters(tmp_path, "fit", "all"), rounds=3, seconds=0.5)
    assert starts == {"fit": {"start_cpu": 1.0}, "all": {"start_cpu": 1.0}}
    assert turns == {name: [{"epochs": 10, "cpu": 0.5}] * 3 for name in ("fit", "all")}


def test_a_dying_program_is_named_with_its_last_words(tmp_path, monkeypatch):
    stand_in(monkeypatch, tmp_path, "import sys; sys.exit('no such network')\n")
    with pytest.raises(processes.ProgramFailed, match="(?s)fit.*no such network"):
        processes.in_turn(starters(tmp_path, "fit"), rounds=1, seconds=0.1)
    with pytest.raises(processes.ProgramFailed, match="(?s)memory.*no such network"):
        processes.whole("memory", tmp_path / "memory", 20)


def test_a_whole_process_is_measured(tmp_path, monkeypatch):
    """It computes for a third of a second, holds 50 MB, and answers what its arguments were."""
    stand_in(
        monkeypatch,
        tmp_path,
        "import json, os, sys, time\n"
        "held = b'x' * 50_000_000\n"
        "while time.process_time() < 0.3: pass\n"
        "caches = [n for n in ('TF_XLA_FLAGS', 'JAX_COMPILATION_CACHE_DIR') if n in os.environ]\n"
        "print(json.dumps({'words': sys.argv[1:], 'caches': caches}))\n",
    )
    monkeypatch.setenv("TF_XLA_FLAGS", "--tf_xla_persistent_cache_directory=/nowhere")
    found = processes.whole("memory", tmp_path / "place", 20, 3)
    assert found["words"] == ["memory", str(tmp_path / "place"), "20", "3"]
    assert found["caches"] == []
    assert 0.3 <= found["cpu"] < 10
    assert found["wall"] >= 0.3
    assert found["mb"] > 50


def test_turns_end_by_the_clock_and_count_what_was_done_in_them(tmp_path):
    """A program that trains three epochs a second of a clock of its own."""
    script = tmp_path / "program.py"
    script.write_text(
        "import sys\n"
        f"sys.path.append({str(BENCH)!r})\n"
        "from trainer_turns import Turns\n"
        "now = 0.0\n"
        "turns = Turns('.', clock=lambda: now)\n"
        "while True:\n"
        "    print('a library prints')\n"
        "    now += 0.25\n"
        "    turns.after(1)\n"
    )
    program = processes.Program("stand-in", [script], tmp_path, None)
    try:
        start = program.answer()
        first, second = program.turn(1.0), program.turn(0.5)
    finally:
        program.stop()
    assert {"start_cpu", "start_wall", "mb"} <= set(start)
    assert (first["epochs"], second["epochs"]) == (4, 2)


def test_reference_network_against_numbers_worked_by_hand():
    """One filter on the whole image, one hidden unit, one neuron: an impulse at the peak."""
    gaussians = np.array([[1, 1, 15, 15, 0.5, 2, 0, 0]], float).T
    image = np.zeros((1, 31 * 31))
    image[0, 15 * 31 + 15] = 1
    values = [gaussians, np.array([0.1]), np.array([[2.0]]), np.array([-1.0])]
    values += [np.array([[3.0]]), np.array([0.5])]
    first = 1 / (2 * np.pi) - 0.5 / (2 * np.pi * 3) + 0.1
    hidden = np.log1p(np.exp(2 * first - 1))
    expected = np.log1p(np.exp(3 * hidden + 0.5))
    assert reference.dog_forward(values, image)[0, 0] == pytest.approx(expected)


def test_reference_convolution_against_numbers_worked_by_hand():
    """An impulse that two of the 64 windows see, at the upper left corner of the second."""
    kernel = np.zeros((7, 7, 1))
    kernel[0, 0], kernel[0, 4] = 2.0, 3.0
    mask = np.zeros((64, 1))
    mask[9], mask[8] = 0.5, 0.25
    image = np.zeros((1, 31, 31))
    image[0, 2, 2] = 1  # windows begin at -2, 2, 6 …; the one before along the width at column 4
    values = [kernel, np.zeros(1), np.concatenate([[[1.0]], mask]), np.array([-1.0])]
    values += [np.array([[3.0]]), np.array([0.5])]
    seen, beside = np.log1p(np.exp([2.0, 3.0]))
    hidden = np.log1p(np.exp(0.5 * seen + 0.25 * beside - 1))
    expected = np.log1p(np.exp(3 * hidden + 0.5))
    assert reference.conv_forward(values, image.reshape(1, -1))[0, 0] == pytest.approx(expected)


def test_recording_is_the_same_in_every_process():
    first = reference.recording(40)
    reference.recording.cache_clear()
    for one, other in zip(first, reference.recording(40), strict=True):
        assert one.dtype == "float32"
        assert (one == other).all()
    assert [array.shape for array in reference.recording()] == [(1850, 961), (1850, 103)]
    json.dumps(reference.dog_cost(reference.dog_start(0)))


def run_gpu(*words, **variables):
    return subprocess.run(
        [sys.executable, BENCH / "gpu.py", *words],
        capture_output=True,
        text=True,
        timeout=240,
        env=os.environ | {"JAX_PLATFORMS": "cpu"} | variables,
    )


@pytest.mark.skipif(
    importlib.util.find_spec("jax") is None, reason="JAX is not installed: make env-dev brings it"
)
def test_forms_on_a_gpu_are_compared_without_tensorflow(tmp_path):
    for name in ("tensorflow", "tensorboard", "pandas", "matplotlib"):
        (tmp_path / f"{name}.py").write_text("raise ImportError('not on this machine')\n")
    words = "--rows 20 --members 2 --rounds 1 --seconds 0.01 --only windows,native_turns"
    done = run_gpu(*words.split(), "--markdown", PYTHONPATH=str(tmp_path))
    assert done.returncode == 0, done.stderr[-3000:]
    device, _, head, _, *rows = done.stdout.splitlines()
    assert device.startswith("device: cpu")
    columns = [cell.strip() for cell in head.strip("|").split("|")]
    assert len(rows) == 2
    for row in rows:
        found = dict(zip(columns, (c.strip() for c in row.strip("|").split("|")), strict=True))
        rate, seconds = (
            float(found[name]) for name in ("member-epochs per s", "s per epoch of all")
        )
        assert seconds == pytest.approx(2 / rate, abs=1e-4)
        assert found["x one member"] == "–"


@pytest.mark.parametrize(
    "words", [["--only", "dog,cat"], ["--members", "1,x"], ["--rows", "0"], ["--seconds", "0"]]
)
def test_wrong_arguments_of_the_gpu_bench_are_refused(words):
    done = run_gpu(*words)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert words[1].split(",")[-1] in done.stderr or "must be positive" in done.stderr
