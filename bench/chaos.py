"""Ten kills in a row: does a grid of the demo network end as if nobody had touched it?

    python bench/chaos.py                       ten kills, 6 to 10 minutes on two cores
    python bench/chaos.py --seed 7 --kills 30   other moments, and more of them
    python bench/chaos.py --keep FOLDER         keep data and results there

The four-run grid is first trained undisturbed. Then it is started again in a folder of its own and
killed at a random moment: one of its programs, its wrapper, the pool or everything, without
warning (KILL) or with one (INT, TERM). The same command with ``--resume`` follows, with
``--together`` for half of the kills, until all are spent. After each, nothing may run any more,
`runs list` must say so, and what was done must be as it was. At the end models, curves and scores
must equal the undisturbed ones in every bit, with nothing left behind. Exit status: 0 when all that
holds, 1 when it does not, 2 for a wrong command line.
"""

import contextlib
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import tables
from chaos_results import bits, differences, finished, left_behind

from utils import make_data
from utils.command_lines import Parser, Refusal, answer, number, positive

ROOT = Path(__file__).parents[1]
RUNNER = "experiments/demo/first_grid_runner.py"
EXP = "demo/first_grid_chaos"
RUNS = 4
PUBLISHED = make_data.REGIONS[1]
SOONEST_S = 1.0
LATEST = 0.3  # of the time that the undisturbed grid takes
PATIENCE_S = 180.0
LAST_S = 3600.0
AT_REST = ("done", "failed", "lost", "cancelled", "new")
WHATS = [
    *(("program", "KILL"), ("wrapper", "KILL"), ("pool", "KILL"), ("everything", "KILL")),
    *(("pool", "INT"), ("pool", "TERM"), ("program", "TERM"), ("wrapper", "TERM")),
]


class Kill(NamedTuple):
    """What is killed, with which signal, in which mode, and when as a share of the latest."""

    what: str
    signal: str
    together: bool
    moment: float


class Problem(Exception):
    """Something that must not happen."""


def planned(seed, kills):
    """The kills in their order: each target without warning comes first, the rest is drawn."""
    generator = random.Random(seed)
    kinds = [(*kind, together) for together in (False, True) for kind in WHATS[:4]]
    kinds += [(*kind, generator.random() < 0.5) for kind in WHATS[4:6]]
    while len(kinds) < kills:
        kinds.append((*generator.choice(WHATS), generator.random() < 0.5))
    kinds = kinds[:kills]
    generator.shuffle(kinds)
    return [Kill(*kind, generator.random()) for kind in kinds]


class Grid:
    """The demo grid with data and results of its own."""

    def __init__(self, folder, name, epochs, repetitions, jobs):
        self.results = folder / name
        self.results.mkdir(parents=True)
        self.words = ["linux", "--jobs", str(jobs), "--set", f"epochs={epochs}", "--as", "chaos"]
        self.words += ["--repetitions", f"0-{repetitions - 1}"]
        self.log = folder / f"{name}.log"
        self.environment = {
            **{key: text for key, text in os.environ.items() if key != "BENCH_JOB"},
            "BENCH_DATA": str(folder / "Data"),
            "BENCH_RESULTS": str(self.results),
            "XDG_CACHE_HOME": str(folder / "cache"),
        }

    def start(self, *words):
        """The runner as a process that leads a session of its own."""
        with open(self.log, "ab") as log:
            return subprocess.Popen(
                [sys.executable, RUNNER, *self.words, *words],
                cwd=ROOT,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def runs(self, *words):
        """What the command `runs` prints."""
        done = subprocess.run(
            [sys.executable, "-m", "utils.jobs", *words],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
        )
        if done.returncode or "Traceback" in done.stderr:
            raise Problem(f"runs {' '.join(words)} ended with {done.returncode}: {done.stderr}")
        return done.stdout

    def states(self):
        """Run -> state, as `runs list` shows them; a `Problem` where one failed by itself."""
        listed = self.runs("list", EXP, "--all")
        found = re.findall(rf"^{EXP}:(\d+) +(\w+)(.*)", listed, re.MULTILINE)
        for run, state, rest in found:
            if state == "failed" and "killed by signal" not in rest:
                raise Problem(
                    f"nobody killed run {run}, and it failed: {rest.split(maxsplit=5)[-1]}"
                )
        return {int(run): state for run, state, _ in found}

    def processes(self):
        """Words of the command line of each process that works for this grid."""
        mark = f"BENCH_RESULTS={self.results}".encode()
        found = {}
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if mark in (entry / "environ").read_bytes().split(b"\0"):
                    words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
                    found[int(entry.name)] = words
        return found

    def some(self, what):
        """The processes of one kind: ``pool``, ``wrapper``, ``program``, ``everything``."""
        names = {"pool": RUNNER, "wrapper": "job_node.py", "program": "demo/first_grid.py"}
        word = names.get(what, "")
        return sorted(
            pid
            for pid, words in self.processes().items()
            if any(each.endswith(word) for each in words)
        )


def wait_until(condition, what, patience=PATIENCE_S):
    """Look again and again; a `Problem` when it takes too long."""
    end = time.monotonic() + patience
    while not (answered := condition()):
        if time.monotonic() > end:
            raise Problem(f"{what} did not happen within {patience:.0f} s")
        time.sleep(0.05)
    return answered


def strike(grid, kill, pool, generator):
    """Send the signal; return the processes that it was sent to, none when the grid had ended."""
    struck = wait_until(lambda: grid.some(kill.what) or pool.poll() is not None, "a victim")
    if struck is True:
        return []
    if kill.what in ("program", "wrapper"):
        struck = [generator.choice(struck)]
    for pid in struck:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, getattr(signal, f"SIG{kill.signal}"))
    return struck


