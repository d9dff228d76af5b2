"""How fast the trainer is, against Keras' own loop and against a session loop.

    python bench/trainer.py                      all programs, about six minutes
    python bench/trainer.py --rounds 5 --only session,group
    python bench/trainer.py --check              do all programs do the same work?

Every program is started in a process of its own, held to one thread, and works in turn with the
others; the figure of a program is its median over the rounds, a ratio is the median of the ratios
within the rounds, because other work on the machine disturbs rounds, not programs. What is
judged are ratios of CPU seconds; absolute figures are printed and never judged. Exit status: 0
when every bound holds, 1 when one is missed, 2 when a program failed.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

PROGRAMS_FILE = Path(__file__).with_name("trainer_programs.py")
PROGRAMS = {
    "session": "graph mode, one session.run a step",
    "lean_session": "the same with the trainer's formulas",
    "fit": "Keras model.fit, one step per call",
    "best_fit": "Keras model.fit, XLA, an epoch per call",
    "all": "the trainer, ten members, all features on",
    "group": "the trainer, ten members, bare",
    "one": "the trainer, one member",
}
END_TO_END = "end_to_end"
TEN_SEEDS, ONE_SEED = "ten seeds", "one seed"


@dataclass(frozen=True)
class Bound:
    """A ratio of two rates that must not be smaller, or of two costs that must not be larger."""

    what: str
    program: str
    reference: str
    least: float | None = None
    below: float | None = None

    def holds(self, ratio):
        return ratio >= self.least if self.below is None else ratio < self.below

    def __str__(self):
        return f"≥ {self.least:g}" if self.below is None else f"< {self.below:g}"


BOUNDS = [
    Bound("ten members, all features on, against fit", "all", "fit", least=14),
    Bound("ten members, all features on, against the best fit", "all", "best_fit", least=5),
    Bound("ten members, all features on, against the session loop", "all", "session", least=9),
    Bound("one member against the session loop", "one", "session", least=7),
    Bound("all features on against the bare group", "all", "group", least=0.85),
    Bound("ten seeds against one, start to end, CPU seconds", TEN_SEEDS, ONE_SEED, below=4),
]


class ProgramFailed(Exception):
    """A program ended without an answer."""


class Program:
    """One program in its process, and the pipe to it."""

    def __init__(self, name, folder, mode="turns"):
        self.name = name
        folder = Path(folder) / name
        folder.mkdir()
        self._errors = (folder / "errors.log").open("w+")
        self.process = subprocess.Popen(
            [sys.executable, str(PROGRAMS_FILE), name, str(folder), mode],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env=environment(folder),
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
        """What the program got done within this many CPU seconds."""
        print("work", seconds, file=self.process.stdin, flush=True)
        return self.answer()

    def stop(self):
        """End the program, whatever it is doing."""
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self._errors):
            stream.close()


def environment(folder):
    """Environment of a program: one thread, no GPU, an empty cache of compiled programs."""
    return {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "TF_NUM_INTRAOP_THREADS": "1",
        "TF_NUM_INTEROP_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "-1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "KERAS_BACKEND": "tensorflow",
        "PYTHONPATH": str(PROGRAMS_FILE.parents[1]),
        "XDG_CACHE_HOME": str(folder / "cache"),
    }


def in_turn(names, folder, rounds, seconds):
    """Start all programs, let them work in turn.

    Returns
    -------
    starts : dict of dict
        First answer of every program.
    turns : dict of list of dict
        One answer per round.
    """
    programs, starts, turns = [], {}, {name: [] for name in names}
    try:
        for name in names:
            say(f"starting {name}")
            programs.append(Program(name, folder))
            starts[name] = programs[-1].answer()
        for number in range(rounds):
            say(f"round {number + 1} of {rounds}")
            for program in programs:
                turns[program.name].append(program.turn(seconds))
    finally:
        for program in programs:
            program.stop()
    return starts, turns


def end_to_end(folder, rounds, epochs):
    """CPU seconds of whole processes that train ten seeds, and of such that train one.

    Returns
    -------
    dict of list of float
        One figure per round.
    """
    seconds = {TEN_SEEDS: [], ONE_SEED: []}
    for number in range(rounds):
        for what, seeds in ((ONE_SEED, 1), (TEN_SEEDS, 10)):
            say(f"{what}, start to end, round {number + 1} of {rounds}")
            place = Path(folder) / f"{what}{number}".replace(" ", "_")
            place.mkdir()
            with (place / "errors.log").open("w+") as errors:
                process = subprocess.Popen(
                    [
                        sys.executable,
                        str(PROGRAMS_FILE),
                        END_TO_END,
                        str(place),
                        f"{seeds},{epochs}",
                    ],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=errors,
                    env=environment(place),
                )
                _, status, used = os.wait4(process.pid, 0)
                process.returncode = os.waitstatus_to_exitcode(status)
                if process.returncode:
                    errors.seek(0)
                    raise ProgramFailed(f"{what} failed:\n{errors.read()[-3000:]}")
            seconds[what].append(used.ru_utime + used.ru_stime)
    return seconds


def rates(turns):
    """Member-epochs per CPU second, of every program in every round."""
    return {name: [turn["epochs"] / turn["cpu"] for turn in of] for name, of in turns.items()}


def ratio(figures, program, reference):
    """Median over the rounds of one program's figure divided by another's in the same round."""
    pairs = zip(figures[program], figures[reference], strict=True)
    return statistics.median(figure / other for figure, other in pairs)


def judged(figures):
    """(bound, ratio) of every bound whose programs have worked."""
    return [
        (bound, ratio(figures, bound.program, bound.reference))
        for bound in BOUNDS
        if figures.get(bound.program) and figures.get(bound.reference)
    ]


def speed_rows(starts, turns):
    """One row per program for the table of speeds."""
    figures = rates(turns)
    rows = [["program", "per CPU s", "per wall s", "x session", "x fit", "start CPU s", "MB"]]
    for name, of in turns.items():
        wall = statistics.median(turn["epochs"] / turn["wall"] for turn in of)
        against = [
            f"{ratio(figures, name, other):.2f}" if other in figures else "–"
            for other in ("session", "fit")
        ]
        row = [f"{statistics.median(figures[name]):.1f}", f"{wall:.1f}", *against]
        row += [f"{starts[name]['start_cpu']:.1f}", f"{of[-1]['mb']:.0f}"]
        rows.append([PROGRAMS[name], *row])
    return rows


def bound_rows(results):
    """One row per bound for the table of ratios."""
    return [["figure", "bound", "measured", ""]] + [
        [bound.what, str(bound), f"{value:.2f}", "reached" if bound.holds(value) else "MISSED"]
        for bound, value in results
    ]


def text(rows, markdown):
    """A table, for a terminal or as Markdown."""
    if markdown:
        lines = ["| " + " | ".join(row) + " |" for row in rows]
        return "\n".join([lines[0], "|---" * len(rows[0]) + "|", *lines[1:]])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def say(line):
    """Progress, beside the tables on standard output."""
    print(line, file=sys.stderr, flush=True)


def check(names, folder, tolerance=0.01):
    """Whether all programs reach the same cost from the same start values in ten epochs."""
    costs = {}
    for name in names:
        program = Program(name, folder, mode="check")
        try:
            costs[name] = program.answer()["cost"]
        finally:
            program.stop()
        print(f"{name:10} cost after ten epochs {costs[name]:.3f}", flush=True)
    middle = statistics.median(costs.values())
    return all(abs(value / middle - 1) <= tolerance for value in costs.values())


def arguments():
    parser = argparse.ArgumentParser(
        description="Speed of the trainer against Keras' fit and a session loop, in CPU seconds.",
        epilog="Programs: "
        + "; ".join(f"{name}: {what}" for name, what in PROGRAMS.items())
        + f"; {END_TO_END}: whole processes that train ten seeds, or one.",
    )
    parser.add_argument("--rounds", type=int, default=7, help="turns of each program (7)")
    parser.add_argument("--seconds", type=float, default=1.5, help="CPU seconds of a turn (1.5)")
    parser.add_argument("--end-rounds", type=int, default=3, help="rounds start to end (3)")
    parser.add_argument("--epochs", type=int, default=300, help="epochs start to end (300)")
    parser.add_argument("--only", help="programs to start, with commas between them (all)")
    parser.add_argument("--markdown", action="store_true", help="print the tables as Markdown")
    parser.add_argument("--check", action="store_true", help="compare what the programs learn")
    options = parser.parse_args()
    known = [*PROGRAMS, END_TO_END]
    options.only = options.only.split(",") if options.only else known
    unknown = [name for name in options.only if name not in known]
    if unknown:
        parser.error(f"no program {', '.join(unknown)}; choose from {', '.join(known)}")
    if min(options.rounds, options.end_rounds, options.epochs) < 1 or options.seconds <= 0:
        parser.error("rounds, seconds and epochs must be positive")
    return options


def main():
    options = arguments()
    names = [name for name in PROGRAMS if name in options.only]
    figures = {}
    try:
        with tempfile.TemporaryDirectory() as folder:
            if options.check:
                return 0 if check(names, folder) else 1
            if names:
                starts, turns = in_turn(names, folder, options.rounds, options.seconds)
                print(text(speed_rows(starts, turns), options.markdown), end="\n\n")
                figures |= rates(turns)
            if END_TO_END in options.only:
                seconds = end_to_end(folder, options.end_rounds, options.epochs)
                for what, of in seconds.items():
                    print(f"{what}, start to end: {statistics.median(of):.1f} CPU s")
                print()
                figures |= seconds
    except ProgramFailed as failure:
        say(str(failure))
        return 2
    results = judged(figures)
    if results:
        print(text(bound_rows(results), options.markdown))
    return 0 if all(bound.holds(value) for bound, value in results) else 1


if __name__ == "__main__":
    sys.exit(main())
