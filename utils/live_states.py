"""States of an experiment's runs, kept up to date with few questions to the file server.

A folder of claims and records is listed again when its time has changed. A claim is read once; what
its holder does is asked of this machine, or told by a heartbeat that has not moved for so long by
our own clock. Nothing is written but the probes of the first look.
"""

import functools
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping

from utils import job_node, paths, plans, states

QUEUE_S = 30.0
"""So rarely is an engine asked about the runs that nobody has claimed [s]."""

QUIET = ("done", "new", "pending")
"""States of runs of which there is nothing to tell but how many they are."""


class _Claim:
    """An attempt that has a claim and no record."""

    def __init__(
        self,
        path: str,
        place: plans.AnyPlace,
        now: float,
        clock: job_node.Clock | None,
        submissions: Mapping[str, plans.Submission],
    ):
        run, part, attempt = place
        self._path, self._place, self._submissions = path, place, submissions
        self._judged = float("-inf")
        self._info = job_node.read_json(path)
        self._beat, self._asked, self._moved = _time_of(path), now, now
        if clock and not job_node.here(self._info):
            self._moved = now - job_node.silence(path, clock)
        self.state = states.RunState(run, "running", attempt, part)
        self.look(now)

    def look(self, now: float) -> None:
        """Find out whether its holder lives; the file server is asked rarely."""
        if job_node.here(self._info):
            alive = self._lives()
            if not alive:  # the wrapper may have ended, and noted a program that goes on
                self._info = job_node.read_json(self._path)
                alive = self._lives()
        else:
            if now - self._asked >= job_node.SILENT_S:
                before, self._beat, self._asked = self._beat, _time_of(self._path), now
                self._moved = now if self._beat != before else self._moved
            alive = now - self._moved < job_node.SILENT_S
        if alive:
            self.state = self.state._replace(state="running", note="")
            self._judged = float("-inf")
        elif now - self._judged >= job_node.SILENT_S:
            self._judged = now
            self.state = states.silent(self._info, self._place, self._submissions)

    def _lives(self) -> bool:
        return job_node.lives(self._info) or job_node.lives(self._info, "program")


class _Folder:
    """A folder of claims and records, for a thousand runs, and the tasks of these."""

    def __init__(self, path: str, jobs_dir: str, submissions: Mapping[str, plans.Submission]):
        self.tasks: list[states.Task] = []
        self.claimed: states.Claimed = {}
        self._submissions = submissions
        self.counts: Counter[str] = Counter()
        self.notable: dict[states.RunId, states.RunState] = {}
        self.traced: dict[states.RunId, states.RunState] = {}
        self._path, self._jobs_dir = path, jobs_dir
        self._time: int | None = None
        self._again = False  # a name may have come in the moment of the listing
        self._claims: dict[plans.AnyPlace, _Claim] = {}

    def look(self, now: float, anew: bool, clock: job_node.Clock | None) -> None:
        """Find out what has changed."""
        before, self._time = self._time, _time_of(self._path)
        changed = self._time != before
        if changed or self._again:
            self.claimed = states.names_in(self._path)
            anew = True
        self._again = changed
        told = {place: claim.state for place, claim in self._claims.items()}
        for claim in self._claims.values():
            claim.look(now)
        if anew or told != {place: claim.state for place, claim in self._claims.items()}:
            self._settle(now, clock)

    def _settle(self, now: float, clock: job_node.Clock | None) -> None:
        before, self._claims = self._claims, {}

        def held(place: plans.AnyPlace) -> states.RunState:
            path = job_node.state_file(self._jobs_dir, *place, "claim")
            claim = before.get(place) or _Claim(path, place, now, clock, self._submissions)
            self._claims[place] = claim
            return self._claims[place].state

        found = states.worst(states.standing(self.claimed, self.tasks, held))
        for run, state in self.traced.items():
            if run not in found or found[run].state == "new":
                found[run] = state
        self.counts = Counter(state.state for state in found.values())
        self.notable = {run: state for run, state in found.items() if state.state not in QUIET}


