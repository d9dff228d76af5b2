"""Plans, submissions and tasks: the files that say what was sent, below an experiment's ``.jobs``.

A plan holds a line of JSON per run and never changes; it lies beside an index with the beginning
of each line. A submission names a plan and a list of tasks, one fixed-width line per run, part
and attempt, so that a task finds all it needs by seeking. A removed run's task line is blanked,
which keeps the numbers of the other lines.
"""

import contextlib
import hashlib
import json
import os
import re
import secrets
import shutil
import socket
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from utils import job_node

LOCK_OLD_S = 600.0
ENDINGS = (".json", ".tasks", ".engine.log", ".queued", ".cancelled", ".setup")
REMOVED = b"-------- -- ----\n"

Place = tuple[int, int, int]  # run, part, attempt
AnyPlace = tuple[job_node.RunId, int, int]  # the same of a run that may have been started by hand

_TASK = re.compile(rb"(?:(\d{8}) (\d\d) (\d{4})|-{8} -{2} -{4})\n")


class Damaged(ValueError):
    """A file of a submission cannot be read; the message says which and what to do."""

    def __init__(self, path: Path):
        super().__init__(
            f"{path} is damaged; what has run is known without it. Delete it, and send the runs "
            "that are still to do again with --resume."
        )


@dataclass(frozen=True)
class Submission:
    """One call of a launcher for one experiment: what it sent and from where.

    Parameters
    ----------
    jobs_dir : Path
        The experiment's folder ``.jobs``.
    stem : str
        Name of its files without ending, ``send-{time}-{token}``.
    about : dict
        Content of its JSON file.
    """

    jobs_dir: Path
    stem: str
    about: dict[str, Any]

    @property
    def token(self) -> str:
        """Ten hexadecimal digits that no other submission has."""
        return self.stem.rpartition("-")[2]

    @property
    def tasks_file(self) -> Path:
        """File with a line per task."""
        return self.jobs_dir / f"{self.stem}.tasks"

    @property
    def engine_log(self) -> Path:
        """File with what the wrappers, or the queue, had to say."""
        return self.jobs_dir / f"{self.stem}.engine.log"

    @property
    def queued_file(self) -> Path:
        """File with a line for each call that a queue has accepted: the call and its job."""
        return self.jobs_dir / f"{self.stem}.queued"

    @property
    def cancelled_file(self) -> Path:
        """File with a line for each range of tasks that somebody cancelled before they started."""
        return self.jobs_dir / f"{self.stem}.cancelled"

    @property
    def setup_file(self) -> Path:
        """File with the site's own lines for the shell of a node."""
        return self.jobs_dir / f"{self.stem}.setup"

    @property
    def engine(self) -> str:
        """Name of the queue's engine; empty for runs that this machine starts itself."""
        return str(self.about.get("engine", {}).get("name", ""))

    @property
    def per_task(self) -> int:
        """Lines that each task of a queue does."""
        return int(self.about.get("per_task", 1))

    @property
    def is_array(self) -> bool:
        """Whether its calls are arrays."""
        return bool(self.about.get("array"))

    @property
    def calls(self) -> list[tuple[int, int]]:
        """The calls of a queue's engine: first line and number of lines of each."""
        return [(first, lines) for first, lines in self.about.get("calls", [])]

    def job_name(self, call: int) -> str:
        """Return the name that a call's job has in the queue."""
        return f"r{self.token}c{call}"

    def queued(self) -> dict[int, str]:
        """Return the calls that a queue has accepted, with their job numbers."""
        return {int(call): job for call, job in _pairs(self.queued_file) if call.isdigit()}

    def cancelled(self) -> list[tuple[int, int]]:
        """Return the first and last line of each range of tasks that was cancelled."""
        pairs = _pairs(self.cancelled_file)
        return [(int(a), int(b)) for a, b in pairs if a.isdigit() and b.isdigit()]

    def note_queued(self, call: int, job: str) -> None:
        """Note the job of a call; only the holder of the lock does this."""
        _append(self.queued_file, f"{call} {job}\n")

    def note_cancelled(self, first: int, last: int) -> None:
        """Note that tasks were cancelled; only the holder of the lock does this."""
        _append(self.cancelled_file, f"{first} {last}\n")

    @property
    def plan_file(self) -> Path:
        """The plan that the tasks refer to."""
        return self.jobs_dir / self.about["plan"]

    def tasks(self) -> list[Place | None]:
        """Return every task as (run, part, attempt), None where the run has been removed.

        Raises
        ------
        Damaged
            If the file holds something else.
        """
        try:
            content = self.tasks_file.read_bytes()
        except OSError:
            return []
        found = _TASK.findall(content)
        if len(found) * len(REMOVED) != len(content):
            raise Damaged(self.tasks_file)
        return [
            (int(run), int(part), int(attempt)) if run else None for run, part, attempt in found
        ]

    def entries(self) -> list[dict[str, Any]]:
        """Return the plan's entries in order of run; none when the plan is gone.

        Raises
        ------
        Damaged
            If the file holds something else.
        """
        try:
            entries = [json.loads(line) for line in self.plan_file.read_bytes().splitlines()]
        except FileNotFoundError:
            return []
        except ValueError:
            raise Damaged(self.plan_file) from None
        if not all(isinstance(entry, dict) and "run" in entry for entry in entries):
            raise Damaged(self.plan_file)
        return entries

    def sender_lives(self) -> bool:
        """Whether the launcher that feeds the tasks one by one is still there."""
        return job_node.here(self.about) and job_node.lives(self.about)


