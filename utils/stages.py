"""What is said about runs that need others before they are started."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from utils import needs, plans, registry, run_names, states
from utils.promises import Batch

MOST_PIECES = 10
WELL = ("done", *states.UNDER_WAY)

Place = tuple[str, str]  # exp_folder, exp
Planned = Mapping[Place, Iterable[dict[str, Any]]]


def after(entry: Mapping[str, Any]) -> str:
    """Return ``after GROUP/EXP:0-3`` for an entry of a plan that needs these, else nothing."""
    needed = entry.get("needs")
    return f"after {needs.as_text(needed)}" if needed else ""


def remarks(planned: Planned, batches: Sequence[Batch]) -> list[str]:
    """Return what whoever starts runs should know about those that need others.

    Parameters
    ----------
    planned : dict
        As from `utils.promises.by_experiment`.
    batches : list of Batch
        What of it is to be sent, and what is not.
    """
    return [*_absent(batches), *_outgrown(planned, batches)]


def _absent(batches: Sequence[Batch]) -> list[str]:
    """Return a sentence for each experiment of which runs are needed that nobody is at."""
    needed: dict[Place, dict[str, set[int]]] = {}  # place -> who needs it -> runs
    listed: set[tuple[str, Place, str]] = set()
    for batch in batches:
        for entry in batch.entries:
            for need in entry.get("needs", ()):
                place, runs = (need["exp_folder"], need["exp"]), need["runs"]
                # what all runs of a stage need is one list
                if not need["allow_missing"] and (batch.name, place, runs) not in listed:
                    listed.add((batch.name, place, runs))
                    numbers = needed.setdefault(place, {}).setdefault(batch.name, set())
                    numbers.update(run_names.numbers(runs, "runs"))
    here = {(batch.exp_folder, batch.exp): batch for batch in batches}
    sentences = []
    for place, by_name in needed.items():
        absent = set().union(*by_name.values())
        if place in here:  # what is not sent although it was listed is done, or under way
            absent.difference_update(run for run, _, _ in here[place].tasks)
            absent.difference_update(*here[place].kept.values())
        if absent:
            known = states.states(*place)
            absent = {run for run in absent if run not in known or known[run].state not in WELL}
        names = [name for name, runs in by_name.items() if runs & absent]
        if names:
            which = run_names.as_ranges(absent, most=MOST_PIECES)
            sentences.append(
                f"{' and '.join(names)} need{'' if len(names) > 1 else 's'} {'/'.join(place)}:"
                f"{which}: not done, not under way and not among what is started now, so that "
                "runs which need this are skipped. Start it as well, or do without it with "
                "--allow-missing."
            )
    return sentences


def _outgrown(planned: Planned, batches: Sequence[Batch]) -> list[str]:
    """Return a sentence for each experiment with runs that are done with other runs' results."""
    sentences = []
    for batch in batches:
        done = set(batch.kept.get("done", ()))
        now = {
            entry["run"]: entry["needs"]
            for entry in planned[batch.exp_folder, batch.exp]
            if "needs" in entry and entry["run"] in done
        }
        if not now:
            continue
        sent = plans.latest_entries(batch.jobs_dir, now)
        used = {run: entry["needs"] for run, (entry, _) in sent.items() if "needs" in entry}
        other = [run for run in used if needs.as_text(used[run]) != needs.as_text(now[run])]
        if other:
            name = registry.run_name(
                batch.exp_folder, batch.exp, run_names.as_ranges(other, most=MOST_PIECES)
            )
            first = other[0]
            sentences.append(
                f"{name} is done with the results of {needs.as_text(used[first])}, and now needs "
                f"{needs.as_text(now[first])}; `runs remove {name}` lets it be done over"
            )
    return sentences
