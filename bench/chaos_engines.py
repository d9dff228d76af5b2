"""Five minutes of kills on a real Grid Engine and a real Slurm: is every run done exactly once?

    python bench/chaos_engines.py                            both engines, about 15 minutes, as root
    python bench/chaos_engines.py --engine slurm --seed 7    one of them, other kills
    python bench/chaos_engines.py --seconds 60 --runs 12     a short one

A grid of short runs without TensorFlow is sent to an engine on this machine, which is installed
and started where it is missing. Then programs, wrappers, the engine's own processes beside them,
its execution daemon and its master are killed without warning (KILL), one every few seconds;
daemons are brought up again some seconds later. In between `runs list` must not call a run
that lives anything but running, and `runs retry --failed` is tried while the engine may be down.
At the end it is repeated until all is done. Then each run must have one record of a good end, and
the models of an undisturbed one; no run may have been trained twice at the same time, and
`experiments.txt` must have each once. Exit status: 0 when all that holds or no engine can be
brought up here, 1 when it does not hold, 2 for a wrong command line.
"""

import argparse
import contextlib
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import tables
from chaos_results import finished
from chaos_toys import NAME, Toys, judge
from checkouts import ENGINES, ENVIRONMENTS, Unavailable

from utils import job_node, queues
from utils.command_lines import Parser, Refusal, answer, number, positive
from utils.states import UNDER_WAY

DAEMONS = {
    "grid-engine": {"node": "sge_execd", "master": "sge_qmaster"},
    "slurm": {"node": "slurmd", "master": "slurmctld"},
}
WHATS = {"program": 3, "wrapper": 3, "shepherd": 2, "node": 2, "master": 2}
"""Whom to kill, and how often compared to each other; a shepherd is Slurm's slurmstepd."""

PAUSE_S = (1.0, 4.0)
DOWN_S = (0.5, 6.0)
RETRIES = 0.3
"""Share of the kills before which `runs retry --failed` is called."""

AT_ONCE = 4
VICTIM_S = 10.0
SETTLED_S = 420.0
GHOSTS_S = 30.0
MOST_ROUNDS = 12
UPS = 3
COMMAND_S = 300.0


class Kill(NamedTuple):
    """Who is killed, after which pause, for how long a daemon is down, what is done before."""

    what: str
    pause: float
    down: float
    retry: bool


class Problem(Exception):
    """Something that must not happen."""


def planned(seed):
    """Yield kills without end: first one of each kind in a drawn order, then all are drawn."""
    generator = random.Random(seed)
    first = generator.sample(list(WHATS), len(WHATS))
    while True:
        what = first.pop() if first else generator.choices(list(WHATS), WHATS.values())[0]
        pause, down = generator.uniform(*PAUSE_S), generator.uniform(*DOWN_S)
        yield Kill(what, pause, down, generator.random() < RETRIES)


