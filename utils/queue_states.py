"""What an engine says about the tasks that were handed to it, as states of runs.

An engine is asked once for all tasks of a user, and only for the sake of tasks without a record.
A question that it does not answer says nothing about a run. What it does not know any more has
ended, but may have left traces that a file server does not show yet.
"""

import re
import time
from collections.abc import Sequence

from utils import engines, job_node, plans
from utils.engines import UNDER_WAY, Queue, QueueError, QueueJob, Seen
from utils.grid_engine import GridEngine
from utils.queues import ENGINES
from utils.slurm import Slurm

KEEP_S = 5.0
"""So long an answer is good for other questions of the same command [s]."""

GRACE_S = 90.0
"""So long may a file server keep back a record, or an engine an account [s]."""

MOST_ACCOUNTS = 40
"""So many tasks are looked up in an engine's accounts, which may be long to read."""

OVER = ("lost", "timeout", "memory", "cancelled")

_asked: dict[tuple[str, str], tuple[float, Queue | QueueError]] = {}
_accounts: dict[tuple[str, str, int], Seen] = {}
_reasons: dict[tuple[str, str], str] = {}

Told = tuple[str, str]
"""A state and a note about it."""


def queue(engine: str, user: str, keep_s: float = KEEP_S) -> Queue:
    """Return what a user has in a queue.

    Parameters
    ----------
    engine : str
        Name of the engine.
    user : str
        Whose jobs.
    keep_s : float
        So old may the answer be [s].

    Raises
    ------
    QueueError
        If the engine does not answer, or not so that it can be read.
    """
    moment, answer = _asked.get((engine, user), (float("-inf"), {}))
    if time.monotonic() - moment > keep_s:
        kind = ENGINES[engine]
        try:
            answer = kind.parse_states(engines.ask(kind.states_command(user)))
        except QueueError as problem:
            answer = problem
        _asked[engine, user] = (time.monotonic(), answer)
    if isinstance(answer, QueueError):
        raise answer
    return answer


def jobs(submission: plans.Submission, known: Queue) -> dict[int, str]:
    """Return the job of each call of a submission that its engine has accepted.

    A call that was accepted without an answer is found by its name.

    Parameters
    ----------
    submission : Submission
        What was sent.
    known : dict
        What the engine says, as from `queue`.
    """
    queued = submission.queued()
    pattern = re.compile(rf"r{submission.token}c(\d+)")
    named = {number: pattern.fullmatch(job.name) for number, job in known.items()}
    found = {int(call[1]): number for number, call in named.items() if call}
    return {**found, **queued}


def the_job(submission: plans.Submission, call: int, number: str, known: Queue) -> QueueJob | None:
    """Return the job of a call, None where its engine does not know it any more.

    An engine that crashed may have given the number of a job that it forgot to another one.
    """
    job = known.get(number)
    return job if job is not None and job.name == submission.job_name(call) else None


def job_of(submission: plans.Submission, line: int) -> str:
    """Return the job, and the task in it, that an engine has made of a line; empty if none."""
    queued, per_task = submission.queued(), submission.per_task
    for call, (first, lines) in enumerate(submission.calls):
        if first <= line < first + lines and call in queued:
            task = ENGINES[submission.engine].first_task + (line - first) // per_task
            return f"{queued[call]}.{task}" if submission.is_array else queued[call]
    return ""


def told(
    submission: plans.Submission, unclaimed: Sequence[bool], keep_s: float = KEEP_S
) -> list[Told]:
    """Return the state of each task of a submission, were it one that nobody has claimed.

    Parameters
    ----------
    submission : Submission
        What was sent to an engine.
    unclaimed : list of bool
        For each of its tasks whether it is one; the engine is asked only for the sake of those.
    keep_s : float
        So old may the engine's answer be [s].
    """
    cancelled = bytearray(len(unclaimed))
    for first, last in submission.cancelled():
        cancelled[first : last + 1] = b"\1" * len(cancelled[first : last + 1])
    open_ones = (one and not mark for one, mark in zip(unclaimed, cancelled, strict=True))
    found = _by_engine(submission, keep_s) if any(open_ones) else []
    # a plan of calls that was damaged says nothing about the lines behind its end
    found += [("new", "")] * (len(unclaimed) - len(found))
    return [
        ("cancelled", "before it started") if mark else state
        for mark, state in zip(cancelled, found, strict=False)
    ]


