"""A run as its train function sees it: what it is, and which of its repetitions are to do.

`utils.experiment` makes a `Run` from the command line and hands it to the train function, which
names it and asks for its repetitions.
"""

import functools
import os
import platform
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from utils import job_node, needs, paths, registry, repetitions, run_names, signatures

LIBRARIES = ("numpy", "tensorflow", "keras")

# what no file system of a student's machine takes, and what would open another folder
_NOT_IN_NAMES = re.compile(r'[/\\:*?"<>|\x00-\x1f]')


class Refused(ValueError):
    """What was asked for is not started, and the message says why."""


class NothingToDo(Exception):
    """Every repetition that was asked for has ended before; `status` is the exit status."""

    def __init__(self, message: str, status: int):
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Request:
    """What the command line says about repetitions, and about runs that are needed.

    Parameters
    ----------
    selection : list of int, optional
        Indices to do, ascending; all without it.
    part, parts : int
        Only this one of so many consecutive shares of them, counted from 1.
    resume : bool
        Whether to start unfinished repetitions again.
    diverged : bool
        Whether to start diverged ones again.
    needs : str
        Runs whose results are used, as `utils.needs.parse` reads them; empty for none.
    """

    selection: list[int] | None = None
    part: int = 1
    parts: int = 1
    resume: bool = False
    diverged: bool = False
    needs: str = ""

    def indices(self, declared: int) -> list[int]:
        """Return the indices that are asked for, of so many that the run declares.

        Raises
        ------
        Refused
            If one is asked for that the run does not have, or none at all.
        """
        chosen = list(range(declared)) if self.selection is None else self.selection
        if chosen and chosen[-1] >= declared:
            raise Refused(
                f"--repetitions asks for {chosen[-1]}; this run has the repetitions 0 to "
                f"{declared - 1}. Ask for some of those."
            )
        share = run_names.share(chosen, self.part, self.parts)
        if not share:
            raise Refused(
                f"--part {self.part}/{self.parts} is empty: {len(chosen)} repetitions are asked "
                "for. Divide them into fewer parts."
            )
        return share


