"""A piece of work in a session of its own, which goes on when terminal and command have ended."""

import contextlib
import os
import sys
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path

from utils import job_node


class NotStarted(ValueError):
    """The work ended before it was under way; the message says why and where to look."""


def detach(work: Callable[[Callable[[], None]], int], log: Path) -> int:
    """Do some work in a process of its own; return the process's number when it is under way.

    The process has a session of its own, an empty input, and the log for its output. It begins as
    a copy of this one, so what this one has locked or checked stays so.

    Parameters
    ----------
    work : callable
        The work; returns the exit status. It is given a function to call when it is under way.
    log : Path
        A new file.

    Raises
    ------
    NotStarted
        If the work ends before that.
    OSError
        If the log or the process cannot be made.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    with open(log, "xb") as output:
        reader, writer = os.pipe()
        with warnings.catch_warnings():
            # the copy has none of the threads that others may have started, and needs none
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
        if pid == 0:
            _become(work, output.fileno(), writer)
    os.close(writer)
    with open(reader, "rb") as told:
        if told.read(1):
            return pid
    os.waitpid(pid, 0)
    reason = job_node.last_line(str(log)) or "it left no word"
    raise NotStarted(f"the runs could not be started: {reason}. All that it said is in {log}")


def _become(work: Callable[[Callable[[], None]], int], output: int, writer: int) -> None:
    """Do the work, and end the process without anything that belongs to its original."""
    status = 1

    def tell() -> None:
        with contextlib.suppress(OSError):  # somebody has not waited for it
            os.write(writer, b".")

    try:
        os.setsid()
        nothing = os.open(os.devnull, os.O_RDONLY)
        for number, target in ((nothing, 0), (output, 1), (output, 2)):
            os.dup2(number, target)
        # whatever the streams of the original are, such as a terminal of another encoding
        sys.stdout = open(1, "w", 1, encoding="utf-8", errors="replace", closefd=False)
        sys.stderr = open(2, "w", 1, encoding="utf-8", errors="backslashreplace", closefd=False)
        status = work(tell)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
