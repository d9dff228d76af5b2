"""Where runs are started, and what they get there: cores, GPUs, variables, a container."""

import os
import re
import secrets
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from utils import containers, gpus, paths, signatures
from utils.command_lines import Refusal
from utils.screen import aligned, shell_line

ENVIRONMENTS = {
    "linux": "this machine, a bounded number of runs at a time (alias local)",
    "qsub-cpu": "Grid Engine, queue of machines without a GPU",
    "qsub-gpu": "Grid Engine, queue of machines with a GPU",
    "slurm-cpu": "Slurm, partition of machines without a GPU",
    "slurm-gpu": "Slurm, partition of machines with a GPU",
    "win": "this machine, under Windows",
    "docker": "this machine, each run in a container",
}
ON_WINDOWS = sys.platform == "win32"
ALIASES = {"local": "win" if ON_WINDOWS else "linux"}
QUEUED = ("qsub-cpu", "qsub-gpu", "slurm-cpu", "slurm-gpu")
"""Environments in which an engine starts the runs, elsewhere and later."""

NEEDS: dict[str, Any] = {"threads": 1, "memory": None, "gpus": 0, "hours": None}
MOST_HOURS = 10_000  # more than a year

MOST_THREADS = 1024
"""No machine has more for one run; TensorFlow gives up where it cannot start so many."""
THREADS = (
    *("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"),
    *("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"),
)


_MEMORY = re.compile(r"[1-9][0-9]{0,8}[KMGT]")


@dataclass(frozen=True)
class Terms:
    """What the runs of a launch get.

    Parameters
    ----------
    environment : str
        Where they are started, one of `ENVIRONMENTS`.
    resources : dict
        What one run needs: ``threads``, ``memory``, ``gpus``, ``hours``.
    at_once : int
        Runs at a time; 0 for as many as a queue starts.
    shares : list of dict
        Variables that name the GPUs of a run; runs at the same time take them in turn.
    retries : int
        How often a run is tried again that was lost, or killed by somebody else.
    detach : bool
        Whether the runs go on without the command that has started them.
    together : bool
        Whether runs of an experiment that follow each other share a program.
    wished_gpus : str or None
        The GPUs that were asked for, see `terms`.
    per_task : int
        Runs that a task of a queue does one after the other.
    array : bool
        Whether a queue gets the runs as arrays, and not one job for each.
    """

    environment: str = "linux"
    resources: Mapping[str, Any] = field(default_factory=lambda: NEEDS)
    at_once: int = 1
    shares: Sequence[Mapping[str, str]] = ({},)
    retries: int = 0
    detach: bool = False
    together: bool = False
    wished_gpus: str | None = None
    per_task: int = 1
    array: bool = True

    @property
    def threads(self) -> dict[str, str]:
        """The variables that limit the threads of a run."""
        return dict.fromkeys(THREADS, str(self.resources["threads"]))

    def places(self, runs: int) -> list[Mapping[str, str]]:
        """Return the variables for each of the runs at a time, when there are so many runs."""
        at_once = min(self.at_once, runs)
        return [self.shares[number % len(self.shares)] for number in range(at_once)]

    def crowded(self, runs: int) -> str:
        """Return a sentence when so many runs want more cores than there are, else nothing."""
        at_once, threads, there = min(self.at_once, runs), self.resources["threads"], cores()
        if at_once * threads <= there:
            return ""
        wanted = f"{at_once} at a time with {threads} thread{'s' if threads > 1 else ''} each"
        return f"{wanted} share {there} core{'s' if there > 1 else ''}: each will take longer"


def listed() -> str:
    """Return a line for each environment."""
    return aligned([(f"  {name}", text) for name, text in ENVIRONMENTS.items()])


def check(name: str) -> str:
    """Return the environment that a name stands for.

    Raises
    ------
    Refusal
        If there is none.
    """
    known = ALIASES.get(name, name)
    if known in ENVIRONMENTS:
        return known
    raise Refusal(
        f"{name!r} is no environment; there are {', '.join(ENVIRONMENTS)}, and local for "
        f"{ALIASES['local']}.{signatures.nearest(name, [*ENVIRONMENTS, *ALIASES])}"
    )