class Run:
    """A run as its train function sees it.

    Attributes
    ----------
    exp_folder, exp : str
        Group and experiment.
    run : int or str
        The run's number, or its name when it was started by hand with arguments of its own.
    arguments : dict
        All hyper-parameters.
    name : str or None
        Human-readable; the train function sets it before it asks for the repetitions.
    """

    def __init__(
        self,
        exp_folder: str,
        exp: str,
        run: int | str,
        arguments: dict[str, Any],
        data: str,
        request: Request,
    ):
        self.exp_folder = exp_folder
        self.exp = exp
        self.run = run
        self.arguments = arguments
        self.name: str | None = None
        self.started: repetitions.Repetitions | None = None
        self._data = data
        self._key = registry.run_key(exp_folder, exp, arguments, data)
        self._request = request

    def __str__(self) -> str:
        return registry.run_name(*self.place)

    @property
    def place(self) -> repetitions.Place:
        """Group, experiment and run."""
        return self.exp_folder, self.exp, self.run

    @property
    def needed(self) -> list[repetitions.Place]:
        """Runs whose results this one uses, in order, each as (exp_folder, exp, run).

        `registry.repetitions` takes what is in here: ``registry.repetitions(*run.needed[0])``.

        Raises
        ------
        Refused
            If none were named, or one of them is not done and no launcher has let it be missing.
        """
        if not self._request.needs:
            raise Refused(
                f"{self} uses the results of other runs, and none are named; start it with its "
                f"runner, or name them: --needs {self.exp_folder}/EXP:0."
            )
        needed = list(needs.parse(self._request.needs))
        if not os.environ.get("BENCH_JOB"):  # a launcher sees to it, and may have been told not to
            listed = [
                {"exp_folder": group, "exp": exp, "runs": str(run), "allow_missing": False}
                for group, exp, run in needed
                if isinstance(run, int)
            ]
            if left := needs.missing(str(paths.results_dir()), listed):
                raise Refused(f"{self} uses the results of runs that are not done: {left}")
        return needed

    def existing(self) -> list[dict[str, Any]]:
        """Return what earlier starts left behind, by index.

        Raises
        ------
        RunExists
            If the number stands for other arguments or other data.
        """
        infos = registry.repetitions(*self.place)
        for info in infos:
            if info.get("key", self._key) != self._key:
                raise registry.RunExists(self._difference(info))
        return infos

    def _difference(self, info: dict[str, Any]) -> str:
        before, now = (
            {name: signatures.as_text(value) for name, value in arguments.items()}
            for arguments in (info.get("arguments", {}), self.arguments)
        )
        names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
        sets = [
            ", ".join(
                f"{name}={values[name]}" if name in values else f"no {name}" for name in names
            )
            for values in (before, now)
        ]
        if not names:
            gone = registry.missing_data(info.get("data"), self._data)
            if gone:
                return f"run {self.run} of {self.exp_folder}/{self.exp} {gone}"
            sets = ["the same arguments and other data in Data/", "the data that are there now"]
        return (
            f"run {self.run} of {self.exp_folder}/{self.exp} exists with {sets[0]}; it is now "
            f"asked for with {sets[1]}. Give it another number (--run, or first_run of a grid), or "
            f"remove it with `runs remove {self}`."
        )

    def repetitions(
        self, n: int = 10, seeds: Sequence[int] | None = None
    ) -> repetitions.Repetitions:
        """Start the repetitions that are still to do.

        Their folders are made and each gets a `run.json` that says "running".

        Parameters
        ----------
        n : int
            How many the run has in all; their seeds are 0, 1, 2 …
        seeds : list of int, optional
            The seeds, where they are others; their number then counts.

        Returns
        -------
        Repetitions

        Raises
        ------
        Refused
            If the run has no name yet, or a repetition is asked for that it does not have.
        RunExists
            If the number stands for other arguments, or repetitions were begun and not ended and
            `--resume` is not given, or another process is at them.
        NothingToDo
            If all of them have ended before.
        """
        if self.started is not None:
            raise Refused(
                "run.repetitions was called twice; a run starts once. Keep what it returns."
            )
        name = _checked_name(self.name)
        all_seeds = [int(seed) for seed in (range(n) if seeds is None else seeds)]
        if not all_seeds:
            raise Refused(
                "run.repetitions was asked for none; a run has at least one repetition. Give it "
                "a number from 1 on, or a list of seeds."
            )
        wanted = self._request.indices(len(all_seeds))
        before = {info["repetition"]: info for info in self.existing()}
        self._check_seeds(all_seeds, before)
        to_do = self._to_do(name, wanted, before)
        common = {
            **self._about(name),
            "declared": len(all_seeds),
            "group": next((i["group"] for i in before.values() if i.get("group")), None),
        }
        members = [repetitions.Repetition(self.place, name, i, all_seeds[i], common) for i in to_do]
        for member in members:
            if before.get(member.index, {}).get("state") == "diverged":
                member.checkpoint_path.unlink(missing_ok=True)  # or it would diverge at once
        self.started = repetitions.Repetitions(
            self.place, members, wanted, len(all_seeds), self._request.parts > 1
        )
        return self.started

    def _check_seeds(self, seeds: list[int], before: dict[int, dict[str, Any]]) -> None:
        for index, info in before.items():
            if index < len(seeds) and info.get("seed", seeds[index]) != seeds[index]:
                raise registry.RunExists(
                    f"repetition {index} of {self} exists with seed {info['seed']}; the experiment "
                    f"now gives it seed {seeds[index]}. Take the old seeds back, or remove the run "
                    f"with `runs remove {self}`."
                )

    def _to_do(self, name: str, wanted: list[int], before: dict[int, dict[str, Any]]) -> list[int]:
        """Return the indices to start, of those wanted, or refuse them."""
        request, to_do, unfinished = self._request, [], []
        for index in wanted:
            info = before.get(index)
            if info is not None and info["name"] != name:
                raise registry.RunExists(
                    f"repetition {index} of {self} exists under the name {info['name']}; the "
                    f"experiment now calls it {name}. Take the old name back, or remove the run "
                    f"with `runs remove {self}`."
                )
            if info is None:
                to_do.append(index)
            elif info["state"] == "diverged":
                to_do += [index] if request.diverged else []
            elif info["state"] != "done":
                unfinished.append(index)
                if job_node.here(info) and job_node.lives(info) and info["state"] == "running":
                    raise registry.RunExists(
                        f"repetition {index} of {self} is being trained by process {info['pid']} "
                        f"on {info['host']}; a repetition is trained once. Wait for it, or stop it."
                    )
        if unfinished and not request.resume:
            raise registry.RunExists(
                f"{self} exists with the same arguments, and {len(unfinished)} of its repetitions "
                f"were begun and not finished. --resume continues them; `runs remove {self}` "
                "removes the run, so that it can be started over."
            )
        to_do = sorted(to_do + unfinished)
        if not to_do:
            self._check_needs([before[index] for index in wanted])
            states = [before[index]["state"] for index in wanted]
            diverged = states.count("diverged")
            hint = (
                f", {diverged} of them diverged: --diverged tries these again" if diverged else ""
            )
            raise NothingToDo(
                f"{self}: already done, {len(wanted)} repetitions{hint}", 3 if diverged else 0
            )
        return to_do

    def _check_needs(self, ended: list[dict[str, Any]]) -> None:
        """Refuse to call a run done that is done with the results of other runs."""
        now = self._request.needs
        for used in (info.get("needs") for info in ended):
            if used and now and needs.parse(used) != needs.parse(now):
                raise registry.RunExists(
                    f"{self} is done with the results of {used}; it is now asked for with {now}. "
                    "Give it another number (--run, or first_run of a grid), or remove it with "
                    f"`runs remove {self}`."
                )

    def _about(self, name: str) -> dict[str, Any]:
        """Return what `run.json` says of every repetition that this process starts."""
        return {
            "exp_folder": self.exp_folder,
            "exp": self.exp,
            "run": self.run,
            "name": name,
            "arguments": self.arguments,
            "key": self._key,
            "state": "running",
            "reason": None,
            "start": repetitions.now(),
            "end": None,
            "seconds": None,
            **job_node.own_process(),
            "job": os.environ.get("BENCH_JOB"),
            "queue_job": os.environ.get("BENCH_QUEUE_JOB"),
            "needs": self._request.needs or None,
            **_code_version(),
            "versions": _library_versions(),
            "data": self._data,
            "scores": {},
        }


def _checked_name(name: str | None) -> str:
    if not name:
        raise Refused(
            "run.name is not set; folders and files of the repetitions are called after it. Set "
            "run.name before run.repetitions()."
        )
    if _NOT_IN_NAMES.search(name) or name != name.strip() or len(name.encode()) > 200:
        raise Refused(
            f"run.name is {name!r}; it is to be a file's name: at most 200 bytes, no blank at the "
            'ends, none of / \\ : * ? " < > |. Choose such a name.'
        )
    return name


@functools.cache  # what was loaded counts for all runs of a process, not what the files hold later
def _code_version() -> dict[str, Any]:
    return registry.code_version()


def _library_versions() -> dict[str, str | None]:
    versions: dict[str, str | None] = {"python": platform.python_version()}
    for library in LIBRARIES:
        try:
            versions[library] = metadata.version(library)
        except metadata.PackageNotFoundError:
            versions[library] = None
    return versions