class LiveStates:
    """The states of an experiment's runs as they were at the last look.

    Parameters
    ----------
    exp_folder, exp : str
        Group and experiment.
    known : dict
        Its runs at the beginning, as from `utils.states.states`; those of which only results are
        left, and no record, stay as they are there.
    clock : callable
        Gives the time in seconds.
    """

    def __init__(
        self,
        exp_folder: str,
        exp: str,
        known: dict[states.RunId, states.RunState],
        clock: Callable[[], float] = time.monotonic,
    ):
        self.exp_folder, self.exp = exp_folder, exp
        self._clock = clock
        self._jobs_dir = str(paths.jobs_dir(exp_folder, exp))
        self._folders: dict[str, _Folder] = {}
        self._times: tuple[int | None, int | None] = (None, None)  # of the jobs, of the states
        self._sent: list[states.Sent] = []
        self._senders: list[bool] = []
        self._submissions: dict[str, plans.Submission] = {}
        self._tasks: list[states.Task] = []
        self._asked = float("-inf")
        self._first = True
        for run, state in known.items():
            if not state.attempt and state.note:
                self._folder(_folder_of(run)).traced[run] = state

    @property
    def name(self) -> str:
        """The experiment as it is named on a command line."""
        return f"{self.exp_folder}/{self.exp}"

    def look(self) -> None:
        """Find out what has changed since the last look."""
        now = self._clock()
        jobs, root = _time_of(self._jobs_dir), _time_of(os.path.join(self._jobs_dir, "state"))
        if jobs != self._times[0]:
            self._sent = states.sent(self._jobs_dir)
            self._submissions.clear()
            self._submissions |= {submission.token: submission for submission, _ in self._sent}
        if root != self._times[1]:
            for path in states.state_folders(self._jobs_dir):
                self._folder(os.path.basename(path))
        senders = [submission.sender_lives() for submission, _ in self._sent]
        anew = self._first or jobs != self._times[0] or senders != self._senders
        self._times, self._senders = (jobs, root), senders
        clock = functools.cache(job_node.server_clock) if self._first else None
        queued = any(submission.engine for submission, _ in self._sent)
        if queued and self._first:  # what nobody has claimed is asked of an engine
            for folder in self._folders.values():
                folder.look(now, False, clock)
        if anew or (queued and now - self._asked >= QUEUE_S):
            self._asked = now
            anew |= self._share_out()
        for folder in self._folders.values():
            folder.look(now, anew, clock)
        self._first = False

    def _share_out(self) -> bool:
        """Give each folder the tasks of its runs; whether anything is told of them anew."""
        claimed: states.Claimed = {}
        for folder in self._folders.values():
            claimed |= folder.claimed
        tasks = list(states.waiting(self._sent, claimed, QUEUE_S / 2))
        if tasks == self._tasks:
            return False
        self._tasks = tasks
        for folder in self._folders.values():
            folder.tasks = []
        folder_of = functools.cache(lambda thousand: self._folder(_folder_of(1000 * thousand)))
        for task in tasks:
            folder_of(task[2][0] // 1000).tasks.append(task)
        return True

    def _folder(self, name: str) -> _Folder:
        if name not in self._folders:
            path = os.path.join(self._jobs_dir, "state", name)
            self._folders[name] = _Folder(path, self._jobs_dir, self._submissions)
        return self._folders[name]

    def counts(self) -> Counter[str]:
        """Return how many runs there are of each state."""
        return sum((folder.counts for folder in self._folders.values()), Counter())

    def notable(self) -> list[states.RunState]:
        """Return the runs that are neither done nor waiting nor new, in order."""
        found = [s for folder in self._folders.values() for s in folder.notable.values()]
        return sorted(found, key=lambda state: states.order(state.run))


def _folder_of(run: states.RunId) -> str:
    return os.path.basename(job_node.state_dir("", run))


def _time_of(path: str) -> int | None:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return None