class Chaos:
    """One engine, and a grid that is sent to it.

    Parameters
    ----------
    name : str
        ``grid-engine`` or ``slurm``.
    folder : Path
        For checkout and results.
    runs : int
        Number of runs.
    seconds : float
        How long there are kills.
    length : float
        How long each run takes [s].
    """

    def __init__(self, name, folder, runs, seconds, length):
        self.name, self.engine = name, ENGINES[name]()
        self.seconds = seconds
        self.toys = Toys(folder, runs, length)
        self.kills, self.missed = Counter(), Counter()
        self.done = {}  # what was finished, which must not change any more
        self.given_up = {}  # what was called lost before it began: submissions, and what was said
        self.looks, self.lives, self.ghosts = 0, 0, set()
        self._ghosts = {}  # what only the engine believes to run, and since when
        self._risen = threading.Thread()  # brings the engine up again while the rest goes on

    def command(self, *words, statuses=(0,)):
        """What a command of the launcher prints; whatever happens, it shows no traceback."""
        done = subprocess.run(
            [sys.executable, *words],
            cwd=self.toys.root,
            env=self.toys.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
        )
        if "Traceback" in done.stderr or done.returncode not in statuses:
            raise Problem(
                f"{' '.join(words)} ended with {done.returncode}: {done.stdout}{done.stderr}"
            )
        return done.stdout + done.stderr

    def send(self):
        """Send the grid, and wait until it begins."""
        words = [ENVIRONMENTS[self.name], "--jobs", str(AT_ONCE)]
        tables.say(self.command("experiments/toys/toy_runner.py", *words).strip())
        end = time.monotonic() + SETTLED_S
        while not self.toys.some("program"):
            if time.monotonic() > end:
                raise Problem(f"nothing begins within {SETTLED_S:.0f} s: {counted(self.look())}")
            time.sleep(0.1)

    def retry(self):
        """Send again what ended badly; an engine that is down, or without a node, is a sentence."""
        said = self.command("-m", "utils.jobs", "retry", "--failed", NAME, statuses=(0, 1, 2))
        tables.say(f"{self.engine.name}: runs retry: {' '.join(said.split())[:200]}")

    def look(self):
        """Run -> (state, rest of the line) of `runs list`; a `Problem` where that is wrong."""
        before, sent = self.toys.living(), self.toys.sent()
        said = self.command("-m", "utils.jobs", "list", NAME, "--all")
        after = self.toys.living()
        found = re.findall(rf"^{NAME}:(\d+) +(\w+)(.*)", said, re.MULTILINE)
        states = {int(run): (state, rest) for run, state, rest in found}
        self.looks += 1
        for process in before.keys() & after.keys():
            run = before[process]
            self.lives += 1
            if states[run][0] != "running":
                raise Problem(
                    f"run {run} is at work as process {process[0]}, and `runs list` calls it "
                    f"{states[run][0]}:{states[run][1]}"
                )
        for run, (state, rest) in states.items():
            if state == "failed" and "killed by signal" not in rest:
                raise Problem(f"nobody killed run {run}, and it failed:{rest}")
            attempt, tokens = sent[run]
            if state == "lost" and not self._holder(run, attempt):
                self.given_up.setdefault((run, attempt), (tokens, rest))
        for (run, attempt), (tokens, rest) in self.given_up.items():
            if self._holder(run, attempt) in tokens:
                raise Problem(f"run {run} was called lost before it began, and began:{rest}")
        now = finished(self.toys.results)
        if changed := [place for place, text in self.done.items() if now.get(place) != text]:
            raise Problem(f"{', '.join(changed)} was done and has changed")
        self.done = now
        return states

    def _holder(self, run, attempt):
        """The submission that an attempt was claimed for, empty where nobody has claimed it."""
        claim = job_node.state_file(self.toys.logs() / ".jobs", run, 0, attempt, "claim")
        return job_node.read_json(claim).get("token", "")

    def strike(self, kill, generator):
        """Kill; return whether there was a victim."""
        if kill.what in DAEMONS[self.name]:
            self._wait_until_up()
            with contextlib.suppress(KeyError):  # somebody else has just stopped it
                self.engine.kill(DAEMONS[self.name][kill.what])
            self._risen = threading.Thread(target=self._rise, args=(kill.down,))
            self._risen.start()
            return True
        end = time.monotonic() + VICTIM_S
        while not (victims := self.toys.some(kill.what)) and time.monotonic() < end:
            time.sleep(0.1)
        if not victims:
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(generator.choice(victims), signal.SIGKILL)
        return True

    def up(self):
        """Bring up what is down; somebody else may be killing, too, so it is tried again."""
        for _ in range(UPS):
            try:
                return self.engine.bring_up()
            except AssertionError as failure:  # of the tests' engines, with what the script said
                said = failure
        raise Problem(f"{self.engine.name} does not come up: {said}")

    def _rise(self, down):
        time.sleep(down)
        with contextlib.suppress(Problem):  # whoever waits for it tries again, and hears it then
            self.up()

    def _wait_until_up(self):
        if self._risen.ident:
            self._risen.join()
        self.up()

    def torment(self, seed):
        """Kill until the time is over, or until nothing is left to be done."""
        generator = random.Random(seed)
        end = time.monotonic() + self.seconds
        for kill in planned(seed):
            each = all(self.kills[what] + self.missed[what] for what in WHATS)
            if time.monotonic() > end and each:
                return
            time.sleep(kill.pause)
            if kill.retry:
                self.retry()
            struck = self.strike(kill, generator)
            (self.kills if struck else self.missed)[kill.what] += 1
            states = self.look()
            self.free_ghosts()
            said = counted(states)
            tables.say(
                f"{self.engine.name}: {kill.what} {'' if struck else 'not '}killed; then {said}"
            )
            if said == f"{len(self.toys.numbers)} done":
                return

    def settle(self):
        """Try again until all is done; return how often that was."""
        for trial in range(MOST_ROUNDS):
            self._wait_until_up()
            states = self._ended()
            tables.say(f"{self.engine.name}: left in peace; now {counted(states)}")
            if {state for state, _ in states.values()} == {"done"}:
                return trial
            self.retry()
        raise Problem(f"after {MOST_ROUNDS} times `runs retry` not everything is done")

    def _ended(self):
        """States when nothing is under way any more."""
        end = time.monotonic() + SETTLED_S
        while True:
            states = self.look()
            if not any(state in UNDER_WAY for state, _ in states.values()):
                return states
            self.free_ghosts()
            self.up()  # a master that was killed may drain its node a while later, and once more
            if time.monotonic() > end:
                raise Problem(f"nothing ends within {SETTLED_S:.0f} s: {counted(states)}")
            time.sleep(2.0)

    def free_ghosts(self):
        """Delete tasks that only their engine believes to run, when it has done so for a while.

        Of a task whose own process of the engine was killed it may do so for ever, and for minutes
        of one that was never started. These stand in the way of others.
        """
        if self._risen.is_alive():
            return
        alive, now = self.toys.held_tasks(), time.monotonic()
        ghosts = [task for task in self.toys.started(self.engine) if task not in alive]
        self._ghosts = {task: self._ghosts.get(task, now) for task in ghosts}
        for (job, task), since in self._ghosts.items():
            if now - since > GHOSTS_S:
                self.ghosts.add((job, task))
                numbers = None if task is None else [task]
                for command in queues.ENGINES[self.name].cancel_commands(job, numbers):
                    self.engine.call(*command)

    def clean(self):
        """Bring the engine up, and end what is left of this grid."""
        for what in ("wrapper", "program"):
            for pid in self.toys.some(what):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self._wait_until_up()
        self.engine.clear(self.toys.root)


