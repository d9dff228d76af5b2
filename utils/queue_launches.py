"""Launching runs in a queue: the dry run, the sending, and what is said about both."""

import shlex
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from utils import environments, paths, promises, queues, screen, stages
from utils.command_lines import Refusal
from utils.engines import QueueError
from utils.environments import Terms
from utils.sending import After, Interrupted, Place, Sender, Sent, in_order, user

MOST_PRINTED = 3
"""So many lines of a plan, and so many calls, are shown by a dry run."""


def send(batches: Sequence[promises.Batch], terms: Terms, about: Mapping[str, Any]) -> int:
    """Hand runs to the engine of a queue; return the exit status.

    Parameters
    ----------
    batches : list of Batch
        What is to be sent; the locks of all are held.
    terms : Terms
        What the runs get.
    about : dict
        Environment, program, resources and provenance of the submissions.

    Raises
    ------
    Refusal
        If the engine would never start them, or there is none.
    """
    sender = Sender(terms)
    batches = in_order(batches)
    for batch in batches:
        sender.check_paths(batch)
    try:
        sender.ask_limits()
        _judge(sender, batches)
    except QueueError as stop:
        print(screen.escaped(f"nothing was sent: {stop}"), file=sys.stderr)
        return 1
    sent: dict[Place, Sent] = {}
    problem: QueueError | Interrupted | None = None
    for batch in batches:
        submission = sender.write(batch, {**about, "run_folder": batch.run_folder, "user": user()})
        current = Sent(batch, submission)
        sent[batch.exp_folder, batch.exp] = current
        if problem is not None:
            continue  # written down all the same: `runs send` takes them when there is room
        try:
            sender.submit(current, After(batch, submission.calls, sent))
        except (QueueError, Interrupted) as stop:
            problem = stop
        if current.accepted:
            print(_accepted(sender, current), flush=True)
        if problem is not None and not _is_full(problem):
            break
    if problem is None:
        return 0
    return _incomplete(sender, batches, sent, problem)


def _is_full(problem: QueueError | Interrupted) -> bool:
    return isinstance(problem, QueueError) and problem.full


def _judge(sender: Sender, batches: Sequence[promises.Batch]) -> None:
    """Refuse what Slurm would never start; Grid Engine is too strict to be believed.

    A request that fits no node that is there now may fit one that is drained: it is sent with a
    warning, and Slurm refuses it for good where it can tell.
    """
    why = sender.judge(batches[0])
    if not why:
        return
    title = sender.engine.title
    if sender.is_final(why):
        less = "; ask for less, or try again if Slurm was started just now" * ("node" in why)
        raise Refusal(f"{title} would never start these runs, nothing was sent: {why}{less}")
    print(
        f"{title} finds no queue or node that could start these runs now, they are sent all the "
        f"same: {why}",
        file=sys.stderr,
    )


def _accepted(sender: Sender, sent: Sent) -> str:
    """Return a line about runs that are in the queue."""
    batch, jobs = sent.batch, list(sent.jobs.values())
    what = f"job {jobs[0]}" if len(jobs) == 1 else f"{len(jobs)} jobs, {jobs[0]} to {jobs[-1]}"
    runs = len({task[0] for task in batch.tasks})
    counted = f"{sent.accepted} run{'' if sent.accepted == 1 else 's'}"
    if runs != len(batch.tasks):
        counted = f"{sent.accepted} parts of runs"
    logs = screen.near(batch.jobs_dir.parent)
    return screen.escaped(
        f"{counted} of {batch.name} sent to {sender.engine.title} as {what}; logs in {logs}; "
        f"`runs list {batch.name}` shows how they stand"
    )


def _incomplete(
    sender: Sender,
    batches: Sequence[promises.Batch],
    sent: Mapping[Place, Sent],
    problem: QueueError | Interrupted,
) -> int:
    """Say what is not in the queue, and why; return the exit status."""
    total = sum(len(batch.tasks) for batch in batches)
    left = total - sum(one.accepted for one in sent.values())
    what = f"{left} of {total} runs {'was' if left == 1 else 'were'} not sent"
    if isinstance(problem, Interrupted):
        rest = f"{what}: stopped; the same command with --resume sends the rest"
        print(rest if left else "stopped when all was sent", file=sys.stderr)
        return 128 + problem.number
    if _is_full(problem):
        command = f"runs send {batches[0].name}" if len(batches) == 1 else "runs send"
        print(
            f"{what}, the queue is full; `{command}` sends more when there is room ({problem})",
            file=sys.stderr,
        )
        return 0
    print(
        screen.escaped(f"{what}: {problem}; the same command with --resume sends the rest"),
        file=sys.stderr,
    )
    return 1


def dry_run(batches: Sequence[promises.Batch], terms: Terms, check: bool) -> tuple[str, int]:
    """Return what would be sent, in words, and the exit status.

    Parameters
    ----------
    batches : list of Batch
        What is to be sent.
    terms : Terms
        What the runs get.
    check : bool
        Whether to ask the engine if the runs can ever start; otherwise nobody is asked.

    Raises
    ------
    Refusal
        If the runs ask for what the site has not.
    """
    sender = Sender(terms)
    batches = [batch for batch in in_order(batches) if batch.tasks]
    if check:
        sender.ask_limits()
    lines = [line for batch in batches for line in _shown(sender, batch)]
    runs = sum(len(batch.tasks) for batch in batches)
    if batches:
        lines.append(
            f"in {paths.ROOT}: {queues.summed(sender.site, sender.demand, runs, terms.at_once)}"
        )
        lines += [f"before each task: {line}" for line in sender.site.setup]
        if not check:
            most = sender.limits.longest_array
            lines.append(
                f"arrays of at most {most} tasks, if {sender.engine.title} is set up as it is "
                "packaged; --check asks it"
            )
    else:
        lines.append("nothing to send")
    status = 0
    if check and batches:
        why = sender.judge(batches[0])
        status = 1 if why else 0
        title = sender.engine.title
        lines.append(f"{title} could not start these: {why}" if why else f"{title} can start these")
    return "\n".join(lines), status


def _shown(sender: Sender, batch: promises.Batch) -> list[str]:
    """Return the calls and the beginning of the plan of an experiment."""
    calls = sender.calls(len(batch.tasks))
    stem, token = "send-TIME-TOKEN", "TOKEN"
    array = sender.is_array(len(batch.tasks))
    lines = []
    for number, (_, count) in enumerate(calls[:MOST_PRINTED]):
        call = sender.call(batch.jobs_dir, token, number, count, array, stem)
        command = sender.engine.submit_command(call, sender.demand, str(paths.ROOT))
        lines.append(shlex.join(command))
    if len(calls) > MOST_PRINTED:
        lines.append(f"… and {len(calls) - MOST_PRINTED} more calls like these")
    programs = environments.programs(sender.terms)
    entries = {entry["run"]: entry for entry in sender.entries(batch)}
    for run, part, _ in batch.tasks[:MOST_PRINTED]:
        entry = entries[run]
        argv = [*entry["argv"], *([f"--part={part}/{entry['parts']}"] if part else [])]
        words = [*(entry.get("before") or programs.before(run)), entry["script"], *argv]
        waits = f"   ({stages.after(entry)})" if "needs" in entry else ""
        lines.append(f"  {run}: {screen.shell_line(words)}{waits}")
    if len(batch.tasks) > MOST_PRINTED:
        lines.append(f"  … and {len(batch.tasks) - MOST_PRINTED} more, one line of a plan each")
    return lines
