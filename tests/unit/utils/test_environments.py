import re
import sys

import pytest

from utils import containers, environments, paths
from utils.command_lines import Refusal

NEEDS = environments.NEEDS


@pytest.fixture
def machine(monkeypatch):
    """A machine with eight cores and two GPUs."""
    monkeypatch.setattr(environments, "cores", lambda: 8)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")


def places(resources, *given):
    terms = environments.terms("linux", {**NEEDS, **resources}, *given)
    return [place.get("CUDA_VISIBLE_DEVICES") for place in terms.places(100)]


@pytest.mark.parametrize(
    ("resources", "given", "expected"),
    [
        ({}, (), [None] * 8),
        ({"threads": 3}, (), [None] * 2),
        ({"threads": 9}, (), [None]),
        ({}, (3,), [None] * 3),
        ({"gpus": 1}, (), ["0", "1"]),
        ({"gpus": 2}, (), ["0,1"]),
        ({"gpus": 1, "threads": 8}, (), ["0"]),
        ({"gpus": 1}, (4,), ["0", "1", "0", "1"]),
        ({}, (None, "1"), ["1"]),
        ({}, (3, "1,0"), ["1", "0", "1"]),
        ({"gpus": 1}, (2, "none"), ["", ""]),
    ],
)
def test_cores_and_gpus_are_shared_out(machine, resources, given, expected):
    assert places(resources, *given) == expected


def test_the_gpus_that_were_wished_for_are_wished_for_again(machine):
    assert environments.terms("linux", NEEDS, None, "1").wished_gpus == "1"
    assert environments.terms("linux", NEEDS, None, "none").wished_gpus == "none"
    assert environments.terms("linux", NEEDS).wished_gpus is None


@pytest.mark.parametrize("environment", ["docker", "win"])
def test_where_each_run_has_a_place_of_its_own_none_share_a_program(machine, environment):
    with pytest.raises(Refusal, match=f"in environment {environment} each has one of its own"):
        environments.terms(environment, NEEDS, together=True)
    assert environments.terms("linux", NEEDS, together=True).together


def test_more_gpus_than_there_are_is_refused(machine, monkeypatch):
    with pytest.raises(Refusal, match=r"needs 3 GPUs and gets 2 \(0, 1\)"):
        places({"gpus": 3})
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(Refusal, match="no GPU, and the runs need one"):
        places({"gpus": 1})
    with pytest.raises(Refusal, match="no GPU, and --gpus is '0'"):
        places({}, None, "0")


def test_a_crowd_is_pointed_out(machine):
    terms = environments.terms("linux", {**NEEDS, "threads": 4}, 3)
    assert (
        terms.crowded(3) == "3 at a time with 4 threads each share 8 cores: each will take longer"
    )
    assert terms.crowded(2) == ""
    assert environments.terms("linux", {**NEEDS, "threads": 4}).crowded(100) == ""


def test_a_run_gets_its_threads():
    terms = environments.Terms(resources={**NEEDS, "threads": 3})
    assert set(terms.threads.values()) == {"3"}
    assert {"OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"} < {
        *terms.threads
    }
    assert {"OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"} < {*terms.threads}


@pytest.mark.parametrize(
    ("environment", "windows", "accepted"),
    [("linux", False, True), ("win", False, False), ("win", True, True), ("linux", True, False)],
)
def test_each_system_has_its_environment(monkeypatch, environment, windows, accepted):
    monkeypatch.setattr(environments, "ON_WINDOWS", windows)
    monkeypatch.setattr(environments, "ALIASES", {"local": "win" if windows else "linux"})
    terms = environments.Terms(environment)
    if accepted:
        environments.check_machine(terms)
        return
    with pytest.raises(Refusal, match=f"use {environments.check('local')}, or local"):
        environments.check_machine(terms)


def test_a_machine_without_sessions_detaches_nothing(monkeypatch):
    monkeypatch.delattr(environments.os, "fork")
    with pytest.raises(Refusal, match="leave it out"):
        environments.check_machine(environments.Terms(detach=True))
    environments.check_machine(environments.Terms())


ENTRY = {"run": 3, "script": "experiments/toy/e.py", "argv": ["--run=3", "--text=a b"]}


def test_here_a_program_is_python_and_its_script():
    programs = environments.programs(environments.Terms())
    assert programs.planned(ENTRY) == ENTRY
    assert programs.planned({**ENTRY, "before": ["docker"]}) == ENTRY
    assert programs.remove(3) == ()
    assert programs.shown(ENTRY).endswith("experiments/toy/e.py --run=3 '--text=a b'")
    windows = environments.programs(environments.Terms("win"))
    assert windows.shown(ENTRY).endswith('experiments/toy/e.py --run=3 "--text=a b"')


def test_in_a_container_it_is_the_engines_client(bench_folders, monkeypatch):
    monkeypatch.setattr(containers, "engine", lambda: "docker")
    programs = environments.programs(
        environments.Terms("docker", shares=[{"CUDA_VISIBLE_DEVICES": "1"}])
    )
    words = programs.planned(ENTRY)["before"]
    assert words[:2] == ["docker", "run"]
    assert words[-2:] == ["neuro-bench:gpu", "python"]
    assert words[words.index("--gpus") + 1] == "all"
    assert {"--env=BENCH_JOB", "--env=CUDA_VISIBLE_DEVICES"} < {*words}
    variables = [
        value for option, value in zip(words, words[1:], strict=False) if option == "--env"
    ]
    assert f"BENCH_RESULTS={bench_folders.results}" in variables
    assert "OMP_NUM_THREADS=1" in variables
    assert f"type=bind,source={paths.ROOT},target={paths.ROOT}" in words
    (name,) = [word.partition("=")[2] for word in words if word.startswith("--name=")]
    assert re.fullmatch(r"bench-[0-9a-f]{8}-3", name)
    assert programs.remove(3) == ("docker", "rm", "--force", name)
    other = environments.programs(environments.Terms("docker"))
    assert other.remove(3) != programs.remove(3), "two pools at once"
    assert "neuro-bench:cpu" in other.before(3)
    assert "--env=CUDA_VISIBLE_DEVICES" not in other.before(3)


def test_without_engine_or_image_nothing_is_sent(bench_folders, monkeypatch):
    terms = environments.Terms("docker")
    monkeypatch.setattr(containers, "engine", lambda: None)
    with pytest.raises(Refusal, match="neither docker nor podman"):
        environments.check_machine(terms)
    monkeypatch.setattr(containers, "engine", lambda: "podman")
    monkeypatch.setattr(containers, "image_problem", lambda program, gpus: f"{program}: no image")
    with pytest.raises(Refusal, match="podman: no image"):
        environments.check_machine(terms)


def test_this_python_is_named_from_the_checkout(monkeypatch):
    monkeypatch.setattr(sys, "executable", str(paths.ROOT / "env" / "bin" / "python"))
    assert environments.shown_python() == "env/bin/python"
    monkeypatch.setattr(sys, "executable", "/usr/bin/python3")
    assert environments.shown_python() == "/usr/bin/python3"
