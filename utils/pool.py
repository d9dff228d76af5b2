"""The pool of this machine: a bounded number of runs at a time, each beside its own wrapper.

Wrappers are started from the main thread, because the kernel tells a child of the death of the
thread that started it. Records, not exit statuses, say what became of a run.
"""

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from utils import job_node, progress, windows
from utils.outcomes import Ended, Outcome, hopeless
from utils.pool_jobs import Job
from utils.pool_stages import Stages

WAIT_S = 0.2
LOOK_S = 5.0


@dataclass
class Worker:
    """A wrapper at work.

    Parameters
    ----------
    job : Job
        What it runs.
    process : Popen
        The wrapper.
    place : int
        Which of the pool's places it takes.
    began : float
        When the job was begun, by the monotonic clock [s].
    channel : socket, optional
        Where it is told of jobs and answers, if it takes several.
    ended_jobs : int
        How many it has answered.
    dismissed : bool
        Whether it has been told that no more come.
    orphaned : float
        When it was found to have ended before its program; 0 for never.
    """

    job: Job
    process: subprocess.Popen[bytes]
    place: int
    began: float
    channel: socket.socket | None = None
    ended_jobs: int = 0
    dismissed: bool = False
    orphaned: float = 0.0

    def hand_over(self, job: Job) -> None:
        """Tell it of a job."""
        self.job, self.began = job, time.monotonic()
        if self.channel is not None:
            with contextlib.suppress(OSError):  # it has ended, and will be found so
                self.channel.sendall(b"%d\n" % job.line)

    def answer(self) -> int | None:
        """Return the exit status with which its job has ended while it goes on, else None."""
        if self.channel is None or self.dismissed:
            return None
        try:
            words = self.channel.recv(64, socket.MSG_DONTWAIT).split()
        except OSError:  # nothing yet, or it has ended
            return None
        if not words:
            return None
        self.ended_jobs += 1
        return int(words[1])

    def stop(self) -> None:
        """Ask it to end its program, and then itself."""
        if sys.platform == "win32":
            windows.cancel(self.job.submission.jobs_dir, self.job.place, self.job.submission.token)
            windows.end(self.process.pid)
        else:
            self.process.terminate()

    def dismiss(self) -> None:
        """Tell it that no more jobs come."""
        self.dismissed = True
        if self.channel is not None:
            self.channel.close()

    @property
    def ended(self) -> bool:
        """Whether wrapper and program have ended; without the one the other is not waited for."""
        if self.process.poll() is None:
            return False
        if not self.process.returncode or not self.job.runs_on():
            return True
        # the kernel has asked the program to end; what it uses is not free before it has
        self.orphaned = self.orphaned or time.monotonic()
        if time.monotonic() > self.orphaned + job_node.STOP_S:
            self.job.kill()
        return False


