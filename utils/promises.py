"""From the runs of a grid to what will be sent: arguments checked, promises kept, reasons given.

A run number is a promise: it stands for the same arguments and data for ever. What was sent last
(the latest plan), or the run's own `run.json`, tells whether the grid still means the same run.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from utils import (
    division,
    finished,
    grid,
    needs,
    paths,
    plans,
    registry,
    run_names,
    signatures,
    states,
)

MOST_SAID = 200
"""A list of runs with more characters is no part of a sentence."""

MOST_BYTES = 131_071
"""So long may one argument of a program be on Linux."""

MOST_KEPT = 10_000
"""So many different values are remembered while the runs of a grid are written down."""


@dataclass(frozen=True)
class Wish:
    """Options of a launch that decide what is sent.

    Parameters
    ----------
    resume : bool
        Go on with runs that were started and are not done.
    diverged : bool
        Start runs with diverged repetitions again.
    repetitions : str or None
        Which repetitions of each run, such as ``"0-4"``; None for all.
    split : int or None
        Into how many parts the repetitions of each new run are divided; None for as planned.
    allow_missing : bool
        Start runs of a stage although runs that they need are not done.
    """

    resume: bool = False
    diverged: bool = False
    repetitions: str | None = None
    split: int | None = None
    allow_missing: bool = False


class _Settled(NamedTuple):
    """A value of the grid: what it stands for, as a flag, as a part of the key, and itself."""

    value: Any
    flag: str
    part: str
    given: object  # kept, so that no other object gets its identity


@dataclass
class Batch:
    """What is to be sent of one experiment, and what is not.

    Parameters
    ----------
    exp_folder, exp : str
        Group and experiment.
    entries : list of dict
        Plan of the runs to be sent.
    tasks : list of (run, part, attempt)
        What is to be started.
    kept : dict of str to list
        Runs that are not sent, by the state that is the reason.
    remarks : list of str
        Sentences for the user about what is sent otherwise than wished.
    """

    exp_folder: str
    exp: str
    entries: list[dict[str, Any]] = field(default_factory=list)
    tasks: list[plans.Place] = field(default_factory=list)
    kept: dict[str, list[int]] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)

    @property
    def jobs_dir(self) -> Path:
        """The experiment's folder ``.jobs``."""
        return paths.jobs_dir(self.exp_folder, self.exp)

    @property
    def name(self) -> str:
        """The experiment as it is named on a command line."""
        return f"{self.exp_folder}/{self.exp}"

    @property
    def run_folder(self) -> str:
        """What the folders of its results begin with, before a run's number."""
        return str(paths.logs_root() / self.exp_folder / paths.run_folder(self.exp, ""))

    def add(self, entry: dict[str, Any], tasks: Iterable[plans.Place]) -> None:
        """Have tasks of one run sent."""
        self.entries.append(entry)
        self.tasks += tasks


def script_file(run: grid.Run) -> Path:
    """Return the file of a run's experiment."""
    return paths.experiments_dir() / run.script


class _Experiment:
    """Makes the lines of the plan of one experiment; what its runs share is worked out once.

    A grid hands out the same objects in run after run, so a value that was checked is known again
    by its identity. Equality would not do: 1, 1.0 and True are equal.
    """

    def __init__(self, run: grid.Run, wish: Wish):
        script = script_file(run)
        self.exp = run.exp
        self._declared = signatures.signature(script, run.exp)
        self._checksum = registry.data_checksum(registry.data_folders(script))
        self._keys = registry.RunKeys(run.exp_folder, run.exp, self._checksum)
        self._script = script.relative_to(paths.ROOT).as_posix()
        self._selection = wish.repetitions
        self._allow_missing = wish.allow_missing
        self._before = [f"--exp_folder={run.exp_folder}", f"--exp={run.exp}"]
        self._behind = ["--resume", *(["--diverged"] if wish.diverged else [])]
        self._behind += [f"--repetitions={wish.repetitions}"] if wish.repetitions else []
        self._defaults = {name: default for name, (default, _) in self._declared.items()}
        # what is required has a place, too, and always a value
        self._parts = {
            name: registry.key_part(name, None if default is signatures.REQUIRED else default)
            for name, default in sorted(self._defaults.items(), key=lambda item: item[0])
        }
        self._checked: set[tuple[str, ...]] = set()
        self._settled: dict[tuple[str, int], _Settled] = {}

    def entry(self, run: grid.Run) -> dict[str, Any]:
        """Return a run's line of the plan, with every argument checked and resolved.

        Raises
        ------
        ValueError
            If the grid sets an argument that the experiment does not have, or to a wrong value, or
            leaves one out that has no default.
        """
        names = tuple(run.arguments)
        try:
            if names not in self._checked:
                signatures.check_names(names, self._declared, self.exp)
                self._checked.add(names)
            given = {name: self._settle(name, value) for name, value in run.arguments.items()}
        except ValueError as problem:
            raise ValueError(f"run {run.run}: {problem}") from None
        arguments, parts, argv = self._defaults.copy(), self._parts.copy(), self._before.copy()
        argv.append(f"--run={run.run}")
        argv += self._behind
        for name, settled in given.items():
            arguments[name] = settled.value
            parts[name] = settled.part
            argv.append(settled.flag)
        entry = {
            "run": run.run,
            "key": self._keys.key(parts.values()),
            "script": self._script,
            "argv": argv,
            "arguments": arguments,
            "data": self._checksum,
            "repetitions": self._selection,
        }
        if run.needs:
            listed, flag = self._needed(run.needs)
            argv.append(flag)
            entry["needs"] = listed
        return entry

    def _needed(self, given: tuple[grid.Need, ...]) -> tuple[list[dict[str, Any]], str]:
        """Return what a run needs as the plan says it, and as a flag."""
        listed = [dict(vars(need)) for need in given]
        if self._allow_missing:
            listed = [need | {"allow_missing": True} for need in listed]
        remedy = "give the runs that are needed numbers without gaps"
        return listed, _fitting("needs", f"--needs={needs.as_text(listed)}", remedy)

    def _settle(self, name: str, given: object) -> _Settled:
        known = self._settled.get((name, id(given)))
        if known is not None:
            return known
        value = signatures.settled(name, self._declared[name][1], self.exp, given)
        flag = f"--{name}={signatures.as_text(value)}"
        _fitting(name, flag, "keep the value in a file, and hand over its name")
        if len(self._settled) >= MOST_KEPT:
            self._settled.clear()  # values that were drawn at random do not come again
        known = _Settled(value, flag, registry.key_part(name, value), given)
        self._settled[name, id(given)] = known
        return known


