"""Runs as they are named on a command line: ``GROUP/EXP:3-7``, ``GROUP/EXP``, ``GROUP``."""

import re
from collections.abc import Iterable
from typing import NamedTuple

MOST_RUN = 99_999_999
"""The largest number: eight digits in a task line."""

MOST_LISTED = 1_000_000
"""So many numbers may one list have."""

_NUMBERS = re.compile(r"\d+(-\d+)?(,\d+(-\d+)?)*")
_RUN = re.compile(r"(?P<group>[^/:\s]+)(/(?P<exp>[^/:\s]+)(:(?P<runs>\S+))?)?")
_HAND = re.compile(r"hand-[0-9a-f]{6}")


class RunName(NamedTuple):  # a data class would cost the wrapper of each run ten milliseconds
    """What was named: a group, an experiment of it, or some of its runs.

    Parameters
    ----------
    exp_folder : str
        The group.
    exp : str or None
        The experiment; None for all of the group.
    runs : tuple of int or str, or None
        Numbers and names of runs started by hand; None for all.
    """

    exp_folder: str
    exp: str | None = None
    runs: tuple[int | str, ...] | None = None

    def __str__(self) -> str:
        text = self.exp_folder + (f"/{self.exp}" if self.exp else "")
        return text + (f":{as_ranges(self.runs)}" if self.runs is not None else "")


def numbers(text: str, what: str) -> list[int]:
    """Return the numbers of a list such as ``0-4,7``, sorted, each once.

    Parameters
    ----------
    text : str
        The list.
    what : str
        What is being numbered, for the message.

    Raises
    ------
    ValueError
        If the text is no such list, a range runs backwards, or it is too long or its numbers
        too large for any run.
    """
    if not _NUMBERS.fullmatch(text):
        raise ValueError(f"{what} {text!r} is no list of numbers; write it like 3 or 0-4,7")
    ranges: list[range] = []
    for piece in text.split(","):
        first, _, last = piece.partition("-")
        # told by its digits: Python refuses to read a number of several thousand
        if any(len(number.lstrip("0")) > len(str(MOST_RUN)) for number in (first, last)):
            raise ValueError(f"{what} {text[:80]!r} is too large; numbers go up to {MOST_RUN}")
        if last and int(last) < int(first):
            raise ValueError(
                f"{what} {text!r} has a range that runs backwards; write {last}-{first}"
            )
        ranges.append(range(int(first), int(last or first) + 1))
    if sum(map(len, ranges)) > MOST_LISTED:
        raise ValueError(
            f"{what} {text[:80]!r} lists more than {MOST_LISTED} numbers; write a shorter list"
        )
    return sorted(set().union(*ranges))


def share(chosen: list[int], part: int, parts: int) -> list[int]:
    """Return the consecutive share of repetitions that is done by one of the parts of a run.

    Parameters
    ----------
    chosen : list of int
        Indices of all that is to be done.
    part, parts : int
        Which share, counted from 1, of how many; they differ by one repetition at most.
    """
    first, last = (len(chosen) * number // parts for number in (part - 1, part))
    return chosen[first:last]


def part_name(name: str, part: int) -> str:
    """Return ``GROUP/EXP:3 part 2``, or the name alone for part 0, an undivided run."""
    return f"{name} part {part}" if part else name


def as_ranges(runs: Iterable[int | str], most: int | None = None) -> str:
    """Return ``0-4,7,hand-1a2b3c``: what `parse` reads back.

    Parameters
    ----------
    runs : iterable of int or str
        Numbers and names, in any order.
    most : int, optional
        More pieces than these are left out behind an ellipsis; for a sentence, not to be read back.
    """
    given = list(runs)
    pieces: list[list[int]] = []
    for number in sorted(run for run in given if isinstance(run, int)):
        if pieces and number == pieces[-1][-1] + 1:
            pieces[-1].append(number)
        else:
            pieces.append([number])
    texts = [f"{p[0]}-{p[-1]}" if len(p) > 1 else str(p[0]) for p in pieces]
    texts += [run for run in given if isinstance(run, str)]
    return ",".join(texts if most is None or len(texts) <= most else [*texts[:most], "…"])


def parse(text: str) -> RunName:
    """Return what a RUN on the command line names.

    Raises
    ------
    ValueError
        If the text is not of the form GROUP, GROUP/EXP or GROUP/EXP:RUNS.
    """
    found = _RUN.fullmatch(text)
    if not found:
        raise ValueError(
            f"{text!r} names no run; write GROUP/EXP:3, GROUP/EXP:3-7, GROUP/EXP for all of an "
            "experiment, or GROUP where a group is meant"
        )
    if found["runs"] is None:
        return RunName(found["group"], found["exp"])
    by_hand = [piece for piece in found["runs"].split(",") if _HAND.fullmatch(piece)]
    others = ",".join(piece for piece in found["runs"].split(",") if piece not in by_hand)
    counted = numbers(others, f"the part behind the colon of {text!r},") if others else []
    return RunName(found["group"], found["exp"], (*counted, *dict.fromkeys(by_hand)))
