"""What ``runs`` can do about runs: cancel and remove; `utils.retries` starts them again."""

import contextlib
import os
import re
import shutil
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from utils import (
    job_node,
    known_runs,
    launches,
    ledger,
    paths,
    plans,
    queue_cancel,
    run_names,
    screen,
    states,
    windows,
)
from utils.command_lines import Refusal
from utils.known_runs import Known

WAIT_S = job_node.STOP_S + 5.0
MOST_SAID = 10
"""So many numbers or ranges of runs are listed in a sentence."""


def cancel(found: Sequence[Known]) -> int:
    """Stop runs: running ones are asked to end, waiting ones are recorded as cancelled.

    Parameters
    ----------
    found : list of Known
        The runs.

    Returns
    -------
    int
        Exit status: 1 when one of them could not be stopped.
    """
    asked: list[tuple[Known, states.RunState]] = []
    failed = False
    every = []
    for known in found:
        taken, problems = queue_cancel.cancel(known)
        for sentence in filter(None, [queue_cancel.said(known, taken)]):
            print(sentence)
        for problem in problems:
            print(screen.escaped(problem), file=sys.stderr)
        failed = failed or bool(problems)
        asked += [(known, state) for state in taken.values() if state.state == "running"]
        in_queue = {run for run, _ in taken}
        for run, parts in known.in_parts().items():
            here = [one for one in parts if (run, one.part) not in taken]
            stoppable = [one for one in here if one.state in ("pending", "running")]
            others = [] if run in in_queue else [known.runs[run]]
            every += [(known, one) for one in stoppable or others]
    # what waits is first, or a place that becomes free would be taken by it
    every.sort(key=lambda pair: pair[1].state != "pending")
    idle: dict[str, tuple[Known, list[states.RunState]]] = {}
    for known, state in every:
        if state.state == "pending" and _cancel_waiting(known, state):
            print(f"{known.part_name(state)} cancelled before it started")
        elif state.state in ("pending", "running"):
            if _ask_to_end(known, state):
                asked.append((known, state))
            else:
                failed = True
        else:
            idle.setdefault(known.name, (known, []))[1].append(state)
    for known, left in idle.values():
        print(_nothing_to_cancel(known, left))
    end = time.monotonic() + WAIT_S
    while asked and time.monotonic() < end:
        time.sleep(0.2)
        for known, state in list(asked):
            jobs_dir = paths.jobs_dir(known.exp_folder, known.exp)
            now = job_node.latest(jobs_dir, state.run, state.part)[1]
            if now != "running":
                print(f"{known.part_name(state)} {now}")
                asked.remove((known, state))
    for known, state in asked:
        print(f"{known.part_name(state)} was asked to end and has not ended yet")
    return 1 if asked or failed else 0


def _nothing_to_cancel(known: Known, left: list[states.RunState]) -> str:
    if len(left) == 1:
        return f"{known.part_name(left[0])} is {left[0].state}; nothing to cancel"
    runs = run_names.as_ranges({state.run for state in left}, MOST_SAID)
    return f"{known.name}:{runs}: {states.counts(left)}; nothing to cancel"


def _cancel_waiting(known: Known, state: states.RunState) -> bool:
    """Claim and record the attempt that waits; false when it has just started."""
    jobs_dir = paths.jobs_dir(known.exp_folder, known.exp)
    place = (state.run, state.part, state.attempt + 1)
    tokens = [s.token for s in plans.submissions(jobs_dir) if place in s.tasks()]
    info = {"token": tokens[-1] if tokens else None, "task": None, "repetitions": None}
    if not job_node.claim(jobs_dir, *place, info):
        return False
    about = {**info, "start": job_node.now_iso(), "end": job_node.now_iso(), "seconds": 0.0}
    job_node.record(jobs_dir, *place, "cancelled", {**about, "reason": "before it started"})
    return True


def _ask_to_end(known: Known, state: states.RunState) -> bool:
    jobs_dir = paths.jobs_dir(known.exp_folder, known.exp)
    attempt, now = job_node.latest(jobs_dir, state.run, state.part)
    if now != "running":
        return True  # it has just ended, and its wrapper may be at another run by now
    claim = job_node.read_json(
        job_node.state_file(jobs_dir, state.run, state.part, attempt, "claim")
    )
    if not job_node.here(claim):
        where = claim.get("host", "another machine")
        print(f"{known.part_name(state)} runs on {where}; cancel it there", file=sys.stderr)
        return False
    if sys.platform == "win32":
        windows.cancel(jobs_dir, (state.run, state.part, attempt), claim.get("token"))
        return True
    with contextlib.suppress(ProcessLookupError):
        if job_node.lives(claim):
            os.kill(claim["pid"], signal.SIGTERM)
        elif job_node.lives(claim, "program"):  # its wrapper is gone
            os.killpg(claim["program"], signal.SIGTERM)
    return True