def check_resources(resources: Mapping[str, Any], source: str = "main()") -> None:
    """Refuse what no run can be given.

    Parameters
    ----------
    resources : dict
        ``threads``, ``memory``, ``gpus``, ``hours``.
    source : str
        Who asks for it.

    Raises
    ------
    Refusal
        If a number or a size makes no sense.
    """
    resources = {**NEEDS, **resources}
    for name, least in (("threads", 1), ("gpus", 0)):
        given = resources[name]
        if type(given) is not int or not least <= given <= MOST_THREADS:
            raise Refusal(
                f"{name} is {given!r}; it is a whole number from {least} to "
                f"{MOST_THREADS}. Give one in {source}"
            )
    memory, hours = resources["memory"], resources["hours"]
    if memory is not None and not (isinstance(memory, str) and _MEMORY.fullmatch(memory)):
        raise Refusal(
            f"memory is {memory!r}; it is a text with a whole number and K, M, G or T behind it. "
            f'Give one in {source}, such as "16G"'
        )
    if hours is not None and (type(hours) not in (int, float) or not 0 < hours <= MOST_HOURS):
        raise Refusal(
            f"hours is {hours!r}; it is a number above 0 and at most {MOST_HOURS}. Give one in "
            f"{source}"
        )


def check_machine(terms: Terms) -> None:
    """Refuse an environment that this machine cannot be.

    Raises
    ------
    Refusal
        If it is another system's, or a container's and there is no engine or image.
    """
    if (terms.environment == "win") != ON_WINDOWS and terms.environment in ("linux", "win"):
        here = ALIASES["local"]
        raise Refusal(
            f"environment {terms.environment} is for another system than this one; use {here}, "
            f"or local, which stands for it. With --dry-run {terms.environment} is shown anyway."
        )
    if terms.detach and not hasattr(os, "fork"):
        raise Refusal(
            "--detach needs a system with sessions, and Windows has none; leave it out, and "
            "leave the window open"
        )
    if terms.environment == "docker":
        program = containers.engine()
        if program is None:
            raise Refusal(containers.missing_engine())
        problem = containers.image_problem(program, _with_gpus(terms))
        if problem:
            raise Refusal(problem)


def cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def terms(
    environment: str,
    resources: Mapping[str, Any],
    jobs: int | None = None,
    wished_gpus: str | None = None,
    retries: int = 0,
    detach: bool = False,
    together: bool = False,
    per_task: int = 1,
    array: bool = True,
) -> Terms:
    """Return what the runs get when this machine shares out what it has.

    Parameters
    ----------
    environment : str
        Where they are started.
    resources : dict
        What one run needs.
    jobs : int, optional
        Runs at a time; as many as cores and GPUs allow when left out.
    wished_gpus : str, optional
        GPUs to be used, such as ``"0,1"``, or ``"none"``; all that the runs need when left out.
    retries, detach, together, per_task, array
        As in `Terms`.

    Raises
    ------
    Refusal
        If they need more GPUs than there are, or are to share a program where they cannot, or if
        something is asked for that makes no sense in this environment.
    ValueError
        If a GPU is named that is not there.
    """
    resources = {**NEEDS, **resources}
    if environment in QUEUED:
        _refuse_for_queues(environment, wished_gpus, retries, detach, together and per_task == 1)
        return Terms(
            environment,
            resources,
            jobs or 0,
            together=together,
            per_task=per_task,
            array=array,
        )
    if per_task > 1 or not array:
        flag = "--per-task" if per_task > 1 else "--no-array"
        raise Refusal(
            f"{flag} is about the tasks of a queue, and {environment} has none; leave it out, or "
            f"choose one of {', '.join(QUEUED)}"
        )
    if together and environment != "linux":
        raise Refusal(
            f"--together has runs share a program, and in environment {environment} each has one "
            "of its own; leave it out, or use linux"
        )
    shares: list[dict[str, str]] = [{}]
    at_once = max(1, cores() // resources["threads"])
    each = resources["gpus"]
    if wished_gpus == gpus.NONE:
        shares = [{gpus.VARIABLE: ""}]
    elif wished_gpus is not None or each:
        there = gpus.visible()
        if not there:
            asked = f"--gpus is {wished_gpus!r}" if wished_gpus is not None else "the runs need one"
            raise Refusal(
                f"this machine has no GPU, and {asked}; start them where there is one, or with "
                "--gpus none to do without"
            )
        chosen = there if wished_gpus is None else gpus.chosen(wished_gpus, there)
        shares = gpus.shares(chosen, max(1, each))
        if not shares:
            raise Refusal(
                f"a run needs {each} GPUs and gets {len(chosen)} ({', '.join(chosen)}); give more "
                "with --gpus, or start the runs where there are more"
            )
        at_once = min(at_once, len(shares))
    at_once = jobs or at_once
    return Terms(environment, resources, at_once, shares, retries, detach, together, wished_gpus)


def _refuse_for_queues(
    environment: str, wished_gpus: str | None, retries: int, detach: bool, alone: bool
) -> None:
    """Refuse what only makes sense where this machine starts the runs."""
    answers = {
        "--gpus": (
            wished_gpus is not None,
            "the queue shares them out; main(gpus=…) asks for some",
        ),
        "--retries": (retries > 0, "nobody waits here; `runs retry --failed` tries again"),
        "--detach": (detach, "runs in a queue go on without this command anyway"),
        "--together": (alone, "each run has a task of its own; add --per-task"),
    }
    for flag, (given, why) in answers.items():
        if given:
            raise Refusal(f"{flag} means nothing for {environment}: {why}. Leave it out.")


def _with_gpus(terms: Terms) -> bool:
    return any(share.get(gpus.VARIABLE) for share in terms.shares)


@dataclass(frozen=True)
class Programs:
    """How the programs of a launch are started.

    Parameters
    ----------
    terms : Terms
        What they get.
    engine : str
        What runs containers, where runs get one.
    folders : list of Path
        Folders that a container shares with this machine, besides the checkout.
    variables : dict
        Variables that say where those lie.
    name : str
        What the names of the containers begin with.
    """

    terms: Terms
    engine: str = ""
    folders: Sequence[Path] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    name: str = ""

    def before(self, run: int) -> list[str]:
        """Return what stands before script and arguments of a run."""
        if not self.engine:
            return [shown_python()]
        # by name, because the wrapper, and the pool for each place, know the value
        options = [f"--name={self.name}-{run}", "--env=BENCH_JOB"]
        options += [f"--env={gpus.VARIABLE}"] if self.terms.shares[0] else []
        return containers.run_command(
            ["python"],
            root=paths.ROOT,
            folders=self.folders,
            environment={**self.variables, **self.terms.threads, "PYTHONUNBUFFERED": "1"},
            gpus=_with_gpus(self.terms),
            program=self.engine,
            options=options,
        )

    def planned(self, entry: dict[str, Any]) -> dict[str, Any]:
        """Return a line of the plan that says how the program is started here."""
        others = {name: value for name, value in entry.items() if name != "before"}
        return {**others, "before": self.before(entry["run"])} if self.engine else others

    def shown(self, entry: dict[str, Any]) -> str:
        """Return the command of a run as this machine's shell reads it."""
        words = [*self.before(entry["run"]), entry["script"], *entry["argv"]]
        windows = self.terms.environment == "win"
        return subprocess.list2cmdline(words) if windows else shell_line(words)

    def remove(self, run: int) -> tuple[str, ...]:
        """Return the command that removes what an engine goes on with when it is killed."""
        return (self.engine, "rm", "--force", f"{self.name}-{run}") if self.engine else ()


def programs(terms: Terms) -> Programs:
    """Return how the programs of a launch are started.

    Raises
    ------
    ValueError
        If a folder cannot be had in a container.
    """
    if terms.environment != "docker":
        return Programs(terms)
    folders, variables = containers.moved()
    engine = containers.engine() or containers.ENGINES[0]  # a dry run needs none
    return Programs(terms, engine, folders, variables, f"bench-{secrets.token_hex(4)}")


def shown_python() -> str:
    """Return this Python as a submission stores it: relative to the checkout when it lies there."""
    python = Path(sys.executable)
    return str(python.relative_to(paths.ROOT)) if python.is_relative_to(paths.ROOT) else str(python)
