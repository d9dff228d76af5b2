"""Sending runs to a queue: what is written down, handed to the engine, and said about it.

Everything is written down before the engine is called, and each job's number as soon as it is
known. A call that is interrupted, or that an engine accepts without an answer, can therefore be
found again by the name of its job.
"""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import Any

from utils import (
    engines,
    environments,
    paths,
    plans,
    promises,
    queue_states,
    queues,
    screen,
    states,
)
from utils.command_lines import Refusal
from utils.engines import Call, Demand, Limits, QueueError
from utils.environments import Terms
from utils.queues import Site

PAUSES_S = (2.0, 5.0, 10.0)
"""So long is waited before a call is tried again that failed for a passing reason [s]."""

MOST_SAID = 300
"""So long may be what an engine says about many queues."""

LEAST_PATIENCE_S = 1.0
USUAL_LIMITS = {"grid-engine": Limits(75_000, 5.0), "slurm": Limits(1001, 30.0)}
"""What engines allow as they are packaged, for a dry run, which asks nobody."""

Place = tuple[str, str]


@dataclass
class Sent:
    """What became of the runs of an experiment that were to be sent.

    Parameters
    ----------
    batch : Batch
        The runs.
    submission : Submission
        What was written down.
    jobs : dict
        Job numbers of the calls that the engine has accepted.
    """

    batch: promises.Batch
    submission: plans.Submission
    jobs: dict[int, str] = field(default_factory=dict)

    @property
    def accepted(self) -> int:
        """Number of tasks that are in the queue."""
        calls = self.submission.calls
        return sum(calls[call][1] for call in self.jobs)


