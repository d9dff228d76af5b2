"""What ``runs`` can do about runs: cancel, retry, remove."""

import contextlib
import os
import re
import shutil
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from utils import (
    environments,
    job_node,
    known_runs,
    launches,
    ledger,
    paths,
    plans,
    promises,
    screen,
    states,
    windows,
)
from utils.command_lines import Refusal
from utils.known_runs import Known

WAIT_S = job_node.STOP_S + 5.0
AGAIN = (*states.UNFINISHED, "new")


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
    every = [(known, state) for known in found for state in known.runs.values()]
    # what waits is first, or a place that becomes free would be taken by it
    every.sort(key=lambda pair: pair[1].state != "pending")
    for known, state in every:
        if state.state == "pending" and _cancel_waiting(known, state):
            print(f"{known.run_name(state.run)} cancelled before it started")
        elif state.state in ("pending", "running"):
            if _ask_to_end(known, state):
                asked.append((known, state))
            else:
                failed = True
        else:
            print(f"{known.run_name(state.run)} is {state.state}; nothing to cancel")
    end = time.monotonic() + WAIT_S
    while asked and time.monotonic() < end:
        time.sleep(0.2)
        for known, state in list(asked):
            jobs_dir = paths.jobs_dir(known.exp_folder, known.exp)
            now = job_node.latest(jobs_dir, state.run, state.part)[1]
            if now != "running":
                print(f"{known.run_name(state.run)} {now}")
                asked.remove((known, state))
    for known, state in asked:
        print(f"{known.run_name(state.run)} was asked to end and has not ended yet")
    return 1 if asked or failed else 0


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
        print(f"{known.run_name(state.run)} runs on {where}; cancel it there", file=sys.stderr)
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


def retry(texts: Sequence[str], failed: str | None, at_once: int | None) -> int:
    """Start runs again that ended badly, or were never started, as they were last sent.

    Parameters
    ----------
    texts : list of str
        The runs, as named on the command line.
    failed : str, optional
        An experiment of which all runs are meant that are not done.
    at_once : int, optional
        Runs at a time.
    """
    if not texts and not failed:
        raise Refusal("name the runs to try again, or an experiment behind --failed")
    found = known_runs.find_all([*texts, *([failed] if failed else [])])
    planned: dict[tuple[str, str], list[dict[str, Any]]] = {}
    about: dict[str, Any] = {}
    for known in found:
        again = [run for run, state in known.runs.items() if state.state in AGAIN]
        if not failed and len(again) < len(known.runs):
            others = {run: state for run, state in known.runs.items() if run not in again}
            print(f"{known.name}: {states.counts(others.values())}; not started again")
        by_hand: list[int | str] = [run for run in again if isinstance(run, str)]
        numbered = [run for run in again if isinstance(run, int)]
        jobs_dir = paths.jobs_dir(known.exp_folder, known.exp)
        sent = plans.latest_entries(jobs_dir, numbered)
        by_hand += [run for run in numbered if run not in sent]
        if by_hand and not failed:
            raise Refusal(
                f"{known.run_name(by_hand[0])} was started by hand; start it again in the same "
                "way and add --resume"
            )
        if sent:
            planned[known.exp_folder, known.exp] = [entry for entry, _ in sent.values()]
            about = next(iter(sent.values()))[1].about
    if not planned:
        print("nothing to try again")
        return 0
    environment = about.get("environment_name", environments.ALIASES["local"])
    resources = about.get("resources", environments.NEEDS)
    terms = environments.terms(environment, resources, at_once, about.get("gpus"))
    return launches.start(planned, promises.Wish(resume=True), terms)


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
            for run in known.runs:
                _delete(known.exp_folder, known.exp, run)
            plans.forget(jobs_dir, [run for run in known.runs if isinstance(run, int)])
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
    for run, state in known.runs.items():
        if state.state in states.UNDER_WAY:
            name = known.run_name(run)
            raise Refusal(
                f"{name} is {state.state}; stop it first with `runs cancel {name}`, nothing removed"
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
