"""Running tasks: a run is claimed, its program started and watched, its end recorded.

This is the wrapper that `utils.job_node` starts, ``CONTROL TOKEN LINE [PARENT]``. CONTROL is an
experiment's folder ``.jobs``, TOKEN names a submission in it, LINE is a line of its ``.tasks``
file, PARENT the process that waits for it. With ``-`` for LINE the lines come over a socket that
the wrapper finds as its standard input, one at a time, and all runs share a program: behind each
the wrapper answers ``LINE STATUS`` when it is ready for another, and when it ends instead, its
end is that task's. ``c{n}`` for LINE is what an engine starts: those lines of the submission's call
number n that belong to the task, whose number stands in a variable.
"""

import glob
import json
import os
import re
import select
import shlex
import signal
import socket
import sys
import time
from typing import Any, BinaryIO

from utils import job_node, needs, run_names
from utils.programs import (
    Ended,
    Program,
    SharedProgram,
    end_with_parent,
    killed_for_memory,
    memory_is_limited,
)

if sys.platform == "win32":
    from utils.windows import Program

LOOK_S = 0.5
EARLY_S = 5.0
"""So much sooner than a queue's limit is reached may it be by this process' clock [s]."""

_LINE = re.compile(r"-|c?\d+")

# what libraries make of it where a limit is set and no more is to be had
_STARVED = re.compile(
    r"error return without exception set|cannot allocate memory|failed to map segment"
    r"|unable to allocate|can't start new thread",
    re.IGNORECASE,
)
_NO_MEMORY = re.compile(r"(numpy\S*\._Array)?MemoryError\b|(what\(\):\s*)?std::bad_alloc")


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


def open_logs(
    jobs_dir: job_node.Folder, run: job_node.RunId, part: int, attempt: int
) -> list[BinaryIO]:
    """Open both logs of a new attempt for appending; those of the one before are renamed."""
    paths = [job_node.log_file(jobs_dir, run, part, stream) for stream in "oe"]
    for path in paths:
        if os.path.exists(path):
            os.replace(path, f"{path[:-4]}.try{attempt - 1}.log")
    return [open(path, "ab") for path in paths]


