"""What became of the runs of an experiment, derived from names of files and from what is alive.

Nothing is written, cancelled or repaired here. Contents of claims and records are read only for
claims without a record, and by `details` for the rows that are shown.
"""

import contextlib
import functools
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from utils import engines, job_node, paths, plans, queue_states, registry

# also the order in which runs are shown: what needs attention first
STATES = {
    "failed": "its program ended with an error",
    "lost": "it ended without a record: killed, or its machine went down",
    "timeout": "the queue's time limit ended it",
    "memory": "its memory did not suffice",
    "stuck": "the queue cannot start it",
    "cancelled": "it was stopped",
    "skipped": "a run that it needs is not done",
    "unknown": "its state could not be asked",
    "running": "at work",
    "pending": "waiting for its turn",
    "new": "listed, never started",
    "done": "each repetition is done or diverged",
}
UNDER_WAY = ("running", "pending", "unknown")
UNFINISHED = ("failed", "lost", "timeout", "memory", "stuck", "cancelled", "skipped")

RunId = job_node.RunId


class RunState(NamedTuple):
    """State of a run, taken from the part of it that stands worst.

    Parameters
    ----------
    run : int or str
        Number, or name of a run started by hand.
    state : str
        One of `STATES`.
    attempt : int
        The newest attempt that somebody has claimed; 0 for none.
    part : int
        The part that decides; 0 for an undivided run.
    note : str
        Why the state is not the whole truth, such as ``"silent for 12 min"``.
    """

    run: RunId
    state: str
    attempt: int = 0
    part: int = 0
    note: str = ""


Claimed = dict[tuple[RunId, int], tuple[int, str]]
"""Run and part -> newest attempt, and ``"claim"`` or the kind of its record."""

Parts = dict[tuple[RunId, int], RunState]
"""Run and part (0 for an undivided run) -> state of the part."""

Sent = tuple[plans.Submission, list[plans.Place | None]]
Task = tuple[str, str, plans.Place]
"""State and note of a task that nobody has claimed, and what it is."""

_UNCLAIMED = (0, "")


def order(run: RunId) -> tuple[bool, int, str]:
    """Sort key of runs: numbers first, then the names of runs started by hand."""
    return (False, run, "") if isinstance(run, int) else (True, 0, run)


def experiments() -> dict[tuple[str, str], list[RunId]]:
    """Return every experiment that has left something behind, sorted by group and name.

    Returns
    -------
    dict
        For each (group, experiment) its runs that have a folder of summaries, in no order.
    """
    found: dict[tuple[str, str], list[RunId]] = {place: [] for place in with_jobs()}
    for group in _folders(paths.logs_root()):
        for exp, runs in traces(group).items():
            found.setdefault((group, exp), []).extend(runs)
    return dict(sorted(found.items()))


def with_jobs() -> list[tuple[str, str]]:
    """Return group and name of every experiment of which a run was sent or claimed."""
    job_logs = paths.job_log_dir("group", "exp").parent.parent
    groups = _folders(job_logs)
    return [(group, exp) for group in groups for exp in _folders(os.path.join(job_logs, group))]


def traces(exp_folder: str) -> dict[str, list[RunId]]:
    """Return, for each experiment of a group, the runs that have a folder of summaries."""
    found: dict[str, list[RunId]] = {}
    for name in _folders(paths.logs_root() / exp_folder):
        exp, _, run = name.rpartition("x")
        if exp and run.isascii() and run.isdigit():
            found.setdefault(exp, []).append(int(run))
        elif exp and registry.HAND.fullmatch(run):
            found.setdefault(exp, []).append(run)
    return found


def states(
    exp_folder: str,
    exp: str,
    traced: Iterable[RunId] | None = None,
    parts: Parts | None = None,
) -> dict[RunId, RunState]:
    """Return the state of each run of an experiment that was ever sent or started, in order.

    Parameters
    ----------
    exp_folder, exp : str
        Group and experiment.
    traced : iterable of int or str, optional
        Its runs that have a folder of summaries, where `experiments` has just told them.
    parts : dict, optional
        What `by_part` has just told.
    """
    parts = by_part(exp_folder, exp) if parts is None else parts
    found = worst(parts)
    # of a divided run the results tell nothing about parts that have not begun
    divided = {run for (run, part), told in parts.items() if part and told.attempt}
    for run in traces(exp_folder).get(exp, ()) if traced is None else traced:
        if run not in found or (found[run].state == "new" and run not in divided):
            found[run] = _from_repetitions(exp_folder, exp, run)
    numbers = sorted(run for run in found if isinstance(run, int))
    ordered: list[RunId] = [*numbers, *sorted(run for run in found if isinstance(run, str))]
    return {run: found[run] for run in ordered}


