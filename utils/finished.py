"""Whether a run that is done by its record is done by its results as well."""

import functools
import os
from typing import Any

from utils import job_node, paths, plans, registry, run_names, states

Sent = dict[int, tuple[dict[str, Any], plans.Submission]]


class Finished:
    """Tells of runs that are done by their records whether there is nothing left to do.

    Parameters
    ----------
    exp_folder, exp : str
        Group and experiment.
    sent : dict
        What was last sent for each run, as from `utils.plans.latest_entries`.
    repetitions : str or None
        Which repetitions are wished for, such as ``"0-4"``; None for all.
    diverged : bool
        Whether diverged ones are to be tried again.
    """

    def __init__(
        self, exp_folder: str, exp: str, sent: Sent, repetitions: str | None, diverged: bool
    ):
        self._place = (exp_folder, exp)
        self._jobs_dir = str(paths.jobs_dir(exp_folder, exp))
        # as a text: of a hundred thousand runs each has a folder
        self._logs = str(paths.logs_root() / exp_folder / paths.run_folder(exp, ""))
        self._sent = sent
        self._wished = repetitions
        self._diverged = diverged
        # the parts of a run are asked for one after the other
        self._results = functools.lru_cache(maxsize=1)(self._results_of)

    def is_whole(self, state: states.RunState, count: int = 1) -> bool:
        """Whether all that is wished for has ended, by the record and by the results.

        Parameters
        ----------
        state : RunState
            A run that is done, or a part of it.
        count : int
            In how many parts the run is.
        """
        record: dict[str, Any] = {}
        run = state.run
        if self._diverged or state.part:
            record = states.details(*self._place, state)
        if self._diverged and (record.get("diverged") or record.get("exit") == 3):
            return False
        if isinstance(run, int) and run in self._sent and not state.part:
            selection = self._sent[run][0].get("repetitions")
        else:
            selection = (record or states.details(*self._place, state)).get("repetitions")
        if not covers(selection, self._wished):
            return False
        if state.part:
            return self._part_told(state, count, selection)
        return self._untouched(state) or self._told(run, self._wished or selection)

    def _untouched(self, state: states.RunState) -> bool:
        """Whether no result has changed since the record was written, which comes last.

        A program is recorded as done when every repetition that it was to do has ended by its
        `run.json`. Whatever removes, replaces or damages one later leaves a younger time.
        """
        if not state.attempt:
            return False
        folder = f"{self._logs}{state.run}"
        try:
            record = job_node.state_file(
                self._jobs_dir, state.run, state.part, state.attempt, state.state
            )
            recorded = os.stat(record).st_mtime_ns
            if os.stat(folder).st_mtime_ns >= recorded:
                return False
            names = os.listdir(folder)
            return bool(names) and all(
                os.stat(f"{folder}/{name}/run.json").st_mtime_ns < recorded for name in names
            )
        except OSError:
            return False

    def _told(self, run: job_node.RunId, selection: str | None) -> bool:
        """Whether each repetition has ended by its own `run.json`."""
        ended, wanted = self._results(run)
        if selection is not None:
            wanted = set(run_names.numbers(selection, "--repetitions"))
        return bool(ended) and wanted <= ended

    def _part_told(self, state: states.RunState, count: int, selection: str | None) -> bool:
        """Whether each repetition of a part has ended by its own `run.json`."""
        ended, every = self._results(state.run)
        chosen = sorted(every) if selection is None else run_names.numbers(selection, "")
        return bool(ended) and ended.issuperset(run_names.share(chosen, state.part, count))

    def _results_of(self, run: job_node.RunId) -> tuple[set[int], set[int]]:
        """Return which repetitions of a run have ended, and all that it has."""
        told = registry.repetitions(*self._place, run)
        ended = {info["repetition"] for info in told if info["state"] in registry.ENDED}
        declared = max((info.get("declared", 0) for info in told), default=0)
        return ended, {info["repetition"] for info in told} | set(range(declared))


def covers(done: str | None, wanted: str | None) -> bool:
    """Whether a selection of repetitions contains another one; None is all of them."""
    if done is None or wanted is None:
        return done is None
    return set(run_names.numbers(wanted, "")) <= set(run_names.numbers(done, ""))
