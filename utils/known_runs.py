"""From what is named on a command line to runs that exist, with their states."""

from collections.abc import Iterable
from dataclasses import dataclass

from utils import division, paths, registry, run_names, signatures, states
from utils.command_lines import Refusal

MOST = 10
"""So many names, numbers or ranges are listed in a sentence."""


@dataclass(frozen=True)
class Known:
    """Runs of one experiment and their states.

    Parameters
    ----------
    exp_folder, exp : str
        Group and experiment.
    runs : dict
        State of each run, in order.
    """

    exp_folder: str
    exp: str
    runs: dict[int | str, states.RunState]

    @property
    def name(self) -> str:
        """The experiment as it is named on a command line."""
        return f"{self.exp_folder}/{self.exp}"

    def run_name(self, run: int | str) -> str:
        """Return one of the runs as it is named on a command line."""
        return registry.run_name(self.exp_folder, self.exp, run)

    def part_name(self, state: states.RunState) -> str:
        """Return the name of a run, and of the part of it where it is divided."""
        return run_names.part_name(self.run_name(state.run), state.part)

    def in_parts(self) -> dict[int | str, list[states.RunState]]:
        """Return how the parts of each run stand; of an undivided run it is the run itself."""
        if not any(state.part for state in self.runs.values()):
            return {run: [state] for run, state in self.runs.items()}
        by_part = states.by_part(self.exp_folder, self.exp)
        parts = division.Parts(self.exp_folder, self.exp, by_part)
        return {run: parts.known(state) for run, state in self.runs.items()}


def everything() -> list[Known]:
    """Return all runs of all experiments."""
    found = [
        Known(*place, states.states(*place, runs)) for place, runs in states.experiments().items()
    ]
    return [known for known in found if known.runs]


def find(text: str, whole_group: bool = False) -> list[Known]:
    """Return the runs that a RUN on the command line names.

    Parameters
    ----------
    text : str
        GROUP/EXP:3-7, GROUP/EXP, or GROUP.
    whole_group : bool
        Whether a group alone may be named.

    Raises
    ------
    Refusal, ValueError
        If there is nothing of that name.
    """
    name = run_names.parse(text)
    there = states.experiments()
    if name.exp is None:
        return _group(name.exp_folder, there, whole_group)
    if (name.exp_folder, name.exp) not in there:
        raise _unknown(name, there)
    runs = states.states(name.exp_folder, name.exp, there[name.exp_folder, name.exp])
    if not runs:
        raise _unknown(name, there)
    if name.runs is not None:
        missing = [run for run in name.runs if run not in runs]
        if missing:
            asked, there_are = (run_names.as_ranges(numbers, MOST) for numbers in (missing, runs))
            raise Refusal(
                f"{name.exp_folder}/{name.exp} has no run {asked}; it has {there_are}. Choose "
                "among those."
            )
        runs = {run: runs[run] for run in name.runs}
    return [Known(name.exp_folder, name.exp, runs)]


def find_all(texts: Iterable[str], whole_group: bool = False) -> list[Known]:
    """Return the runs that several arguments name, each once."""
    found: dict[tuple[str, str], Known] = {}
    for text in texts:
        for known in find(text, whole_group):
            place = (known.exp_folder, known.exp)
            before = found[place].runs if place in found else {}
            runs = {**before, **known.runs}
            ordered = {run: runs[run] for run in sorted(runs, key=states.order)}
            found[place] = Known(*place, ordered)
    return list(found.values())


def _group(group: str, there: dict[tuple[str, str], list[int | str]], allowed: bool) -> list[Known]:
    names = [exp for folder, exp in there if folder == group]
    if not allowed:
        if not names:
            raise _unknown(run_names.RunName(group), there)
        listed = ", ".join(f"{group}/{exp}" for exp in names[:MOST])
        more = f" and {len(names) - MOST} more" if len(names) > MOST else ""
        raise Refusal(f"{group!r} names a whole group; write GROUP/EXP, here {listed}{more}")
    found = [Known(group, exp, states.states(group, exp, there[group, exp])) for exp in names]
    found = [known for known in found if known.runs]
    if not found:
        raise _unknown(run_names.RunName(group), there)
    return found


def _unknown(name: run_names.RunName, there: dict[tuple[str, str], list[int | str]]) -> Refusal:
    experiments = [f"{group}/{exp}" for group, exp in there]
    if name.exp is None:
        groups = sorted({group for group, _ in there})
        what, known, wanted = f"group {name.exp_folder}", groups, name.exp_folder
        scripts = (paths.experiments_dir() / name.exp_folder).is_dir()
    else:
        wanted = f"{name.exp_folder}/{name.exp}"
        what, known = wanted, experiments
        scripts = paths.experiment_file(name.exp_folder, name.exp).is_file()
    if scripts:
        return Refusal(f"{what} has no runs yet; start some with its runner in experiments/")
    known = [one for one in known if one != wanted]  # a refused launch leaves an empty folder
    if not known:
        return Refusal(f"there are no runs of {what}, nor any others in {paths.results_dir()}")
    listed = ", ".join(known[:MOST]) + (", …" if len(known) > MOST else "")
    close = signatures.nearest(wanted, known)
    return Refusal(f"there are no runs of {what}; there are some of {listed}.{close}")