def remove(
    texts: Sequence[str],
    hand: bool,
    yes: bool,
    ask: Callable[[str], bool] = screen.agreed,
) -> int:
    """Delete runs with logs, summaries, models and records; their numbers are free again.

    Parameters
    ----------
    texts : list of str
        The runs, as named on the command line.
    hand : bool
        Only runs that were started by hand with arguments of their own; a group may be named.
    yes : bool
        Do not ask.
    ask : callable
        Puts the question and returns the answer.
    """
    found = known_runs.find_all(texts, whole_group=hand)
    if hand:
        found = [known for known in map(_only_by_hand, found) if known.runs]
        if not found:
            print("no run there was started by hand with arguments of its own; nothing removed")
            return 0
    for known in found:
        _refuse_under_way(known)
    names = ", ".join(f"{k.name} ({launches.counted(len(k.runs))})" for k in found)
    if not yes:
        if not sys.stdin.isatty():
            raise Refusal(f"this would delete {names} for good; add --yes to do it")
        if not ask(f"Delete {names} with all results?"):
            print("nothing removed")
            return 1
    for known in found:
        jobs_dir = paths.jobs_dir(known.exp_folder, known.exp)
        with plans.lock(jobs_dir):
            now = states.states(known.exp_folder, known.exp)
            chosen = {run: now[run] for run in known.runs if run in now}
            _refuse_under_way(Known(known.exp_folder, known.exp, chosen))
            for submission in plans.submissions(jobs_dir):
                submission.tasks()  # before anything is deleted: a damaged one is refused
            for run in known.runs:
                _delete(known.exp_folder, known.exp, run)
            plans.forget(jobs_dir, [run for run in known.runs if isinstance(run, int)])
            for folder in states.state_folders(jobs_dir):
                with contextlib.suppress(OSError):
                    os.rmdir(folder)
                    os.rmdir(os.path.dirname(folder))
            if not plans.submissions(jobs_dir):
                for path in jobs_dir.glob("pool-*.log"):
                    path.unlink(missing_ok=True)
    ledger.refresh(always=True)
    print(f"removed {names}")
    return 0


def _only_by_hand(known: Known) -> Known:
    runs: dict[int | str, states.RunState] = {
        run: state for run, state in known.runs.items() if isinstance(run, str)
    }
    return Known(known.exp_folder, known.exp, runs)


def _refuse_under_way(known: Known) -> None:
    for run, parts in known.in_parts().items():
        for state in parts:
            if state.state in states.UNDER_WAY:
                raise Refusal(
                    f"{known.part_name(state)} is {state.state}; stop it first with "
                    f"`runs cancel {known.run_name(run)}`, nothing removed"
                )


def _delete(exp_folder: str, exp: str, run: int | str) -> None:
    """Delete one run: first out of sight by renaming, then its records, then for good."""
    hidden = []
    for root in (paths.logs_root(), paths.models_root()):
        folder = root / exp_folder / paths.run_folder(exp, run)
        if folder.exists():
            # names with a dot are no runs; an interrupted removal leaves nothing that looks whole
            aside = folder.with_name(f".removed.{folder.name}.{os.getpid()}")
            os.replace(folder, aside)
            hidden.append(aside)
    jobs_dir = paths.jobs_dir(exp_folder, exp)
    state_dir = Path(job_node.state_dir(jobs_dir, run))
    for path in _files(state_dir):
        parsed = job_node.parse_state_file(path.name)
        if parsed and parsed[0] == str(run):
            path.unlink(missing_ok=True)
    log = re.compile(rf"[oe]_{re.escape(str(run))}(\.part\d+)?(\.try\d+)?\.log")
    for path in _files(jobs_dir.parent):
        if log.fullmatch(path.name):
            path.unlink(missing_ok=True)
    for folder in hidden:
        shutil.rmtree(folder)


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_file()] if folder.is_dir() else []
