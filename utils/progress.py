"""How far something is: one line that redraws itself on a terminal, a line a minute in a log.

Messages of the libraries go through `logging`; `set_up_logging` decides for a command where they
end, and keeps them from running into a progress line.
"""

import logging
import os
import re
import shutil
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import NamedTuple, TextIO

REDRAW_S = 0.2
LOG_S = 60.0

# 440/2500 epochs · … · 3:19 left
_SAID = re.compile(r"(?P<done>\d+/\d+( \w+)?)( · .*?)??( · (?P<left>(\d+:)?\d+:\d\d) left)?")

_shown: "list[Line]" = []  # lines on a terminal that are not closed, the latest last


def duration(seconds: float) -> str:
    """Return a time span as ``0:41``, ``12:05`` or ``3:07:59``."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class Far(NamedTuple):
    """How far something was by a line in its log.

    Parameters
    ----------
    done : str
        Such as ``"440/2500 epochs"``.
    left : int or None
        Seconds that it still needed, where the line tells.
    """

    done: str
    left: int | None

    def __str__(self) -> str:
        return self.done if self.left is None else f"{self.done}, {duration(self.left)} left"


def read(line: str) -> Far | None:
    """Return what a line says that `Line` has written to a log, None for any other line."""
    said = _SAID.fullmatch(line)
    if said is None:
        return None
    left = None
    if said["left"]:
        left = 0
        for number in said["left"].split(":"):
            left = 60 * left + int(number)
    return Far(said["done"], left)


class Line:
    """A progress line, such as ``38/144 done · 2 failed · 0:41 left``.

    A call ``line(done, total, text)`` does the same as `update` and sets the total, so a line can
    be handed to whoever reports progress to a plain function.

    Parameters
    ----------
    total : int
        How much there is to do.
    unit : str
        What is counted, written behind the numbers.
    stream : text stream, optional
        Where to write; without it the error stream when that is a terminal, else the output.
    clock : callable
        Gives the time in seconds.
    """

    def __init__(
        self,
        total: int,
        unit: str = "",
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.total = total
        self.unit = unit
        self._stream = stream or (sys.stderr if is_terminal(sys.stderr) else sys.stdout)
        self._terminal = is_terminal(self._stream)
        self._clock = clock
        # what is done at the first report was not done in our time: a continued run
        self._first: tuple[float, float] | None = None
        self._latest: tuple[float, float] = (0, 0)
        self._done: float = 0
        self._text = ""
        self._width = 0
        self._due = 0.0 if self._terminal else clock() + LOG_S
        self._pending = False
        if self._terminal:
            _shown.append(self)

    def __call__(self, done: float, total: int, text: str = "") -> None:
        """Show how much of how much is done."""
        self.total = total
        self.update(done, text)

    def update(self, done: float, text: str = "", behind: float | None = None) -> None:
        """Show how much is done, with a remark; redrawn at most five times a second.

        Parameters
        ----------
        done : int or float
            In the unit of the total.
        text : str
            What else there is to say.
        behind : int or float, optional
            How much needs no more time, where that is more than what is done: what failed, too.
        """
        now = self._clock()
        behind = done if behind is None else behind
        if self._first is None:
            self._first = (now, behind)
        self._latest, self._done = (now, behind), done
        self._text, self._pending = text, True
        if now >= self._due:
            self._draw(now)

    def message(self, text: str) -> None:
        """Write a line that stays, above the progress line."""
        if self._terminal:
            self._erase()
        self._write(f"{_printable(text)}\n")
        if self._terminal and self._first is not None:
            self._draw(self._clock())

    def close(self) -> None:
        """Draw the last state and end the line."""
        if self._pending:
            self._draw(self._clock())
        if self._terminal and self._width:
            self._write("\n")
            self._width = 0
        if self in _shown:
            _shown.remove(self)

    def __enter__(self) -> "Line":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _sentence(self) -> str:
        (now, behind), (began, before) = self._latest, self._first or self._latest
        count = f"{self._done:.12g}/{self.total:.12g} {self.unit}".rstrip()
        parts = [count, _printable(self._text)]
        if before < behind < self.total and now > began:
            left = (now - began) * (self.total - behind) / (behind - before)
            parts.append(f"{duration(left)} left")
        return " · ".join(part for part in parts if part)

    def _draw(self, now: float) -> None:
        self._pending = False
        sentence = self._sentence()
        if not self._terminal:
            self._due = now + LOG_S
            self._write(f"{sentence}\n")
            return
        self._due = now + REDRAW_S
        # one column less than there are: a full line would make some terminals scroll
        sentence = sentence[: max(1, shutil.get_terminal_size().columns - 1)]
        self._write(f"\r{sentence.ljust(self._width)}")
        self._width = len(sentence)

    def _erase(self) -> None:
        if self._width:
            self._write(f"\r{' ' * self._width}\r")
            self._width = 0

    def _write(self, text: str) -> None:
        encoding = self._stream.encoding or "utf-8"
        self._stream.write(text.encode(encoding, "replace").decode(encoding))
        self._stream.flush()


def is_terminal(stream: TextIO) -> bool:
    """Whether somebody watches a stream: not a file, not a pipe, not a build machine."""
    return stream.isatty() and os.environ.get("TERM") != "dumb" and not os.environ.get("CI")


def _printable(text: str) -> str:
    """Text that cannot move the cursor or change the terminal."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


class _Handler(logging.StreamHandler[TextIO]):
    """Writes log messages above the progress line, where one is shown."""

    def emit(self, record: logging.LogRecord) -> None:
        if not _shown:
            super().emit(record)
            return
        for line in self.format(record).splitlines():
            _shown[-1].message(line)


def set_up_logging(level: int = logging.INFO) -> None:
    """Send the log messages of all libraries to the error stream; for commands only.

    Parameters
    ----------
    level : int
        Messages below it are dropped, as in `logging`.
    """
    handler = _Handler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s: %(message)s", "%H:%M:%S"))
    logging.basicConfig(level=level, handlers=[handler], force=True)
