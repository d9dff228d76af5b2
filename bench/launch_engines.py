"""What sending runs to a real Grid Engine and a real Slurm costs, and what a run costs on a node.

    python bench/launch_engines.py                   everything, about ten minutes, as root
    python bench/launch_engines.py --only node,watch these subjects, which need no engine
    python bench/launch_engines.py --engine slurm    one engine
    python bench/launch_engines.py --many 20000      a smaller large grid: it is not judged

Jobs are sent so that they wait (held, or not before tomorrow) and are cancelled in the end: none of
them ever runs, and other jobs of the machine do. Judged are seconds on the clock, megabytes and
numbers of questions, so the machine should have nothing else to do. Exit status: 0 when every bound
holds, 1 when one is missed, 2 when a program failed.
"""

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import checkouts
from launch import Bound, ProgramFailed, answer, rows
from tables import say, text

RUNS, MANY = 1000, 100_000
NAME = "toys/toy"
WAITS = 100  # values of a hyper-parameter; the other one has as many as it takes
FEW, FORGOTTEN_S = 500, 420.0
WAITING = {
    "grid-engine": ["-q", "cpu.q", "-h"],
    "slurm": ["-p", "cpu", "--begin=now+1days"],
}
QUEUES = """
[qsub-cpu]
options = {grid-engine}
slots = {{ pe = "smp", count = 1 }}
resources = {{ mem_free = "1G" }}
environment = ["PATH", "PYTHONPATH"]

[slurm-cpu]
options = {slurm}
resources = {{ mem = "500M", cpus = 1 }}
environment = ["PATH", "PYTHONPATH"]
"""
# how somebody submits a run without this launcher
PLAIN = {
    # its folder is how the job is found again to be deleted
    "grid-engine": ["qsub", *WAITING["grid-engine"], "-cwd", "./run.sh"],
    "slurm": ["sbatch", *WAITING["slurm"], "--mem=100M", "./run.sh"],
}
SHORT = {"grid-engine": "ge", "slurm": "slurm"}
TITLES = {"grid-engine": "Grid Engine", "slurm": "Slurm"}
SUBJECTS = {
    "thousand": "1000 runs sent as one array, as single jobs, and by 1000 plain submissions",
    "many": "100 000 runs: planned, sent, listed, cancelled; on Slurm as many as it has room for",
    "node": "a run of a program that does nothing, beside the bare start of that program",
    "watch": "runs watch beside 1000 runs at work and as many in a queue",
}
BOUNDS = [
    *(
        bound
        for short, title in (("ge", "Grid Engine"), ("slurm", "Slurm"))
        for bound in (
            Bound(f"{short}_array", f"{title}: 1000 runs sent as one array", "s", most=2),
            Bound(f"{short}_array_cpu", "… CPU seconds of it", "CPU s"),
            Bound(f"{short}_singles", f"{title}: the same with --no-array", "s"),
            Bound(f"{short}_plain", f"{title}: 1000 plain submissions", "s"),
            Bound(f"{short}_ratio", "plain submissions against one array", "times", least=5),
        )
    ),
    Bound("plan_many", "100 000 runs: planned (--dry-run)", "s", most=2),
    Bound("plan_many_cpu", "… CPU seconds of it", "CPU s"),
    Bound("ge_send", "Grid Engine: 100 000 runs planned and sent", "s", most=5),
    Bound("ge_send_cpu", "… CPU seconds of it", "CPU s"),
    Bound("ge_list", "Grid Engine: runs list of them, again", "s", most=1),
    Bound("ge_list_cpu", "… CPU seconds of it", "CPU s"),
    Bound("ge_list_mb", "… its memory", "MB", most=300),
    Bound("ge_cancel", "Grid Engine: 100 000 runs cancelled", "s"),
    Bound("slurm_send", "Slurm: 100 000 runs planned, sent as far as there is room", "s"),
    Bound("slurm_sent", "… so many were taken", "runs"),
    Bound("slurm_list", "Slurm: runs list of them, again", "s"),
    Bound("slurm_again", "Slurm: runs send into the room that was left", "s"),
    Bound("slurm_room", "Slurm: runs send when 2000 were cancelled and forgotten", "s"),
    Bound("slurm_sent_again", "… so many were taken", "runs"),
    Bound("slurm_cancel", "Slurm: all runs cancelled", "s"),
    Bound("bare", "a program that does nothing, bare", "ms"),
    Bound("node", "a run of it beyond that, on the clock", "ms", most=60),
    Bound("node_cpu", "a run of it beyond that, CPU", "ms", most=60),
    Bound("watch_files", "runs watch, 1000 running: files read a minute", "", most=200),
    Bound("watch_listings", "folders listed a minute", "", most=60),
    Bound("watch_times", "times of files asked for a minute", "", most=1500),
    Bound("watch_queries", "questions to the engine a minute", "", most=2),
    Bound("watch_cpu", "runs watch for a minute", "CPU s", most=2),
]


