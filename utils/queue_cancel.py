"""Cancelling runs that an engine has: those that wait are marked, those that run are asked to end.

A mark is one line for a range of tasks, so that a hundred thousand runs are cancelled at once. A
task that the engine starts all the same finds the mark and does nothing.
"""

import re
from collections import Counter
from collections.abc import Sequence

from utils import engines, paths, plans, queue_states, states
from utils.command_lines import Refusal
from utils.engines import QueueError
from utils.known_runs import Known
from utils.queues import ENGINES

STOPPABLE = ("pending", "running", "stuck", "unknown", "new")
"""What an engine has, or is to get: runs without room in a queue are sent later."""

_ENDED = re.compile(r"does not exist|invalid job id", re.IGNORECASE)

Part = tuple[states.RunId, int]


def cancel(
    known: Known, stoppable: Sequence[str] = STOPPABLE
) -> tuple[dict[Part, states.RunState], list[str]]:
    """Cancel the runs of an experiment that engines have.

    Parameters
    ----------
    known : Known
        The runs.
    stoppable : list of str
        What stands otherwise is left alone.

    Returns
    -------
    taken : dict
        The parts of runs that were cancelled or asked to end, with their states before.
    problems : list of str
        What an engine did not do; what it has not started yet will not start all the same.
    """
    jobs_dir = paths.jobs_dir(known.exp_folder, known.exp)
    taken: dict[Part, states.RunState] = {}
    problems: list[str] = []
    with plans.lock(jobs_dir):
        claimed = states.claimed_in(jobs_dir)
        standing = states.by_part(known.exp_folder, known.exp)
        chosen = {
            place
            for place, told in standing.items()
            if place[0] in known.runs and told.state in stoppable
        }
        for submission, tasks in states.sent(jobs_dir):
            named = {
                line: task
                for line, task in enumerate(tasks)
                if submission.engine and task and task[:2] in chosen
            }
            over = _over(tasks, claimed) if named else set()
            lines = {line: task for line, task in named.items() if line not in over}
            if not lines:
                continue
            waiting = [
                line for line, task in lines.items() if task[2] > claimed.get(task[:2], (0, ""))[0]
            ]
            for first, last in engines.as_ranges(waiting):
                submission.note_cancelled(first, last)
            taken |= {task[:2]: standing[task[:2]] for task in lines.values()}
            problems += _tell_engine(submission, set(lines), over)
    return taken, list(dict.fromkeys(problems))


def _over(tasks: list[plans.Place | None], claimed: states.Claimed) -> set[int]:
    """Return the lines of tasks that have ended, or were removed."""
    over = set()
    for line, task in enumerate(tasks):
        attempt, kind = claimed.get(task[:2], (0, "claim")) if task else (0, "")
        if task is None or task[2] < attempt or (task[2] == attempt and kind != "claim"):
            over.add(line)
    return over


def _tell_engine(submission: plans.Submission, lines: set[int], over: set[int]) -> list[str]:
    """Have an engine delete the tasks of some lines; return what went wrong."""
    engine = ENGINES[submission.engine]
    try:
        known = queue_states.queue(submission.engine, str(submission.about.get("user", "")))
    except QueueError as problem:
        return [str(problem)]
    jobs, problems = queue_states.jobs(submission, known), []
    per_task, array = submission.per_task, submission.is_array
    settled = lines | over
    for call, (first, count) in enumerate(submission.calls):
        if call not in jobs or lines.isdisjoint(range(first, first + count)):
            continue
        numbers, kept = [], 0
        for task, begin in enumerate(range(first, first + count, per_task)):
            mine = set(range(begin, min(begin + per_task, first + count)))
            if lines.isdisjoint(mine):
                kept += not mine <= over
            elif mine <= settled:
                numbers.append(engine.first_task + task)
            else:
                kept += 1
                names = ", ".join(str(line) for line in sorted(mine & lines))
                problems.append(
                    f"line {names} of {submission.stem} shares a task with other runs; what has "
                    "begun goes on until these are cancelled as well"
                )
        job = queue_states.the_job(submission, call, jobs[call], known)
        if not numbers or job is None:  # by now its number may be that of another job
            continue
        whole = not kept or not array
        try:
            for command in engine.cancel_commands(jobs[call], None if whole else numbers):
                engines.ask(command)
        except QueueError as problem:
            if not _ENDED.search(str(problem)):  # meanwhile
                problems.append(str(problem))
    return problems


def free(known: Known) -> None:
    """Take runs out of a queue that will never start them, so that they can be sent again.

    Raises
    ------
    Refusal
        If the engine does not let go of one.
    """
    _, problems = cancel(known, ("stuck",))
    if problems:
        raise Refusal(f"{known.name} is stuck in its queue and stays there: {problems[0]}")


def said(known: Known, taken: dict[Part, states.RunState]) -> str:
    """Return how many runs of an experiment were cancelled before they started, in words."""
    counts = Counter(told.state == "running" for told in taken.values())
    if not counts[False]:
        return ""
    who = "it" if counts[False] == 1 else "they"
    return f"{known.name}: {counts[False]} cancelled before {who} started"