def one_round(grid, kill, latest, generator):
    """Start, kill, look; return a row of the table, None when the grid had ended before."""
    begin = time.monotonic()
    pool = grid.start("--resume", *(["--together"] if kill.together else []))
    moment = SOONEST_S + kill.moment * max(0.0, latest - SOONEST_S)
    with contextlib.suppress(subprocess.TimeoutExpired):
        pool.wait(moment)
    at = time.monotonic() - begin
    struck = [] if pool.poll() is not None else strike(grid, kill, pool, generator)
    if not struck:
        if pool.wait(PATIENCE_S):
            raise Problem(f"the grid ended by itself with {pool.returncode}; see {grid.log}")
        return None
    grid.states()  # in the middle of it: any states, but no complaint
    if kill.what in ("program", "wrapper"):
        # the pool goes on with the other runs; two seconds later it is told to end, too
        with contextlib.suppress(subprocess.TimeoutExpired):
            pool.wait(2.0)
        pool.terminate()
    pool.wait(PATIENCE_S)
    wait_until(lambda: not grid.processes(), "the end of all that was started")
    states = grid.states()
    if wrong := {run: state for run, state in states.items() if state not in AT_REST}:
        raise Problem(f"nothing runs, and runs list says {wrong}")
    counts = Counter(states.values())
    said = ", ".join(f"{counts[state]} {state}" for state in AT_REST if counts[state])
    mode = "--together" if kill.together else ""
    return [kill.signal, kill.what, mode, f"{at:.1f}", said, f"{time.monotonic() - begin:.1f}"]


def torment(grid, kills, latest, generator):
    """Kill the grid again and again; return the rows of the table."""
    rows, done = [], {}
    for count, kill in enumerate(kills, 1):
        sooner = latest
        while (row := one_round(grid, kill, sooner, generator)) is None:
            sooner /= 2  # one run alone may never take that long
            run = generator.randrange(RUNS)
            tables.say(f"all runs are done before kill {count}; run {run} is removed, to be redone")
            done = {place: text for place, text in done.items() if f"chaosx{run}/" not in place}
            grid.runs("remove", f"{EXP}:{run}", "--yes")
        now = finished(grid.results)
        if changed := [place for place, text in done.items() if now.get(place) != text]:
            raise Problem(f"{', '.join(changed)} was done and has changed")
        done = now
        rows.append([str(count), *row])
        tables.say(f"kill {count}: {row[0]} {row[1]} {row[2]} at {row[3]} s; then {row[4]}")
    return rows


