"""The program of a run, as its wrapper starts it: for that run alone, or for several in turn.

Only the standard library is used, see `utils.job_node`.
"""

import contextlib
import ctypes
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from typing import BinaryIO, NamedTuple

LOOK_S = 0.5
PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of prctl(2)


class Ended(NamedTuple):
    """How a program, or one run in it, ended.

    Parameters
    ----------
    status : int
        Exit status; 128 + n for signal n.
    memory_mb : int
        The largest memory that the program has had [MB].
    """

    status: int
    memory_mb: int


def end_with_parent() -> None:
    """Ask the kernel for SIGTERM when the starting thread dies (Linux; elsewhere nothing)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PARENT_DEATH_SIGNAL, signal.SIGTERM, 0, 0, 0)


def killed_for_memory(own: str = "/proc/self/cgroup", root: str = "/sys/fs/cgroup") -> int:
    """Return how many processes of this one's control group the kernel has killed for memory.

    Parameters
    ----------
    own : str
        File with the groups of this process.
    root : str
        Folder below which the groups are found; in a container it may be this group's own.
    """
    try:
        with open(own, encoding="utf-8", errors="replace") as stream:
            lines = stream.read().splitlines()
    except OSError:
        return 0
    for line in lines:
        _, controllers, group = line.split(":", 2)
        folder, name = {
            "memory": (f"{root}/memory", "memory.oom_control"),
            "": (root, "memory.events"),
        }.get(controllers, ("", ""))
        for place in (f"{folder}{group}", folder) if folder else ():
            with contextlib.suppress(OSError, ValueError):
                with open(f"{place}/{name}", encoding="ascii") as stream:
                    counts = dict(line.split() for line in stream)
                return int(counts.get("oom_kill", 0))
    return 0


def memory_is_limited() -> bool:
    """Whether a process that is started here may have only so much memory."""
    if sys.platform == "win32":
        return False
    import resource  # there is none under Windows

    limits = (resource.RLIMIT_DATA, resource.RLIMIT_AS)
    return any(resource.getrlimit(name)[0] != resource.RLIM_INFINITY for name in limits)


class Program:
    """A program in a process group of its own that ends with whoever started it.

    Parameters
    ----------
    command : list of str
        Program and arguments.
    environment : dict
        All of its variables.
    output, errors : binary file
        Where its standard streams go.
    descriptors : list of int
        File descriptors that it inherits.

    Raises
    ------
    OSError
        If it cannot be started.
    ValueError
        If an argument cannot be handed to a program.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: dict[str, str],
        output: BinaryIO,
        errors: BinaryIO,
        descriptors: Sequence[int] = (),
    ):
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            env=environment,
            pass_fds=descriptors,
            start_new_session=True,
            preexec_fn=end_with_parent,  # no thread exists while programs are started
        )
        self.pid = self._process.pid

    def send_signal(self, number: int) -> None:
        """Send a signal to the program and to all that it has started in its group."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, number)

    def has_ended(self) -> bool:
        """Whether the program has ended; what remains of it is kept for `wait`."""
        if self._process.returncode is not None:
            return True
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def wait(self) -> Ended:
        """Wait for the end; what the program has left behind in its group ends with it."""
        os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        self.send_signal(signal.SIGKILL)
        _, ending, usage = os.wait4(self.pid, 0)
        code = self._process.returncode = os.waitstatus_to_exitcode(ending)
        return Ended(code if code >= 0 else 128 - code, usage.ru_maxrss // 1024)  # Linux: kB


class SharedProgram(Program):
    """An experiment's program that takes several runs, one after the other.

    It is told of a run over a socket, with the descriptors of the run's logs, and answers there
    when it is ready for another; `utils.together` is the other end. When it ends instead, its end
    is the run's.

    Parameters
    ----------
    command : list of str
        Program and script; the run's arguments follow with each run.
    environment : dict
        All of its variables.
    output, errors : binary file
        Where its standard streams go before it is told of a run.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: dict[str, str],
        output: BinaryIO,
        errors: BinaryIO,
    ):
        self._channel, theirs = socket.socketpair()
        number = theirs.fileno()
        try:
            with theirs:
                command = [*command, f"--together={number}"]
                super().__init__(command, environment, output, errors, [number])
        except BaseException:
            self._channel.close()
            raise

    def take(self, argv: Sequence[str], output: BinaryIO, errors: BinaryIO) -> Ended:
        """Have a run done; return how it ended.

        Parameters
        ----------
        argv : list of str
            The run's arguments.
        output, errors : binary file
            Where the standard streams go meanwhile.

        Raises
        ------
        ValueError
            If an argument could not be handed to a program of its own.
        """
        if any("\0" in word for word in argv):
            raise ValueError("embedded null byte")
        request = json.dumps(argv).encode() + b"\n"
        logs = [output.fileno(), errors.fileno()]
        try:
            begun = socket.send_fds(self._channel, [request], logs)
            self._channel.sendall(request[begun:])
            answer = self._answer()
        except OSError:  # it has ended, or has closed what it did not open
            answer = b""
        if not answer:
            return self.wait()
        status, memory_mb = answer.split()
        return Ended(int(status), int(memory_mb))

    def _answer(self) -> bytes:
        """Return the program's next line, nothing when none can come."""
        watch = select.poll()
        watch.register(self._channel, select.POLLIN)
        received = b""
        while not received.endswith(b"\n"):
            if watch.poll(1000 * LOOK_S):
                read = self._channel.recv(4096)
                if not read:
                    return b""
                received += read
            elif self.has_ended():  # and something that it has started keeps the socket open
                return b""
        return received

    def dismiss(self) -> None:
        """Say that no more runs come, and wait for the end."""
        self._channel.close()
        if self._process.returncode is None:
            self.wait()
