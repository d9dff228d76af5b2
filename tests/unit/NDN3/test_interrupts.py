"""Signals that wait until what must not be torn apart is done."""

import signal

import pytest

from NDN3 import interrupts


@pytest.fixture
def told(monkeypatch):
    """What happened in order; SIGUSR1 and SIGUSR2 are noted when they are delivered."""
    told = []
    numbers = (signal.SIGUSR1, signal.SIGUSR2)
    before = {n: signal.signal(n, lambda number, _: told.append(number)) for n in numbers}
    yield told
    for number, handler in before.items():
        signal.signal(number, handler)


def test_signals_wait_for_the_end_of_the_block(told):
    with interrupts.deferred(lambda: told.append("before")) as pending:
        assert not pending
        signal.raise_signal(signal.SIGUSR1)
        assert pending
        told.append("block")
    assert told == ["block", "before", signal.SIGUSR1]
    signal.raise_signal(signal.SIGUSR1)
    assert told[3:] == [signal.SIGUSR1], "handlers are back"


def test_without_a_signal_nothing_is_to_be_done_before(told):
    with interrupts.deferred(lambda: told.append("before")):
        told.append("block")
    assert told == ["block"]


def test_what_fails_is_not_followed_by_anything(told):
    with pytest.raises(ZeroDivisionError), interrupts.deferred(lambda: told.append("before")):
        signal.raise_signal(signal.SIGUSR1)
        raise ZeroDivisionError
    assert not told


@pytest.mark.parametrize("moment", ["while it is done", "while handlers are put back"])
def test_signals_at_the_last_moment_are_not_lost(told, monkeypatch, moment):
    handle = signal.signal

    def late(number, handler):
        if leaving and signal.SIGUSR2 not in sent:
            sent.append(signal.SIGUSR2)
            signal.raise_signal(signal.SIGUSR2)
        return handle(number, handler)

    def before():
        told.append("before")
        if moment == "while it is done":
            signal.raise_signal(signal.SIGUSR2)

    leaving, sent = [], []
    if moment == "while handlers are put back":
        monkeypatch.setattr(interrupts.signal, "signal", late)
    with interrupts.deferred(before):
        if moment == "while it is done":
            signal.raise_signal(signal.SIGUSR1)
        leaving.append(True)
    first = [signal.SIGUSR1] if moment == "while it is done" else []
    assert told == ["before", *first, signal.SIGUSR2]
