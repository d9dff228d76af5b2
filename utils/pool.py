"""The pool of this machine: a bounded number of runs at a time, each beside its own wrapper.

Wrappers are started from the main thread, because the kernel tells a child of the death of the
thread that started it. Records, not exit statuses, say what became of a run.
"""

import contextlib
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from utils import job_node, plans, progress

WAIT_S = 0.2
HOPELESS = 8  # so many first runs failed in the same way: the rest would, too
QUICK_S = 30.0
LOOK_S = 5.0

# a minute's line of a run, see `utils.progress`: 440/2500 epochs · … · 3:19 left
_INSIDE = re.compile(r"(\d+/\d+ \w+) · (?:.* · )?((?:\d+:)?\d+:\d\d) left")


@dataclass(frozen=True)
class Job:
    """One task of a submission.

    Parameters
    ----------
    exp_folder, exp : str
        Group and experiment.
    submission : Submission
        Where its task line is.
    line : int
        Which line that is.
    place : (run, part, attempt)
        What the line says.
    """

    exp_folder: str
    exp: str
    submission: plans.Submission
    line: int
    place: plans.Place

    @property
    def name(self) -> str:
        """The run as it is named on a command line."""
        return f"{self.exp_folder}/{self.exp}:{self.place[0]}"

    @property
    def error_log(self) -> Path:
        """What the program wrote to its standard error."""
        return self._log("e")

    def _log(self, stream: str) -> Path:
        run, part, _ = self.place
        return Path(job_node.log_file(self.submission.jobs_dir, run, part, stream))

    def progress(self) -> tuple[int, str] | None:
        """Return the seconds that the program last said it still needs, and how it said it."""
        said = _INSIDE.fullmatch(job_node.last_line(str(self._log("o"))))
        if said is None:
            return None
        seconds = 0
        for number in said[2].split(":"):
            seconds = 60 * seconds + int(number)
        return seconds, f"{said[1]}, {said[2]} left"

    def record(self) -> dict[str, Any]:
        """Return the final record of this attempt, empty when there is none."""
        jobs_dir, (run, part, attempt) = self.submission.jobs_dir, self.place
        for kind in job_node.attempts(jobs_dir, run, part).get(attempt, ()):
            if kind in job_node.FINAL:
                path = job_node.state_file(jobs_dir, run, part, attempt, kind)
                return {"state": kind} | job_node.read_json(path)
        return {}

    def claim(self) -> dict[str, Any]:
        """Return the claim of this attempt, empty when there is none."""
        return job_node.read_json(
            job_node.state_file(self.submission.jobs_dir, *self.place, "claim")
        )

    def note(self, reason: str) -> None:
        """Add to the claim of a wrapper that has ended why it left no record."""
        path = job_node.state_file(self.submission.jobs_dir, *self.place, "claim")
        claim = self.claim()
        if not claim:
            return
        with contextlib.suppress(OSError):
            beat = os.stat(path)
            job_node.write_json(path, {**claim, "reason": reason})
            os.utime(path, ns=(beat.st_atime_ns, beat.st_mtime_ns))  # nobody lives there


