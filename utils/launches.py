"""Starting runs: sent to a queue, or to this machine's pool, with the closing words about it."""

import contextlib
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from utils import (
    detaching,
    environments,
    needs,
    paths,
    plans,
    pool,
    progress,
    promises,
    queue_launches,
    registry,
    stages,
)
from utils.command_lines import answer
from utils.environments import Terms
from utils.outcomes import Outcome
from utils.pool_jobs import Job
from utils.screen import aligned, escaped, near

MOST_TABLED = 20


def counted(number: int, tasks: int = 0) -> str:
    """Return ``1 run``, ``2 runs``, or ``2 runs in 6 parts`` where there are more tasks."""
    parts = f" in {tasks} parts" if tasks > number else ""
    return f"{number} run{'' if number == 1 else 's'}{parts}"


def kept(batches: Iterable[promises.Batch]) -> list[str]:
    """Return a line for each experiment of which some are not started, or not as wished."""
    lines = []
    for batch in batches:
        if batch.kept:
            reasons = ", ".join(f"{len(runs)} {reason}" for reason, runs in batch.kept.items())
            lines.append(f"{batch.name}: {reasons}; not started again")
        lines += batch.remarks
    return lines


def start(
    planned: dict[tuple[str, str], list[dict[str, Any]]], wish: promises.Wish, terms: Terms
) -> int:
    """Send what is to be sent, run it here, say what became of it; return the exit status.

    Parameters
    ----------
    planned : dict
        For each (group, experiment) the plan of its runs.
    wish : Wish
        What of it is to be sent.
    terms : Terms
        What the runs get of this machine.

    Raises
    ------
    Refusal
        If this machine cannot run them, or they cannot go on without this command.
    """
    environments.check_machine(terms)
    batches = []
    with contextlib.ExitStack() as locks:
        # all locks, in one order, so that everything is decided before anything is written
        for place in sorted(planned):
            locks.enter_context(plans.lock(paths.jobs_dir(*place)))
        for place, entries in planned.items():
            batches.append(promises.decide(*place, entries, wish))
        for sentence in (*kept(batches), *stages.remarks(planned, batches)):
            print(sentence)
        batches = [batch for batch in batches if batch.tasks]
        if not batches:
            return 0
        if terms.environment in environments.QUEUED:
            return queue_launches.send(batches, terms, _about(terms))
        runs = sum(len(batch.tasks) for batch in batches)
        if crowded := terms.crowded(runs):
            print(crowded, file=sys.stderr)
        if terms.detach:
            return _detached(batches, terms)
        jobs = _send(batches, terms)
    return _run(jobs, batches, terms)


def _detached(batches: Sequence[promises.Batch], terms: Terms) -> int:
    """Let the runs go on in a session of their own; return 0 when they are on their way."""
    log = batches[0].jobs_dir / f"pool-{datetime.now(UTC):%Y%m%dT%H%M%S%f}.log"

    def work(under_way: Callable[[], None]) -> int:
        jobs = _send(batches, terms)
        under_way()
        return _run(jobs, batches, terms)

    process = detaching.detach(lambda tell: answer(lambda: work(tell)), log)
    names = " ".join(batch.name for batch in batches)
    print(f"{_counted(batches, terms)} in a session of their own, process {process}")
    print(f"output:  tail -f {shlex.quote(near(log))}")
    print(f"states:  runs list {names if len(batches) == 1 else ''}".rstrip())
    print(f"stop:    runs cancel {names}")
    return 0


def _run(jobs: Sequence[Job], batches: Sequence[promises.Batch], terms: Terms) -> int:
    """Run what has been sent; return the exit status."""
    print(
        f"{_counted(batches, terms)}; logs in {near(jobs[0].error_log.parent)}; `runs list` shows "
        "how they stand",
        flush=True,
    )
    begin = time.monotonic()
    with progress.Line(len(jobs), "done") as line:
        outcome = pool.Pool(
            jobs, terms.places(len(jobs)), line, terms.retries, terms.together
        ).run()
    print(closing(outcome, len(jobs), time.monotonic() - begin), flush=True)
    return outcome.exit_status


def _counted(batches: Sequence[promises.Batch], terms: Terms) -> str:
    runs = sum(len(batch.entries) for batch in batches)
    tasks = sum(len(batch.tasks) for batch in batches)
    names = ", ".join(batch.name for batch in batches)
    return f"{counted(runs, tasks)} of {names}, {min(terms.at_once, tasks)} at a time"


def _send(batches: Sequence[promises.Batch], terms: Terms) -> list[Job]:
    """Write the submissions; return their tasks."""
    programs, about = environments.programs(terms), _about(terms)
    jobs = []
    for batch in batches:
        here = {**about, "run_folder": batch.run_folder}
        entries = [programs.planned(entry) for entry in batch.entries]
        submission = plans.send(batch.jobs_dir, entries, batch.tasks, here)
        needed = {
            entry["run"]: needs.lists(entry["needs"]) for entry in entries if "needs" in entry
        }
        jobs += [
            Job(
                batch.exp_folder,
                batch.exp,
                submission,
                line,
                place,
                programs.remove(place[0]),
                needed.get(place[0], ()),
            )
            for line, place in enumerate(batch.tasks)
        ]
    return jobs


def _about(terms: Terms) -> dict[str, Any]:
    """Return what a submission says about where it comes from and what its programs get."""
    moved = ("BENCH_DATA", "BENCH_RESULTS")
    folders = dict(zip(moved, map(str, (paths.data_dir(), paths.results_dir())), strict=True))
    environment = {name: folders[name] for name in moved if os.environ.get(name)}
    return {
        "environment_name": terms.environment,
        "environment": {**environment, **terms.threads},
        "python": environments.shown_python(),
        "python_version": sys.version.split()[0],
        "resources": terms.resources,
        "gpus": terms.wished_gpus,
        "command": shlex.join(sys.argv),
        "user": os.environ.get("USER", ""),
        **registry.code_version(),
    }


def closing(outcome: Outcome, total: int, seconds: float) -> str:
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
    # what was skipped comes last: it follows from the others, and has no log
    bad = sorted(outcome.bad, key=lambda ended: ended.state == "skipped")
    rows = [
        (
            ended.job.name,
            ended.state,
            ended.reason,
            "" if ended.state == "skipped" else near(ended.job.error_log),
        )
        for ended in bad
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