def _pairs(path: Path) -> list[tuple[str, str]]:
    """Return the lines of two words of a file that may not exist; half a line is none."""
    try:
        lines = path.read_text("ascii", "replace").split("\n")[:-1]
    except OSError:
        return []
    words = [line.split() for line in lines]
    return [(pair[0], pair[1]) for pair in words if len(pair) == 2]


def _append(path: Path, line: str) -> None:
    with open(path, "a", encoding="ascii") as stream:
        stream.write(line)
        stream.flush()
        os.fsync(stream.fileno())


def write_plan(jobs_dir: Path, entries: Iterable[dict[str, Any]]) -> str:
    """Write a plan and its index; return the plan's file name.

    Parameters
    ----------
    jobs_dir : Path
        The experiment's folder ``.jobs``, which must exist.
    entries : iterable of dict
        ``run``, ``key``, ``script``, ``argv``, ``arguments`` and what else a run needs.
    """
    ordered = sorted(entries, key=lambda entry: entry["run"])
    lines = [json.dumps(entry).encode() + b"\n" for entry in ordered]
    content = b"".join(lines)
    begins, begin = [], 0
    for line in lines:
        begins.append(begin.to_bytes(8, "little"))
        begin += len(line)
    stem = f"plan-{hashlib.sha256(content).hexdigest()[:12]}"
    write_bytes(jobs_dir / f"{stem}.idx", b"".join(begins))
    write_bytes(jobs_dir / f"{stem}.jsonl", content)
    return f"{stem}.jsonl"


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file under a temporary name, force it to the disk, rename it."""
    temporary = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}")
    try:
        with open(temporary, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def send(
    jobs_dir: Path, entries: list[dict[str, Any]], tasks: list[Place], about: dict[str, Any]
) -> Submission:
    """Write plan, tasks and submission, in this order: what is named exists.

    Parameters
    ----------
    jobs_dir : Path
        The experiment's folder ``.jobs``.
    entries : list of dict
        The plan.
    tasks : list of (run, part, attempt)
        What is to be started.
    about : dict
        Environment, program, resources and provenance of the submission.
    """
    jobs_dir.mkdir(parents=True, exist_ok=True)
    moment = datetime.now(UTC)
    submission = Submission(
        jobs_dir,
        f"send-{moment:%Y%m%dT%H%M%S%f}-{secrets.token_hex(5)}",
        {
            **about,
            **job_node.own_process(),
            "plan": write_plan(jobs_dir, entries),
            "time": job_node.now_iso(),
            "state": "intent",
            "jobs": [],
        },
    )
    write_tasks(submission, tasks)
    job_node.write_json(str(jobs_dir / f"{submission.stem}.json"), submission.about)
    return submission


def write_tasks(submission: Submission, tasks: Iterable[Place | None]) -> None:
    """Write the fixed-width lines of a submission's tasks."""
    lines = [REMOVED if task is None else b"%08d %02d %04d\n" % task for task in tasks]
    write_bytes(submission.tasks_file, b"".join(lines))


def submissions(jobs_dir: Path, unreadable: list[Path] | None = None) -> list[Submission]:
    """Return all submissions of an experiment, oldest first; damaged ones are left out.

    Parameters
    ----------
    jobs_dir : Path
        The experiment's folder ``.jobs``.
    unreadable : list of Path, optional
        Gets the files that are damaged.
    """
    found = []
    for path in sorted(jobs_dir.glob("send-*.json")):
        about = job_node.read_json(str(path))
        if _is_sound(about):
            found.append(Submission(jobs_dir, path.stem, about))
        elif unreadable is not None and path.exists():
            unreadable.append(path)
    return found


