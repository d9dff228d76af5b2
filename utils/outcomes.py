"""What became of the runs of a pool, and whether it makes sense to go on."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from utils.pool_jobs import Job

QUICK_S = 30.0
ALIKE = 8  # so many runs that failed quickly and alike are no accident
NEARLY_ALL = 0.9
LATEST = 2 / 3  # what was well at the beginning is no longer looked at
MOST_LATEST = 300


@dataclass(frozen=True)
class Ended:
    """What became of a job: state and reason by its record, duration [s] by the pool's clock."""

    job: Job
    state: str
    reason: str
    seconds: float

    @property
    def quick_failure(self) -> bool:
        """Whether it failed as only something does that has hardly begun."""
        return self.state in ("failed", "lost", "memory") and self.seconds < QUICK_S


@dataclass
class Outcome:
    """What became of all jobs of a pool.

    Parameters
    ----------
    ended : list of Ended
        Jobs that this pool ran.
    elsewhere : list of str
        Names of runs that another process had taken or finished in the meantime.
    diverged : int
        Repetitions that diverged.
    left : int
        Jobs that were never started.
    signal : int
        The signal that stopped the pool, 0 for none.
    hopeless : str
        Why the rest was not started: nearly all failed quickly for this reason.
    retried : int
        Attempts that were made again.
    """

    ended: list[Ended] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)
    diverged: int = 0
    left: int = 0
    signal: int = 0
    hopeless: str = ""
    retried: int = 0

    @property
    def bad(self) -> list[Ended]:
        """Jobs that are not done."""
        return [ended for ended in self.ended if ended.state != "done"]

    @property
    def alike(self) -> list[Ended]:
        """Jobs that failed for the reason that made the rest hopeless."""
        return [ended for ended in self.bad if self.hopeless and ended.reason == self.hopeless]

    @property
    def exit_status(self) -> int:
        """128 + n when stopped by signal n, 1 after failures, 3 after divergence, else 0."""
        if self.signal:
            return 128 + self.signal
        return 1 if self.bad or self.left else 3 if self.diverged else 0


def hopeless(ended: Sequence[Ended], ages: Collection[float]) -> str:
    """Return the reason for which nearly all of the latest runs failed quickly, or nothing.

    A missing library fails every run; a value of a grid that makes no sense fails some of them.
    Only the first makes it useless to start the others.

    Parameters
    ----------
    ended : list of Ended
        What has ended, in this order.
    ages : collection of float
        How long each running job has been running [s]. Those that have outlived the failures
        speak against them.
    """
    if not ended or not ended[-1].quick_failure:
        return ""
    reason = ended[-1].reason
    alike = [e.quick_failure and e.reason == reason for e in ended[-MOST_LATEST:]]
    window = alike[-max(ALIKE, math.ceil(LATEST * len(ended))) :]
    if sum(window) < max(ALIKE, NEARLY_ALL * len(window)):
        return ""
    same = [e.seconds for e, is_alike in zip(ended[-MOST_LATEST:], alike, strict=True) if is_alike]
    survivors = sum(age > max(same) for age in ages)
    return reason if len(same) >= NEARLY_ALL * (len(same) + survivors) else ""