def by_part(exp_folder: str, exp: str) -> Parts:
    """Return the state of each part of each run that was sent or claimed, in no order.

    Parameters
    ----------
    exp_folder, exp : str
        Group and experiment.
    """
    jobs_dir = paths.jobs_dir(exp_folder, exp)
    claimed = claimed_in(jobs_dir)
    clock = functools.cache(job_node.server_clock)  # one probe for each folder of claims
    submissions = sent(jobs_dir)
    tasks = list(waiting(submissions, claimed))
    if any(task[0] in queue_states.OVER for task in tasks):
        # a task may have left its traces while its engine was asked, and a file server shows a
        # folder as it was a minute ago to those who have written nothing there
        for folder in state_folders(jobs_dir):
            clock(folder)
        claimed = claimed_in(jobs_dir)
    by_token = {submission.token: submission for submission, _ in submissions}
    return standing(claimed, tasks, lambda place: held(jobs_dir, place, clock, by_token))


def claimed_in(jobs_dir: str | os.PathLike[str]) -> Claimed:
    """Return what the names in all state folders of an experiment say."""
    claimed: Claimed = {}
    for folder in state_folders(jobs_dir):
        claimed |= names_in(folder)
    return claimed


def state_folders(jobs_dir: str | os.PathLike[str]) -> list[str]:
    """Return the folders in which the claims and records of an experiment lie."""
    root = os.path.join(jobs_dir, "state")
    return [os.path.join(root, name) for name in sorted(_folders(root))]


def names_in(folder: str) -> Claimed:
    """Return what the names in a state folder say: run and part -> newest attempt and its kind."""
    try:
        names = os.listdir(folder)
    except OSError:
        return {}  # removed in this moment
    kinds: dict[str, str] = {}
    for name in names:
        attempt_of, _, kind = name.rpartition(".")
        # of the same attempt a record stands above the claim
        if kind != "claim" or attempt_of not in kinds:
            kinds[attempt_of] = kind
    newest: Claimed = {}
    for attempt_of, kind in kinds.items():
        parsed = job_node.parse_state_file(f"{attempt_of}.{kind}")
        if parsed is not None:
            run, part, attempt, _ = parsed
            place = (int(run) if run.isdigit() else run, part)
            if place not in newest or newest[place][0] < attempt:
                newest[place] = (attempt, kind)
    return newest


def sent(jobs_dir: str | os.PathLike[str]) -> list[Sent]:
    """Return the submissions of an experiment, oldest first, each with its tasks line by line."""
    found = []
    unreadable: list[Path] = []
    for submission in plans.submissions(Path(jobs_dir), unreadable):
        try:
            found.append((submission, submission.tasks()))
        except plans.Damaged as problem:
            _say(str(problem))
    for path in unreadable:
        _say(str(plans.Damaged(path)))
    return found


def waiting(
    submissions: Iterable[Sent], claimed: Claimed, keep_s: float = queue_states.KEEP_S
) -> Iterator[Task]:
    """Yield state, note and place of each task of submissions, as if nobody had claimed it.

    Parameters
    ----------
    submissions : list
        As from `sent`.
    claimed : dict
        As from `names_in`; an engine is asked only about submissions with tasks that are not there.
    keep_s : float
        So old may an engine's answer be [s].
    """
    for submission, tasks in submissions:
        if not submission.engine:
            state = "pending" if submission.sender_lives() else "new"
            yield from ((state, "", task) for task in tasks if task is not None)
            continue
        unclaimed = [
            task is not None and task[2] > claimed.get(task[:2], _UNCLAIMED)[0] for task in tasks
        ]
        if any(unclaimed):
            told = queue_states.told(submission, unclaimed, keep_s)
            for (state, note), task in zip(told, tasks, strict=True):
                if task is not None:
                    yield state, note, task


def standing(
    claimed: Claimed,
    tasks: Iterable[Task],
    held: Callable[[plans.AnyPlace], RunState],
) -> Parts:
    """Return the state of each part of each run.

    Of several tasks of a part the newest decides, if nobody has claimed its attempt. A task that
    waits for nobody (``new``) changes nothing about a part that was begun.

    Parameters
    ----------
    claimed : dict
        As from `names_in`.
    tasks : iterable
        As from `waiting`.
    held : callable
        Tells the state of a run, part and attempt that has a claim and no record.
    """
    found: Parts = {
        (run, part): held((run, part, attempt))
        if kind == "claim"
        else RunState(run, kind, attempt, part)
        for (run, part), (attempt, kind) in claimed.items()
    }
    newest: dict[tuple[int, int], tuple[str, str]] = {}
    for state, note, (run, part, attempt) in tasks:
        if attempt > claimed.get((run, part), _UNCLAIMED)[0]:
            newest[run, part] = state, note
    for (run, part), (state, note) in newest.items():
        begun = found.get((run, part))
        if begun is None:
            found[run, part] = RunState(run, state, 0, part, note)
        elif state != "new":
            found[run, part] = RunState(run, state, begun.attempt, part, note)
    return found


