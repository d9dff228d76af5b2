"""The kills of bench/chaos_engines.py: its command line, its plan, and the eyes of its referee."""

import itertools
import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[2] / "bench"
RUNS = 2


@pytest.fixture(scope="module")
def chaos():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCH))
        import chaos_engines

        yield chaos_engines


@pytest.fixture(scope="module")
def toys_module(chaos):
    return sys.modules["chaos_toys"]


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--seed", "x"], "'x' is no whole number"),
        (["--seconds", "0"], "'0' is no whole number from 1 on"),
        (["--engine", "pbs"], "choose from"),
        (["--sede", "3"], "Did you mean --seed?"),
        (["--keep", str(BENCH)], "holds something already"),
    ],
)
def test_wrong_arguments_are_one_sentence(chaos, capsys, words, part):
    assert chaos.main(words) == 2
    said = capsys.readouterr()
    assert (said.out, part in said.err, said.err.count("\n")) == ("", True, 1)


def test_without_an_engine_it_says_why_and_is_content(chaos, capsys, monkeypatch):
    def refuse(*_):
        raise chaos.Unavailable("only root can start it")

    monkeypatch.setattr(chaos, "torment", refuse)
    assert chaos.main([]) == 0
    assert capsys.readouterr().out == "no chaos on engines: only root can start it\n"


def test_what_is_wrong_on_one_engine_decides(chaos, capsys, monkeypatch):
    rows = {
        "grid-engine": (["x"] * len(chaos.HEAD), []),
        "slurm": (["y"] * len(chaos.HEAD), ["no"]),
    }
    monkeypatch.setattr(chaos, "torment", lambda name, *_: rows[name])
    assert chaos.main(["--engine", "grid-engine"]) == 0
    assert chaos.main([]) == 1
    assert "slurm: no" in capsys.readouterr().err


def test_a_seed_stands_for_a_plan(chaos):
    first, again, other = (list(itertools.islice(chaos.planned(seed), 300)) for seed in (1, 1, 2))
    assert first == again != other
    for plan in (first, other):
        assert {kill.what for kill in plan[:5]} == set(chaos.WHATS), "each of them comes soon"
        assert all(1 <= kill.pause <= 4 for kill in plan)
        counts = {what: sum(kill.what == what for kill in plan) for what in chaos.WHATS}
        assert counts["program"] > counts["master"] > 20
        assert 0.2 < sum(kill.retry for kill in plan) / len(plan) < 0.4


def lines(text):
    """One character for each line of a process."""
    return [(float(place), who, "beat") for place, who in enumerate(text)]


@pytest.mark.parametrize(
    ("written", "found"),
    [("", []), ("aaa", []), ("aabbc", []), ("aba", ["a"]), ("abab", ["a", "b"]), ("abca", ["a"])],
)
def test_processes_that_write_in_turn_overlap(toys_module, written, found):
    assert toys_module.overlapping(lines(written)) == found


@pytest.fixture
def toys(toys_module, tmp_path):
    """What a grid leaves behind in which everything went well."""

    class Left(toys_module.Toys):
        def __init__(self):
            self.results, self.numbers, self.beats = tmp_path, range(RUNS), 4

    for run in range(RUNS):
        state = tmp_path / "job_logs" / "toys" / "toy" / ".jobs" / "state" / "0000"
        state.mkdir(parents=True, exist_ok=True)
        for name in (f"{run}.0.1.claim", f"{run}.0.2.claim", f"{run}.0.2.done"):
            (state / name).touch()
        models = tmp_path / "models" / "toys" / f"toyx{run}"
        models.mkdir(parents=True)
        for index in range(toys_module.REPETITIONS):
            folder = tmp_path / "logs" / "toys" / f"toyx{run}" / f"toy_{run}__{index}"
            folder.mkdir(parents=True)
            told = {"repetition": index, "state": "done"}
            (folder / "run.json").write_text(json.dumps(told))
            begin = 10 * index
            text = f"{begin + 1} a start\n{begin + 2} b start\n{begin + 3} b end\n"
            if index:
                text = f"{begin + 2} b start\n{begin + 3} b end\n"
            (folder / "trainings").write_text(text)
            content = {"number": run, "beats": 4, "repetition": index}
            (models / f"toy_{run}__{index}.ndnmod").write_text(json.dumps(content))
    (tmp_path / "experiments.txt").write_text("toys toy 0\ntoys toy 1\n")
    return Left()


def test_a_good_end_has_nothing_wrong(toys_module, toys):
    assert toys_module.judge(toys) == []


