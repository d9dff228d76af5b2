"""Runs that train nothing and tell everything, for chaos on engines; and what they may not tell."""

import json
import os
from collections import Counter
from pathlib import Path

from checkouts import ClusterCheckout

from utils import job_node

GROUP, EXP = "toys", "toy"
NAME = f"{GROUP}/{EXP}"
REPETITIONS = 3
BEAT_S = 0.1
TRAININGS = "trainings"
EXPERIMENT = f'''"""toy: trains nothing, tells when it does, and leaves the same model behind."""
import json
import os
import socket
import time

from utils import experiment

DATA = []
WHO = f"{{socket.gethostname()}}:{{os.getpid()}}:{{time.time_ns()}}"


def train(run, number: int = 0, beats: int = 20):
    run.name = f"toy_{{number}}"
    for repetition in run.repetitions({REPETITIONS}):
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        told = os.open(repetition.log_dir / "{TRAININGS}", flags, 0o666)

        def tell(what):
            os.write(told, f"{{time.monotonic():.3f}} {{WHO}} {{what}}\\n".encode())

        tell("start")
        for _ in range(beats):
            time.sleep({BEAT_S})
            tell("beat")
        content = {{"number": number, "beats": beats, "repetition": repetition.index}}
        repetition.model_path.write_text(json.dumps(content))
        repetition.finish(score=number + repetition.index / 10)
        tell("end")
        os.close(told)


if __name__ == "__main__":
    experiment.main(train)
'''


class Toys(ClusterCheckout):
    """A toy checkout with so many runs.

    Parameters
    ----------
    folder : Path
        Where it and its results lie.
    runs : int
        Number of runs.
    seconds : float
        How long a run trains, all repetitions together.
    """

    def __init__(self, folder, runs, seconds):
        super().__init__(folder)
        self.beats = max(1, round(seconds / BEAT_S / REPETITIONS))
        self.numbers = range(runs)
        (self.group / "toy.py").write_text(EXPERIMENT)
        self.write_grid(f'product("toys", "toy", number=range({runs}), beats=[{self.beats}])')

    def processes(self):
        """Words of the command line of each process that works in this checkout."""
        found = {}
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if os.readlink(entry / "cwd") == str(self.root):
                    words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
                    found[int(entry.name)] = words
            except OSError:
                continue
        return found

    def some(self, what):
        """Processes of one kind: ``program``, ``wrapper``, or the ``shepherd`` of a wrapper."""
        word = "toys/toy.py" if what == "program" else "utils/job_node.py"
        every = self.processes().items()
        found = sorted(pid for pid, words in every if any(each.endswith(word) for each in words))
        return found if what != "shepherd" else _shepherds(found)

    def living(self):
        """(Process, its start) -> run, of all programs."""
        found = {}
        for pid, words in self.processes().items():
            run = [word[6:] for word in words if word.startswith("--run=")]
            start = job_node.process_start(pid)
            if run and start and any(word.endswith("toys/toy.py") for word in words):
                found[pid, start] = int(run[0])
        return found

    def sent(self):
        """Run -> its newest attempt that was written down, and the submissions that have it."""
        found = {}
        for path in sorted((self.logs() / ".jobs").glob("send-*.tasks")):
            for line in path.read_text().splitlines():
                run, _, attempt = line.split()
                tokens = found.setdefault(int(run), {}).setdefault(int(attempt), [])
                tokens.append(path.stem.rpartition("-")[2])
        return {run: max(attempts.items()) for run, attempts in found.items()}

    def started(self, engine):
        """(Job, task) of all tasks that an engine calls running or ending; None for no array."""
        return [
            (job, number if len(path.with_suffix(".tasks").read_text().splitlines()) > 1 else None)
            for path in (self.logs() / ".jobs").glob("send-*.queued")
            for job in path.read_text().split()[1:2]
            for number, state in engine.tasks(job).items()
            if state in ("RUNNING", "COMPLETING") or "r" in state
        ]

    def held_tasks(self):
        """(Job, task) of all tasks whose wrapper or program lives."""
        found = set()
        for path in (self.logs() / ".jobs" / "state").glob("*/*.claim"):
            claim = job_node.read_json(path)
            if job_node.lives(claim) or job_node.lives(claim, "program"):
                job, _, number = claim["queue_job"].partition(".")
                found.add((job, int(number) if number else None))
        return found

    def said_by_wrappers(self):
        """What wrappers had to say, which is little: lines of the submissions' own logs."""
        logs = (self.logs() / ".jobs").glob("send-*.engine.log")
        return [line for log in logs for line in log.read_text(errors="replace").splitlines()]

    def trainings(self):
        """(Run, repetition) -> its lines as (time, process, what), in the order of writing."""
        found = {}
        for path in (self.results / "logs" / GROUP).glob(f"{EXP}x*/*/{TRAININGS}"):
            run, index = path.parts[-3].removeprefix(f"{EXP}x"), path.parts[-2].rpartition("_")[2]
            lines = [line.split() for line in path.read_text().splitlines()]
            found[int(run), int(index)] = [(float(time), who, what) for time, who, what in lines]
        return found