def _fitting(name: str, flag: str, remedy: str) -> str:
    """Return a flag that a program can be given."""
    if len(flag) > MOST_BYTES // 4:  # only what is long is worth counting
        size = len(flag.encode("utf-8", "surrogatepass"))
        if size > MOST_BYTES:
            raise ValueError(
                f"--{name} takes {size} bytes on a command line, and {MOST_BYTES} at most are "
                f"allowed; {remedy}"
            )
    return flag


def by_experiment(
    runs: Iterable[grid.Run], wish: Wish
) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """Return the plan of each experiment of a grid, in the grid's order.

    Raises
    ------
    FileNotFoundError, ValueError
        As `signatures.signature`; if the grid sets an argument that the experiment does not have,
        or to a wrong value; if a number is too large or given twice; if a stage waits for itself.
    """
    runs = list(runs)
    grid.check_numbers(runs)
    grid.check_needs(runs)
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    experiments: dict[tuple[str, str, str], _Experiment] = {}
    for run in runs:
        if run.run > run_names.MOST_RUN:
            raise ValueError(
                f"run {run.run} is too large a number; use at most {run_names.MOST_RUN}"
            )
        place = (run.exp_folder, run.exp, run.script)
        if place not in experiments:
            experiments[place] = _Experiment(run, wish)
        found.setdefault(place[:2], []).append(experiments[place].entry(run))
    return found


def alike(planned: Mapping[tuple[str, str], Iterable[dict[str, Any]]]) -> list[str]:
    """Return a sentence for each experiment in which several runs have the same arguments.

    Parameters
    ----------
    planned : dict
        As from `by_experiment`.
    """
    sentences = []
    for place, entries in planned.items():
        by_key: dict[tuple[str, str], list[int]] = {}
        for entry in entries:
            of_others = needs.as_text(entry.get("needs", ()))
            by_key.setdefault((entry["key"], of_others), []).append(entry["run"])
        groups = [run_names.as_ranges(runs, most=10) for runs in by_key.values() if len(runs) > 1]
        if groups:
            more = f" (as do, among themselves, {'; '.join(groups[1:4])})" * (len(groups) > 1)
            sentences.append(
                f"{'/'.join(place)}: runs {groups[0]} have the same arguments{more}; each is "
                "trained nevertheless"
            )
    return sentences