@dataclass(frozen=True)
class Ended:
    """What became of a job: state, reason and duration [s] by its record."""

    job: Job
    state: str
    reason: str
    seconds: float


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
        Why the rest was not started: all first jobs failed at once for this reason.
    """

    ended: list[Ended] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)
    diverged: int = 0
    left: int = 0
    signal: int = 0
    hopeless: str = ""

    @property
    def bad(self) -> list[Ended]:
        """Jobs that are not done."""
        return [ended for ended in self.ended if ended.state != "done"]

    @property
    def exit_status(self) -> int:
        """128 + n when stopped by signal n, 1 after failures, 3 after divergence, else 0."""
        if self.signal:
            return 128 + self.signal
        return 1 if self.bad or self.left else 3 if self.diverged else 0


class Pool:
    """Starts jobs as places become free, until all have ended or somebody stops it.

    Parameters
    ----------
    jobs : list of Job
        What to run, in this order.
    at_once : int
        How many at a time.
    line : progress.Line
        Shows how far the pool is, and above it each run that ends badly.
    """

    def __init__(self, jobs: list[Job], at_once: int, line: progress.Line):
        self.waiting = deque(jobs)
        self.at_once = at_once
        self.line = line
        self.running: dict[subprocess.Popen[bytes], Job] = {}
        self.outcome = Outcome()
        self.asked = 0  # how often somebody asked to stop
        self.kill_at = float("inf")
        self.counts: Counter[str] = Counter()
        self.inside = ""  # how far the run is that needs the longest
        self.look_at = 0.0
        self.alike = True  # whether all have failed quickly and for the same reason

    def run(self) -> Outcome:
        """Run all jobs to their end, or until a signal asks to stop."""
        heard = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            heard.append(signal.SIGHUP)  # under nohup the end of the terminal stays ignored
        before = {number: signal.signal(number, self._note) for number in heard}
        try:
            while self.running or (self.waiting and not self._closed()):
                while self.waiting and len(self.running) < self.at_once and not self._closed():
                    self._start(self.waiting.popleft())
                self._wait()
                self._collect()
                self._stop_when_asked()
                self._show()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        self.outcome.left = len(self.waiting)
        return self.outcome

    def _show(self) -> None:
        remarks = [f"{n} {state}" for state, n in self.counts.items() if state != "done"]
        if remarks:  # what failed has ended, too, and no time is left for it
            self.line.unit = "ended"
            remarks.insert(0, f"{self.counts['done']} done")
        if self.running:
            remarks.append(f"{len(self.running)} running{self._inside()}")
        if self._closed():  # no more than these are waited for
            self.line.total = len(self.outcome.ended) + len(self.running)
        self.line.update(len(self.outcome.ended), " · ".join(remarks))

    def _inside(self) -> str:
        if time.monotonic() >= self.look_at:  # logs may lie on a file server
            self.look_at = time.monotonic() + LOOK_S
            told = [found for job in self.running.values() if (found := job.progress())]
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
        command += [job.submission.token, str(job.line), str(os.getpid())]
        try:
            with open(job.submission.engine_log, "ab") as log:
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,  # Ctrl-C reaches the pool alone, which decides
                )
        except OSError as problem:  # no process, no memory, no disk: others may have ended soon
            self._add(Ended(job, "lost", str(problem), 0.0))
            return
        self.running[process] = job

    def _wait(self) -> None:
        """Sleep until a wrapper ends or it is time to redraw."""
        with contextlib.ExitStack() as stack:
            waiting = select.poll()
            for process in self.running:
                try:
                    handle = os.pidfd_open(process.pid)
                except (AttributeError, OSError):  # not Linux, or an old kernel
                    time.sleep(0.1)
                    return
                stack.callback(os.close, handle)
                waiting.register(handle, select.POLLIN)
            waiting.poll(1000 * WAIT_S)

    def _collect(self) -> None:
        for process, job in list(self.running.items()):
            if process.poll() is None:
                continue
            del self.running[process]
            record = job.record()
            if record and record.get("token") == job.submission.token:
                self.outcome.diverged += record.get("diverged", 0)
                reason, seconds = record.get("reason", ""), record.get("seconds", 0.0)
                self._add(Ended(job, record["state"], reason, seconds))
            elif process.returncode == 0:
                self.outcome.elsewhere.append(job.name)
            else:
                reason = job_node.last_line(str(job.submission.engine_log))
                if process.returncode < 0:
                    killer = signal.Signals(-process.returncode).name
                    reason = f"its wrapper was killed by {killer}"
                    job.note(reason)
                self._add(Ended(job, "lost", reason or "its wrapper left no record", 0.0))

    def _add(self, ended: Ended) -> None:
        self.outcome.ended.append(ended)
        self.counts[ended.state] += 1
        self.alike &= ended.state == "failed" and ended.seconds < QUICK_S
        self.alike &= ended.reason == self.outcome.ended[0].reason
        if ended.state == "done":
            return
        if not self.outcome.signal:
            self.line.message(
                f"{ended.job.name} {ended.state}: {ended.reason} ({ended.job.error_log})"
            )
        if self.alike and self.waiting and len(self.outcome.ended) >= HOPELESS:
            self.outcome.hopeless = ended.reason

    def _stop_when_asked(self) -> None:
        """TERM to all at the first request; KILL to the programs at the second, or in time."""
        if not self.asked:
            return
        if self.kill_at == float("inf"):
            self.kill_at = time.monotonic() + job_node.STOP_S
            for process in self.running:
                process.terminate()
            if self.running:
                self.line.message(
                    f"stopping {len(self.running)} running, {len(self.waiting)} not started; "
                    "press again to kill"
                )
        if self.asked > 1 or time.monotonic() > self.kill_at:
            for job in self.running.values():
                claim = job.claim()
                if job_node.here(claim) and job_node.lives(claim, "program"):
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(claim["program"], signal.SIGKILL)
