"""Signals that ask an experiment to end, at awkward moments."""

import gc
import os
import signal
import time
import weakref

import pytest

from utils import experiment


@pytest.fixture
def handlers():
    """Signals are answered after a test as they were before."""
    kept = {number: signal.getsignal(number) for number in map(signal.Signals, (2, 15, 10, 12, 24))}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("pause, saved", [(60.0, ["begun", "ended"]), (0.0, ["begun"])])
def test_a_second_signal_does_not_tear_apart_what_is_saved(monkeypatch, handlers, pause, saved):
    """An engine and the wrapper tell a program the same, one right after the other."""
    monkeypatch.setattr(experiment, "REPEATED_S", pause)
    noted = []
    with pytest.raises(experiment.Stopped), experiment._signals("toy", experiment.Outcome()):
        try:
            signal.raise_signal(signal.SIGUSR2)
        except SystemExit:
            noted.append("begun")
            signal.raise_signal(signal.SIGTERM)
            noted.append("ended")
            raise
    assert noted == saved


def test_a_signal_within_a_destructor_is_not_lost(handlers):
    """What is raised there is printed and forgotten."""

    class Closing:
        def __del__(self):
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(experiment.Stopped), experiment._signals("toy", experiment.Outcome()):
        closing = Closing()
        del closing
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            time.sleep(0.01)


def test_a_signal_within_a_callback_of_a_weak_reference_is_not_lost(handlers):
    class Watched:
        pass

    with pytest.raises(experiment.Stopped), experiment._signals("toy", experiment.Outcome()):
        watched = Watched()
        reference = weakref.ref(watched, lambda _: signal.raise_signal(signal.SIGTERM))
        del watched
        assert reference() is None
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            time.sleep(0.01)


def test_a_signal_within_a_garbage_collection_is_not_lost(handlers):
    """A library's callback is interrupted, where exceptions are printed and forgotten."""
    sent = []

    def callback(phase, info):
        if not sent:
            sent.append(phase)
            os.kill(os.getpid(), signal.SIGUSR1)

    gc.callbacks.append(callback)
    try:
        with pytest.raises(experiment.Stopped), experiment._signals("toy", experiment.Outcome()):
            gc.collect()
            deadline = time.monotonic() + 20
            while time.monotonic() < deadline:
                time.sleep(0.01)
    finally:
        gc.callbacks.remove(callback)
    assert sent
