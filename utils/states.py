"""What became of the runs of an experiment, derived from names of files and from what is alive.

Nothing is written, cancelled or repaired here. Contents of claims and records are read only for
claims without a record, and by `details` for the rows that are shown.
"""

import contextlib
import functools
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

from utils import job_node, paths, plans, registry

# also the order in which runs are shown: what needs attention first
STATES = {
    "failed": "its program ended with an error",
    "lost": "it ended without a record: killed, or its machine went down",
    "timeout": "the queue's time limit ended it",
    "memory": "the queue's memory limit ended it",
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

_RUN_FOLDER = re.compile(r"(.+)x(\d+|hand-[0-9a-f]{6})")


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

    run: int | str
    state: str
    attempt: int = 0
    part: int = 0
    note: str = ""


def order(run: int | str) -> tuple[bool, int, str]:
    """Sort key of runs: numbers first, then the names of runs started by hand."""
    return (False, run, "") if isinstance(run, int) else (True, 0, run)


def experiments() -> list[tuple[str, str]]:
    """Return group and name of every experiment that has left something behind, sorted."""
    found: set[tuple[str, str]] = set()
    job_logs = paths.job_log_dir("group", "exp").parent.parent
    for group in _folders(job_logs):
        found.update((group, exp) for exp in _folders(os.path.join(job_logs, group)))
    for group in _folders(paths.logs_root()):
        folders = map(_RUN_FOLDER.fullmatch, _folders(paths.logs_root() / group))
        found.update((group, match[1]) for match in folders if match)
    return sorted(found)


def states(exp_folder: str, exp: str) -> dict[int | str, RunState]:
    """Return the state of each run of an experiment that was ever sent or started.

    Parameters
    ----------
    exp_folder, exp : str
        Group and experiment.
    """
    jobs_dir = paths.jobs_dir(exp_folder, exp)
    by_part = _claimed(str(jobs_dir))
    for submission in plans.submissions(jobs_dir):
        waiting = "pending" if submission.sender_lives() else "new"
        try:
            tasks = submission.tasks()
        except plans.Damaged as problem:
            _say(str(problem))
            continue
        for task in tasks:
            if task is None:
                continue
            run, part, attempt = task
            known = by_part.get((run, part))
            if known is None:
                by_part[run, part] = RunState(run, waiting, 0, part)
            elif known.attempt < attempt and waiting == "pending":
                by_part[run, part] = RunState(run, waiting, known.attempt, part)
    found: dict[int | str, RunState] = {}
    severity = list(STATES).index
    for (run_name, _), state in by_part.items():
        other = found.get(run_name)
        if other is None or severity(state.state) < severity(other.state):
            found[run_name] = state
    for traced in folders_of_runs(exp_folder, exp):
        if traced not in found or found[traced].state == "new":
            found[traced] = _from_repetitions(exp_folder, exp, traced)
    return {run: found[run] for run in sorted(found, key=order)}


@functools.cache  # once, however often the states are asked for
def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr)


def _claimed(jobs_dir: str) -> dict[tuple[int | str, int], RunState]:
    """Return the state of every run and part that was claimed, by its newest attempt."""
    root = os.path.join(jobs_dir, "state")
    newest: dict[tuple[str, int], tuple[int, str]] = {}
    for folder in _folders(root):
        for name in os.listdir(os.path.join(root, folder)):
            parsed = job_node.parse_state_file(name)
            if parsed is None:
                continue
            run, part, attempt, kind = parsed
            known = newest.get((run, part), (0, "claim"))
            # of the same attempt a record stands above the claim
            if attempt > known[0] or (attempt == known[0] and known[1] == "claim"):
                newest[run, part] = (attempt, kind)
    found: dict[tuple[int | str, int], RunState] = {}
    for (run, part), (attempt, kind) in newest.items():
        run_id = int(run) if run.isdigit() else run
        if kind == "claim":
            found[run_id, part] = _held(jobs_dir, run_id, part, attempt)
        else:
            found[run_id, part] = RunState(run_id, kind, attempt, part)
    return found


def _held(jobs_dir: str, run: int | str, part: int, attempt: int) -> RunState:
    """State of an attempt that has a claim and no record."""
    claim = job_node.state_file(jobs_dir, run, part, attempt, "claim")
    if not job_node.alive(claim):
        return RunState(run, "lost", attempt, part)
    note = ""
    # most claims are fresh by any clock, and then the file server need not be asked for its own
    with contextlib.suppress(FileNotFoundError):
        if time.time() - os.stat(claim).st_mtime > job_node.SILENT_S:
            silence = job_node.silence(claim)
            note = f"silent for {silence / 60:.0f} min" if silence > job_node.SILENT_S else ""
    return RunState(run, "running", attempt, part, note)


def folders_of_runs(exp_folder: str, exp: str) -> list[int | str]:
    """Return the runs that have a folder of summaries."""
    found: list[int | str] = []
    for name in _folders(paths.logs_root() / exp_folder):
        match = _RUN_FOLDER.fullmatch(name)
        if match and match[1] == exp:
            found.append(int(match[2]) if match[2].isdigit() else match[2])
    return found


def _from_repetitions(exp_folder: str, exp: str, run: int | str) -> RunState:
    """State of a run whose records are gone, as its repetitions tell it."""
    ends = {entry["state"] for entry in registry.repetitions(exp_folder, exp, run)}
    whole = bool(ends) and ends <= {"done", "diverged"}
    return RunState(run, "done" if whole else "lost", note="told by its run.json files")


def details(exp_folder: str, exp: str, state: RunState) -> dict[str, Any]:
    """Return the content of the file that a run's state stands in, its claim's included."""
    jobs_dir = paths.jobs_dir(exp_folder, exp)
    place = (state.run, state.part, state.attempt)
    claim = job_node.read_json(job_node.state_file(jobs_dir, *place, "claim"))
    if state.state not in job_node.FINAL or not state.attempt:
        return claim
    return claim | job_node.read_json(job_node.state_file(jobs_dir, *place, state.state))


def counts(found: Iterable[RunState]) -> str:
    """Return ``"38 done · 2 failed · 4 running"``, done first."""
    numbers = Counter(state.state for state in found)
    ordered = [name for name in ("done", *STATES) if numbers.get(name)]
    return " · ".join(f"{numbers[name]} {name}" for name in dict.fromkeys(ordered))


def _folders(path: str | os.PathLike[str]) -> list[str]:
    """Names of the folders in a folder that may not exist; none that begins with a dot."""
    try:
        with os.scandir(path) as entries:
            return sorted(e.name for e in entries if not e.name.startswith(".") and e.is_dir())
    except OSError:
        return []
