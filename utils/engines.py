"""Engines of clusters: what they are asked and answer, and one caller for their commands.

An engine is asked to submit tasks, to say what became of them, to cancel some, to judge whether a
request can ever run, and what its limits are. For each there is a pure function that makes the
command and one that reads the answer, in `utils.grid_engine` and `utils.slurm`; `ask` runs it. A
word of a command is ours, a number, a fact of the site's file, or a path; what a user hands to a
program never is.
"""

import contextlib
import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO, NamedTuple

ASK_S = 30.0
SUBMIT_S = 150.0
"""Slurm waits two minutes for room in its queue before it refuses."""

MOST_ANSWERED = 2**27
MOST_NAMED = 200
"""So many ranges of tasks fit into one command without making it too long."""

UNDER_WAY = ("pending", "running", "stuck")

_CHANGING = ("SQUEUE_", "SBATCH_", "SCANCEL_", "SINFO_")
_PASSING = re.compile(
    r"connection refused|timed out|unable to contact|unable to connect|can't connect"
    r"|got no response|zero bytes|receive timeout|read error",
    re.IGNORECASE,
)
_UNSURE = re.compile(r"timed out|receive timeout|read error", re.IGNORECASE)
_FULL = re.compile(
    r"resource temporarily unavailable|jobs are allowed|max_u_jobs|max_jobs|submit ?limit"
    r"|maxsubmitjob",
    re.IGNORECASE,
)


class QueueError(ValueError):
    """An engine did not do what it was asked for; the message says what it answered.

    Parameters
    ----------
    message : str
        A sentence for the user.
    passing : bool
        Whether the same command may well succeed in some seconds.
    full : bool
        Whether the queue has no room for more.
    unsure : bool
        Whether the engine may have done it all the same: its answer was lost, or makes no sense.
    """

    def __init__(
        self, message: str, passing: bool = False, full: bool = False, unsure: bool = False
    ):
        super().__init__(message)
        self.passing, self.full, self.unsure = passing, full, unsure