def decide(exp_folder: str, exp: str, entries: list[dict[str, Any]], wish: Wish) -> Batch:
    """Return what of an experiment is to be sent, by what is known of its runs.

    Of a divided run only those parts are sent that are not done, each as its next attempt. A run
    stays in as many parts as it was first sent in.

    Raises
    ------
    RunExists
        If a run's number stands for something else already, or was started and is not done and
        the wish is not to resume.
    ValueError
        If fewer repetitions are wished for than a run has parts.
    """
    batch = Batch(exp_folder, exp)
    by_part = states.by_part(exp_folder, exp)
    known = states.states(exp_folder, exp, parts=by_part)
    parts = division.Parts(exp_folder, exp, by_part)
    numbers = [planned["run"] for planned in entries]
    started = [run for run in numbers if run in known and parts.begun(known[run])]
    sent = plans.latest_entries(batch.jobs_dir, started) if started else {}
    done = finished.Finished(exp_folder, exp, sent, wish.repetitions, wish.diverged)
    broken, unfinished, staying = [], [], []
    for planned in entries:
        run = planned["run"]
        state = known.get(run)
        wished = wish.split or planned.get("parts", 1)
        count = parts.count(run, sent) if state else wished
        entry = division.divided(planned, count, batch.name)
        if count != wished:
            staying.append((run, count))
        if state is None or not parts.begun(state):
            batch.add(entry, [(run, part, 1) for part in division.numbers(count)])
            continue
        before = sent[run][0] if run in sent else _told_by_results(exp_folder, exp, state)
        other = before.get("key") not in (None, planned["key"])
        if other and not _came_to_nothing(exp_folder, exp, state, planned, before):
            broken.append((planned, before))
            continue
        left, reason = [], ""
        for one in parts.states(state, count):
            if one.state in states.UNDER_WAY:
                reason = f"{one.state} ({one.note})" if one.note else one.state
            elif one.state != "done" or not done.is_whole(one, count):
                left.append(one)
        # the shares of other repetitions could overlap with what is under way
        if not left or (reason and planned.get("repetitions") != before.get("repetitions")):
            batch.kept.setdefault(reason or "done", []).append(run)
            continue
        if not (wish.resume or wish.diverged):
            unfinished.append(state)
            continue
        redone = any(one.state == "done" for one in left) or sent_again(sent, run)
        again = {"again": True} if redone else {}
        batch.add({**entry, **again}, [(run, one.part, one.attempt + 1) for one in left])
    if broken:
        raise registry.RunExists(_broken_promise(batch, *broken[0], others=len(broken) - 1))
    if unfinished:
        raise registry.RunExists(_needs_resume(batch, unfinished))
    going = {entry["run"] for entry in batch.entries} if staying else set()
    batch.remarks = division.remarks(batch.name, [pair for pair in staying if pair[0] in going])
    return batch


def _came_to_nothing(
    exp_folder: str,
    exp: str,
    state: states.RunState,
    planned: dict[str, Any],
    before: dict[str, Any],
) -> bool:
    """Whether all that differs are the data, and no repetition got as far as to begin with them.

    So it is when data are missing at first, or cannot be used.
    """
    if state.state not in states.UNFINISHED or before.get("arguments") != planned["arguments"]:
        return False
    return not registry.repetitions(exp_folder, exp, state.run)


def sent_again(sent: finished.Sent, run: int) -> bool:
    """Whether a run was last sent although an earlier attempt of it was done."""
    return run in sent and bool(sent[run][0].get("again"))


def _told_by_results(exp_folder: str, exp: str, state: states.RunState) -> dict[str, Any]:
    """Return key and arguments of a run without a plan, such as one that was started by hand."""
    for info in registry.repetitions(exp_folder, exp, state.run):
        if "key" in info:
            return info
    return states.details(exp_folder, exp, state)


def _broken_promise(
    batch: Batch, planned: dict[str, Any], before: dict[str, Any], others: int
) -> str:
    run = planned["run"]
    old, new = before.get("arguments"), planned["arguments"]
    name = f"run {run} of {batch.name}"
    gone = registry.missing_data(before.get("data"), planned["data"]) if old == new else None
    if gone:
        return f"{name} {gone}"
    more = f" So it is with {others} more." if others else ""
    remedy = (
        "Give it another first_run, or remove it with "
        f"`runs remove {registry.run_name(batch.exp_folder, batch.exp, run)}`.{more}"
    )
    if old is None or old == new:
        what = "other data in Data/" if old == new else "other arguments"
        return f"{name} exists with {what} than there are now. {remedy}"
    differing = [key for key in {**old, **new} if old.get(key, old) != new.get(key, new)]

    def listed(arguments: dict[str, Any]) -> str:
        return ", ".join(
            f"{key}={signatures.as_text(arguments[key])}" if key in arguments else f"no {key}"
            for key in differing
        )

    return f"{name} exists with {listed(old)}; the grid now says {listed(new)}. {remedy}"


def _needs_resume(batch: Batch, unfinished: list[states.RunState]) -> str:
    first = unfinished[0]
    what = "done in part" if first.state in ("done", "new") else first.state
    others = len(unfinished) - 1
    more = f", like {others} other{'s' if others > 1 else ''}" if others else ""
    numbers = run_names.as_ranges(state.run for state in unfinished)
    remove = f"with `runs remove {batch.name}:{numbers}`"
    if len(numbers) > MOST_SAID:
        remove = f"with `runs remove`; `runs list {batch.name} --all` names them"
    return (
        f"run {first.run} of {batch.name} was started before and is not done ({what}){more}. "
        f"Add --resume to continue, or remove what is there {remove}."
    )
