"""Sending runs again as they were last sent: those that ended badly, or that had no room."""

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from utils import (
    environments,
    known_runs,
    launches,
    paths,
    plans,
    promises,
    queue_cancel,
    sending,
    states,
)
from utils.command_lines import Refusal
from utils.environments import Terms
from utils.known_runs import Known

AGAIN = (*states.UNFINISHED, "new")

AS_BEFORE = (
    *("environment_name", "resources", "gpus"),
    *("per_task", "at_once", "arrays", "together"),
)
"""What submissions say about how their runs are started."""

Planned = dict[tuple[str, str], list[dict[str, Any]]]


def retry(
    texts: Sequence[str],
    failed: str | None,
    at_once: int | None,
    memory: str | None = None,
    hours: float | None = None,
) -> int:
    """Start runs again that ended badly, or were never started, as they were last sent.

    Parameters
    ----------
    texts : list of str
        The runs, as named on the command line.
    failed : str, optional
        An experiment of which all runs are meant that are not done; empty where the runs that
        `texts` name are filtered in this way.
    at_once : int, optional
        Runs at a time.
    memory : str, optional
        Memory of a run instead of what it had, such as ``"16G"``.
    hours : float, optional
        Longest duration of a run [h], instead of what it was.

    Returns
    -------
    int
        Exit status: the first that is not 0 of the launches.
    """
    if not texts and not failed:
        raise Refusal("name the runs to try again, or an experiment behind --failed")
    found = known_runs.find_all([*texts, *([failed] if failed else [])])
    groups: dict[str, Planned] = {}
    stuck = []
    for known in found:
        parts = known.in_parts()
        again = [run for run, own in parts.items() if any(one.state in AGAIN for one in own)]
        if failed is None and len(again) < len(known.runs):
            others = {run: state for run, state in known.runs.items() if run not in again}
            print(f"{known.name}: {states.counts(others.values())}; not started again")
        runs = [run for run in again if any(one.state == "stuck" for one in parts[run])]
        if runs:
            stuck.append(Known(known.exp_folder, known.exp, {run: known.runs[run] for run in runs}))
        _add(groups, known, again, by_hand=failed is not None)
    if not groups:
        print("nothing to try again")
        return 0
    if memory is None:
        for known in found:
            starved = [state for state in known.runs.values() if state.state == "memory"]
            if starved:
                print(
                    f"{known.name}: {len(starved)} had too little memory, and get as much again; "
                    "--memory gives more",
                    file=sys.stderr,
                )
    every = [(planned, _terms(key, at_once, memory, hours)) for key, planned in groups.items()]
    for _, terms in every:
        if terms.environment in environments.QUEUED:
            sending.Sender(terms)  # what a site does not name is refused before anything changes
    for known in stuck:
        queue_cancel.free(known)
    return _first_bad(_start(*one) for one in _needed_first(every))


def send(text: str | None) -> int:
    """Send runs that were written down for a queue and had no room in it; return the exit status.

    Parameters
    ----------
    text : str, optional
        Group, or group and experiment; everything without it.
    """
    found = known_runs.find(text, whole_group=True) if text else known_runs.everything()
    groups: dict[str, Planned] = {}
    for known in found:
        parts = known.in_parts()
        new = [run for run, own in parts.items() if any(one.state == "new" for one in own)]
        _add(groups, known, new, by_hand=True, queued=True)
    if not groups:
        print("nothing waits to be sent to a queue")
        return 0
    every = [(planned, _terms(key)) for key, planned in groups.items()]
    return _first_bad(_start_some(*one) for one in _needed_first(every))


def _add(
    groups: dict[str, Planned],
    known: Known,
    runs: Sequence[int | str],
    by_hand: bool,
    queued: bool = False,
) -> None:
    """Add the plan's entries of runs to the group that is started in the same way.

    Parameters
    ----------
    groups : dict
        By what the submissions say, as JSON.
    known : Known
        The experiment.
    runs : list
        Which of its runs.
    by_hand : bool
        Whether runs that were started by hand are left out instead of refused.
    queued : bool
        Whether only those are meant that were to go to a queue.
    """
    jobs_dir = paths.jobs_dir(known.exp_folder, known.exp)
    sent = plans.latest_entries(jobs_dir, [run for run in runs if isinstance(run, int)])
    others = [run for run in runs if run not in sent]
    if others and not by_hand:
        raise Refusal(
            f"{known.run_name(others[0])} was started by hand; start it again in the same way and "
            "add --resume"
        )
    for entry, submission in sent.values():
        if queued and not submission.engine:
            continue
        about = submission.about
        key = json.dumps({name: about.get(name) for name in AS_BEFORE}, sort_keys=True)
        groups.setdefault(key, {}).setdefault((known.exp_folder, known.exp), []).append(entry)


def _terms(
    key: str,
    at_once: int | None = None,
    memory: str | None = None,
    hours: float | None = None,
) -> Terms:
    """Return what runs get that are started as they were before, but for what is named.

    Raises
    ------
    Refusal
        If they cannot be given that.
    """
    about = json.loads(key)
    environment = about["environment_name"] or environments.ALIASES["local"]
    resources = {**environments.NEEDS, **(about["resources"] or {})}
    queued = environment in environments.QUEUED
    for flag, value in (("memory", memory), ("hours", hours)):
        if value is not None and not queued:
            raise Refusal(
                f"--{flag} is for runs in a queue, and these ran in {environment}; leave it out"
            )
        resources |= {flag: value} if value is not None else {}
    environments.check_resources(resources, "the command")
    return environments.terms(
        environment,
        resources,
        at_once or about["at_once"],
        about["gpus"],
        together=bool(queued and about["together"]),
        per_task=about["per_task"] or 1,
        array=not queued or bool(about["arrays"]),
    )


def _start(planned: Planned, terms: Terms) -> int:
    return launches.start(planned, promises.Wish(resume=True), terms)


def _start_some(planned: Planned, terms: Terms) -> int:
    """Send as many runs as a queue has room for now; return the exit status."""
    sender = sending.Sender(terms)
    sender.ask_limits()
    first = _first(planned, max(0, sender.room))
    if first:
        return _start(first, terms)
    print("the queue is full, nothing was sent")
    return 0


def _needed_first(every: Sequence[tuple[Planned, Terms]]) -> list[tuple[Planned, Terms]]:
    """Return launches so that none comes before one whose runs it needs."""
    left, found = list(every), []
    while left:
        places = [set(planned) for planned, _ in left]
        needed = [
            {
                (n["exp_folder"], n["exp"])
                for es in planned.values()
                for e in es
                for n in e.get("needs", ())
            }
            for planned, _ in left
        ]
        free = (
            i
            for i, needs in enumerate(needed)
            if not any(needs & other for j, other in enumerate(places) if j != i)
        )
        found.append(left.pop(next(free, 0)))
    return found


def _first_bad(statuses: Iterable[int]) -> int:
    """Return the first exit status that is not 0, when all have been started."""
    return next((status for status in list(statuses) if status), 0)


def _first(planned: Planned, most: int) -> Planned:
    """Return the first runs of a plan: written down again is only what is sent."""
    found: Planned = {}
    for place, entries in planned.items():
        if entries[:most]:
            found[place] = entries[:most]
        most -= len(entries[:most])
    return found
