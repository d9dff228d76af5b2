"""The jobs of a pool: a task of a submission, its logs, its claim and its record."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from utils import job_node, plans, progress, run_names, windows
from utils.needs import Listed

PATIENCE_S = 5.0
ANSWER_S = 30.0
LITTLE_SPACE = 2**20  # byte


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
    remove : tuple of str
        Command that ends what goes on elsewhere when the program is killed, such as a container.
    needs : tuple of (exp_folder, exp, runs)
        Runs that are to have ended before it starts.
    """

    exp_folder: str
    exp: str
    submission: plans.Submission
    line: int
    place: plans.Place
    remove: tuple[str, ...] = ()
    needs: tuple[Listed, ...] = ()

    @property
    def name(self) -> str:
        """The run as it is named on a command line, and its part where it is divided."""
        run, part, _ = self.place
        return run_names.part_name(f"{self.exp_folder}/{self.exp}:{run}", part)

    @property
    def error_log(self) -> Path:
        """What the program wrote to its standard error."""
        return self._log("e")

    def _log(self, stream: str) -> Path:
        run, part, _ = self.place
        return Path(job_node.log_file(self.submission.jobs_dir, run, part, stream))

    def progress(self) -> tuple[int, str] | None:
        """Return the seconds that the program last said it still needs, and how it said it."""
        said = progress.read(job_node.last_line(str(self._log("o"))))
        return None if said is None or said.left is None else (said.left, str(said))

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

    def without_record(self) -> str:
        """Return what can be said of a wrapper that has said nothing and left no record."""
        reason = "its wrapper left no record"
        with contextlib.suppress(OSError):  # then it could not even say so in its log
            if shutil.disk_usage(self.submission.jobs_dir).free < LITTLE_SPACE:
                reason += f": there is no space left in {self.submission.jobs_dir.parent}"
        return reason

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

    def runs_on(self) -> bool:
        """Whether the program of this attempt lives, be it without its wrapper."""
        claim = self.claim()
        return job_node.here(claim) and job_node.lives(claim, "program")

    def kill(self) -> None:
        """End the program of this attempt, and what it has started, at once."""
        if self.runs_on():
            program = self.claim()["program"]
            if sys.platform == "win32":
                windows.end(program)
            else:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(program, signal.SIGKILL)

    def clear(self) -> None:
        """End what the program may have left behind where no signal reaches it."""
        if self.remove:
            with contextlib.suppress(OSError, subprocess.TimeoutExpired):
                subprocess.run(
                    self.remove,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,  # mostly nothing is left
                    start_new_session=True,
                    timeout=ANSWER_S,
                )

    def again(self) -> "Job | None":
        """Send the next attempt, and return its job; None when somebody else has taken it.

        Raises
        ------
        OSError, ValueError
            If it cannot be sent: a full disk, a plan that is gone, a lock that others hold.
        """
        jobs_dir, (run, part, attempt) = self.submission.jobs_dir, self.place
        with plans.lock(jobs_dir, PATIENCE_S):
            newest = job_node.newest_attempt(jobs_dir, run, part)
            if newest < attempt:  # nobody got as far as to claim it
                return self
            if newest > attempt:
                return None
            entries = [entry for entry in self.submission.entries() if entry["run"] == run]
            if not entries:
                raise FileNotFoundError(f"{self.submission.plan_file} has no run {run} any more")
            place = (run, part, attempt + 1)
            sent = plans.send(jobs_dir, entries, [place], self.submission.about)
        return replace(self, submission=sent, line=0, place=place)