class Sender:
    """Hands runs to an engine.

    Parameters
    ----------
    terms : Terms
        What the runs get.

    Raises
    ------
    Refusal
        If the site's facts cannot be used, or the runs ask for what it has not.
    """

    def __init__(self, terms: Terms):
        self.terms = terms
        self.site: Site = queues.site(terms.environment)
        asked = queues.demand(self.site, terms.resources)
        # the limit is a task's, which does so many runs one after the other
        self.demand: Demand = replace(asked, seconds=asked.seconds * terms.per_task)
        self.engine = self.site.engine
        self.limits = USUAL_LIMITS[self.engine.name]
        self.room = 10**9  # tasks that the queue still takes

    def ask_limits(self) -> None:
        """Ask the engine what it allows.

        Raises
        ------
        QueueError
            If it does not say.
        """
        answer = _patiently(lambda: engines.ask(self.engine.limits_command()))
        self.limits = self.engine.parse_limits(answer)
        if self.limits.most_tasks:
            # an engine without room makes one wait for minutes before it says so
            mine = queue_states.queue(self.engine.name, user(), keep_s=0.0).values()
            self.room = self.limits.most_tasks - 1 - sum(job.count for job in mine)

    def judge(self, batch: promises.Batch) -> str:
        """Return why the runs can never start, in the engine's words; empty when they can.

        Raises
        ------
        QueueError
            If the engine does not answer.
        """
        tasks = len(batch.tasks)
        call = self.call(batch.jobs_dir, "0" * 10, 0, min(tasks, 2), self.is_array(tasks))
        try:
            engines.ask(self.engine.judge_command(call, self.demand, str(paths.ROOT)), _root())
        except QueueError as problem:
            if problem.passing or problem.unsure:
                raise
            # that there is no room now, or that a partition is down, says nothing about later
            said = str(problem).partition(": ")[2].removesuffix(" Exiting.") or str(problem)
            return "" if problem.full else screen.shortened(said, MOST_SAID)
        return ""

    def is_final(self, why: str) -> bool:
        """Whether an answer of `judge` holds for ever, and not until nodes are back."""
        if not self.engine.refuses(why):
            return False
        command = self.engine.nodes_command() if "node" in why else []
        try:
            return not command or not self.engine.some_are_away(engines.ask(command))
        except QueueError:
            return True

    def calls(self, tasks: int) -> list[tuple[int, int]]:
        """Return first line and number of lines of each call for so many tasks."""
        per_task, limits = self.terms.per_task, self.limits
        # an array that is as long as the queue would find room in an empty one only
        most = min(limits.longest_array, limits.most_tasks // 2 or limits.longest_array)
        longest = per_task * (most if self.terms.array else 1)
        return [(first, min(longest, tasks - first)) for first in range(0, tasks, longest)]

    def is_array(self, tasks: int) -> bool:
        """Whether so many tasks are sent as arrays."""
        return self.terms.array and tasks > self.terms.per_task

    def call(
        self, jobs_dir: Path, token: str, number: int, lines: int, array: bool, log: str = "x"
    ) -> Call:
        """Return what the engine is asked for so many lines of a submission."""
        control = str(_shown(jobs_dir))
        words = ["utils/run_in_env.sh", environments.shown_python(), control, token, f"c{number}"]
        return Call(
            f"r{token}c{number}",
            -(-lines // self.terms.per_task) if array else 0,
            f"{control}/{log}.engine.log",
            words,
            self.terms.at_once,
        )

    def check_paths(self, batch: promises.Batch) -> None:
        """Refuse folders that an engine would read as something else."""
        if self.engine.name == "grid-engine" and set("$\n") & set(str(paths.ROOT)):
            raise Refusal(
                f"the checkout is {str(paths.ROOT)!r}, and Grid Engine reads '$' and line breaks "
                "there as something else; move it to a folder without them"
            )
        folder = str(_shown(batch.jobs_dir))
        signs = self.engine.log_problem(folder)
        if signs:
            raise Refusal(
                f"results lie in {folder!r}, and {self.engine.title} reads {signs} there as "
                "something else; set BENCH_RESULTS to a folder without them"
            )

    def about(self) -> dict[str, Any]:
        """Return what a submission says about its engine, for those who run its tasks."""
        return {
            "engine": {
                "name": self.engine.name,
                "first": self.engine.first_task,
                **self.engine.variables,
                "threads": environments.THREADS,
                "seconds": self.demand.seconds,
                "asked": queues.summed(self.site, self.demand, 1, 0).removeprefix("the run gets "),
                "patience": max(LEAST_PATIENCE_S, self.limits.patience_s - 1),
            },
            "per_task": self.terms.per_task,
            "at_once": self.terms.at_once,
            "arrays": self.terms.array,
            "together": self.terms.together,
        }

    def entries(self, batch: promises.Batch) -> list[dict[str, Any]]:
        """Return the plan of the runs, as programs are started on a node."""
        before = {"before": self.site.python} if self.site.python else {}
        plain = [{n: v for n, v in entry.items() if n != "before"} for entry in batch.entries]
        return [{**entry, **before} for entry in plain]

    def write(self, batch: promises.Batch, about: Mapping[str, Any]) -> plans.Submission:
        """Write down what is going to be sent."""
        calls = self.calls(len(batch.tasks))
        here = {**about, **self.about(), "calls": calls, "array": self.is_array(len(batch.tasks))}
        submission = plans.send(batch.jobs_dir, self.entries(batch), batch.tasks, here)
        if self.site.setup:
            plans.write_bytes(
                submission.setup_file, "".join(f"{line}\n" for line in self.site.setup).encode()
            )
        return submission

    def submit(self, sent: Sent, after: "After") -> None:
        """Hand the calls of a submission to the engine, and note each job.

        Raises
        ------
        QueueError
            If the engine does not take one; those before it are sent.
        Interrupted
            If somebody asked to stop.
        """
        submission, array = sent.submission, sent.submission.is_array
        for number, (_, lines) in enumerate(submission.calls):
            call = self.call(
                submission.jobs_dir, submission.token, number, lines, array, submission.stem
            )
            jobs, by_task = after.of(number)
            if self.terms.at_once and number:  # so many of all, not of each array
                jobs = [*jobs, sent.jobs[number - 1]]
            call = replace(call, after=jobs, task_by_task=by_task)
            self._take_room(max(1, call.tasks))
            with _finished_first() as heard:
                job = self._submit(call, heard)
                sent.jobs[number] = job
                submission.note_queued(number, job)

    def _take_room(self, tasks: int) -> None:
        if tasks > self.room:
            raise QueueError(
                f"{self.engine.title} takes {self.limits.most_tasks} tasks at most, of all users, "
                f"and {tasks} more would be too many",
                full=True,
            )
        self.room -= tasks

    def _submit(self, call: Call, heard: Sequence[int]) -> str:
        """Return the job of a call, which is made again when it failed for a passing reason.

        Parameters
        ----------
        call : Call
            What the engine is asked.
        heard : list of int
            Signals that have come; after one of them nothing is tried again.
        """
        command = self.engine.submit_command(call, self.demand, str(paths.ROOT))
        pauses = iter(PAUSES_S)
        while True:
            try:
                answer = engines.ask(command, _root(), engines.SUBMIT_S)
                return self.engine.parse_submitted(answer)
            except QueueError as problem:
                if problem.full or not (problem.passing or problem.unsure):
                    raise
                # it may have been accepted all the same, and must not be sent twice
                job = self._found(call.name, problem)
                if job is not None:
                    return job
                pause = next(pauses, None)
                if pause is None or heard or not problem.passing:
                    raise
                print(f"{problem}; tried again in {pause:.0f} s", file=sys.stderr, flush=True)
            time.sleep(pause)

    def _found(self, name: str, problem: QueueError) -> str | None:
        """Return the job of that name; None where the engine knows none."""
        try:
            known = queue_states.queue(self.engine.name, user(), keep_s=0.0)
        except QueueError:
            if problem.unsure:
                raise QueueError(
                    f"{problem}, and now it answers nothing; whether it took {name} shows in "
                    "`runs list` as soon as it answers again"
                ) from None
            return None
        return next((number for number, job in known.items() if job.name == name), None)


class Interrupted(Exception):
    """Somebody asked to stop; `number` is the signal."""

    def __init__(self, number: int):
        super().__init__(number)
        self.number = number


@contextlib.contextmanager
def _finished_first() -> Iterator[list[int]]:
    """Let what is done in the block be finished before a signal stops the program."""
    heard: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        if not heard:
            print("stopping as soon as the engine has answered", file=sys.stderr, flush=True)
        heard.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield heard
    except QueueError:
        if not heard:
            raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if heard:
        raise Interrupted(heard[0])


class After:
    """Which jobs must have ended before those of a batch.

    Parameters
    ----------
    batch : Batch
        The runs that may need others.
    calls : list
        The calls of their submission.
    now : dict
        What this launch has sent already, by experiment.
    """

    def __init__(
        self, batch: promises.Batch, calls: list[tuple[int, int]], now: Mapping[Place, Sent]
    ):
        self._jobs: list[str] = []
        self._alike: Sent | None = None
        needed: dict[Place, set[str]] = {}
        alone = True
        for entry in batch.entries:
            for need in entry.get("needs", ()):
                place = (need["exp_folder"], need["exp"])
                needed.setdefault(place, set()).add(need["runs"])
                alone = alone and need["runs"] == str(entry["run"])
        if len(needed) == 1 and alone:
            (place,) = needed
            other = now.get(place)
            if other and _alike(batch, calls, other):
                self._alike = other
                return
        for place in needed:
            self._jobs += now[place].jobs.values() if place in now else ()
            self._jobs += _under_way(place, now.get(place))

    def of(self, call: int) -> tuple[list[str], str]:
        """Return jobs that must have ended before a call, and one to be followed task by task."""
        if self._alike is None:
            return self._jobs, ""
        job = self._alike.jobs[call]
        return ([], job) if self._alike.submission.is_array else ([job], "")


def _alike(batch: promises.Batch, calls: list[tuple[int, int]], other: Sent) -> bool:
    """Whether two submissions have the same runs in the same tasks."""
    same = [task[:2] for task in batch.tasks] == [task[:2] for task in other.batch.tasks]
    return same and calls == other.submission.calls


def _under_way(place: Place, now: Sent | None) -> list[str]:
    """Return the jobs of an experiment that were sent before and have not ended."""
    known = states.by_part(*place)
    alive = {place for place, told in known.items() if told.state in states.UNDER_WAY}
    if not alive:
        return []
    found = []
    for submission, tasks in states.sent(paths.jobs_dir(*place)):
        if now is not None and submission.token == now.submission.token:
            continue
        jobs = submission.queued()
        for call, (first, lines) in enumerate(submission.calls):
            mine = any(task and task[:2] in alive for task in tasks[first : first + lines])
            found += [jobs[call]] if mine and call in jobs else []
    return found


def in_order(batches: Sequence[promises.Batch]) -> list[promises.Batch]:
    """Return batches so that none stands before one that it needs."""
    by_place = {(batch.exp_folder, batch.exp): batch for batch in batches}
    found: dict[Place, promises.Batch] = {}

    def add(place: Place, batch: promises.Batch) -> None:
        if place in found:
            return
        for entry in batch.entries:
            for need in entry.get("needs", ()):
                other = (need["exp_folder"], need["exp"])
                if other in by_place and other not in found:
                    add(other, by_place[other])
        found[place] = batch

    for place, batch in by_place.items():
        add(place, batch)
    return list(found.values())


def _patiently(ask: Any) -> str:
    for pause in PAUSES_S:
        try:
            return str(ask())
        except QueueError as problem:
            if not problem.passing:
                raise
            print(f"{problem}; tried again in {pause:.0f} s", file=sys.stderr, flush=True)
            time.sleep(pause)
    return str(ask())


def user() -> str:
    """Return the name under which this process has jobs in a queue."""
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def _root() -> str:
    return str(paths.ROOT)


def _shown(path: Path) -> Path:
    """Return a path as an engine is given it: relative to the checkout when it lies there."""
    return path.relative_to(paths.ROOT) if path.is_relative_to(paths.ROOT) else path