def _is_sound(about: dict[str, Any]) -> bool:
    """Whether a submission's file has what everybody relies on, and of the right kinds."""
    engine, calls = about.get("engine", {}), about.get("calls", [])
    return (
        isinstance(about.get("plan"), str)
        and isinstance(engine, dict)
        and engine.get("name") in (None, "grid-engine", "slurm")
        and isinstance(calls, list)
        and all(
            isinstance(call, list) and len(call) == 2 and all(type(n) is int for n in call)
            for call in calls
        )
        and sum(call[1] for call in calls) <= 10**8
        and isinstance(about.get("python", ""), str)
    )


def latest_entries(
    jobs_dir: Path, runs: Iterable[int] | None = None
) -> dict[int, tuple[dict[str, Any], Submission]]:
    """Return what was last sent for each run: its plan's entry and the submission.

    Parameters
    ----------
    jobs_dir : Path
        The experiment's folder ``.jobs``.
    runs : iterable of int, optional
        The runs that are asked for; all without it.
    """
    wanted = None if runs is None else set(runs)
    found: dict[int, tuple[dict[str, Any], Submission]] = {}
    for submission in reversed(submissions(jobs_dir)):
        if wanted is not None and wanted <= found.keys():
            break
        sent = {task[0] for task in submission.tasks() if task is not None}
        sent = {run for run in sent if run not in found and (wanted is None or run in wanted)}
        if not sent:
            continue
        for entry in submission.entries():
            if entry["run"] in sent:
                found[entry["run"]] = (entry, submission)
    return found


def forget(jobs_dir: Path, runs: Iterable[int]) -> None:
    """Blank the tasks of removed runs; files of which nothing is left are deleted."""
    removed = set(runs)
    for submission in submissions(jobs_dir):
        tasks = submission.tasks()
        left = [None if task is None or task[0] in removed else task for task in tasks]
        if left == tasks:
            continue
        if any(left):
            write_tasks(submission, left)
            continue
        for ending in ENDINGS:
            (jobs_dir / f"{submission.stem}{ending}").unlink(missing_ok=True)
    used = {submission.about["plan"] for submission in submissions(jobs_dir)}
    for plan in jobs_dir.glob("plan-*.jsonl"):
        if plan.name not in used:
            plan.unlink()
            plan.with_suffix(".idx").unlink(missing_ok=True)


@contextlib.contextmanager
def lock(jobs_dir: Path, patience_s: float = 30.0) -> Iterator[None]:
    """Hold an experiment's ``lock/`` while its states are read and runs are sent or removed.

    A lock of a process of this machine that has ended, or older than ten minutes, is broken.

    Raises
    ------
    TimeoutError
        If another process holds it for longer than `patience_s`.
    """
    folder = jobs_dir / "lock"
    owner = folder / "owner.json"
    end = time.monotonic() + patience_s
    while True:
        jobs_dir.mkdir(parents=True, exist_ok=True)
        try:
            folder.mkdir()
            break
        except FileNotFoundError:
            continue  # whoever held it before has left nothing, and taken the folder away
        except FileExistsError:
            holder = job_node.read_json(str(owner))
        if _is_stale(folder, holder):
            _break(folder, holder)
        elif time.monotonic() > end:
            who = f"process {holder.get('pid', '?')} on {holder.get('host', '?')}"
            raise TimeoutError(
                f"{who} has been sending or removing runs of this experiment for more than "
                f"{patience_s:.0f} s; try again when it has ended, or delete {folder}"
            )
        else:
            time.sleep(0.1)
    try:
        job_node.write_json(str(owner), job_node.own_process())
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(OSError):
            jobs_dir.rmdir()  # where nothing was sent, nothing is left behind
            jobs_dir.parent.rmdir()


def _break(folder: Path, holder: dict[str, Any]) -> None:
    """Remove a stale lock, unless somebody else has done so and taken it in the meantime."""
    aside = folder.with_name(f".lock.{secrets.token_hex(5)}")
    try:
        folder.rename(aside)
    except FileNotFoundError:
        return
    if job_node.read_json(str(aside / "owner.json")) != holder:
        with contextlib.suppress(OSError):
            aside.rename(folder)
            return
    print(f"the lock {folder} was left behind by a launcher that has ended; removed")
    shutil.rmtree(aside, ignore_errors=True)


def _is_stale(folder: Path, holder: dict[str, Any]) -> bool:
    """Whether the lock's owner has ended, or has held it for too long to be at work."""
    if job_node.here(holder):
        return not job_node.lives(holder)
    moment, margin = job_node.server_clock(str(folder.parent))  # clocks of hosts may differ
    try:
        return moment - folder.stat().st_mtime > margin * LOCK_OLD_S
    except OSError:
        return False  # given back in this moment