def worst(parts: Parts) -> dict[RunId, RunState]:
    """Return the state of each run, by its part that stands worst."""
    if not any(part for _, part in parts):
        return {run: told for (run, _), told in parts.items()}
    found: dict[RunId, RunState] = {}
    severity = {state: number for number, state in enumerate(STATES)}
    for (run, part), told in parts.items():
        other = found.setdefault(run, told)
        # of those that stand alike the first one
        if (severity[told.state], part) < (severity[other.state], other.part):
            found[run] = told
    return found


@functools.cache  # once, however often the states are asked for
def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr)


def held(
    jobs_dir: str | os.PathLike[str],
    place: plans.AnyPlace,
    clock: job_node.Clock,
    submissions: Mapping[str, plans.Submission],
) -> RunState:
    """Return the state of an attempt that has a claim and no record.

    Parameters
    ----------
    jobs_dir : path
        The experiment's folder ``.jobs``.
    place : (run, part, attempt)
        The attempt.
    clock : callable
        `utils.job_node.server_clock`, or what remembers its answers.
    submissions : dict
        The experiment's submissions by their tokens.
    """
    run, part, attempt = place
    claim = job_node.state_file(jobs_dir, run, part, attempt, "claim")
    note = ""
    if not job_node.alive(claim, clock):
        return silent(job_node.read_json(claim), place, submissions)
    # most claims are fresh by any clock, and then the file server need not be asked for its own
    with contextlib.suppress(FileNotFoundError):
        if time.time() - os.stat(claim).st_mtime > job_node.SILENT_S:
            silence = job_node.silence(claim, clock)
            note = f"silent for {silence / 60:.0f} min" if silence > job_node.SILENT_S else ""
    return RunState(run, "running", attempt, part, note)


def silent(
    claim: Mapping[str, Any],
    place: plans.AnyPlace,
    submissions: Mapping[str, plans.Submission],
) -> RunState:
    """Return the state of an attempt whose holder gives no sign of life any more.

    Parameters
    ----------
    claim : dict
        Content of its claim.
    place : (run, part, attempt)
        The attempt.
    submissions : dict
        The experiment's submissions by their tokens; the engine of the one that it belongs to
        may know more.
    """
    run, part, attempt = place
    lost = RunState(run, "lost", attempt, part)
    submission, line = submissions.get(str(claim.get("token"))), claim.get("task")
    if submission is None or not submission.engine or not isinstance(line, int):
        return lost
    try:
        seen = queue_states.ended(submission, line)
    except engines.QueueError as problem:
        return lost._replace(state="unknown", note=str(problem))
    if seen.state in engines.UNDER_WAY:
        return lost._replace(state="running", note="silent, and its queue says that it is running")
    state = seen.state if seen.state in queue_states.OVER else "lost"
    return lost._replace(state=state, note=seen.reason)


def _from_repetitions(exp_folder: str, exp: str, run: RunId) -> RunState:
    """State of a run whose records are gone, as its repetitions tell it."""
    ends = {entry["state"] for entry in registry.repetitions(exp_folder, exp, run)}
    whole = bool(ends) and ends <= {"done", "diverged"}
    return RunState(run, "done" if whole else "lost", note="told by its run.json files")


def details(exp_folder: str, exp: str, state: RunState) -> dict[str, Any]:
    """Return the content of the file that a run's state stands in, its claim's included.

    Where that file is damaged, it is named as the reason. An attempt that waits has none yet, and
    those of the attempt before say nothing about it.
    """
    if state.state in ("pending", "stuck"):
        return {}
    jobs_dir = paths.jobs_dir(exp_folder, exp)
    place = (state.run, state.part, state.attempt)
    path = job_node.state_file(jobs_dir, *place, "claim")
    told = info = job_node.read_json(path)
    if state.state in job_node.FINAL and state.attempt:
        path = job_node.state_file(jobs_dir, *place, state.state)
        told = job_node.read_json(path)
        info = info | told
    if not told and os.path.exists(path):
        return info | {"reason": f"{path} is damaged"}
    return info


def counts(found: Iterable[RunState]) -> str:
    """Return ``"38 done · 2 failed · 4 running"``, done first."""
    return listed(Counter(state.state for state in found))


def listed(numbers: Counter[str]) -> str:
    """Return the same of how many runs there are of each state."""
    ordered = [name for name in ("done", *STATES) if numbers.get(name)]
    return " · ".join(f"{numbers[name]} {name}" for name in dict.fromkeys(ordered))


def _folders(path: str | os.PathLike[str]) -> list[str]:
    """Names of the folders in a folder that may not exist; none that begins with a dot."""
    try:
        with os.scandir(path) as entries:
            return [e.name for e in entries if e.name[0] != "." and e.is_dir()]
    except OSError:
        return []
