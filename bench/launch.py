"""What launching, listing and watching runs costs, and reading their curves.

    python bench/launch.py                      everything, about fifteen minutes
    python bench/launch.py --only plan,list     these subjects
    python bench/launch.py --runs 10000         a smaller grid: nothing is judged

Each program runs in a process of its own in a folder of results of its own. Judged are CPU seconds,
which other work on the machine disturbs less than the time on the clock, memory, and numbers of
questions to the file system. Exit status: 0 when every bound holds, 1 when one is missed, 2 when a
program failed.
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

from launch_runs import MORE, ROOT, Launches, LaunchFailed, overheads
from tables import say, text

PROGRAMS_FILE = Path(__file__).with_name("launch_programs.py")
CACHES = ("TF_XLA_FLAGS", "JAX_COMPILATION_CACHE_DIR")
ALL_RUNS, EVENT_FILES, LEAST_WATCHED = 100_000, 1000, 1000
SUBJECTS = {
    "plan": "a large grid: plan, dry run",
    "list": "the same grid recorded: runs list, a launch with --resume",
    "watch": "runs watch beside a tenth as many runs, a tenth of them running",
    "events": "event files as a table, beside TensorBoard",
    "run": "a run beyond its training, alone and with --together",
}


@dataclass(frozen=True)
class Bound:
    """A figure that must not be larger than `most`, or not smaller than `least`."""

    figure: str
    what: str
    unit: str = "CPU s"
    most: float | None = None
    least: float | None = None

    def holds(self, value):
        if self.most is not None:
            return value <= self.most
        return self.least is None or value >= self.least

    def __str__(self):
        if self.most is not None:
            return f"≤ {self.most:g}"
        return "" if self.least is None else f"≥ {self.least:g}"


# a figure without a bound is shown beside the ones that have one
BOUNDS = [
    Bound("plan", "plan, index and tasks of 100 000 runs", most=2),
    Bound("dry_run", "a dry run of them", most=2),
    Bound("resume", "the grid again with --resume, all done, results looked at", most=6),
    Bound("list", "runs list, 100 000 recorded, again", most=1),
    Bound("list_first", "runs list, the first one after records have come", most=2),
    Bound("list_mb", "its memory", "MB", most=300),
    Bound("list_whole", "the whole command, start included", most=1.5),
    Bound("reading", "states from the contents of all records", ""),
    Bound("names", "… against states from names", "times", least=3),
    Bound("ledger", "experiments.txt from the results of all runs"),
    Bound("watch_files", "runs watch, 1000 running: files read a minute", "", most=200),
    Bound("watch_listings", "folders listed a minute", "", most=60),
    Bound("watch_times", "times of files asked for a minute", "", most=1500),
    Bound("watch_by_list", "all questions a minute of runs list every 5 s instead", ""),
    Bound("watch_cpu", "runs watch for a minute", most=2),
    Bound("events", "one tag of 1000 event files as a table"),
    Bound("events_again", "… again, from what was kept of them"),
    Bound("tensorboard", "the same files by TensorBoard's accumulators"),
    Bound("events_ratio", "TensorBoard against the table", "times", least=2),
    Bound("events_again_ratio", "TensorBoard against the table, again", "times", least=10),
    Bound("epoch", "an epoch of five repetitions"),
    Bound("cold", "a run beyond its epochs, nothing compiled before"),
    Bound("alone", "a run beyond its epochs, programs from the cache", most=8),
    Bound("together", "one more run of the same program with --together", most=1.5),
    Bound("mean", f"a run of {MORE} with --together, start shared"),
]


class ProgramFailed(Exception):
    """A program ended without an answer."""


def environment(folder):
    """Environment of a program: one thread, no GPU, caches of its own."""
    kept = {name: value for name, value in os.environ.items() if name not in CACHES}
    return {
        **kept,
        "OMP_NUM_THREADS": "1",
        "TF_NUM_INTRAOP_THREADS": "1",
        "TF_NUM_INTEROP_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "-1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "KERAS_BACKEND": "tensorflow",
        "PYTHONPATH": str(ROOT),
        "XDG_CACHE_HOME": str(folder / "cache"),
    }


def answer(name, folder, number):
    """What a program says, its CPU seconds and its memory [MB] included as ``whole`` and ``mb``."""
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            [sys.executable, str(PROGRAMS_FILE), name, str(folder), str(number)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=environment(Path(folder)),
        )
        said = process.stdout.read()
        process.stdout.close()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode or not said:
            errors.seek(0)
            raise ProgramFailed(f"{name} ended without an answer:\n{errors.read()[-3000:]}")
    told = json.loads(said.splitlines()[-1])
    return {**told, "whole": used.ru_utime + used.ru_stime, "memory": used.ru_maxrss / 1024}


def median(name, folders, number, what="cpu"):
    """Median of one figure of a program in several folders."""
    return statistics.median(answer(name, folder, number)[what] for folder in folders)


def plan(folder, options):
    """Figures of planning, each in new folders."""
    folders = [folder / f"plan{number}" for number in range(options.rounds)]
    return {
        "plan": median("plan", folders, options.runs),
        "dry_run": median("dry_run", [folder / "dry"] * options.rounds, options.runs),
    }


def listing(folder, options):
    """Figures of a folder in which all runs are done."""
    place = folder / "recorded"
    say(f"writing the results of {options.runs} runs")
    answer("tree", place, options.runs)
    ledger = place / "training_data" / "experiments.txt"
    first = []
    for _ in range(options.rounds):
        os.utime(ledger, (0, 0))  # as if all records had come since
        first.append(answer("listed", place, options.runs)["cpu"])
    again = [answer("listed", place, options.runs) for _ in range(options.rounds)]
    reading = answer("listed_by_reading", place, options.runs)["cpu"]
    found = {name: statistics.median(one[name] for one in again) for name in ("cpu", "whole")}
    return {
        "list": found["cpu"],
        "list_first": statistics.median(first),
        "list_mb": max(one["memory"] for one in again),
        "list_whole": found["whole"],
        "reading": reading,
        "names": reading / found["cpu"],
        "resume": median("resume", [place] * options.rounds, options.runs),
        "ledger": answer("ledger_anew", place, options.runs)["cpu"],
    }


def watching(folder, options):
    """Figures of `runs watch`."""
    told = answer("watch", folder / "watched", max(options.runs // 10, LEAST_WATCHED))
    return {
        **{f"watch_{kind}": told[kind] for kind in ("files", "listings", "times", "by_list")},
        "watch_cpu": told["cpu"],
    }


def events(folder, options):
    """Figures of event files; each round reads them anew."""
    place = folder / "events"
    answer("write_events", place, EVENT_FILES)
    rounds = []
    for _ in range(options.rounds):
        for kept in (place / "training_data" / ".cache").rglob("*.parquet"):
            kept.unlink()
        ours = answer("read_events", place, EVENT_FILES)
        theirs = answer("tensorboard_events", place, EVENT_FILES)
        if (ours["points"], ours["sum"]) != (theirs["points"], theirs["sum"]):
            raise ProgramFailed(f"the readers disagree: {ours} and {theirs}")
        rounds.append((ours["cpu"], ours["again"], theirs["cpu"]))
    first, again, theirs = zip(*rounds, strict=True)
    return {
        "events": statistics.median(first),
        "events_again": statistics.median(again),
        "tensorboard": statistics.median(theirs),
        "events_ratio": statistics.median(b / a for a, _, b in rounds),
        "events_again_ratio": statistics.median(b / a for _, a, b in rounds),
    }


def running(folder, options):
    """Figures of whole runs."""
    place = folder / "runs"
    place.mkdir()
    return overheads(Launches(place, environment(place)), options.rounds, say)


WORK = {"plan": plan, "list": listing, "watch": watching, "events": events, "run": running}


def rows(figures, bounds=BOUNDS):
    """One row per figure for the table."""
    found = [["figure", "unit", "bound", "measured", ""]]
    for bound in bounds:
        if bound.figure in figures:
            value = figures[bound.figure]
            judged = "" if not str(bound) else "reached" if bound.holds(value) else "MISSED"
            shown = f"{value:.0f}" if value >= 100 else f"{value:.3g}"
            found.append([bound.what, bound.unit, str(bound), shown, judged])
    return found


def arguments():
    parser = argparse.ArgumentParser(
        description="What launching, listing and watching runs costs, in CPU seconds.",
        epilog="Subjects: " + "; ".join(f"{name}: {what}" for name, what in SUBJECTS.items()),
    )
    parser.add_argument("--rounds", type=int, default=3, help="how often each is measured (3)")
    parser.add_argument("--runs", type=int, default=ALL_RUNS, help=f"size of the grid ({ALL_RUNS})")
    parser.add_argument("--only", help="subjects, with commas between them (all)")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    options = parser.parse_args()
    options.only = options.only.split(",") if options.only else list(SUBJECTS)
    unknown = [name for name in options.only if name not in SUBJECTS]
    if unknown:
        parser.error(f"no subject {', '.join(unknown)}; choose from {', '.join(SUBJECTS)}")
    if options.rounds < 1 or options.runs < 10:
        parser.error("rounds must be positive, and runs at least 10")
    return options


def main():
    options = arguments()
    figures = {}
    try:
        with tempfile.TemporaryDirectory() as folder:
            for name in (name for name in SUBJECTS if name in options.only):
                say(f"{name}: {SUBJECTS[name]}")
                figures |= WORK[name](Path(folder), options)
            print(text(rows(figures), options.markdown), flush=True)
            say("removing the folders, which takes a while")
    except (ProgramFailed, LaunchFailed) as failure:
        say(str(failure))
        return 2
    if options.runs != ALL_RUNS:
        say(f"bounds are for {ALL_RUNS} runs; with {options.runs} nothing is judged")
        return 0
    holds = [bound.holds(figures[bound.figure]) for bound in BOUNDS if bound.figure in figures]
    return 0 if all(holds) else 1


if __name__ == "__main__":
    sys.exit(main())