class Held(checkouts.ClusterCheckout):
    """A toy checkout whose jobs wait in their queues.

    Parameters
    ----------
    folder : Path
        Where it and its results lie.
    runs : int
        Number of runs, a multiple of `WAITS`.
    """

    def __init__(self, folder, runs):
        super().__init__(folder)
        quoted = {name: str(words).replace("'", '"') for name, words in WAITING.items()}
        (self.root / "queues.local.toml").write_text(QUEUES.format(**quoted))
        numbers = f"number=range({runs // WAITS}), wait=[n / 100 for n in range({WAITS})]"
        self.write_grid(f'product("toys", "toy", {numbers})')
        self.send("slurm", "--dry-run")  # so that no later command has to compile modules

    def cost(self, *words, statuses=(0,)):
        """Seconds, CPU seconds, megabytes and output of a command of the launcher."""
        command = [sys.executable, *words]
        return timed(command, statuses, cwd=self.root, env=self.environment)

    def send(self, engine, *words):
        """The same of the runner, for an engine."""
        name = checkouts.ENVIRONMENTS[engine]
        return self.cost("experiments/toys/toy_runner.py", name, *words)

    def runs(self, *words):
        """The same of the command `runs`."""
        return self.cost("-m", "utils.jobs", *words)


def timed(command, statuses=(0,), **options):
    """Seconds, CPU seconds, megabytes and output of a command, what it starts included."""
    with tempfile.TemporaryFile("w+") as said:
        begin = time.monotonic()
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, text=True, **options
        )
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.monotonic() - begin
        process.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        output = said.read()
    if process.returncode not in statuses:
        raise ProgramFailed(f"{' '.join(command[:6])} … ended with {process.returncode}:\n{output}")
    return seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, output


def thousand(folder, options):
    """Figures of sending so many runs in three ways."""
    found = {}
    for name in options.engines:
        short = SHORT[name]
        arrays, cpu = [], []
        for number in range(options.rounds):
            checkout = Held(folder / f"{short}{number}", RUNS)
            seconds, used, _, _ = checkout.send(name)
            arrays.append(seconds)
            cpu.append(used)
            checkout.runs("cancel", NAME)
        say(f"{TITLES[name]}: {RUNS} runs with --no-array")
        checkout = Held(folder / f"{short}_singles", RUNS)
        singles = checkout.send(name, "--no-array")[0]
        checkout.runs("cancel", NAME)
        say(f"{TITLES[name]}: {RUNS} plain submissions")
        plain = folder / f"{short}_plain"
        plain.mkdir()
        (plain / "run.sh").write_text("#!/bin/sh\n")
        begin = time.monotonic()
        for _ in range(RUNS):
            timed(PLAIN[name], cwd=plain)
        alone = time.monotonic() - begin
        checkouts.ENGINES[name]().clear(plain)
        median = statistics.median(arrays)
        found |= {
            f"{short}_array": median,
            f"{short}_array_cpu": statistics.median(cpu),
            f"{short}_singles": singles,
            f"{short}_plain": alone,
            f"{short}_ratio": alone / median,
        }
    return found


def many(folder, options):
    """Figures of a very large grid."""
    found = {}
    if "grid-engine" in options.engines:
        found |= _many_on_grid_engine(Held(folder / "ge_many", options.many), options)
    if "slurm" in options.engines:
        found |= _many_on_slurm(Held(folder / "slurm_many", options.many), options)
    return found


def _many_on_grid_engine(checkout, options):
    dry = [checkout.send("grid-engine", "--dry-run")[:2] for _ in range(options.rounds)]
    seconds, cpu = map(statistics.median, zip(*dry, strict=True))
    say(f"Grid Engine: {options.many} runs")
    sent = checkout.send("grid-engine")
    return {
        "plan_many": seconds,
        "plan_many_cpu": cpu,
        "ge_send": sent[0],
        "ge_send_cpu": sent[1],
        **_listed(checkout, "ge", options),
        "ge_cancel": checkout.runs("cancel", NAME)[0],
    }


