"""Signals that wait: what must not be torn apart is finished first."""

import contextlib
import signal
import threading

DEFERRED = [
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2", "SIGXCPU")
    if hasattr(signal, name)
]


class Pending:
    """Signals that arrived while they were held back."""

    def __init__(self):
        self.signals = []

    def __bool__(self):
        return bool(self.signals)


@contextlib.contextmanager
def deferred(before=None):
    """Hold back interrupting signals inside the block; deliver them at its end.

    The handlers that were installed before are called then, so Ctrl-C still raises
    KeyboardInterrupt, only later. Outside of the main thread nothing is changed, because only the
    main thread receives signals.

    Parameters
    ----------
    before : callable, optional
        Called before signals are delivered, whenever they came in the block; not if the block
        raised something.

    Yields
    ------
    Pending
        True as soon as a signal waits.
    """
    pending = Pending()
    if threading.current_thread() is not threading.main_thread():
        yield pending
        return
    previous = {
        number: signal.signal(number, lambda number, frame: pending.signals.append(number))
        for number in DEFERRED
    }
    done = before is None
    try:
        yield pending
        if pending and not done:
            before()
            done = True
    finally:
        for number, handler in previous.items():
            # None: a handler that was not installed from Python, which cannot be put back
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
    if pending and not done:  # the first one came after the last look
        before()
    for number in pending.signals:
        signal.raise_signal(number)
