"""What stands beside a running program: its claim, its logs, its heartbeat and its record.

The launcher starts ``python -I -S job_node.py CONTROL TOKEN LINE [PARENT]`` beside each program;
`utils.tasks` says what the words mean and does the work. Only the standard library is used, so
that no user's environment can break it. `utils.experiment` claims and records runs that are
started by hand with the same functions.

The state of a run is in file names, ``state/{thousand}/{run}.{part}.{attempt}.{kind}`` with the
kinds ``claim``, ``done``, ``failed``, ``cancelled``, ``skipped``, ``timeout``, ``memory``. Each
file has one writer and a final record is written once.
"""

import contextlib
import datetime
import json
import os
import re
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

FINAL = ("done", "failed", "cancelled", "skipped", "timeout", "memory")
KINDS = frozenset(("claim", *FINAL))
BEAT_S = 30.0
SILENT_S = 3 * BEAT_S
STOP_S = 20.0
TRIES = 3

_CHATTER = re.compile(r"I\d{4} \d\d:\d\d:|WARNING: All log messages before absl")

Folder = str | os.PathLike[str]
RunId = int | str  # number, or name of a run that was started by hand
Clock = Callable[[str], tuple[float, float]]  # see server_clock


def now_iso() -> str:
    """Return the present time, UTC, ISO 8601 to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def write_json(path: str, content: dict[str, Any]) -> None:
    """Write `content` under a temporary name, force it to the disk, rename it to `path`."""
    folder, name = os.path.split(path)
    temporary = os.path.join(folder, f".{name}.{socket.gethostname()}.{os.getpid()}")
    try:
        with open(temporary, "w", encoding="utf-8") as stream:
            json.dump(content, stream)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def read_json(path: str) -> dict[str, Any]:
    """Return the content of a claim or record, empty when it is missing or half written."""
    try:
        with open(path, encoding="utf-8") as stream:
            content = json.load(stream)
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def state_dir(jobs_dir: Folder, run: RunId) -> str:
    """Return the folder of a run's claims and records.

    Numbered runs are kept in folders of a thousand, whoever started them, so that a job and a
    script started by hand cannot both have run 0; runs named ``hand-…`` are kept in ``hand``.
    """
    name = str(run)
    folder = f"{int(name) // 1000:04d}" if name.isdigit() else "hand"
    return os.path.join(jobs_dir, "state", folder)


def state_file(jobs_dir: Folder, run: RunId, part: int, attempt: int, kind: str) -> str:
    """Return the path of a claim (`kind` is ``"claim"``) or record of a run's attempt."""
    return os.path.join(state_dir(jobs_dir, run), f"{run}.{part}.{attempt}.{kind}")


def parse_state_file(name: str) -> tuple[str, int, int, str] | None:
    """Return ``(run, part, attempt, kind)`` of a file in a state folder, None for any other."""
    run, *rest = name.split(".")
    if not name.isascii() or not run or len(rest) != 3 or rest[2] not in KINDS:
        return None  # a probe, a file that is being written, a ghost of a file server
    part, attempt, kind = rest
    return (run, int(part), int(attempt), kind) if part.isdigit() and attempt.isdigit() else None


def log_file(jobs_dir: Folder, run: RunId, part: int, stream: str) -> str:
    """Return the path of the latest log: `stream` is ``"o"`` for output, ``"e"`` for errors."""
    middle = f".part{part}" if part else ""
    return os.path.join(os.path.dirname(os.fspath(jobs_dir)), f"{stream}_{run}{middle}.log")


def machine() -> str:
    """Return what identifies this boot and process table; empty where the kernel is silent."""
    if sys.platform == "win32":
        from utils import windows

        return windows.machine()
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as stream:
            return stream.read().strip() + " " + os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def process_start(pid: Any) -> int | None:
    """Return when a process started, in clock ticks since boot; None when it has ended."""
    if sys.platform == "win32":
        from utils import windows

        return windows.process_start(pid) if pid else None
    try:
        with open(f"/proc/{int(pid)}/stat", encoding="utf-8", errors="replace") as stream:
            fields = stream.read().rpartition(")")[2].split()
    except (OSError, ValueError, TypeError):
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def own_process() -> dict[str, Any]:
    """Return what identifies this process later: host, machine, pid and its start."""
    pid = os.getpid()
    start = process_start(pid)
    return {"host": socket.gethostname(), "machine": machine(), "pid": pid, "pid_start": start}


def here(info: dict[str, Any]) -> bool:
    """Whether the process described by `info` belongs to this machine's process table."""
    return bool(info.get("machine")) and info.get("machine") == machine()


def lives(info: dict[str, Any], name: str = "pid") -> bool:
    """Whether the process ``info[name]`` of this machine is still the one that was noted."""
    start = process_start(info.get(name))
    return start is not None and start == info.get(f"{name}_start")


def server_clock(folder: str) -> tuple[float, float]:
    """Return the time by the clock of the file server that has a folder, and the margin to give.

    A probe file, removed at once, tells the time. Where nothing can be written the host's clock
    stands in, with ten times the margin.
    """
    probe = os.path.join(folder, f".probe.{socket.gethostname()}.{os.getpid()}")
    try:
        os.close(os.open(probe, os.O_CREAT | os.O_WRONLY, 0o600))
        moment = os.stat(probe).st_mtime
        os.unlink(probe)
    except OSError:
        return time.time(), 10.0
    return moment, 1.0


def silence(claim_path: str, clock: Clock = server_clock) -> float:
    """Return the seconds since the last heartbeat, infinite for no claim.

    Many claims of a folder can share a `clock` that remembers what `server_clock` answered.
    """
    moment, margin = clock(os.path.dirname(claim_path))
    try:
        return max(0.0, moment - os.stat(claim_path).st_mtime) / margin
    except OSError:
        return float("inf")