def compare(undisturbed, tormented):
    """What is wrong with the end, one line each; and how much is equal."""
    wanted, found = bits(undisturbed.results), bits(tormented.results)
    wrong = differences(wanted, found)
    wrong += [f"{place} was left behind" for place in left_behind(tormented.results)]
    if "Traceback" in tormented.log.read_text(errors="replace"):
        wrong.append(f"a launcher showed a traceback, see {tormented.log}")
    if tormented.states() != dict.fromkeys(range(RUNS), "done"):
        wrong.append(f"runs list says {tormented.states()}")
    ledger = (tormented.results / "experiments.txt").read_text().splitlines()
    if len(ledger) != RUNS or len(set(ledger)) != RUNS:
        wrong.append(f"experiments.txt has {len(ledger)} lines for {RUNS} runs")
    equal = Counter(
        kind for kind, place in wanted if wanted[kind, place] == found.get((kind, place))
    )
    return wrong, equal


def chaos(options, folder):
    """Train, torment, compare; return the exit status."""
    tables.say(f"writing a recording of the published size into {folder}")
    make_data.make_region(folder / "Data" / "region1", *PUBLISHED)
    settings = options.epochs, options.repetitions, options.jobs
    undisturbed = Grid(folder, "undisturbed", *settings)
    tormented = Grid(folder, "tormented", *settings)
    try:
        return _chaos(options, undisturbed, tormented)
    finally:  # of Ctrl-C, too
        for pid in [*undisturbed.processes(), *tormented.processes()]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _chaos(options, undisturbed, tormented):
    begin = time.monotonic()
    if undisturbed.start().wait(LAST_S):
        raise Problem(f"the undisturbed grid failed; see {undisturbed.log}")
    took = time.monotonic() - begin
    tables.say(f"the undisturbed grid took {took:.0f} s")
    kills = planned(options.seed, options.kills)
    rows = torment(tormented, kills, LATEST * took, random.Random(options.seed))
    tables.say("all kills are spent; the rest is left in peace")
    last = time.monotonic()
    if status := tormented.start("--resume").wait(LAST_S):
        raise Problem(f"the last command ended with {status}; see {tormented.log}")
    wrong, equal = compare(undisturbed, tormented)
    head = ["kill", "signal", "to", "mode", "at [s]", "states after it", "round [s]"]
    print(tables.text([head, *rows], options.markdown))
    print(
        f"\nseed {options.seed}: {len(rows)} kills, undisturbed {took:.0f} s, "
        f"tormented {time.monotonic() - begin - took:.0f} s (the last command "
        f"{time.monotonic() - last:.0f} s)"
    )
    print(
        f"equal in every bit: {equal['model']} models, {equal['curves']} curves, "
        f"{equal['scores']} scores, {equal['files']} folders of files"
    )
    for line in wrong:
        print(line)
    return 1 if wrong else 0


def main(words=None):
    """Follow the command line; return the exit status."""
    return answer(lambda: follow(sys.argv[1:] if words is None else words))


def follow(words):
    """Read the command line and do what it says; return the exit status."""
    parser = Parser(prog="chaos.py", description=__doc__.splitlines()[0], allow_abbrev=False)
    add = parser.add_argument
    add("--seed", type=number, default=1, metavar="N", help="of kinds and moments (default: 1)")
    add("--kills", type=positive, default=10, metavar="N", help="how many (default: 10)")
    add("--epochs", type=positive, default=400, metavar="N", help="of each run (default: 400)")
    add("--repetitions", type=positive, default=5, metavar="N", help="1 to 5 (default: 5)")
    add("--jobs", type=positive, default=2, metavar="N", help="runs at a time (default: 2)")
    add("--keep", type=Path, metavar="FOLDER", help="a new folder for all files, to be kept")
    add("--markdown", action="store_true", help="the table as Markdown")
    options = parser.read(words)
    if options.repetitions > 5:
        raise Refusal(f"there are 5 repetitions, asked for {options.repetitions}; ask for 1 to 5")
    if options.keep is not None and options.keep.exists() and any(options.keep.iterdir()):
        raise Refusal(f"{options.keep} holds something already; name a new folder")
    if not Path("/proc/self/environ").exists():
        raise Refusal("there is no /proc, which tells whom to kill; call this under Linux")
    # what is started in the background ignores Ctrl-C, and hands that on
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        if options.keep is not None:
            return chaos(options, options.keep.resolve())
        with tempfile.TemporaryDirectory(prefix="chaos-", ignore_cleanup_errors=True) as folder:
            return chaos(options, Path(folder))
    except Problem as problem:
        print(problem, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
