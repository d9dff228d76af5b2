"""Hyper-parameter values -> list of runs: `product`, `zipped`, `one`, `sample`; `stage` of them.

A run has a number, which is a promise: the same number always stands for the same arguments.
`product` counts like nested loops, `zipped` and `sample` in the order of their values. Runs that
use what others left behind are a `stage`, which starts when those are done.
"""

import graphlib
import itertools
import math
import re
from collections.abc import Iterable, Sequence, Sized
from dataclasses import dataclass, field, replace
from typing import cast

from utils import halton, run_names

MOST_RUNS = 10**8
"""So many runs may a grid have: their numbers have eight digits."""

MOST_DRAWN = 10**6
"""So many values are taken from what does not say how many it has, and may have no end."""

MOST_LETTERS = 240
"""So long may a name be: a folder has 255 bytes, and a run's number stands behind it."""

Place = tuple[str, str]  # exp_folder, exp

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class GridError(ValueError):
    """A list of runs that cannot be; the message is a whole sentence for the user."""


@dataclass(frozen=True)
class Need:
    """Runs of another experiment that are to be done before a run starts.

    Parameters
    ----------
    exp_folder, exp : str
        Group and experiment.
    runs : str
        Their numbers, such as ``"0-3,7"``.
    allow_missing : bool
        Whether it is enough that they have ended, in whatever way.
    """

    exp_folder: str
    exp: str
    runs: str
    allow_missing: bool = False

    def __post_init__(self) -> None:
        check_name("exp_folder", self.exp_folder)
        check_name("exp", self.exp)
        run_names.numbers(self.runs, "runs of a Need")


@dataclass(frozen=True)
class Run:
    """One combination of hyper-parameters of an experiment.

    Parameters
    ----------
    exp_folder, exp : str
        Group and experiment.
    run : int
        The run's number within the experiment.
    arguments : dict of str to object
        The hyper-parameters that the grid sets; the others keep the experiment's defaults.
    script : str
        The experiment's file, relative to `experiments/`; ``{exp_folder}/{exp}.py`` when empty.
    needs : tuple of Need
        What is to be done before it starts; `stage` fills it.
    """

    exp_folder: str
    exp: str
    run: int
    arguments: dict[str, object] = field(default_factory=dict)
    script: str = ""
    needs: tuple[Need, ...] = ()

    def __post_init__(self) -> None:
        check_name("exp_folder", self.exp_folder)
        check_name("exp", self.exp)
        if isinstance(self.run, bool) or not isinstance(self.run, int) or self.run < 0:
            raise GridError(
                f"run is {self.run!r}; a run's number is a whole number from 0 on. Give one, or "
                "leave it out to start at 0."
            )
        if not self.script:
            object.__setattr__(self, "script", f"{self.exp_folder}/{self.exp}.py")


def check_name(word: str, name: object) -> None:
    """Refuse a name that could not be a folder on every machine.

    Parameters
    ----------
    word : str
        What the name stands for, ``"exp"`` or ``"exp_folder"``.
    name : object
        The name.

    Raises
    ------
    ValueError
        If it is not made of letters, digits, dots, dashes and underscores, or begins otherwise
        than with a letter or a digit.
    """
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise GridError(
            f"{word} is {name!r}; it may hold letters, digits, '.', '_' and '-', and begins with "
            "a letter or a digit. Choose such a name."
        )
    if len(name) > MOST_LETTERS:
        raise GridError(
            f"{word} is {name[:40]}… with {len(name)} letters; a folder's name has at most 255 "
            f"bytes, which leaves {MOST_LETTERS} for it. Choose a shorter one."
        )


def product(
    exp_folder: str,
    exp: str,
    first_run: int = 0,
    script: str | None = None,
    **values: Iterable[object],
) -> list[Run]:
    """Every combination of the values, counted like nested loops: the first name slowest.

    Parameters
    ----------
    exp_folder, exp : str
        Group and experiment.
    first_run : int
        Number of the first run.
    script : str, optional
        The experiment's file relative to `experiments/`, when it is not ``{exp_folder}/{exp}.py``.
    **values : list
        For each hyper-parameter the values to try.

    Returns
    -------
    list of Run

    Raises
    ------
    ValueError
        If a list of values is empty or not a list, or there are too many combinations.
    """
    # before anything is taken: a range of many values need not be walked to be refused
    lengths = [_length(name, given) for name, given in values.items()]
    _check_count(math.prod(lengths), " × ".join(map(str, lengths)))
    columns = [_values(name, given) for name, given in values.items()]
    lengths = [len(column) for column in columns]
    _check_count(math.prod(lengths), " × ".join(map(str, lengths)))
    return _runs(exp_folder, exp, first_run, script, list(values), itertools.product(*columns))


