"""What stands beside a running program: its claim, its logs, its heartbeat and its record.

The launcher starts ``python -I -S job_node.py CONTROL TOKEN LINE [PARENT]`` once per task.
CONTROL is an experiment's folder ``.jobs``, TOKEN names a submission in it, LINE is a line of its
``.tasks`` file, PARENT the process that waits for it. Only the standard library is used, so that
no user's environment can break it. `utils.experiment` claims and records runs that are started
by hand with the same functions.

The state of a run is in file names, ``state/{thousand}/{run}.{part}.{attempt}.{kind}`` with the
kinds ``claim``, ``done``, ``failed``, ``cancelled``, ``skipped``. Each file has one writer and a
final record is written once.
"""

import contextlib
import ctypes
import datetime
import glob
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import Any, BinaryIO

FINAL = ("done", "failed", "cancelled", "skipped")
KINDS = frozenset(("claim", *FINAL))
BEAT_S = 30.0
SILENT_S = 3 * BEAT_S
STOP_S = 20.0
NOTIFY_STOP_S = 5.0  # after SIGUSR2, a queue's last warning, little time is left
TRIES = 3
PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of prctl(2)

Folder = str | os.PathLike[str]
RunId = int | str  # number, or name of a run that was started by hand


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
    except (OSError, ValueError):
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
    run, _, rest = name.partition(".")
    part, _, rest = rest.partition(".")
    attempt, _, kind = rest.partition(".")
    if kind not in KINDS or not run or not part.isdigit() or not attempt.isdigit():
        return None  # a probe, a file that is being written, a ghost of a file server
    return run, int(part), int(attempt), kind


def log_file(jobs_dir: Folder, run: RunId, part: int, stream: str) -> str:
    """Return the path of the latest log: `stream` is ``"o"`` for output, ``"e"`` for errors."""
    middle = f".part{part}" if part else ""
    return os.path.join(os.path.dirname(os.fspath(jobs_dir)), f"{stream}_{run}{middle}.log")


def machine() -> str:
    """Return what identifies this boot and process table; empty where the kernel is silent."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as stream:
            return stream.read().strip() + " " + os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def process_start(pid: Any) -> int | None:
    """Return when a process started, in clock ticks since boot; None when it has ended."""
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


def silence(claim_path: str) -> float:
    """Return the seconds since the last heartbeat by the file server's clock.

    A probe file, removed at once, tells the time in the claim's folder. Where nothing can be
    written the host's clock stands in, with ten times the margin. Infinite for no claim.
    """
    folder, margin = os.path.dirname(claim_path), 1.0
    probe = os.path.join(folder, f".probe.{socket.gethostname()}.{os.getpid()}")
    try:
        os.close(os.open(probe, os.O_CREAT | os.O_WRONLY, 0o600))
        moment = os.stat(probe).st_mtime
        os.unlink(probe)
    except OSError:
        moment, margin = time.time(), 10.0
    try:
        return max(0.0, moment - os.stat(claim_path).st_mtime) / margin
    except OSError:
        return float("inf")


def alive(claim_path: str) -> bool:
    """Whether the holder of a claim still runs: asked of this machine, or by its heartbeat."""
    info = read_json(claim_path)
    if here(info):
        return lives(info) or lives(info, "program")
    return silence(claim_path) < SILENT_S


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
        # signals are for the main thread, which may be waiting for a program
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        while not self._ended.wait(self._seconds):
            with contextlib.suppress(OSError):  # a file server may be away for a while
                os.utime(self._path)

    def stop(self) -> None:
        """End the heartbeat."""
        self._ended.set()
        self._thread.join()


def end_with_parent() -> None:
    """Ask the kernel for SIGTERM when the starting thread dies (Linux; elsewhere nothing)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PARENT_DEATH_SIGNAL, signal.SIGTERM, 0, 0, 0)


def read_task(tasks_path: str, line: int) -> tuple[int, int, int] | None:
    """Return ``(run, part, attempt)`` of one fixed-width line; None for a removed run."""
    with open(tasks_path, "rb") as stream:
        width = len(stream.readline())
        stream.seek(line * width)
        fields = stream.read(width).split()
    if len(fields) != 3:
        raise ValueError(f"{tasks_path} has no line {line}; send the run again with --resume")
    return None if b"-" in fields[0] else (int(fields[0]), int(fields[1]), int(fields[2]))


