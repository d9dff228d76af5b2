"""Processes under Windows, which has no signals and no process groups to end them by.

What is ended there ends at once and cannot leave a record, so whoever ends it records it. Only the
standard library is used, see `utils.job_node`.
"""

import contextlib
import ctypes
import subprocess
import sys
from collections.abc import Sequence
from typing import Any, BinaryIO

from utils import job_node
from utils.programs import Ended
from utils.programs import Program as SignalledProgram

# as in the system's own headers
CREATE_NEW_PROCESS_GROUP = 0x200
PROCESS_QUERY_LIMITED_INFORMATION = 0x1000
STILL_ACTIVE = 259

ANSWER_S = 30.0


def start_options() -> dict[str, Any]:
    """Return the options with which a process does not hear the Ctrl-C of its starter."""
    return {"creationflags": CREATE_NEW_PROCESS_GROUP}


def end_command(pid: int) -> list[str]:
    """Return the command that ends a process with all that it has started."""
    return ["taskkill", "/T", "/F", "/PID", str(pid)]


def end(pid: int) -> None:
    """End a process with all that it has started."""
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        subprocess.run(
            end_command(pid),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,  # it may have ended by itself
            timeout=ANSWER_S,
        )


def cancel(jobs_dir: job_node.Folder, place: tuple[job_node.RunId, int, int], token: Any) -> None:
    """Record an attempt of a run as cancelled, then end its wrapper and its program.

    Parameters
    ----------
    jobs_dir : path
        The experiment's folder ``.jobs``.
    place : (run, part, attempt)
        What is to end.
    token : str or None
        The submission that it belongs to.
    """
    path = job_node.state_file(jobs_dir, *place, "claim")
    if not job_node.read_json(path):  # a wrapper that comes later finds it taken
        job_node.claim(jobs_dir, *place, {"token": token, "task": None, "repetitions": None})
    claim = job_node.read_json(path)
    about = {**claim, "start": claim.get("claimed"), "end": job_node.now_iso()}
    with contextlib.suppress(FileExistsError):  # it has just ended
        job_node.record(jobs_dir, *place, "cancelled", {**about, "reason": "stopped by the user"})
    for name in ("pid", "program"):
        if job_node.lives(claim, name) and claim[name] != job_node.own_process()["pid"]:
            end(claim[name])


def machine() -> str:
    """Return what identifies this installation of the system."""
    if sys.platform == "win32":
        import winreg

        with winreg.OpenKey(
            winreg.HKEY_LOCAL_MACHINE, r"SOFTWARE\Microsoft\Cryptography"
        ) as folder:
            return str(winreg.QueryValueEx(folder, "MachineGuid")[0])
    return ""


def process_start(pid: int) -> int | None:
    """Return when a process started [100 ns since 1601]; None when it has ended."""
    if sys.platform == "win32":
        from ctypes import wintypes

        kernel = ctypes.WinDLL("kernel32")
        kernel.OpenProcess.restype = wintypes.HANDLE
        handle = wintypes.HANDLE(kernel.OpenProcess(PROCESS_QUERY_LIMITED_INFORMATION, False, pid))
        if not handle:
            return None
        times = [wintypes.FILETIME() for _ in range(4)]  # start, end, in the kernel, outside
        status = wintypes.DWORD()
        try:
            answered = kernel.GetExitCodeProcess(handle, ctypes.byref(status))
            answered = answered and kernel.GetProcessTimes(handle, *map(ctypes.byref, times))
        finally:
            kernel.CloseHandle(handle)
        if not answered or status.value != STILL_ACTIVE:
            return None
        return (times[0].dwHighDateTime << 32) | times[0].dwLowDateTime
    return None


class Program(SignalledProgram):
    """A program that no signal reaches; the only way to end it is by force.

    Parameters
    ----------
    command, environment, output, errors
        As in `utils.programs.Program`.

    Raises
    ------
    OSError
        If it cannot be started.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: dict[str, str],
        output: BinaryIO,
        errors: BinaryIO,
    ):
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            env=environment,
            **start_options(),
        )
        self.pid = self._process.pid

    def send_signal(self, number: int) -> None:
        """End the program; there is no other answer to any signal."""
        if self._process.poll() is None:
            end(self.pid)

    def has_ended(self) -> bool:
        """Whether the program has ended."""
        return self._process.poll() is not None

    def wait(self) -> Ended:
        """Wait for the end; the memory that it has had is not told."""
        status = self._process.wait()
        return Ended(status if status <= 128 else 1, 0)  # larger ones would be taken for signals