def _shepherds(wrappers):
    found = set()
    for pid in wrappers:
        try:
            # behind the name, which may hold anything, come state and parent
            parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
            name = Path(f"/proc/{parent}/comm").read_text()
        except OSError:
            continue
        if name.startswith(("sge_shepherd", "slurmstepd")):
            found.add(parent)
    return sorted(found)


def overlapping(lines):
    """Processes that wrote again after another one had begun to.

    Parameters
    ----------
    lines : list of (time, process, what)
        In the order in which they were written.
    """
    found, before = [], []
    for _, who, _ in lines:
        if before and who == before[-1]:
            continue
        if who in before and who not in found:
            found.append(who)
        before.append(who)
    return found


def judge(toys):
    """What is wrong with the end of a grid, one line each; no line when all is as it should be.

    Parameters
    ----------
    toys : Toys
        Of which nothing runs any more.
    """
    wrong = []
    by_run = {}
    for (run, index), lines in sorted(toys.trainings().items()):
        by_run.setdefault(run, []).extend(lines)
        wrong += [
            f"repetition {index} of run {run} was trained by {who} and at the same time by another"
            for who in overlapping(lines)
        ]
        ends = [who for _, who, what in lines if what == "end"]
        if len(ends) > 1:
            wrong.append(f"repetition {index} of run {run} was finished by {' and '.join(ends)}")
    wrong += [
        f"run {run} was trained by {who} and at the same time by another process"
        for run, lines in by_run.items()
        for who in overlapping(sorted(lines))
    ]
    for run in toys.numbers:
        kinds = [k for of in job_node.attempts(toys.logs() / ".jobs", run).values() for k in of]
        if kinds.count("done") != 1:
            wrong.append(f"run {run} has {kinds.count('done')} records of a good end")
        wrong += [f"run {run}: {what}" for what in _wrong_results(toys, run)]
    ledger = (toys.results / "experiments.txt").read_text().splitlines()
    if len(ledger) != len(toys.numbers) or len(set(ledger)) != len(ledger):
        wrong.append(f"experiments.txt has {len(ledger)} lines for {len(toys.numbers)} runs")
    if (toys.logs() / ".jobs" / "lock").exists():
        wrong.append("the lock of the experiment was left behind")
    return wrong


def _wrong_results(toys, run):
    folder = toys.results / "logs" / GROUP / f"{EXP}x{run}"
    told = [json.loads(path.read_text()) for path in folder.glob("*/run.json")]
    counts = Counter((info["repetition"], info["state"]) for info in told)
    if counts != Counter((index, "done") for index in range(REPETITIONS)):
        yield f"its repetitions are {sorted(counts.elements())}"
    models = sorted((toys.results / "models" / GROUP / f"{EXP}x{run}").glob("*"))
    wanted = [
        {"number": run, "beats": toys.beats, "repetition": index} for index in range(REPETITIONS)
    ]
    if [_content(path) for path in models] != wanted:
        yield f"its models are not those of an undisturbed run: {[path.name for path in models]}"


def _content(path):
    try:
        return json.loads(path.read_bytes())
    except ValueError:
        return None