class Pool:
    """Starts jobs as places become free, until all have ended or somebody stops it.

    Parameters
    ----------
    jobs : list of Job
        What to run, in this order.
    places : list of dict
        A mapping for each job that may run at a time: variables that its program gets.
    line : progress.Line
        Shows how far the pool is, and above it each run that ends badly.
    retries : int
        How often a run is tried again that was lost, or killed by somebody else.
    together : bool
        Whether the runs of an experiment that follow each other at a place share a program.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        places: Sequence[Mapping[str, str]],
        line: progress.Line,
        retries: int = 0,
        together: bool = False,
    ):
        self.stages = Stages(jobs)
        self.waiting = deque(self.stages.first())
        self.places = places
        self.free = list(range(len(places)))
        self.line = line
        self.retries = retries
        self.together = together
        self.running: list[Worker] = []
        self.outcome = Outcome()
        self.begun: list[Ended] = []  # what has ended, without what was skipped
        self.asked = 0  # how often somebody asked to stop
        self.kill_at = float("inf")
        self.counts: Counter[str] = Counter()
        self.tried: Counter[str] = Counter()
        self.inside = ""  # how far the run is that needs the longest
        self.look_at = 0.0

    def run(self) -> Outcome:
        """Run all jobs to their end, or until a signal asks to stop."""
        heard = [signal.SIGINT, signal.SIGTERM]
        if sys.platform != "win32" and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            heard.append(signal.SIGHUP)  # under nohup the end of the terminal stays ignored
        before = {number: signal.signal(number, self._note) for number in heard}
        try:
            while self.running or (self.waiting and not self._closed()):
                while self.waiting and self.free and not self._closed():
                    self._start(self.waiting.popleft())
                self._wait()
                self._collect()
                self._stop_when_asked()
                self._show()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        self.outcome.left = len(self.waiting) + self.stages.held
        return self.outcome

    @property
    def busy(self) -> list[Worker]:
        """The workers that have something to do."""
        return [worker for worker in self.running if not worker.dismissed]

    def _show(self) -> None:
        remarks = [f"{n} {state}" for state, n in self.counts.items() if state != "done"]
        if self.busy:
            remarks.append(f"{len(self.busy)} running{self._inside()}")
        behind = len(self.outcome.ended) + len(self.outcome.elsewhere)
        if self._closed():  # no more than these are waited for
            self.line.total = behind + len(self.busy)
        # what failed is behind us as well, and no time is left for it
        self.line.update(self.counts["done"], " · ".join(remarks), behind)

    def _inside(self) -> str:
        if time.monotonic() >= self.look_at:  # logs may lie on a file server
            self.look_at = time.monotonic() + LOOK_S
            told = [found for worker in self.busy if (found := worker.job.progress())]
            self.inside = f" ({max(told)[1]})" if told else ""
        return self.inside

    def _closed(self) -> bool:
        return bool(self.outcome.signal or self.outcome.hopeless)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self.outcome.signal = self.outcome.signal or number
        self.asked += 1

    def _start(self, job: Job) -> None:
        wrapper = str(Path(job_node.__file__).resolve())
        command = [sys.executable, "-I", "-S", wrapper, str(job.submission.jobs_dir)]
        line = "-" if self.together else str(job.line)
        command += [job.submission.token, line]
        options: dict[str, Any] = {"start_new_session": True}
        if sys.platform == "win32":
            options = windows.start_options()
        else:
            command.append(str(os.getpid()))  # with which it ends
        place = min(self.free)
        channel = None
        try:
            with contextlib.ExitStack() as stack:
                log = stack.enter_context(open(job.submission.engine_log, "ab"))
                stdin = subprocess.DEVNULL
                if self.together:
                    channel, theirs = socket.socketpair()
                    stdin = stack.enter_context(theirs).fileno()
                process = subprocess.Popen(
                    command,
                    stdin=stdin,
                    stdout=log,
                    stderr=log,
                    env={**os.environ, **self.places[place]},
                    **options,  # Ctrl-C reaches the pool alone, which decides
                )
        except OSError as problem:  # no process, no memory, no disk: others may have ended soon
            if channel is not None:
                channel.close()
            self._end(job, "lost", str(problem), 0.0)
            return
        self.free.remove(place)
        worker = Worker(job, process, place, time.monotonic(), channel)
        worker.hand_over(job)
        self.running.append(worker)

    def _wait(self) -> None:
        """Sleep until a wrapper ends or answers, or it is time to redraw."""
        if sys.platform == "win32":
            time.sleep(0.1)
            return
        with contextlib.ExitStack() as stack:
            waiting = select.poll()
            for worker in self.running:
                if worker.orphaned:
                    continue
                try:
                    handle = os.pidfd_open(worker.process.pid)
                except (AttributeError, OSError):  # not Linux, or an old kernel
                    time.sleep(0.1)
                    return
                stack.callback(os.close, handle)
                waiting.register(handle, select.POLLIN)
                if worker.channel is not None and not worker.dismissed:
                    waiting.register(worker.channel, select.POLLIN)
            waiting.poll(1000 * WAIT_S)

    def _collect(self) -> None:
        for worker in list(self.running):
            status = worker.answer()
            if status is not None:
                self._judge(worker, status)
                self._go_on(worker)
            elif worker.ended:
                self.running.remove(worker)
                self.free.append(worker.place)
                if worker.dismissed:
                    continue
                worker.dismiss()
                if worker.ended_jobs and not worker.job.claim():
                    self.waiting.appendleft(worker.job)  # it ended before it had read of this one
                else:
                    self._judge(worker, worker.process.returncode)

    def _go_on(self, worker: Worker) -> None:
        """Give a worker the next job that it can take, or let it end."""
        sent = worker.job.submission
        job = None
        if not self._closed():
            job = next((job for job in self.waiting if job.submission is sent), None)
        if job is None:
            worker.dismiss()
        else:
            self.waiting.remove(job)
            worker.hand_over(job)

    def _judge(self, worker: Worker, status: int) -> None:
        """Find out what became of a worker's job; `status` tells where there is no record."""
        job, seconds = worker.job, time.monotonic() - worker.began
        record = job.record()
        if record and record.get("token") == job.submission.token:
            self._end(job, record["state"], record.get("reason", ""), seconds, record)
        elif status == 0:
            self._taken(job)
        else:
            reason = job_node.last_line(str(job.submission.engine_log))
            if status < 0:
                reason = f"its wrapper was killed by {signal.Signals(-status).name}"
                job.note(reason)
            self._end(job, "lost", reason or job.without_record(), seconds)

    def _taken(self, job: Job) -> None:
        """Count a job that somebody else has begun or done."""
        self.outcome.elsewhere.append(job.name)
        self.waiting.extend(self.stages.ended(job))

    def _end(
        self,
        job: Job,
        state: str,
        reason: str,
        seconds: float,
        record: Mapping[str, Any] | None = None,
    ) -> None:
        """Count a job that has ended, or put it back into the queue."""
        record = record or {}
        if state == "cancelled" or _by_accident(state, record):
            job.clear()
        if not self._closed() and _by_accident(state, record) and self._again(job, state, reason):
            return
        ended = Ended(job, state, reason, seconds)
        self.outcome.ended.append(ended)
        if state != "skipped":
            self.begun.append(ended)
        self.waiting.extend(self.stages.ended(job))
        self.outcome.diverged += record.get("diverged", 0)
        self.counts[state] += 1
        if state == "done":
            return
        if not self.outcome.signal:
            log = "" if state == "skipped" else f" ({job.error_log})"
            self.line.message(f"{job.name} {state}: {reason}{log}")
        if (self.waiting or self.stages.held) and not self.outcome.hopeless:
            now = time.monotonic()
            ages = [now - worker.began for worker in self.busy]
            self.outcome.hopeless = hopeless(self.begun, ages)
            if self.outcome.hopeless:
                self.line.message("so many fail in the same way that nothing more is started")

    def _again(self, job: Job, state: str, reason: str) -> bool:
        """Whether a run is tried again; somebody else may have taken it as well."""
        if self.tried[job.name] >= self.retries:
            return False
        try:
            following = job.again()
        except (OSError, ValueError) as problem:
            self.line.message(f"{job.name} cannot be tried again: {problem}")
            return False
        if following is None:
            self._taken(job)
            return True
        self.tried[job.name] += 1
        self.outcome.retried += 1
        self.waiting.append(following)
        number = f"{self.tried[job.name]} of {self.retries}"
        self.line.message(f"{job.name} {state}: {reason}; is tried again ({number})")
        return True

    def _stop_when_asked(self) -> None:
        """TERM to all at the first request; KILL to the programs at the second, or in time."""
        if not self.asked:
            return
        if self.kill_at == float("inf"):
            self.kill_at = time.monotonic() + job_node.STOP_S
            for worker in self.running:
                worker.stop()
            if self.busy:
                left = len(self.waiting) + self.stages.held
                self.line.message(
                    f"stopping {len(self.busy)} running, {left} not started; press again to kill"
                )
        if self.asked > 1 or time.monotonic() > self.kill_at:
            for worker in self.running:
                worker.job.kill()


def _by_accident(state: str, record: Mapping[str, Any]) -> bool:
    """Whether a run did not end by itself: lost, or killed by a signal that we have not sent."""
    killed = 128 < record.get("exit", 0) <= 128 + max(signal.valid_signals())
    return state == "lost" or (state in ("failed", "memory") and killed)
