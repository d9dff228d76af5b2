import io
import logging

import pytest

from utils import progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(progress, "_shown", [])
    return Terminal()


def screen(stream):
    """What a terminal shows: a carriage return goes back to the beginning of the line."""
    lines = [""]
    for char in stream.getvalue():
        if char == "\n":
            lines.append("")
            place = 0
        elif char == "\r":
            place = 0
        else:
            place = place if len(lines[-1]) else 0
            lines[-1] = lines[-1][:place] + char + lines[-1][place + 1 :]
            place += 1
    return [line.rstrip() for line in lines]


def test_a_terminal_shows_one_line_with_the_time_left(terminal, clock):
    line = progress.Line(200, "epochs", terminal, clock)
    line.update(0, "starting")
    clock.now += 10
    line.update(50, "loss 0.5")
    assert screen(terminal) == ["50/200 epochs · loss 0.5 · 0:30 left"]
    clock.now += 30
    line.update(200)
    line.close()
    assert screen(terminal) == ["200/200 epochs", ""]


def test_a_terminal_is_drawn_at_most_five_times_a_second(terminal, clock):
    line = progress.Line(1000, stream=terminal, clock=clock)
    for done in range(1000):
        line.update(done)
        clock.now += 0.01
    assert 45 <= terminal.getvalue().count("\r") <= 51  # ten seconds
    line.close()
    assert screen(terminal)[0] == "999/1000 · 0:00 left"


def test_a_log_file_gets_a_line_a_minute(clock):
    stream = io.StringIO()
    line = progress.Line(600, "epochs", stream, clock)
    for done in range(200):  # 199 s
        line.update(done, "fine")
        clock.now += 1
    assert stream.getvalue().splitlines() == [
        "60/600 epochs · fine · 9:00 left",
        "120/600 epochs · fine · 8:00 left",
        "180/600 epochs · fine · 7:00 left",
    ]
    line.close()
    assert stream.getvalue().splitlines()[3:] == ["199/600 epochs · fine · 6:41 left"]
    line.close()
    assert len(stream.getvalue().splitlines()) == 4


@pytest.mark.parametrize("variable, value", [("CI", "true"), ("TERM", "dumb")])
def test_a_build_machine_is_no_terminal(terminal, clock, monkeypatch, variable, value):
    monkeypatch.setenv(variable, value)
    with progress.Line(10, stream=terminal, clock=clock) as line:
        for done in range(10):
            line.update(done)
    assert terminal.getvalue() == "9/10\n"


def test_time_left_counts_what_was_done_since_the_first_report(terminal, clock):
    """A continued run that starts at 900 of 1000 needs as long for the rest as it needs."""
    line = progress.Line(1000, stream=terminal, clock=clock)
    line.update(900)
    clock.now += 20
    line.update(920)
    assert screen(terminal) == ["920/1000 · 1:20 left"]


def test_a_line_is_a_plain_callback(terminal, clock):
    line = progress.Line(0, "epochs", terminal, clock)
    line(1, 1_000_000, "5 of 5 running")
    assert screen(terminal) == ["1/1000000 epochs · 5 of 5 running"]


def test_a_long_line_is_cut_to_the_terminal(terminal, clock, monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    line = progress.Line(10, stream=terminal, clock=clock)
    line.update(1, "x" * 100)
    assert len(screen(terminal)[0]) == 19


def test_a_shorter_line_leaves_nothing_of_the_longer_one(terminal, clock):
    line = progress.Line(10, stream=terminal, clock=clock)
    line.update(1, "a long remark")
    clock.now += 1
    line.update(1, "ok")
    assert screen(terminal) == ["1/10 · ok"]


def test_messages_stay_above_the_line(terminal, clock):
    line = progress.Line(10, "done", terminal, clock)
    line.update(1)
    line.message("run 3 failed")
    assert screen(terminal) == ["run 3 failed", "1/10 done"]


def test_a_value_cannot_draw_on_the_terminal(terminal, clock):
    line = progress.Line(10, stream=terminal, clock=clock)
    line.update(1, "\x1b[2J\r\nboo")
    assert "\x1b" not in terminal.getvalue()
    assert screen(terminal) == ["1/10 · \\x1b[2J\\r\\nboo"]


def test_a_stream_that_knows_few_characters_gets_those(clock):
    raw = io.BytesIO()
    line = progress.Line(10, stream=io.TextIOWrapper(raw, encoding="ascii"), clock=clock)
    line.update(1, "ok")
    line.close()
    assert raw.getvalue() == b"1/10 ? ok\n"


@pytest.mark.parametrize(
    "seconds, text",
    [(0, "0:00"), (41, "0:41"), (59.6, "1:00"), (725, "12:05"), (11279, "3:07:59"), (-1, "0:00")],
)
def test_durations(seconds, text):
    assert progress.duration(seconds) == text


@pytest.fixture
def root_logger():
    logger = logging.getLogger()
    before = logger.handlers[:], logger.level
    yield logger
    logger.handlers[:], logger.level = before


def test_log_messages_do_not_run_into_the_line(terminal, clock, capsys, root_logger):
    progress.set_up_logging()
    with progress.Line(10, stream=terminal, clock=clock) as line:
        line.update(4)
        logging.getLogger("NDN3").info("checkpoint read")
        shown = screen(terminal)
    assert shown[0].endswith("NDN3: checkpoint read")
    assert shown[1] == "4/10"
    logging.getLogger("NDN3").info("afterwards")
    logging.getLogger("NDN3").debug("details")
    assert capsys.readouterr().err.endswith("NDN3: afterwards\n")


def test_what_failed_is_not_done_and_needs_no_time(terminal, clock):
    line = progress.Line(144, "done", terminal, clock)
    line.update(0, "4 running", 0)
    clock.now += 40
    line.update(38, "2 failed · 4 running", 40)
    assert screen(terminal) == ["38/144 done · 2 failed · 4 running · 1:44 left"]
    line.close()


# --- read back


@pytest.mark.parametrize(
    ("line", "done", "left", "text"),
    [
        ("440/2500 epochs · 10 repetitions · 3:19 left", "440/2500 epochs", 199, ", 3:19 left"),
        ("440/2500 epochs · 1:00:01 left", "440/2500 epochs", 3601, ", 1:00:01 left"),
        ("440/2500 epochs · cost 3.2 · 0:05 left · or more", "440/2500 epochs", None, ""),
        ("2500/2500 epochs", "2500/2500 epochs", None, ""),
        ("3/4 · some text", "3/4", None, ""),
    ],
)
def test_a_line_in_a_log_is_read_back(line, done, left, text):
    far = progress.read(line)
    assert far == (done, left)
    assert str(far) == done + text


@pytest.mark.parametrize(
    "line",
    ["", "# a run", "epochs 3/4", "3/4 epochs, 3:19 left", "Warning: 3/4 epochs · 3:19 left"],
)
def test_other_lines_tell_nothing_of_progress(line):
    assert progress.read(line) is None


def test_what_a_line_writes_can_be_read_back():
    clock, stream = iter([0.0, 0.0, 100.0, 100.0, 100.0]), io.StringIO()
    with progress.Line(2500, "epochs", stream, lambda: next(clock)) as line:
        line.update(0, "10 repetitions")
        line.update(500, "10 repetitions")
    (written,) = stream.getvalue().splitlines()
    assert progress.read(written) == ("500/2500 epochs", 400)
