import shlex
import subprocess

import pytest

from utils import screen


def test_control_characters_cannot_draw():
    assert screen.escaped("a\x1b[31mb\nc\t\x7f\udcff") == "a\\x1b[31mb\\nc\\t\\x7f\\udcff"
    assert screen.escaped("a\nb\x1b", keep="\n") == "a\nb\\x1b"
    assert screen.escaped("é🧠 ok") == "é🧠 ok"


NASTY = [
    "a b",
    "'q\"",
    "$HOME `x` $(y)",
    "n\nl\ttab",
    "\x1b[31m",
    ";rm",
    "é🧠\n",
    "",
    "back\\slash\n'",
]


def test_a_shell_reads_a_shown_command_back():
    words = ["printf", "%s\\0", *NASTY]
    line = screen.shell_line(words)
    assert line.isprintable()
    done = subprocess.run(["bash", "-c", line], capture_output=True)
    assert done.stdout.decode().split("\0")[:-1] == NASTY
    plain = [word for word in NASTY if word.isprintable()]
    assert shlex.split(screen.shell_line(plain)) == plain


def test_columns_are_aligned():
    text = screen.aligned([("a", 1, "x\n"), ("bcd", 100, "")], ("NAME", "N", "END"), right=[1])
    assert text == "NAME    N  END\na       1  x\\n\nbcd   100"
    assert screen.aligned([]) == ""


def test_wide_characters_take_two_columns():
    assert screen.aligned([("大", "x"), ("ab", "y")]) == "大  x\nab  y"


@pytest.mark.parametrize(
    ("text", "columns", "expected"),
    [("abcdef", 6, "abcdef"), ("abcdef", 5, "abcd…"), ("大大大", 5, "大大…"), ("大大大", 4, "大…")],
)
def test_long_lines_are_cut(text, columns, expected):
    assert screen.shortened(text, columns) == expected


@pytest.mark.parametrize(
    ("answer", "expected"), [("y", True), ("YES", True), ("", False), ("n", False), ("yep", False)]
)
def test_only_yes_is_yes(monkeypatch, answer, expected):
    monkeypatch.setattr("builtins.input", lambda _: answer)
    assert screen.agreed("Delete?") is expected


def test_no_answer_is_no(monkeypatch):
    def ended(_):
        raise EOFError

    monkeypatch.setattr("builtins.input", ended)
    assert screen.agreed("Delete?") is False