@pytest.mark.parametrize(
    ("place", "text", "said"),
    [
        ("logs/toys/toyx1/toy_1__0/trainings", "1 a start\n2 b start\n3 a beat\n", "same time"),
        ("logs/toys/toyx1/toy_1__2/trainings", "22 b start\n23 b end\n24 b end\n", "finished by"),
        (
            "logs/toys/toyx1/toy_1__2/trainings",
            "1.5 c start\n23 c beat\n",
            "time by another pr",
        ),
        (
            "logs/toys/toyx0/toy_0__1/run.json",
            '{"repetition": 1, "state": "running"}',
            "run 0: its",
        ),
        ("models/toys/toyx0/toy_0__1.ndnmod", "{", "run 0: its models"),
        ("models/toys/toyx0/other", "{}", "run 0: its models"),
        ("job_logs/toys/toy/.jobs/state/0000/1.0.1.done", "", "run 1 has 2 records"),
        ("experiments.txt", "toys toy 0\ntoys toy 0\n", "experiments.txt has 2 lines for 2 runs"),
        ("experiments.txt", "toys toy 0\n", "experiments.txt has 1 lines for 2 runs"),
        ("job_logs/toys/toy/.jobs/lock", "", "the lock"),
    ],
)
def test_what_is_wrong_is_seen(toys_module, toys, place, text, said):
    (toys.results / place).write_text(text)
    wrong = toys_module.judge(toys)
    assert wrong
    assert all(said in line for line in wrong[:1]), wrong


@pytest.fixture
def watched(chaos, toys, monkeypatch):
    """A chaos without an engine: its `runs list` says what is set."""
    one = chaos.Chaos.__new__(chaos.Chaos)
    one.toys, one.done, one.given_up, one.looks, one.lives = toys, {}, {}, 0, 0
    one.says, one.living = {0: "done", 1: "done"}, {}
    monkeypatch.setattr(toys, "living", lambda: dict(one.living), raising=False)
    monkeypatch.setattr(toys, "sent", lambda: {0: (2, ["aa"]), 1: (3, ["bb"])}, raising=False)
    listed = "\n".join
    one.command = lambda *_: listed(f"toys/toy:{run}  {state}" for run, state in one.says.items())
    return one


def test_a_run_that_lives_must_be_called_running(chaos, watched):
    watched.living = {(7, 70): 1}
    watched.says[1] = "running  1"
    assert watched.look()[1][0] == "running"
    assert watched.lives == 1
    for state in ("lost", "failed", "pending", "unknown", "done"):
        watched.says[1] = state
        with pytest.raises(chaos.Problem, match="run 1 is at work as process 7"):
            watched.look()


def test_only_what_was_killed_may_have_failed(chaos, watched):
    watched.says[1] = "failed  1  killed by signal 9"
    watched.look()
    watched.says[1] = "failed  1  ValueError: no good"
    with pytest.raises(chaos.Problem, match="nobody killed run 1"):
        watched.look()


def test_what_was_called_lost_too_early_is_seen(chaos, watched, toys):
    watched.says[1] = "lost"
    watched.look()
    claim = toys.logs() / ".jobs" / "state" / "0000" / "1.0.3.claim"
    claim.write_text('{"token": "cc"}')  # sent once more
    watched.look()
    claim.write_text('{"token": "bb"}')
    with pytest.raises(chaos.Problem, match="run 1 was called lost before it began, and began"):
        watched.look()


def test_what_was_done_and_has_changed_is_seen(chaos, watched, toys):
    watched.look()
    (toys.results / "logs/toys/toyx0/toy_0__1/run.json").write_text('{"state": "done"}')
    with pytest.raises(chaos.Problem, match="toy_0__1 was done and has changed"):
        watched.look()


def test_the_toy_tells_when_it_trains(toys_module, tmp_path):
    """Its runs on this machine: a killed program, and the same run again."""
    toys = toys_module.Toys(tmp_path, 1, 0.6)
    assert toys.run("local").returncode == 0
    assert toys_module.judge(toys) == []
    told = toys.trainings()
    assert sorted(told) == [(0, 0), (0, 1), (0, 2)]
    assert [what for _, _, what in told[0, 1]] == ["start", "beat", "beat", "end"]
    assert toys.sent()[0][0] == 1
    assert toys.living() == {}


def test_help_names_what_it_does():
    command = [sys.executable, BENCH / "chaos_engines.py", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert "Five minutes of kills" in done.stdout