@dataclass(frozen=True)
class Demand:
    """What each task asks of a cluster.

    Parameters
    ----------
    options : list of str
        Words of the site's file that are handed over unchanged.
    slots : int
        Cores.
    parallel_environment : str
        What Grid Engine needs to grant more than one; empty where the site names none.
    resources : dict
        Names and values as the engine wants them.
    seconds : int
        Time limit [s]; 0 for the site's.
    environment : list of str
        Names of the variables that travel with a task.
    """

    options: Sequence[str] = ()
    slots: int = 1
    parallel_environment: str = ""
    resources: Mapping[str, str] = field(default_factory=dict)
    seconds: int = 0
    environment: Sequence[str] = ()

    @property
    def warning_s(self) -> int:
        """How long before the time limit a program is told to save its work [s]."""
        return min(120, max(15, self.seconds // 10))


@dataclass(frozen=True)
class Call:
    """One submission to an engine.

    Parameters
    ----------
    name : str
        Name of the job.
    tasks : int
        Number of tasks; 0 for a job that is no array.
    log : str
        Where the engine and the wrappers write, relative to the folder in which tasks start.
    words : list of str
        The program that is run and its arguments.
    at_once : int
        Tasks at a time; 0 for no limit.
    after : list of str
        Jobs that must have ended before.
    task_by_task : str
        A job with as many tasks, each of which must have ended before ours of the same number.
    """

    name: str
    tasks: int
    log: str
    words: Sequence[str]
    at_once: int = 0
    after: Sequence[str] = ()
    task_by_task: str = ""


class Limits(NamedTuple):
    """What an engine allows.

    Parameters
    ----------
    longest_array : int
        Tasks of one array.
    patience_s : float
        Seconds between the signal that asks a task to end and the one that ends it.
    most_tasks : int
        Tasks of all users in the queue; 0 where nobody has set a limit.
    """

    longest_array: int
    patience_s: float
    most_tasks: int = 0


class Seen(NamedTuple):
    """What an engine says about a task.

    Parameters
    ----------
    state : str
        ``pending``, ``running``, ``stuck``, or how it ended: ``timeout``, ``memory``,
        ``cancelled``, ``ended``.
    reason : str
        Why, in the engine's words.
    """

    state: str
    reason: str = ""


GONE = Seen("gone")
"""Nothing: the engine does not know the task any more, or never did."""


@dataclass
class QueueJob:
    """A job that an engine knows.

    Parameters
    ----------
    name : str
        Its name.
    ranges : list of (first, last, step, Seen)
        What it says about its tasks, by their numbers.
    others : Seen
        What it says about tasks that are in none of these; of a job that is no array this is all.
    """

    name: str
    ranges: list[tuple[int, int, int, Seen]] = field(default_factory=list)
    others: Seen = GONE

    @property
    def count(self) -> int:
        """Number of its places in the queue."""
        tasks = sum(len(range(first, last + 1, step)) for first, last, step, _ in self.ranges)
        return tasks + (self.others is not GONE)

    def tasks(self, first: int, count: int) -> list[Seen]:
        """Return what is said about each of so many tasks, the first of which has that number."""
        found = [self.others] * count
        for begin, end, step, seen in self.ranges:
            for number in range(begin, end + 1, step):
                if first <= number < first + count:
                    found[number - first] = seen
        return found


Queue = dict[str, QueueJob]
"""Job number -> job."""


def ask(command: Sequence[str], cwd: str | None = None, seconds: float = ASK_S) -> str:
    """Run a command of an engine; return what it printed.

    Parameters
    ----------
    command : list of str
        Program and arguments.
    cwd : str, optional
        Folder in which it is run.
    seconds : float
        So long it may take [s]; then it is ended.

    Raises
    ------
    QueueError
        If there is no such program, it does not answer in time, or it reports a failure.
    """
    program = command[0]
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                cwd=cwd,
                env={**_environment(), "LC_ALL": "C"},
                start_new_session=True,  # Ctrl-C in the terminal must not end it halfway
            )
        except OSError as problem:
            raise QueueError(
                f"{program} cannot be started ({problem.strerror}); start runs from a machine of "
                "the cluster that may submit jobs, or choose another environment"
            ) from None
        try:
            status = process.wait(seconds)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise QueueError(
                f"{program} did not answer within {seconds:.0f} s", passing=True, unsure=True
            ) from None
        said, complained = (_content(stream) for stream in (output, errors))
    if status:
        words = " ".join((complained.strip() or said.strip()).split())[:2000]
        raise QueueError(
            f"{program} ended with status {status}: {words or 'it said nothing'}",
            passing=bool(_PASSING.search(words)),
            full=bool(_FULL.search(words)),
            unsure=bool(_UNSURE.search(words)),
        )
    return said


def _environment() -> dict[str, str]:
    """Return the variables without those that change what Slurm's commands do and print."""
    return {name: text for name, text in os.environ.items() if not name.startswith(_CHANGING)}


def _content(stream: BinaryIO) -> str:
    stream.seek(0)
    return stream.read(MOST_ANSWERED).decode("utf-8", "replace")


def unreadable(program: str, text: str) -> QueueError:
    """Return the error for an answer that makes no sense."""
    problem = f"{program} answered what cannot be read: {text.strip()[:80]!r}"
    return QueueError(problem, unsure=True)


def as_ranges(numbers: Sequence[int]) -> list[tuple[int, int]]:
    """Return ascending numbers as ranges from first to last."""
    found: list[tuple[int, int]] = []
    for number in sorted(numbers):
        if found and number == found[-1][1] + 1:
            found[-1] = (found[-1][0], number)
        else:
            found.append((number, number))
    return found


def in_parts(words: Sequence[str]) -> list[Sequence[str]]:
    """Divide words into as many lists as there must be commands for them."""
    return [words[begin : begin + MOST_NAMED] for begin in range(0, len(words), MOST_NAMED)]
