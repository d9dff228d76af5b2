"""Command lines: an option that is wrong is answered with one sentence, never with a traceback."""

import argparse
import gc
import math
import os
import re
import signal
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from utils import registry, signatures
from utils.screen import escaped

COLLECT_AFTER = 100_000
"""So many new objects make Python look for cycles among them."""

MOST_DIGITS = 9
"""So long may a number be on a command line; a wait of so many seconds is 30 years."""


class Refusal(Exception):
    """A command that cannot be followed; the message is a whole sentence for the user."""


class Parser(argparse.ArgumentParser):
    """Answers a wrong option with one sentence that says what is allowed."""

    def error(self, message: str) -> NoReturn:
        """Refuse the command line."""
        choice = re.search(r"invalid choice: '(.*)' \(choose from (.*)\)", message)
        close = signatures.nearest(choice[1], re.findall(r"'(.*?)'", choice[2])) if choice else ""
        raise Refusal(f"{message}. See {self.prog} --help.{close}")

    def read(self, arguments: Sequence[str]) -> argparse.Namespace:
        """Return the options; what is left over is named with its nearest neighbour."""
        options, rest = self.parse_known_args(arguments)
        if rest:
            used = getattr(options, "parser", self)  # the sub-command's own, where there is one
            allowed = [name for name in used._option_string_actions if name.startswith("--")]
            wrong = rest[0].partition("=")[0]
            raise Refusal(
                f"{wrong} is not known here; the options are {', '.join(allowed)}."
                f"{signatures.nearest(wrong, allowed)}"
            )
        return options


def answer(command: Callable[[], int]) -> int:
    """Return a command's exit status; 2 and a sentence on the error stream when it refuses."""
    # a hundred thousand runs are a million objects without a cycle, not worth searching that often
    gc.set_threshold(COLLECT_AFTER)
    try:
        status = command()
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        # the reader, such as `head`, has had enough; nothing is left to be said
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except (Refusal, registry.RunExists, ValueError, OSError) as problem:
        unwritable = registry.unwritable(problem) if isinstance(problem, OSError) else None
        print(escaped(unwritable or problem, keep="\n"), file=sys.stderr)
        return 1 if unwritable else 2
    except ModuleNotFoundError as problem:
        print(f"{problem}; run `source ./activate` in the checkout first", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def positive(text: str) -> int:
    """Return the value of an option that is a whole number from 1 on."""
    return _whole(text, 1)


def number(text: str) -> int:
    """Return the value of an option that is a whole number from 0 on."""
    return _whole(text, 0)


def hours(text: str) -> float:
    """Return the value of an option that is a duration above 0 [h]."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is no number of hours above 0")
    return value


def _whole(text: str, least: int) -> int:
    given = text if len(text) <= 40 else f"{text[:40]}…"
    if not (text.isascii() and text.isdecimal()):
        raise argparse.ArgumentTypeError(f"{given!r} is no whole number from {least} on")
    if len(text) > MOST_DIGITS:
        raise argparse.ArgumentTypeError(
            f"{given!r} has {len(text)} digits, and {MOST_DIGITS} at most are allowed; give a "
            "smaller number"
        )
    if int(text) < least:
        raise argparse.ArgumentTypeError(f"{given!r} is no whole number from {least} on")
    return int(text)