def _many_on_slurm(checkout, options):
    _until_forgotten(FEW)
    say(f"Slurm: {options.many} runs")
    found = {}
    found["slurm_send"], _, _, said = checkout.send("slurm")
    found["slurm_sent"] = _taken(said)
    say(" ".join(said.split()))
    found |= _listed(checkout, "slurm", options)
    found["slurm_again"], _, _, said = checkout.runs("send", NAME)
    say(" ".join(said.split()))
    checkout.runs("cancel", f"{NAME}:0-1999")
    _until_forgotten(int(found["slurm_sent"]) - 1000)
    found["slurm_room"], _, _, said = checkout.runs("send", NAME)
    found["slurm_sent_again"] = _taken(said)
    say(" ".join(said.split()))
    found["slurm_cancel"] = checkout.runs("cancel", NAME)[0]
    return found


def _until_forgotten(most):
    """Wait until Slurm knows no more than so many tasks: those that ended need room for a while."""
    say(f"waiting until Slurm knows {most} tasks at most")
    end = time.monotonic() + FORGOTTEN_S
    while time.monotonic() < end:
        _, _, _, said = timed(["squeue", "-h", "-r", "-t", "all"], statuses=(0, 1))
        if "error" not in said and said.count("\n") <= most:  # else it is just being restarted
            return
        time.sleep(2.0)
    raise ProgramFailed(f"Slurm knows more than {most} tasks after {FORGOTTEN_S:.0f} s")


def _listed(checkout, short, options):
    checkout.runs("list", NAME)
    again = [checkout.runs("list", NAME) for _ in range(options.rounds)]
    say(again[0][3].splitlines()[0])
    return {
        f"{short}_list": statistics.median(seconds for seconds, *_ in again),
        f"{short}_list_cpu": statistics.median(cpu for _, cpu, *_ in again),
        f"{short}_list_mb": max(mb for _, _, mb, _ in again),
    }


def _taken(said):
    """How many runs a launcher says that an engine has taken."""
    return sum(int(count) for count in re.findall(r"^(\d+) runs? of", said, re.MULTILINE))


def node(folder, options):
    """Figures of a run whose program does nothing."""
    told = answer("node", folder / "node", 20 * options.rounds)
    return {name: told[name] for name in ("bare", "node", "node_cpu")}


def watch(folder, options):
    """Figures of `runs watch` beside runs that an engine has."""
    told = answer("watch_queue", folder / "watched", 10 * RUNS)
    names = ("files", "listings", "times", "queries", "cpu")
    return {f"watch_{name}": told[name] for name in names}


WORK = {"thousand": thousand, "many": many, "node": node, "watch": watch}
ON_ENGINES = ("thousand", "many")


def arguments():
    parser = argparse.ArgumentParser(
        description="What sending runs to real engines costs, and a run on a node.",
        epilog="Subjects: " + "; ".join(f"{name}: {what}" for name, what in SUBJECTS.items()),
    )
    parser.add_argument("--rounds", type=int, default=3, help="how often most is measured (3)")
    parser.add_argument("--many", type=int, default=MANY, help=f"size of the large grid ({MANY})")
    parser.add_argument("--only", help="subjects, with commas between them (all)")
    parser.add_argument("--engine", choices=list(SHORT), help="only this one (both)")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    options = parser.parse_args()
    options.only = options.only.split(",") if options.only else list(SUBJECTS)
    options.engines = [options.engine] if options.engine else list(SHORT)
    unknown = [name for name in options.only if name not in SUBJECTS]
    if unknown:
        parser.error(f"no subject {', '.join(unknown)}; choose from {', '.join(SUBJECTS)}")
    if options.rounds < 1 or options.many < 2000 or options.many % WAITS:
        parser.error(f"rounds must be positive, the large grid 2000 runs or more, in {WAITS}s")
    return options


def main():
    options = arguments()
    figures = {}
    try:
        if set(options.only) & set(ON_ENGINES):
            for engine in options.engines:
                checkouts.ENGINES[engine]().bring_up()
        with tempfile.TemporaryDirectory() as folder:
            for name in (name for name in SUBJECTS if name in options.only):
                say(f"{name}: {SUBJECTS[name]}")
                try:
                    figures |= WORK[name](Path(folder), options)
                finally:
                    if name in ON_ENGINES:
                        for engine in options.engines:
                            checkouts.ENGINES[engine]().clear(folder)
            print(text(rows(figures, BOUNDS), options.markdown), flush=True)
    except (ProgramFailed, checkouts.Unavailable) as failure:
        say(str(failure))
        return 2
    if options.many != MANY:
        say(f"bounds are for {MANY} runs; with {options.many} nothing is judged")
        return 0
    return 0 if all(b.holds(figures[b.figure]) for b in BOUNDS if b.figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
