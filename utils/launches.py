"""Sending runs to this machine's pool: submissions written, runs started, the closing words."""

import contextlib
import os
import shlex
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from utils import outcomes, paths, plans, pool, pool_jobs, progress, promises, registry
from utils.screen import aligned, escaped

MOST_TABLED = 20


def cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def shown_python() -> str:
    """Return this Python as a submission stores it: relative to the checkout when it lies there."""
    python = Path(sys.executable)
    return str(python.relative_to(paths.ROOT)) if python.is_relative_to(paths.ROOT) else str(python)


def thread_variables(threads: int) -> dict[str, str]:
    """Return the variables that limit the threads of a run."""
    names = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
    return dict.fromkeys(names, str(threads))


def counted(number: int) -> str:
    """Return ``1 run``, ``2 runs``."""
    return f"{number} run{'' if number == 1 else 's'}"


def kept(batches: Iterable[promises.Batch]) -> list[str]:
    """Return a line for each experiment of which some runs are not started, and why."""
    lines = []
    for batch in batches:
        if batch.kept:
            reasons = ", ".join(f"{len(runs)} {reason}" for reason, runs in batch.kept.items())
            lines.append(f"{batch.name}: {reasons}; not started again")
    return lines


def start(
    planned: dict[tuple[str, str], list[dict[str, Any]]],
    wish: promises.Wish,
    at_once: int,
    resources: dict[str, Any],
) -> int:
    """Send what is to be sent, run it here, say what became of it; return the exit status.

    Parameters
    ----------
    planned : dict
        For each (group, experiment) the plan of its runs.
    wish : Wish
        What of it is to be sent.
    at_once : int
        Runs at a time.
    resources : dict
        What one run needs.
    """
    batches, jobs = [], []
    about = _about(resources)
    with contextlib.ExitStack() as locks:
        # all locks, in one order, so that everything is decided before anything is written
        for place in sorted(planned):
            locks.enter_context(plans.lock(paths.jobs_dir(*place)))
        for place, entries in planned.items():
            batches.append(promises.decide(*place, entries, wish))
        for batch in batches:
            jobs += _send(batch, about)
    for sentence in kept(batches):
        print(sentence)
    if not jobs:
        return 0
    names = ", ".join(batch.name for batch in batches if batch.tasks)
    print(
        f"{counted(len(jobs))} of {names}, {min(at_once, len(jobs))} at a time; logs in "
        f"{near(jobs[0].error_log.parent)}; `runs list` shows how they stand",
        flush=True,
    )
    begin = time.monotonic()
    with progress.Line(len(jobs), "done") as line:
        outcome = pool.Pool(jobs, [{}] * at_once, line).run()
    print(closing(outcome, len(jobs), time.monotonic() - begin))
    return outcome.exit_status


def _about(resources: dict[str, Any]) -> dict[str, Any]:
    """Return what a submission says about where it comes from and what its programs get."""
    moved = ("BENCH_DATA", "BENCH_RESULTS")
    folders = dict(zip(moved, map(str, (paths.data_dir(), paths.results_dir())), strict=True))
    environment = {name: folders[name] for name in moved if os.environ.get(name)}
    return {
        "environment_name": "linux",
        "environment": {**environment, **thread_variables(resources["threads"])},
        "python": shown_python(),
        "python_version": sys.version.split()[0],
        "resources": resources,
        "command": shlex.join(sys.argv),
        "user": os.environ.get("USER", ""),
        **registry.code_version(),
    }


def _send(batch: promises.Batch, about: dict[str, Any]) -> list[pool_jobs.Job]:
    if not batch.tasks:
        return []
    folder = paths.logs_root() / batch.exp_folder / paths.run_folder(batch.exp, "")
    here = {**about, "run_folder": str(folder)}
    submission = plans.send(batch.jobs_dir, batch.entries, batch.tasks, here)
    return [
        pool_jobs.Job(batch.exp_folder, batch.exp, submission, line, place)
        for line, place in enumerate(batch.tasks)
    ]


def near(path: Path) -> str:
    """Return a path as short as it can be typed from here."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def closing(outcome: outcomes.Outcome, total: int, seconds: float) -> str:
    """Return the last words about a launch: counts, and a table of what failed and where to look.

    Parameters
    ----------
    outcome : Outcome
        What became of the runs.
    total : int
        How many were to be run.
    seconds : float
        How long it took [s].
    """
    done = len(outcome.ended) - len(outcome.bad)
    parts = [f"{done}/{total} done in {progress.duration(seconds)}"]
    for state in dict.fromkeys(ended.state for ended in outcome.bad):
        parts.append(f"{sum(ended.state == state for ended in outcome.bad)} {state}")
    if outcome.left:
        parts.append(f"{outcome.left} not started")
    if outcome.diverged:
        plural = "" if outcome.diverged == 1 else "s"
        parts.append(f"{outcome.diverged} repetition{plural} diverged")
    if outcome.retried:
        parts.append(f"{outcome.retried} tried again")
    if outcome.elsewhere:
        parts.append(f"{len(outcome.elsewhere)} taken by another launcher")
    lines = [" · ".join(parts)]
    alike = outcome.alike
    if alike:
        lines.append(
            f"{len(alike)} of {len(outcome.ended)} failed with: {outcome.hopeless} "
            f"({near(alike[0].job.error_log)})"
        )
    rows = [
        (ended.job.name, ended.state, ended.reason, near(ended.job.error_log))
        for ended in outcome.bad
        if not (outcome.hopeless and ended.reason == outcome.hopeless)
        and not (outcome.signal and ended.state == "cancelled")
    ]
    if rows:
        table = aligned(rows[:MOST_TABLED], ("RUN", "STATE", "REASON", "LOG"), fit=False)
        lines += ["", *table.splitlines()]
    if len(rows) > MOST_TABLED:
        lines.append(f"… and {len(rows) - MOST_TABLED} more: runs list")
    if outcome.bad or outcome.left:
        lines.append("continue with the same command and --resume")
    return "\n".join(escaped(line) for line in lines)
