"""The referee's side: programs are started in processes of their own, and asked to work in turn."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from tables import say

PROGRAMS_FILE = Path(__file__).with_name("trainer_programs.py")
# What a shell may have set for compiled programs must not reach the programs.
CACHES = ("TF_XLA_FLAGS", "JAX_COMPILATION_CACHE_DIR")


class ProgramFailed(Exception):
    """A program ended without an answer."""


def environment(folder, threads=1):
    """Environment of a program: few threads, no GPU, an empty cache of compiled programs."""
    kept = {name: value for name, value in os.environ.items() if name not in CACHES}
    return {
        **kept,
        **dict.fromkeys(
            ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"), str(threads)
        ),
        "CUDA_VISIBLE_DEVICES": "-1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "KERAS_BACKEND": "tensorflow",
        "PYTHONPATH": str(PROGRAMS_FILE.parents[1]),
        "XDG_CACHE_HOME": str(Path(folder) / "cache"),
    }


class Program:
    """One program in its process, and the pipe to it.

    Parameters
    ----------
    name : str
    command : list of str
        Without the interpreter.
    folder : path
        For what it prints besides its answers.
    variables : dict of str
        Its environment.
    """

    def __init__(self, name, command, folder, variables):
        self.name = name
        self._errors = (Path(folder) / "errors.log").open("w+")
        self.process = subprocess.Popen(
            [sys.executable, *map(str, command)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env=variables,
        )

    def answer(self):
        """The next line that the program sends, as a dictionary."""
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            self._errors.seek(0)
            raise ProgramFailed(
                f"{self.name} ended without an answer:\n{self._errors.read()[-3000:]}"
            )
        return json.loads(line)

    def turn(self, seconds):
        """What the program got done within this many seconds."""
        print("work", seconds, file=self.process.stdin, flush=True)
        return self.answer()

    def stop(self):
        """End the program, whatever it is doing."""
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self._errors):
            stream.close()


def started(name, folder, threads=1, mode="turns"):
    """A program of `trainer_programs.py`, started."""
    folder = Path(folder) / name
    folder.mkdir()
    command = [PROGRAMS_FILE, name, folder, mode]
    return Program(name, command, folder, environment(folder, threads))


def in_turn(starters, rounds, seconds):
    """Start all programs, let them work in turn.

    Parameters
    ----------
    starters : dict of callable
        Name -> function that starts the program.
    rounds : int
    seconds : float
        Of a turn.

    Returns
    -------
    starts : dict of dict
        First answer of every program.
    turns : dict of list of dict
        One answer per round.
    """
    programs, starts, turns = [], {}, {name: [] for name in starters}
    try:
        for name, start in starters.items():
            say(f"starting {name}")
            programs.append(start())
            starts[name] = programs[-1].answer()
        for number in range(rounds):
            say(f"round {number + 1} of {rounds}")
            for program in programs:
                turns[program.name].append(program.turn(seconds))
    finally:
        for program in programs:
            program.stop()
    return starts, turns


def whole(name, folder, *numbers):
    """A program from its start to its end.

    Parameters
    ----------
    name : str
    folder : path
        Made if missing; a cache of compiled programs that an earlier one left there is used.
    *numbers : int
        Its arguments.

    Returns
    -------
    dict
        CPU and wall seconds, peak resident memory [MB], and what the program answered.
    """
    folder = Path(folder)
    folder.mkdir(exist_ok=True)
    with (folder / "errors.log").open("w+") as errors, (folder / "answer").open("w+") as answer:
        began = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, str(PROGRAMS_FILE), name, str(folder), *map(str, numbers)],
            stdin=subprocess.DEVNULL,
            stdout=answer,
            stderr=errors,
            env=environment(folder),
        )
        _, status, used = os.wait4(process.pid, 0)
        wall = time.monotonic() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            errors.seek(0)
            raise ProgramFailed(f"{name} failed:\n{errors.read()[-3000:]}")
        answer.seek(0)
        said = answer.read()
    cpu = used.ru_utime + used.ru_stime
    return {"cpu": cpu, "wall": wall, "mb": used.ru_maxrss / 1024, **json.loads(said or "{}")}