def _by_engine(submission: plans.Submission, keep_s: float) -> list[Told]:
    calls = submission.calls
    try:
        known = queue(submission.engine, str(submission.about.get("user", "")), keep_s)
    except QueueError as problem:
        sent = submission.queued()
        return [
            state
            for call, (_, lines) in enumerate(calls)
            for state in [_unasked(submission, call in sent, str(problem))] * lines
        ]
    numbers = jobs(submission, known)
    title = ENGINES[submission.engine].title
    found: list[Told] = []
    over: Told | None = None
    for call, (_, lines) in enumerate(calls):
        number = numbers.get(call)
        if number is None:
            found += [("pending" if submission.sender_lives() else "new", "")] * lines
            continue
        for seen in _seen(submission, call, lines, number, known):
            if seen.state == "stuck":
                found.append(("stuck", _why(ENGINES[submission.engine], number) or seen.reason))
                continue
            if seen.state in UNDER_WAY:
                found.append(("pending", ""))
                continue
            over = over or _over(submission)
            state, said = over
            if state in OVER and seen.state in OVER:
                state, said = seen.state, seen.reason
            elif state in OVER and not said:
                said = seen.reason or f"{title} does not know it any more"
                said += ", and it never began"
            found.append((state, said))
    return found


def _unasked(submission: plans.Submission, accepted: bool, problem: str) -> Told:
    if not accepted and submission.sender_lives():
        return "pending", ""
    return "unknown", problem


def _seen(
    submission: plans.Submission, call: int, lines: int, number: str, known: Queue
) -> list[Seen]:
    """Return what an engine says about the task of each line of a call."""
    per_task = submission.per_task
    tasks = -(-lines // per_task)
    job = the_job(submission, call, number, known)
    if job is None:
        return [engines.GONE] * lines
    first = ENGINES[submission.engine].first_task if submission.is_array else 0
    seen = job.tasks(first, tasks)
    return seen if per_task == 1 else [seen[line // per_task] for line in range(lines)]


def _over(submission: plans.Submission) -> Told:
    """Return what is said about a task that has left the queue and that nobody has claimed.

    The note is what the engine or the wrappers have written, and may be empty.
    """
    # the folder of the logs, for those who watch look at the time of the other
    moment, margin = job_node.server_clock(str(submission.jobs_dir.parent))
    times = []
    for path in (submission.queued_file, submission.jobs_dir / f"{submission.stem}.json"):
        try:
            times.append(path.stat().st_mtime)
        except OSError:
            continue
    if not times or moment - max(times) < GRACE_S * margin:
        return "pending", ""
    return "lost", job_node.last_line(str(submission.engine_log))


def ended(submission: plans.Submission, line: int) -> Seen:
    """Return what the engine says about a task whose wrapper is silent.

    Parameters
    ----------
    submission : Submission
        What was sent to an engine.
    line : int
        The task's line.

    Returns
    -------
    Seen
        Its state may be ``running``, how it ended, or ``gone`` when nothing is known.

    Raises
    ------
    QueueError
        If the engine does not answer.
    """
    known = queue(submission.engine, str(submission.about.get("user", "")))
    numbers = jobs(submission, known)
    per_task = submission.per_task
    engine = ENGINES[submission.engine]
    for call, (first, lines) in enumerate(submission.calls):
        number = numbers.get(call)
        if first <= line < first + lines and number is not None:
            seen = _seen(submission, call, lines, number, known)[line - first]
            if seen is not engines.GONE:
                return seen
            task = engine.first_task + (line - first) // per_task
            name = submission.job_name(call)
            return _account(engine, number, name, task if submission.is_array else 0)
    return engines.GONE


def _why(engine: GridEngine | Slurm, number: str) -> str:
    """Return why an engine cannot start a job, in its own words; empty where it does not say."""
    key = (engine.name, number)
    if key not in _reasons:
        command = engine.why_command(number)
        try:
            _reasons[key] = engine.parse_why(engines.ask(command)) if command else ""
        except QueueError:  # it has just been deleted
            return ""
    return _reasons[key]


def _account(engine: GridEngine | Slurm, number: str, name: str, task: int) -> Seen:
    """Return what an engine's accounts say, which are asked once and not for very many tasks."""
    key = (engine.name, number, task)
    if key not in _accounts:
        if len(_accounts) >= MOST_ACCOUNTS:
            return engines.GONE
        command = engine.ended_command(number, task)
        try:
            answer = engines.ask(command) if command else ""
            _accounts[key] = engine.parse_ended(answer, name)
        except QueueError:  # not written yet, or not for everybody to read
            return engines.GONE
    return _accounts[key]