def read_plan_line(plan_path: str, run: int) -> dict[str, Any]:
    """Return the plan's entry of `run`, found by halving: the lines are in order of run."""
    with open(f"{plan_path[:-6]}.idx", "rb") as index, open(plan_path, "rb") as plan:
        low, high = 0, os.fstat(index.fileno()).st_size // 8
        while low < high:
            middle = (low + high) // 2
            index.seek(8 * middle)
            plan.seek(int.from_bytes(index.read(8), "little"))
            entry: dict[str, Any] = json.loads(plan.readline())
            if entry["run"] == run:
                return entry
            low, high = (middle + 1, high) if entry["run"] < run else (low, middle)
    raise ValueError(f"{plan_path} has no run {run}; send the run again with --resume")


def open_logs(jobs_dir: Folder, run: RunId, part: int, attempt: int) -> list[BinaryIO]:
    """Open both logs of a new attempt for appending; those of the one before are renamed."""
    paths = [log_file(jobs_dir, run, part, stream) for stream in "oe"]
    for path in paths:
        if os.path.exists(path):
            os.replace(path, f"{path[:-4]}.try{attempt - 1}.log")
    return [open(path, "ab") for path in paths]


def last_line(path: str) -> str:
    """Return the last line with text in a log, at most 500 characters, or an empty text.

    Behind a traceback it is the first line of what the exception says, which may have several.
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
    return next((line.strip()[:500] for line in reversed(lines) if line.strip()), "")


class Task:
    """One attempt of one run: claim, program, signals, record."""

    def __init__(self, control: str, token: str, line: int):
        found = glob.glob(os.path.join(glob.escape(control), f"send-*-{token}.json"))
        if len(found) != 1:
            raise FileNotFoundError(f"{control} has no submission {token}; send the run again")
        self.control, self.token, self.line = control, token, line
        with open(found[0], encoding="utf-8") as stream:
            self.sent: dict[str, Any] = json.load(stream)
        self.place = read_task(f"{found[0][:-5]}.tasks", line)
        self.group = 0  # the program's process group
        self.stopped_by = 0

    def listen(self) -> None:
        """Answer signals from now on."""
        for name in ("SIGTERM", "SIGINT", "SIGUSR1", "SIGUSR2", "SIGXCPU"):
            signal.signal(getattr(signal, name), self.stop)
        signal.signal(signal.SIGALRM, lambda *_: self.signal_group(signal.SIGKILL))

    def stop(self, number: int, _frame: object = None) -> None:
        """Pass a signal on as SIGTERM, and let SIGKILL follow when patience ends."""
        self.stopped_by = self.stopped_by or number
        patience = NOTIFY_STOP_S if number == signal.SIGUSR2 else STOP_S
        left = signal.getitimer(signal.ITIMER_REAL)[0]
        signal.setitimer(signal.ITIMER_REAL, min(patience, left or patience))
        self.signal_group(signal.SIGTERM)

    def signal_group(self, number: int) -> None:
        """Send a signal to the program and to all that it has started in its group."""
        if self.group:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.group, number)

    def run(self) -> int:
        """Claim, start, wait, record; return the exit status."""
        if self.place is None:
            print(f"task {self.line} of {self.token}: the run was removed; nothing started")
            return 0
        run, part, attempt = self.place
        entry = read_plan_line(os.path.join(self.control, self.sent["plan"]), run)
        kinds = attempts(self.control, run, part).values()
        if any("done" in kind for kind in kinds) and not entry.get("again"):
            print(f"run {run}: done already; nothing started")
            return 0
        info = {"token": self.token, "task": self.line, "repetitions": entry.get("repetitions")}
        if not claim(self.control, run, part, attempt, info):
            print(f"run {run}: attempt {attempt} is taken by another process; nothing started")
            return 0
        info.update(own_process(), start=now_iso())
        begin = time.monotonic()
        try:
            status = self.supervise(entry, run, part, attempt)
            state, reason = self.outcome(status, run, part)
        except (OSError, ValueError) as problem:  # no log, no program, no such argument
            status, state, reason = 1, "failed", str(problem)
        info.update(end=now_iso(), seconds=round(time.monotonic() - begin, 3), exit=status)
        info.update(reason=reason, memory_mb=peak_memory_mb(), signal=self.stopped_by or None)
        if status == 3:
            info["diverged"] = count_diverged(f"{self.sent['run_folder']}{run}")
        try:
            record(self.control, run, part, attempt, state, info)
        except OSError as problem:
            print(f"run {run}: its record cannot be written ({problem}); it counts as lost")
            return 1
        # 99 and 100 have a meaning of their own to Grid Engine
        return 1 if status in (99, 100) else status

    def outcome(self, status: int, run: int, part: int) -> tuple[str, str]:
        """Return state and reason that follow from the program's exit status."""
        if status in (0, 3):
            return "done", "some repetitions diverged" if status == 3 else ""
        if self.stopped_by:
            return "cancelled", f"stopped by {signal.Signals(self.stopped_by).name}"
        reason = last_line(log_file(self.control, run, part, "e"))
        if status > 128:
            return "failed", f"killed by signal {status - 128}. {reason}".strip()
        return "failed", reason or f"exit status {status}, and nothing in the error log"

    def supervise(self, entry: dict[str, Any], run: int, part: int, attempt: int) -> int:
        """Run the program to its end; return its exit status, 128 + n for signal n."""
        command = [os.path.abspath(self.sent["python"]), entry["script"], *entry["argv"]]
        if part:
            command.append(f"--part={part}/{self.sent['parts']}")
        environment = {**os.environ, **self.sent["environment"], "BENCH_JOB": self.token}
        output, errors = open_logs(self.control, run, part, attempt)
        with output, errors:
            line = f"# {now_iso()} {socket.gethostname()} attempt {attempt}: {shlex.join(command)}"
            output.write(line.replace("\n", "\\n").encode("utf-8", "backslashreplace") + b"\n")
            output.flush()
            if self.stopped_by:
                return 128 + self.stopped_by
            program = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                env={**environment, "PYTHONUNBUFFERED": "1"},
                start_new_session=True,
                preexec_fn=end_with_parent,  # no thread exists before the heartbeat
            )
        self.group = program.pid
        if self.stopped_by:
            self.signal_group(signal.SIGTERM)  # it came while the program was being started
        claim_path = state_file(self.control, run, part, attempt, "claim")
        held = {"program": program.pid, "program_start": process_start(program.pid)}
        try:
            write_json(claim_path, {**read_json(claim_path), **held})
        except OSError as problem:
            print(f"run {run}: its claim cannot be completed ({problem}); the program goes on")
        heartbeat = Heartbeat(claim_path)
        os.waitid(os.P_PID, program.pid, os.WEXITED | os.WNOWAIT)
        self.signal_group(signal.SIGKILL)  # what the program has left behind ends with it
        heartbeat.stop()
        status = program.wait()
        return status if status >= 0 else 128 - status


def peak_memory_mb() -> int:
    """Return the largest memory that a child of this process has had [MB]; Linux counts in kB."""
    import resource  # not there on Windows

    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024


def count_diverged(run_folder: str) -> int:
    """Return how many of a run's repetitions say in ``run.json`` that they diverged."""
    files = glob.glob(os.path.join(glob.escape(run_folder), "*", "run.json"))
    return sum(read_json(path).get("state") == "diverged" for path in files)


def main(arguments: list[str]) -> int:
    """Run one task and return its exit status; messages are for the submission's own log."""
    if len(arguments) not in (3, 4) or not arguments[2].isdigit():
        print("usage: job_node.py CONTROL TOKEN LINE [PARENT]; the launcher starts it")
        return 2
    if len(arguments) == 4:
        end_with_parent()
        if os.getppid() != int(arguments[3]):
            return 1  # the launcher died before the kernel could be asked
    control = os.path.abspath(arguments[0])
    try:
        os.chdir(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        task = Task(control, arguments[1], int(arguments[2]))
        task.listen()
        return task.run()
    except (OSError, ValueError, KeyError) as problem:
        print(f"{arguments[1]}, task {arguments[2]}: {type(problem).__name__}: {problem}")
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
