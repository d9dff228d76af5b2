"""Text for a terminal: escaped values, aligned columns, questions."""

import os
import shlex
import shutil
import sys
import unicodedata
from collections.abc import Sequence
from pathlib import Path


def escaped(text: object, keep: str = "") -> str:
    r"""Return a text in which control characters are spelled out, as ``\x1b`` or ``\n``.

    A value or a log line can then not draw on the terminal.

    Parameters
    ----------
    text : object
        What is to be shown.
    keep : str
        Control characters that stay as they are.
    """
    whole = str(text)
    if whole.isprintable():
        return whole
    return "".join(c if c.isprintable() or c in keep else repr(c)[1:-1] for c in whole)


def shell_line(words: Sequence[str]) -> str:
    r"""Return a command that a shell reads back as these words, on one line.

    Words with control characters are written as ``$'a\012b'``, which bash and zsh understand.
    """
    return " ".join(shlex.quote(w) if w.isprintable() else _dollar_quoted(w) for w in words)


def _dollar_quoted(word: str) -> str:
    plain = word.replace("\\", "\\\\").replace("'", "\\'")
    data = (c if c.isprintable() else "".join(f"\\{b:03o}" for b in os.fsencode(c)) for c in plain)
    return f"$'{''.join(data)}'"


def width(text: str) -> int:
    """Return the number of columns that a text takes on a terminal."""
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return len(text) + wide - sum(unicodedata.combining(c) > 0 for c in text)


def shortened(text: str, columns: int) -> str:
    """Return a text that takes at most so many columns; a cut is marked with an ellipsis."""
    if width(text) <= columns:
        return text
    while text and width(text) > columns - 1:
        text = text[:-1]
    return text + "…"


def aligned(
    rows: Sequence[Sequence[object]],
    head: Sequence[str] = (),
    right: Sequence[int] = (),
    fit: bool = True,
) -> str:
    """Return rows as lines with aligned columns.

    Parameters
    ----------
    rows : list of list
        What to show; every row as long as `head`.
    head : list of str
        Names of the columns.
    right : list of int
        Columns that are aligned to the right, such as numbers.
    fit : bool
        Whether lines are cut to the width of the terminal. Where the output is no terminal,
        nothing is ever cut.
    """
    texts = [list(head)] if head else []
    texts += [[escaped(cell) for cell in row] for row in rows]
    if not texts:
        return ""
    widths = [max(width(cell) for cell in column) for column in zip(*texts, strict=True)]
    room = shutil.get_terminal_size().columns if fit and sys.stdout.isatty() else 0
    lines = []
    for row in texts:
        cells = []
        for number, (cell, size) in enumerate(zip(row, widths, strict=True)):
            padding = " " * (size - width(cell))
            cells.append(padding + cell if number in right else cell + padding)
        line = "  ".join(cells).rstrip()
        lines.append(shortened(line, room) if room else line)
    return "\n".join(lines)


def agreed(question: str) -> bool:
    """Ask on the terminal; whether the answer was yes."""
    try:
        answer = input(f"{question} [y/N] ")
    except EOFError:
        return False
    return answer.strip().lower() in ("y", "yes")


def near(path: Path) -> str:
    """Return a path as short as it can be typed from here."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
