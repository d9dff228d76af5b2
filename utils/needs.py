"""What a run needs: whether the runs of an earlier stage are done, told from what they left behind.

The wrapper asks before it starts a program, so nothing but the standard library is used. A need
is an entry of a plan, ``{"exp_folder", "exp", "runs", "allow_missing"}``, with runs as in
``"0-3,7"``.
"""

import glob
import os
from collections.abc import Iterable, Mapping
from typing import Any

from utils import job_node, run_names

Need = Mapping[str, Any]
Listed = tuple[str, str, str]  # group, experiment, numbers of the runs as in a need
Parts = dict[int, tuple[int, str]]  # part -> its newest attempt, and the record or claim of it

_BETWEEN = "+"  # in no name, and no shell reads anything else into it


def as_text(needs: Iterable[Need]) -> str:
    """Return ``GROUP/EXP:0-3+GROUP/OTHER:7``, as it stands behind ``--needs``."""
    return _BETWEEN.join(f"{n['exp_folder']}/{n['exp']}:{n['runs']}" for n in needs)


def lists(needs: Iterable[Need]) -> tuple[Listed, ...]:
    """Return the lists of runs that are needed, without what is allowed to be missing of them."""
    return tuple((need["exp_folder"], need["exp"], need["runs"]) for need in needs)


def parse(text: str) -> list[tuple[str, str, int | str]]:
    """Return the runs that stand behind ``--needs``, in this order.

    Returns
    -------
    list of (exp_folder, exp, run)

    Raises
    ------
    ValueError
        If a piece is not of the form GROUP/EXP:RUNS.
    """
    found = []
    for piece in text.split(_BETWEEN):
        name = run_names.parse(piece)
        if name.exp is None or name.runs is None:
            raise ValueError(
                f"--needs {piece!r} says nothing about runs; it is GROUP/EXP:RUNS, several with "
                f"{_BETWEEN} between them. Write it like --needs {name.exp_folder}/"
                f"{name.exp or 'EXP'}:0-3."
            )
        found += [(name.exp_folder, name.exp, run) for run in name.runs]
    return found


def missing(results: str, needs: Iterable[Need]) -> str:
    """Return why a run cannot start yet, in one line; nothing when all that it needs is done.

    A need that allows for missing runs never keeps one from starting: who starts it does so when
    the others have ended.

    Parameters
    ----------
    results : str
        The folder that has ``job_logs`` and ``logs``.
    needs : iterable of dict
        What the plan says that the run needs.
    """
    reasons = []
    for need in needs:
        if need["allow_missing"]:
            continue
        name, runs = f"{need['exp_folder']}/{need['exp']}", run_names.numbers(need["runs"], "runs")
        experiment = _Experiment(results, need["exp_folder"], need["exp"])
        left = experiment.not_done(runs)
        if left:  # a file server may have shown an old listing
            experiment.look_again(left)
            left = experiment.not_done(left)
        if left:
            first = f"{name}:{left[0]} {experiment.stands(left[0])}"
            many = f"{len(left)} of {len(runs)} runs of {name} are not done, the first: "
            reasons.append(f"{many if len(left) > 1 else ''}{first}")
    return "; ".join(reasons)


def states_of_repetitions(run_folder: str) -> tuple[dict[int, str], int]:
    """Return what a run's `run.json` files say: state by index, and how many it has in all."""
    ends: dict[int, str] = {}
    declared = 0
    for path in glob.glob(os.path.join(glob.escape(run_folder), "*", "run.json")):
        info = job_node.read_json(path)
        index = os.path.basename(os.path.dirname(path)).rpartition("__")[2]
        if index.isascii() and index.isdecimal():
            ends[int(index)] = str(info.get("state"))
            told = info.get("declared")
            declared = max(declared, int(index) + 1, told if isinstance(told, int) else 0)
    return ends, declared


class _Experiment:
    """What the runs of an experiment left behind; each folder of records is listed once."""

    def __init__(self, results: str, exp_folder: str, exp: str):
        self.jobs_dir = os.path.join(results, "job_logs", exp_folder, exp, ".jobs")
        self._run_folder = os.path.join(results, "logs", exp_folder, f"{exp}x")
        self._listed: dict[str, dict[str, Parts]] = {}

    def not_done(self, runs: Iterable[int]) -> list[int]:
        """Return the runs of which something is left to do."""
        return [run for run in runs if not self._is_done(run)]

    def look_again(self, runs: Iterable[int]) -> None:
        """Forget what was listed; a probe file makes a file server list its folder anew."""
        for folder in {job_node.state_dir(self.jobs_dir, run) for run in runs}:
            job_node.server_clock(folder)
        self._listed.clear()

    def stands(self, run: int) -> str:
        """Return how a run stands that is not done, behind its name."""
        for part, (attempt, kind) in sorted(self._parts(run).items()):
            if kind == "claim":
                claim = job_node.state_file(self.jobs_dir, run, part, attempt, kind)
                return "is running" if job_node.alive(claim) else "is lost"
            if kind != "done":
                return f"is {kind}"
        return "is done in part" if self._parts(run) else "was not started"

    def _is_done(self, run: int) -> bool:
        parts = self._parts(run)
        if not parts:
            return self._told_by_repetitions(run)
        if any(kind != "done" for _, kind in parts.values()):
            return False
        if 0 in parts:
            return True
        part, (attempt, kind) = next(iter(parts.items()))
        record = job_node.read_json(job_node.state_file(self.jobs_dir, run, part, attempt, kind))
        count = record.get("parts")
        if not isinstance(count, int):  # a part that was started by hand does not say
            return self._told_by_repetitions(run)
        return all(number in parts for number in range(1, count + 1))

    def _told_by_repetitions(self, run: int) -> bool:
        """Whether each declared repetition has ended by its `run.json`."""
        ends, declared = states_of_repetitions(f"{self._run_folder}{run}")
        return bool(ends) and all(
            ends.get(index) in ("done", "diverged") for index in range(declared)
        )

    def _parts(self, run: int) -> Parts:
        """Return the newest attempt of each part of a run: its number, and its record or claim."""
        folder = job_node.state_dir(self.jobs_dir, run)
        if folder not in self._listed:
            self._listed[folder] = _newest(folder)
        return self._listed[folder].get(str(run), {})


def _newest(folder: str) -> dict[str, Parts]:
    found: dict[str, Parts] = {}
    try:
        names = os.listdir(folder)
    except OSError:
        return found
    for name in names:
        parsed = job_node.parse_state_file(name)
        if parsed is None:
            continue
        run, part, attempt, kind = parsed
        parts = found.setdefault(run, {})
        known = parts.get(part, (0, ""))
        # of the same attempt a record stands above the claim
        if attempt > known[0] or (attempt == known[0] and kind != "claim"):
            parts[part] = (attempt, kind)
    return found
