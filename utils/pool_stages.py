"""Jobs of a pool that wait until other jobs of the same pool have ended."""

from collections.abc import Sequence

from utils import needs, run_names
from utils.pool_jobs import Job


class _Gate:
    """A list of runs that jobs wait for; what a whole stage needs is one list.

    Attributes
    ----------
    shut_by : int
        How many jobs of these runs have not ended.
    held : list of int
        Places of the jobs that wait.
    """

    def __init__(self) -> None:
        self.shut_by = 0
        self.held: list[int] = []


class Stages:
    """Tells which jobs can start: those that need no run that is still to end in this pool.

    What became of a needed run does not count here, nor do runs of other launches: the wrapper
    looks at what is recorded of them.

    Parameters
    ----------
    jobs : list of Job
        All jobs of the pool.
    """

    def __init__(self, jobs: Sequence[Job]):
        self._jobs = jobs
        self._gates_of: dict[tuple[str, str], dict[int, list[_Gate]]] = {}
        self._shut = [0] * len(jobs)  # how many gates each job waits for
        self.held = 0
        if not any(job.needs for job in jobs):
            return
        gates = self._built()
        for job in jobs:
            for gate in self._gates_before(job):
                gate.shut_by += 1
        for gate in gates:
            if gate.shut_by:
                for place in gate.held:
                    self._shut[place] += 1
        self.held = sum(map(bool, self._shut))

    def _built(self) -> list[_Gate]:
        gates: dict[needs.Listed, _Gate] = {}
        for place, job in enumerate(self._jobs):
            for listed in dict.fromkeys(job.needs):
                if listed not in gates:
                    gates[listed] = _Gate()
                    by_run = self._gates_of.setdefault(listed[:2], {})
                    for run in run_names.numbers(listed[2], "runs"):
                        by_run.setdefault(run, []).append(gates[listed])
                gates[listed].held.append(place)
        return list(gates.values())

    def _gates_before(self, job: Job) -> Sequence[_Gate]:
        """Return the gates that a job keeps shut until it ends."""
        return self._gates_of.get((job.exp_folder, job.exp), {}).get(job.place[0], ())

    def first(self) -> list[Job]:
        """Return the jobs that wait for nothing, in the pool's order."""
        if not self.held:
            return list(self._jobs)
        return [job for job, shut in zip(self._jobs, self._shut, strict=True) if not shut]

    def ended(self, job: Job) -> list[Job]:
        """Return the jobs that can start now that a job has ended for good."""
        free = []
        for gate in self._gates_before(job):
            gate.shut_by -= 1
            if gate.shut_by:
                continue
            for place in gate.held:
                self._shut[place] -= 1
                if not self._shut[place]:
                    free.append(self._jobs[place])
        self.held -= len(free)
        return free