def zipped(
    exp_folder: str,
    exp: str,
    first_run: int = 0,
    script: str | None = None,
    **values: Iterable[object],
) -> list[Run]:
    """Take the first values of all names together, then the second ones, and so on.

    Parameters
    ----------
    exp_folder, exp, first_run, script
        As in `product`.
    **values : list
        For each hyper-parameter the values to try, as many as for every other one.

    Returns
    -------
    list of Run

    Raises
    ------
    ValueError
        If the lists are of different lengths, none is given, or one is empty or not a list.
    """
    columns = {name: _values(name, given) for name, given in values.items()}
    lengths = {len(column) for column in columns.values()}
    if len(lengths) != 1:
        counts = ", ".join(f"{name} has {len(column)}" for name, column in columns.items())
        raise GridError(
            f"zipped needs as many values of each name as of the others, got: {counts or 'none'}. "
            "Make the lists equally long, or use product for all combinations."
        )
    rows = zip(*columns.values(), strict=True)
    return _runs(exp_folder, exp, first_run, script, list(columns), rows)


def one(
    exp_folder: str, exp: str, run: int = 0, script: str | None = None, **arguments: object
) -> list[Run]:
    """Make a list of a single run, so that it can be added to others.

    Parameters
    ----------
    exp_folder, exp, script
        As in `product`.
    run : int
        The run's number.
    **arguments : object
        Hyper-parameters, one value each.

    Returns
    -------
    list of Run
    """
    return [Run(exp_folder, exp, run, dict(arguments), script or "")]


@dataclass(frozen=True)
class Log:
    """Range for `sample` whose logarithm is searched evenly.

    Parameters
    ----------
    low, high : float
        Bounds, both above 0.
    """

    low: float
    high: float


def sample(
    exp_folder: str,
    exp: str,
    count: int,
    seed: int = 0,
    first_run: int = 0,
    script: str | None = None,
    **ranges: object,
) -> list[Run]:
    """Quasi-random search: the points of `utils.halton` cover the ranges evenly.

    The first points do not depend on `count`, so a search can be made longer later on.

    Parameters
    ----------
    exp_folder, exp, first_run, script
        As in `product`.
    count : int
        Number of runs.
    seed : int
        The same seed gives the same points, on every machine.
    **ranges : tuple or list or Log
        For each hyper-parameter: ``(low, high)`` of whole numbers, both included, or of floats;
        ``Log(low, high)`` for a range over several powers of ten; a list of choices.

    Returns
    -------
    list of Run

    Raises
    ------
    ValueError
        If `count` is below 1 or a range is none of the above.
    """
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise GridError(
            f"count is {count!r}; it is a whole number from 1 on. Say how many runs to draw."
        )
    for name, given in ranges.items():
        _check_range(name, given)
    _check_count(count, "sample")
    columns = [
        [_pick(given, fraction) for fraction in halton.points(base, count, f"{seed} {name}")]
        for (name, given), base in zip(ranges.items(), halton.primes(), strict=False)
    ]
    # without any range there is nothing to search, but the runs are still asked for
    rows: Iterable[Sequence[object]] = zip(*columns, strict=True) if columns else [()] * count
    return _runs(exp_folder, exp, first_run, script, list(ranges), rows)


def stage(runs: Iterable[Run], *needed: Iterable[Run], allow_missing: bool = False) -> list[Run]:
    """Let runs start only when runs of an earlier stage are done.

    Where an experiment of the earlier stage has the same numbers as that of `runs`, run 7 needs
    run 7 only; else each run needs all of them.

    Parameters
    ----------
    runs : list of Run
        The stage.
    *needed : list of Run
        Earlier stages.
    allow_missing : bool
        Whether it is enough that the needed runs have ended, in whatever way.

    Returns
    -------
    list of Run
        Those of `runs`, with `Run.needs`; what they needed before they still need.

    Raises
    ------
    ValueError
        If one of the arguments is no list of runs, or there are none in an earlier stage.
    """
    runs, stages = _listed(runs), [_listed(earlier) for earlier in needed]
    if not all(stages) or not stages:
        raise GridError(
            f"a stage was given {'an empty list of' if stages else 'no'} runs that it needs; name "
            "at least one. Write it like grid.stage(EVALUATIONS, TRAININGS)."
        )
    numbers = _numbers(runs)
    # for each experiment of the stage what is needed: all runs, or None for that of the same number
    needed_by: dict[Place, list[tuple[Place, Need | None]]] = {place: [] for place in numbers}
    for earlier in map(_numbers, stages):
        for other, listed in earlier.items():
            everything = Need(*other, run_names.as_ranges(listed), allow_missing)
            for place, its in numbers.items():
                needed_by[place].append((other, None if its == listed else everything))
    found = []
    for run in runs:
        needs = [
            everything or Need(*other, str(run.run), allow_missing)
            for other, everything in needed_by[run.exp_folder, run.exp]
        ]
        found.append(replace(run, needs=tuple(dict.fromkeys((*run.needs, *needs)))))
    return found


def _listed(runs: Iterable[Run]) -> list[Run]:
    given = list(runs) if isinstance(runs, Iterable) else [runs]
    if not all(isinstance(run, Run) for run in given):
        raise GridError(
            f"a stage was given {str(runs)[:80]}; it is made of lists of runs. Make them with "
            "product, zipped, one or sample."
        )
    return given


