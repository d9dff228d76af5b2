"""Runs in parts: into how many their repetitions are divided, and how each part stands.

Part 0 is an undivided run; the parts of a divided one count from 1.
"""

from collections.abc import Iterable
from typing import Any

from utils import finished, job_node, run_names, states

MOST_PARTS = 99
"""Two digits in a task line."""

MOST_SAID = 10
"""So many numbers or ranges are listed in a sentence."""


class Parts:
    """What is known of the divided runs of an experiment.

    Parameters
    ----------
    exp_folder, exp : str
        Group and experiment.
    by_part : dict
        As from `utils.states.by_part`.
    """

    def __init__(self, exp_folder: str, exp: str, by_part: states.Parts):
        self._place = (exp_folder, exp)
        self._of: dict[job_node.RunId, dict[int, states.RunState]] = {}
        for (run, part), state in by_part.items():
            if part:
                self._of.setdefault(run, {})[part] = state

    def begun(self, state: states.RunState) -> bool:
        """Whether a run, or a part of it, was ever started."""
        known = self._of.get(state.run, {}) if state.part else {}
        return state.state != "new" or any(one.attempt for one in known.values())

    def known(self, state: states.RunState) -> list[states.RunState]:
        """Return how those parts of a run stand that were sent or started; itself undivided."""
        if not state.part:
            return [state]
        return [one for _, one in sorted(self._of[state.run].items())]

    def count(self, run: int, sent: finished.Sent) -> int:
        """Return in how many parts a run is that was sent or started before; 1 for undivided.

        Parameters
        ----------
        run : int
            Its number.
        sent : dict
            What was last sent for those runs that have begun.
        """
        known = self._of.get(run)
        if not known:
            return 1
        told = 1
        if run in sent:
            told = sent[run][0].get("parts", 1)
        else:  # started by hand, or what was sent cannot be read any more
            for one in known.values():
                told = max(told, states.details(*self._place, one).get("parts", 1))
        return max(told, *known)

    def states(self, state: states.RunState, count: int) -> list[states.RunState]:
        """Return how the parts of a run stand: the run itself where it is undivided."""
        if count == 1:
            return [state]
        known = self._of.get(state.run, {})
        return [
            known.get(part) or states.RunState(state.run, "new", 0, part) for part in numbers(count)
        ]


def numbers(count: int) -> range:
    """Return the numbers of the parts of a run in so many."""
    return range(1) if count == 1 else range(1, count + 1)


def divided(planned: dict[str, Any], count: int, name: str) -> dict[str, Any]:
    """Return a run's line of the plan with the number of its parts.

    Parameters
    ----------
    planned : dict
        The line, perhaps with another number.
    count : int
        In how many parts the run is.
    name : str
        The experiment, ``GROUP/EXP``.

    Raises
    ------
    ValueError
        If it asks for fewer repetitions than there are parts.
    """
    if count == planned.get("parts", 1):
        return planned
    if count == 1:
        return {key: value for key, value in planned.items() if key != "parts"}
    listed = planned.get("repetitions")
    asked = count if listed is None else len(run_names.numbers(listed, "--repetitions"))
    if asked < count:
        raise ValueError(
            f"run {planned['run']} of {name} is in {count} parts, and --repetitions {listed} asks "
            f"for {asked}; a part has at least one. Ask for more of them, or, where it was never "
            "sent, divide it into fewer parts."
        )
    return {**planned, "parts": count}


def remarks(name: str, staying: Iterable[tuple[int, int]]) -> list[str]:
    """Return a sentence for each number of parts in which runs stay although it is not wished for.

    Parameters
    ----------
    name : str
        The experiment, ``GROUP/EXP``.
    staying : iterable of (run, count)
        The runs, and in how many parts each is.
    """
    by_count: dict[int, list[int]] = {}
    for run, count in staying:
        by_count.setdefault(count, []).append(run)
    return [
        f"{name}: {'run' if len(runs) == 1 else 'runs'} {run_names.as_ranges(runs, MOST_SAID)} "
        f"stay{'s' if len(runs) == 1 else ''} "
        f"{'undivided' if count == 1 else f'in {count} parts'}, as sent before, until removed"
        for count, runs in by_count.items()
    ]