def alive(claim_path: str, clock: Clock = server_clock) -> bool:
    """Whether the holder of a claim still runs: asked of this machine, or by its heartbeat."""
    info = read_json(claim_path)
    if here(info):
        return lives(info) or lives(info, "program")
    return silence(claim_path, clock) < SILENT_S


def claim(jobs_dir: Folder, run: RunId, part: int, attempt: int, info: dict[str, Any]) -> bool:
    """Take one attempt of a run for this process; whether it was still free.

    `jobs_dir` is the experiment's folder ``.jobs``; part 0 is an undivided run; attempts count
    from 1. Besides host and process the claim says `info`: token, task, and under
    ``repetitions`` the selection as it was given (``"0-4,7"``), None for all.
    """
    path = state_file(jobs_dir, run, part, attempt, "claim")
    os.makedirs(os.path.dirname(path), exist_ok=True)
    content = {**info, **own_process(), "claimed": now_iso()}
    try:
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    except FileExistsError:
        # a file server may answer "exists" to the one who has just created the file
        held = read_json(path)
        same = ("host", "machine", "pid", "pid_start", "token", "task")
        return bool(held) and all(held.get(key) == content.get(key) for key in same)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            json.dump(content, stream)
            stream.flush()
            os.fsync(stream.fileno())
    except OSError:
        os.unlink(path)  # an empty claim would look like a run that somebody has
        raise
    return True


def attempts(jobs_dir: Folder, run: RunId, part: int = 0) -> dict[int, set[str]]:
    """Return a run's attempts, oldest first: attempt -> kinds of the files that it has."""
    found: dict[int, set[str]] = {}
    try:
        names = os.listdir(state_dir(jobs_dir, run))
    except OSError:
        names = []
    for name in names:
        parsed = parse_state_file(name)
        if parsed and parsed[:2] == (str(run), part):
            found.setdefault(parsed[2], set()).add(parsed[3])
    return dict(sorted(found.items()))


def newest_attempt(jobs_dir: Folder, run: RunId, part: int = 0) -> int:
    """Return the number of a run's latest attempt, 0 when it was never claimed."""
    return max(attempts(jobs_dir, run, part), default=0)


def latest(jobs_dir: Folder, run: RunId, part: int = 0) -> tuple[int, str]:
    """Return ``(attempt, state)`` of a run's latest attempt.

    The state is that of the final record, else ``running`` or ``lost`` by the claim; it is
    ``(0, "new")`` for a run that nobody has claimed.
    """
    found = attempts(jobs_dir, run, part)
    if not found:
        return 0, "new"
    attempt, kinds = max(found.items())
    for kind in FINAL:
        if kind in kinds:
            return attempt, kind
    holder = state_file(jobs_dir, run, part, attempt, "claim")
    return attempt, "running" if alive(holder) else "lost"


def record(
    jobs_dir: Folder, run: RunId, part: int, attempt: int, state: str, info: dict[str, Any]
) -> None:
    """Write the final record of an attempt; an existing one is never replaced.

    Raises ValueError for a state that is not in `FINAL`, FileExistsError when the attempt has a
    record, OSError when the disk does not take it in three tries.
    """
    if state not in FINAL:
        raise ValueError(f"state must be one of {', '.join(FINAL)}, got {state!r}")
    final = attempts(jobs_dir, run, part).get(attempt, set()).intersection(FINAL)
    if final:
        raise FileExistsError(
            f"attempt {attempt} of run {run} is recorded as {min(final)} and a record is never "
            "replaced; start another attempt"
        )
    path = state_file(jobs_dir, run, part, attempt, state)
    for trial in range(1, TRIES + 1):
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            write_json(path, {**info, "state": state})
            return
        except OSError:
            if trial == TRIES:
                raise
            time.sleep(1.0)


class Heartbeat:
    """Shows that the holder of a claim lives, by the claim's modification time.

    Start it after the program: a process must not fork while it has threads.
    """

    def __init__(self, claim_path: str, seconds: float = BEAT_S):
        self._path = claim_path
        self._seconds = seconds
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)
        self._thread.start()

    def _beat(self) -> None:
        if sys.platform != "win32":
            # signals are for the main thread, which may be waiting for a program
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        while not self._ended.wait(self._seconds):
            with contextlib.suppress(OSError):  # a file server may be away for a while
                os.utime(self._path)

    def stop(self) -> None:
        """End the heartbeat."""
        self._ended.set()
        self._thread.join()


def last_line(path: str) -> str:
    """Return the last line with text in a log, at most 500 characters, or an empty text.

    Behind a traceback it is the first line of what the exception says, which may have several.
    Information that TensorFlow's libraries print about themselves is no reason for anything.
    """
    try:
        with open(path, "rb") as stream:
            stream.seek(max(0, os.fstat(stream.fileno()).st_size - 65536))
            text = stream.read().decode("utf-8", "replace")
    except OSError:
        return ""
    _, trace, said = text.rpartition("Traceback (most recent call last):\n")
    lines = said.split("\n")
    if trace:
        lines = [line for line in lines if line.strip() and not line.startswith(" ")][:1]
    said_last = (line.strip()[:500] for line in reversed(lines) if not _CHATTER.match(line))
    return next(filter(None, said_last), "")


def main(arguments: list[str]) -> int:
    """Be the wrapper that a launcher has started; return its exit status."""
    # behind the standard library, no module of which may be replaced by a file lying around
    sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    from utils.tasks import main as run_tasks

    return run_tasks(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
