"""What benchmarks print: tables on standard output, progress beside them."""

import sys


def text(rows, markdown=False):
    """A table, for a terminal or as Markdown; the first row is its head."""
    if markdown:
        lines = ["| " + " | ".join(row) + " |" for row in rows]
        return "\n".join([lines[0], "|---" * len(rows[0]) + "|", *lines[1:]])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def say(line):
    """Progress, on the error stream."""
    print(line, file=sys.stderr, flush=True)