def _numbers(runs: Iterable[Run]) -> dict[Place, set[int]]:
    """Return the numbers of the runs of each experiment."""
    found: dict[Place, set[int]] = {}
    for run in runs:
        found.setdefault((run.exp_folder, run.exp), set()).add(run.run)
    return found


def check_needs(runs: Iterable[Run]) -> None:
    """Refuse a list in which an experiment needs itself, be it through others.

    Parameters
    ----------
    runs : iterable of Run

    Raises
    ------
    ValueError
        If there is one; the sentence tells through which others.
    """
    needed: dict[Place, set[Place]] = {}
    for run in runs:
        if run.needs:
            others = needed.setdefault((run.exp_folder, run.exp), set())
            others.update((need.exp_folder, need.exp) for need in run.needs)
    try:
        for _ in graphlib.TopologicalSorter(needed).static_order():
            pass
    except graphlib.CycleError as problem:
        way = " needs ".join("/".join(place) for place in reversed(problem.args[1]))
        raise GridError(
            f"a stage waits for itself: {way}; it may need runs of other experiments that start "
            "before it. Take one of these needs away."
        ) from None


def check_numbers(runs: Iterable[Run]) -> None:
    """Refuse a list in which a number stands for two runs of the same experiment.

    Parameters
    ----------
    runs : iterable of Run

    Raises
    ------
    ValueError
        If it does; the sentence names both.
    """
    seen: dict[tuple[str, str, int], Run] = {}
    for run in runs:
        identity = (run.exp_folder, run.exp, run.run)
        if identity in seen:
            raise GridError(
                f"run {run.run} of {run.exp_folder}/{run.exp} is listed twice, with "
                f"{_shown(seen[identity].arguments)} and with {_shown(run.arguments)}; "
                "a number stands for one run. Give the second list another first_run."
            )
        seen[identity] = run


def _shown(arguments: dict[str, object]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in arguments.items()) or "no arguments"


def _check_count(count: int, what: str) -> None:
    if count > MOST_RUNS:
        raise GridError(
            f"the grid has {count} runs ({what}), and {MOST_RUNS} at most are allowed; leave "
            "values out, or search with sample."
        )


def _length(name: str, given: object) -> int:
    """Return how many values there are, 1 where they do not say so before they are taken."""
    try:
        return len(given) if isinstance(given, Sized) else 1
    except OverflowError:
        raise GridError(
            f"{name} is {given!r}; a grid has at most {MOST_RUNS} runs. Give fewer values."
        ) from None


def _values(name: str, given: Iterable[object]) -> list[object]:
    if isinstance(given, (str, bytes, dict)) or not isinstance(given, Iterable):
        raise GridError(
            f"{name} is {given!r}; a grid needs a list of values. Write {name}=[{given!r}]."
        )
    _check_count(_length(name, given), name)
    values = list(given if isinstance(given, Sized) else itertools.islice(given, MOST_DRAWN + 1))
    if len(values) > MOST_DRAWN and not isinstance(given, Sized):
        raise GridError(
            f"{name} is {given!r}, which gives more than {MOST_DRAWN} values; a grid needs an "
            "end. Give a list, or a part of it from itertools.islice."
        )
    if not values:
        raise GridError(
            f"{name} is an empty list; a grid needs at least one value. Add one, or leave the "
            "name out to keep the experiment's default."
        )
    return values


def _runs(
    exp_folder: str,
    exp: str,
    first_run: int,
    script: str | None,
    names: list[str],
    rows: Iterable[Sequence[object]],
) -> list[Run]:
    # also where no row is: a wrong number is wrong before there are values
    first_run = Run(exp_folder, exp, first_run).run
    return [
        Run(exp_folder, exp, first_run + number, dict(zip(names, row, strict=True)), script or "")
        for number, row in enumerate(rows)
    ]


def _check_range(name: str, given: object) -> None:
    if isinstance(given, list):
        _values(name, given)
        return
    bounds = (given.low, given.high) if isinstance(given, Log) else given
    if (
        isinstance(bounds, tuple)
        and len(bounds) == 2
        and all(type(bound) in (int, float) and math.isfinite(bound) for bound in bounds)
        and bounds[0] < bounds[1]
        and (bounds[0] > 0 or not isinstance(given, Log))
    ):
        return
    raise GridError(
        f"{name} is {given!r}; a range is (low, high) with low < high, Log(low, high) with "
        "low > 0, or a list of choices. Write one of these."
    )


def _pick(given: object, fraction: float) -> object:
    """Value of a range at a fraction of its width; `fraction` is in [0, 1)."""
    if isinstance(given, list):
        return given[int(fraction * len(given))]
    if isinstance(given, Log):
        return given.low * (given.high / given.low) ** fraction
    low, high = cast("tuple[float, float]", given)
    if isinstance(low, int) and isinstance(high, int):
        return low + int(fraction * (high - low + 1))
    return low + fraction * (high - low)