def counted(states):
    """States of runs as a sentence."""
    counts = Counter(state for state, _ in states.values())
    return ", ".join(f"{count} {state}" for state, count in counts.most_common())


def figures(chaos, took, rounds):
    """A row of the table."""
    trainings = chaos.toys.trainings().values()
    attempts = [attempt for attempt, _ in chaos.toys.sent().values()]
    said = chaos.toys.said_by_wrappers()
    return [
        chaos.engine.name,
        *(str(chaos.kills[what]) for what in WHATS),
        f"{took:.0f}",
        str(len(attempts)),
        f"{sum(attempts)} (at most {max(attempts)})",
        str(sum(what == "start" for lines in trainings for _, _, what in lines)),
        str(sum("is taken by another process" in line for line in said)),
        f"{chaos.lives} in {chaos.looks}",
        str(len(chaos.ghosts)),
        str(rounds),
    ]


HEAD = [
    *("engine", *WHATS, "seconds", "runs", "attempts sent", "trainings begun"),
    *("second starts refused", "living runs seen in listings"),
    *("tasks only believed to run", "retries at the end"),
]


def torment(name, options, folder):
    """Send, kill, settle, judge; return a row of the table and what is wrong."""
    length = options.length or options.seconds * AT_ONCE / options.runs
    chaos = Chaos(name, folder, options.runs, options.seconds, length)
    was_up = bool(chaos.engine.daemons())
    chaos.up()
    try:
        begin = time.monotonic()
        chaos.send()
        chaos.torment(options.seed)
        tables.say(f"{chaos.engine.name}: no more kills")
        rounds = chaos.settle()
        row = figures(chaos, time.monotonic() - begin, rounds)
        return row, judge(chaos.toys)
    finally:  # of Ctrl-C, too
        chaos.clean()
        if not was_up:
            chaos.engine.down()


def main(words=None):
    """Follow the command line; return the exit status."""
    return answer(lambda: follow(sys.argv[1:] if words is None else words))


def follow(words):
    """Read the command line and do what it says; return the exit status."""
    parser = Parser(
        prog="chaos_engines.py", description=__doc__.splitlines()[0], allow_abbrev=False
    )
    add = parser.add_argument
    add("--engine", choices=list(ENGINES), help="only this one (default: both)")
    add("--seed", type=number, default=1, metavar="N", help="of the kills (default: 1)")
    add("--seconds", type=positive, default=300, metavar="N", help="of kills (default: 300)")
    add("--runs", type=positive, default=60, metavar="N", help="of each grid (default: 60)")
    add(
        "--length",
        type=positive,
        metavar="N",
        help="of a run [s] (default: till the kills end)",
    )
    add("--keep", type=Path, metavar="FOLDER", help="a new folder for all files, to be kept")
    add("--markdown", action="store_true", help="the table as Markdown")
    options = parser.read(words)
    if options.keep is not None and options.keep.exists() and any(options.keep.iterdir()):
        raise Refusal(f"{options.keep} holds something already; name a new folder")
    # what is started in the background ignores Ctrl-C, and hands that on
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if options.keep is not None:
        return chaos(options, options.keep.resolve())
    with tempfile.TemporaryDirectory(prefix="chaos-", ignore_cleanup_errors=True) as folder:
        return chaos(options, Path(folder))


def chaos(options: argparse.Namespace, folder):
    """Torment each engine; return the exit status."""
    rows, wrong = [], []
    for name in [options.engine] if options.engine else ENGINES:
        try:
            row, problems = torment(name, options, folder / name)
        except Unavailable as reason:
            print(f"no chaos on engines: {reason}")
            return 0
        except Problem as problem:
            print(f"{name}: {problem}", file=sys.stderr)
            wrong.append(name)
            continue
        rows.append(row)
        wrong += [f"{name}: {line}" for line in problems]
        for line in problems:
            print(f"{name}: {line}", file=sys.stderr)
    if rows:
        print(tables.text([HEAD, *rows], options.markdown))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