class Wrapper:
    """Runs tasks of one submission: claim, program, signals, record.

    Parameters
    ----------
    control : str
        The experiment's folder ``.jobs``.
    token : str
        Names the submission.
    together : bool
        Whether its runs share a program.

    Raises
    ------
    FileNotFoundError
        If there is no such submission.
    """

    def __init__(self, control: str, token: str, together: bool = False):
        found = glob.glob(os.path.join(glob.escape(control), f"send-*-{token}.json"))
        if len(found) != 1:
            raise FileNotFoundError(f"{control} has no submission {token}; send the run again")
        self.control, self.token = control, token
        # CONTROL is {results}/job_logs/{exp_folder}/{exp}/.jobs
        self.results = os.path.normpath(os.path.join(control, *[os.pardir] * 4))
        with open(found[0], encoding="utf-8") as stream:
            self.sent: dict[str, Any] = json.load(stream)
        self.together = together or bool(self.sent.get("together"))
        self.engine: dict[str, Any] = self.sent.get("engine") or {}
        self.tasks_path = f"{found[0][:-5]}.tasks"
        self.cancelled_path = f"{found[0][:-5]}.cancelled"
        self.program: Program | None = None
        self.script = ""  # what a shared program was started with
        self.begun = time.monotonic()
        self.stopped_by = 0
        self.out_of_time = False
        self.unrecorded = False

    def listen(self) -> None:
        """Answer signals from now on."""
        if sys.platform == "win32":
            return  # there are none: who ends a wrapper ends its program as well, and records it
        for name in ("SIGTERM", "SIGINT", "SIGUSR1", "SIGUSR2", "SIGXCPU"):
            signal.signal(getattr(signal, name), self.stop)
        signal.signal(signal.SIGALRM, lambda *_: self.signal_program(signal.SIGKILL))

    def stop(self, number: int, _frame: object = None) -> None:
        """Pass a signal on as SIGTERM, and let SIGKILL follow when patience ends."""
        if not self.stopped_by:
            self.stopped_by = number
            limit = self.engine.get("seconds", 0)
            self.out_of_time = 0 < limit <= time.monotonic() - self.begun + EARLY_S
        patience = job_node.STOP_S
        if number in (signal.SIGTERM, signal.SIGUSR2):  # a queue's last warnings
            patience = min(patience, self.engine.get("patience", patience))
        left = signal.getitimer(signal.ITIMER_REAL)[0]
        signal.setitimer(signal.ITIMER_REAL, min(patience, left or patience))
        self.signal_program(signal.SIGTERM)

    def signal_program(self, number: int) -> None:
        """Send a signal to the program, where there is one, and to what it has started."""
        if self.program is not None:
            self.program.send_signal(number)

    def take_turns(self, channel: socket.socket) -> int:
        """Run the tasks whose lines come over `channel`, one after the other, in one program.

        Returns
        -------
        int
            Exit status of the wrapper: that of the last run where it was stopped, or 1 where its
            record could not be written.
        """
        watch = select.poll()
        watch.register(channel, select.POLLIN)
        status = 0
        try:
            while not self.stopped_by:
                if not watch.poll(1000 * LOOK_S):
                    continue
                text = channel.recv(64)
                if not text:
                    return 0
                status = self.run(int(text))
                if self.unrecorded:  # only with this process does the run count as lost
                    return 1
                if not self.stopped_by:
                    channel.sendall(b"%d %d\n" % (int(text), status))
        except ConnectionError:
            pass  # nobody waits any more
        finally:
            self.dismiss()
        return status or 128 + self.stopped_by

    def take_call(self, call: int) -> int:
        """Run the tasks for which a queue has started this wrapper, one after the other.

        Returns
        -------
        int
            Exit status of the last of them that did not end well, else 0.
        """
        status = 0
        try:
            for line in self.lines(call):
                status = self.run(line) or status
                if self.stopped_by or self.unrecorded:
                    break
        finally:
            self.dismiss()
        return status

    def lines(self, call: int) -> range:
        """Return the lines that belong to the task that the queue has started.

        Raises
        ------
        ValueError
            If the queue names a task that was not sent.
        """
        first, lines = self.sent["calls"][call]
        number, per_task = os.environ.get(self.engine["task"], ""), self.sent["per_task"]
        begin = 0
        if self.sent["array"]:
            task = int(number) - self.engine["first"] if number.isdigit() else -1
            begin = task * per_task
        if not 0 <= begin < lines:
            raise ValueError(f"call {call} has no task {number!r}; send the runs again")
        return range(first + begin, first + min(begin + per_task, lines))

    def is_cancelled(self, line: int) -> bool:
        """Whether somebody has cancelled a task that waited in a queue."""
        try:
            with open(self.cancelled_path, "rb") as stream:
                ranges = [text.split() for text in stream.read().split(b"\n")[:-1]]
        except OSError:
            return False
        return any(len(r) == 2 and int(r[0]) <= line <= int(r[1]) for r in ranges)

    def queue_job(self) -> str:
        """Return the number under which a queue runs this wrapper; empty where none does."""
        jobs = [os.environ.get(name, "") for name in self.engine["job"]]
        job = next(filter(str.isdigit, jobs), "")
        task = os.environ.get(self.engine["task"], "")
        return f"{job}.{task}" if job and task.isdigit() else job

    def dismiss(self) -> None:
        """End the shared program, by force where it takes too long."""
        if isinstance(self.program, SharedProgram):
            if not self.stopped_by:
                signal.setitimer(signal.ITIMER_REAL, job_node.STOP_S)
            self.program.dismiss()
            self.program = None
            if not self.stopped_by:
                signal.setitimer(signal.ITIMER_REAL, 0)

    def run(self, line: int) -> int:
        """Claim, start, wait, record; return the exit status."""
        place = read_task(self.tasks_path, line)
        if place is None:
            print(f"task {line} of {self.token}: the run was removed; nothing started")
            return 0
        run, part, attempt = place
        if self.engine and self.is_cancelled(line):
            print(f"run {run}: cancelled before it started; nothing started")
            return 0
        entry = read_plan_line(os.path.join(self.control, self.sent["plan"]), run)
        # an older one may have ended well after it was given up, which changes nothing
        newest = [*job_node.attempts(self.control, run, part).values()][-1:]
        if any("done" in kinds for kinds in newest) and not entry.get("again"):
            print(f"run {run}: done already; nothing started")
            return 0
        info = {"token": self.token, "task": line, "repetitions": entry.get("repetitions")}
        if part:
            info["parts"] = entry["parts"]
        if self.engine:
            info["queue_job"] = self.queue_job()
        if not job_node.claim(self.control, run, part, attempt, info):
            print(f"run {run}: attempt {attempt} is taken by another process; nothing started")
            return 0
        info.update(job_node.own_process(), start=job_node.now_iso())
        begin, killed = time.monotonic(), killed_for_memory()
        try:
            if reason := needs.missing(self.results, entry.get("needs", ())):
                ended, state = Ended(0, 0), "skipped"
            else:
                ended = self.supervise(entry, run, part, attempt)
                hungry = killed_for_memory() > killed
                state, reason = self.outcome(ended.status, entry, part, hungry)
        except (OSError, ValueError) as problem:  # no log, no program, no such argument
            ended, state, reason = Ended(1, 0), "failed", str(problem)
        info.update(end=job_node.now_iso(), seconds=round(time.monotonic() - begin, 3))
        info.update(exit=ended.status, reason=reason, signal=self.stopped_by or None)
        info["memory_mb"] = ended.memory_mb
        if ended.status == 3:
            told = needs.states_of_repetitions(f"{self.sent['run_folder']}{run}")[0].values()
            info["diverged"] = list(told).count("diverged")
        try:
            job_node.record(self.control, run, part, attempt, state, info)
        except OSError as problem:
            print(f"run {run}: its record cannot be written ({problem}); it counts as lost")
            self.unrecorded = True
            return 1
        # 99 and 100 have a meaning of their own to Grid Engine
        unbelieved = state == "failed" and ended.status in (0, 3)
        return 1 if unbelieved or ended.status in (99, 100) else ended.status

    def outcome(
        self, status: int, entry: dict[str, Any], part: int, hungry: bool
    ) -> tuple[str, str]:
        """Return state and reason that follow from the program's exit status.

        Parameters
        ----------
        status : int
            The exit status.
        entry : dict
            The plan's entry of the run.
        part : int
            Which part of the run it was.
        hungry : bool
            Whether the kernel has killed a process for its memory meanwhile.
        """
        run = entry["run"]
        if status in (0, 3):
            if missing := self.unfinished(entry, part):
                return "failed", f"its program ended with status {status} and {missing}"
            return "done", "some repetitions diverged" if status == 3 else ""
        again = f"`runs retry {'/'.join(self.control.split(os.sep)[-3:-1])}:{run}"
        if self.stopped_by:
            name = signal.Signals(self.stopped_by).name
            # without a warning where the queue's master was away at that moment
            if self.engine and (name in ("SIGUSR1", "SIGXCPU") or self.out_of_time):
                if self.engine.get("seconds"):
                    return (
                        "timeout",
                        f"ended at its time limit; continue it with {again} --hours N`",
                    )
                # Grid Engine warns in the same way before it suspends a job
                told = f"its queue asked it to end ({name}): a limit of its own, or a suspension"
                return "timeout", f"{told}; continue it with {again}`"
            return "cancelled", f"stopped by {name}"
        reason = job_node.last_line(job_node.log_file(self.control, run, part, "e"))
        starved = _NO_MEMORY.match(reason) or (memory_is_limited() and _STARVED.search(reason))
        if starved or (hungry and status == 128 + signal.SIGKILL):
            said = f" ({reason})" if starved else ""
            remedy = "have fewer at a time with --jobs"
            if self.engine:
                remedy = f"try it again with {again} --memory SIZE`"
            return "memory", f"its memory did not suffice{said}; {remedy}"
        if status > 128:
            return "failed", f"killed by signal {status - 128}. {reason}".strip()
        return "failed", reason or f"exit status {status}, and nothing in the error log"

    def unfinished(self, entry: dict[str, Any], part: int) -> str:
        """Return what of a run is not finished, by its `run.json` files; nothing when all is."""
        ends, declared = needs.states_of_repetitions(f"{self.sent['run_folder']}{entry['run']}")
        if not ends:  # only an experiment, which has a key, is known to keep such files
            return "no repetition was begun" if "key" in entry else ""
        listed = entry.get("repetitions")
        wanted = run_names.numbers(listed, "repetitions") if listed else list(range(declared))
        if part:
            wanted = run_names.share(wanted, part, entry["parts"])
        left = sum(ends.get(index) not in ("done", "diverged") for index in wanted)
        if not left:
            return ""
        return f"{left} of {len(wanted)} repetitions {'was' if left == 1 else 'were'} not finished"

    def supervise(self, entry: dict[str, Any], run: int, part: int, attempt: int) -> Ended:
        """Have the run done by a program; return how it ended."""
        before = entry.get("before") or [os.path.abspath(self.sent["python"])]
        command = [*before, entry["script"]]
        argv = [*entry["argv"], *([f"--part={part}/{entry['parts']}"] if part else [])]
        # an experiment's file may have changed since its run was planned
        argv += [f"--key={entry['key']}"] if "key" in entry else []
        output, errors = open_logs(self.control, run, part, attempt)
        with output, errors:
            shown = shlex.join([*command, *argv])
            line = f"# {job_node.now_iso()} {socket.gethostname()} attempt {attempt}: {shown}"
            output.write(line.replace("\n", "\\n").encode("utf-8", "backslashreplace") + b"\n")
            output.flush()
            if self.stopped_by:
                return Ended(128 + self.stopped_by, 0)
            program = self.prepare(command, argv, output, errors)
            if self.stopped_by:
                program.send_signal(signal.SIGTERM)  # it came while the program was being started
            claim_path = job_node.state_file(self.control, run, part, attempt, "claim")
            held = {"program": program.pid, "program_start": job_node.process_start(program.pid)}
            try:
                job_node.write_json(claim_path, {**job_node.read_json(claim_path), **held})
            except OSError as problem:
                print(f"run {run}: its claim cannot be completed ({problem}); the program goes on")
            heartbeat = job_node.Heartbeat(claim_path)
            try:
                if isinstance(program, SharedProgram):
                    return program.take(argv, output, errors)
                return program.wait()
            finally:
                heartbeat.stop()

    def prepare(
        self, command: list[str], argv: list[str], output: BinaryIO, errors: BinaryIO
    ) -> Program:
        """Return the program for a run: a new one, or the shared one where it still lives."""
        environment = {**os.environ, **self.sent["environment"], "BENCH_JOB": self.token}
        environment["PYTHONUNBUFFERED"] = "1"
        if self.engine:
            environment["BENCH_QUEUE_JOB"] = self.queue_job()
            granted = os.environ.get(self.engine["slots"], "")
            if granted.isdigit():
                environment.update(dict.fromkeys(self.engine["threads"], granted))
        if not self.together:
            self.program = Program([*command, *argv], environment, output, errors)
        elif self.program is None or self.program.has_ended() or self.script != command[-1]:
            self.dismiss()
            self.program = SharedProgram(command, environment, output, errors)
            self.script = command[-1]
        return self.program


def main(arguments: list[str]) -> int:
    """Run one task, or several; messages are for the submission's own log.

    Parameters
    ----------
    arguments : list of str
        CONTROL, TOKEN, LINE and perhaps PARENT.

    Returns
    -------
    int
        The exit status.
    """
    named = len(arguments) in (3, 4)
    if not (named and _LINE.fullmatch(arguments[2])):
        print("usage: job_node.py CONTROL TOKEN LINE [PARENT]; the launcher starts it")
        return 2
    if len(arguments) == 4:
        end_with_parent()
        if os.getppid() != int(arguments[3]):
            return 1  # the launcher died before the kernel could be asked
    control, token, line = os.path.abspath(arguments[0]), *arguments[1:3]
    try:
        os.chdir(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        wrapper = Wrapper(control, token, together=line == "-")
        wrapper.listen()
        if line.startswith("c"):
            return wrapper.take_call(int(line[1:]))
        if line != "-":
            return wrapper.run(int(line))
        with socket.socket(fileno=os.dup(0)) as channel:
            return wrapper.take_turns(channel)
    except (OSError, ValueError, LookupError) as problem:
        print(f"{token}, task {line}: {type(problem).__name__}: {problem}")
        return 1
