"""Runs of an experiment one after the other in one program: what `utils.programs` talks to.

What was imported, and what the trainer has compiled, serves the next run. Everything else that a
run may change in its process is put back behind it: environment variables, working folder,
arguments, random numbers, signal handlers, logging, warnings, the script's own names. What a
run sets in TensorFlow itself, or in the attributes of other modules, stays. A run that leaves
behind what cannot be put back, such as a thread that goes on, ends the program as it would
have ended alone, and the next run gets a new one.
"""

import contextvars
import ctypes
import gc
import json
import logging
import os
import random
import resource
import signal
import socket
import sys
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any

THREAD_END_S = 1.0  # a pool of threads that nobody holds any more ends by itself
UNSEEDED = 87654321  # what TensorFlow's get_seed says instead of None


def connect(descriptor: int) -> socket.socket:
    """Return the socket over which runs are told.

    Raises
    ------
    ValueError
        If the descriptor is none.
    """
    try:
        channel = socket.socket(fileno=descriptor)
    except OSError:
        raise ValueError(
            f"--together={descriptor} names no connection to a launcher, which alone starts a "
            "program in this way. Give --together to the experiment's runner."
        ) from None
    channel.set_inheritable(False)
    return channel


def serve(channel: socket.socket, start: Callable[[list[str]], int]) -> int:
    """Take runs until there are no more; return the program's exit status.

    What ends a program that has one run ends this one, too, such as `sys.exit` because of a
    signal. Then there is no answer, and the program's end is the run's.

    Parameters
    ----------
    channel : socket
        From `connect`.
    start : callable
        Does the run that the arguments in its list ask for and returns the exit status.
    """
    with channel:
        _load_libraries()
        gc.freeze()  # what is there now stays, and need not be looked through behind each run
        process = Process()
        while (request := _receive(channel)) is not None:
            argv, logs = request
            for number, log in enumerate(logs, 1):
                os.dup2(log, number)
                os.close(log)
            sys.argv[1:] = argv
            with warnings.catch_warnings():
                status = contextvars.copy_context().run(start, argv)
            if not process.restore():
                return status
            memory_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024  # Linux: kB
            channel.sendall(b"%d %d\n" % (status, memory_mb))
    return 0


def _receive(channel: socket.socket) -> tuple[list[str], list[int]] | None:
    """Return the next run's arguments and the descriptors of its logs, None when no more come."""
    text, logs, _, _ = socket.recv_fds(channel, 65536, 2)
    if not text:
        return None
    while not text.endswith(b"\n"):
        text += channel.recv(65536)
    return json.loads(text), logs


def _load_libraries() -> None:
    """Load what the runs would load, so that what loading sets counts as there from the start."""
    if "utils.network" in sys.modules:
        import NDN3.training  # noqa: F401 - and with it Keras and its backend


class Process:
    """What a run may change in its process, as it is when this object is made.

    To be made in the main thread, after the experiment's file was loaded and before its first run.
    """

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._environment = dict(os.environ)
        self._folder = os.getcwd()
        self._mask = os.umask(0o077)
        os.umask(self._mask)
        self._path = list(sys.path)
        self._streams = (sys.stdin, sys.stdout, sys.stderr)
        self._hooks = (sys.excepthook, threading.excepthook)
        self._names = dict(vars(sys.modules["__main__"]))
        self._handlers = {number: signal.getsignal(number) for number in signal.valid_signals()}
        self._blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        self._threads = set(threading.enumerate())
        self._loggers = _loggers()
        self._libraries = _library_states()
        self._random = random.getstate()

    def restore(self) -> bool:
        """Put everything back; return whether that was possible."""
        if os.getpid() != self._pid or any(stream.closed for stream in self._streams if stream):
            return False
        sys.stdin, sys.stdout, sys.stderr = self._streams
        self._flush()
        gc.collect()  # models are held in circles
        self._restore_signals()  # from here on the program can be stopped in an instant
        if not self._threads_have_ended():
            return False
        _put_back(os.environ, self._environment)
        _put_back(vars(sys.modules["__main__"]), self._names)
        os.umask(self._mask)
        sys.path[:] = self._path
        sys.excepthook, threading.excepthook = self._hooks
        _restore_loggers(self._loggers)
        self._loggers = _loggers()
        random.setstate(self._random)
        _restore_libraries(self._libraries)
        try:
            os.chdir(self._folder)
        except OSError:
            return False
        return True

    def _flush(self) -> None:
        """Bring all that was printed into the run's own logs, by Python or by C code."""
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except OSError:  # a full disk
                pass
        ctypes.CDLL(None).fflush(None)

    def _restore_signals(self) -> None:
        for timer in (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF):
            signal.setitimer(timer, 0)
        for number, handler in self._handlers.items():
            if handler is not None and signal.getsignal(number) != handler:
                signal.signal(number, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, self._blocked)

    def _threads_have_ended(self) -> bool:
        """Whether no thread is left that a program would wait for at its end."""
        left = [t for t in set(threading.enumerate()) - self._threads if not t.daemon]
        end = time.monotonic() + THREAD_END_S
        for thread in left:
            thread.join(max(0.0, end - time.monotonic()))
        return not any(thread.is_alive() for thread in left)


def _put_back(now: Any, before: dict[str, Any]) -> None:
    for name in set(now) - set(before):
        del now[name]
    for name, value in before.items():
        if name not in now or now[name] is not value:
            now[name] = value


def _loggers() -> dict[str, dict[str, Any]]:
    """Return the settings of all loggers by name; that of the root is empty."""
    known = {"": logging.root, **logging.root.manager.loggerDict}
    return {
        name: {**vars(logger), "handlers": list(logger.handlers), "filters": list(logger.filters)}
        for name, logger in known.items()
        if isinstance(logger, logging.Logger)
    }


def _restore_loggers(before: dict[str, dict[str, Any]]) -> None:
    bare = {"level": logging.NOTSET, "handlers": [], "propagate": True, "disabled": False}
    for name in _loggers():
        logger = logging.getLogger(name) if name else logging.root
        if name in before:
            settings = before[name]
        elif name.partition(".")[0] in sys.modules:
            continue  # a library loaded by the run has set up its own
        else:
            settings = {**bare, "filters": []}
        logger.setLevel(settings["level"])
        logger.handlers[:] = settings["handlers"]
        logger.filters[:] = settings["filters"]
        logger.propagate, logger.disabled = settings["propagate"], settings["disabled"]


def _library_states() -> dict[str, Any]:
    """Return what of the libraries loaded so far decides about numbers."""
    states: dict[str, Any] = {}
    numpy, tensorflow, keras = map(sys.modules.get, ("numpy", "tensorflow", "keras"))
    if numpy is not None:
        states["numpy"] = numpy.random.get_state()  # noqa: NPY002 - code that uses it is served
    if tensorflow is not None:
        seed = tensorflow.compat.v1.get_seed(0)[0]
        states["tensorflow"] = None if seed == UNSEEDED else seed
    if keras is not None:
        config = keras.config
        states["keras"] = config.floatx(), config.epsilon(), config.image_data_format()
    return states


def _restore_libraries(before: dict[str, Any]) -> None:
    numpy, tensorflow, keras = map(sys.modules.get, ("numpy", "tensorflow", "keras"))
    if numpy is not None:
        if "numpy" in before:
            numpy.random.set_state(before["numpy"])  # noqa: NPY002
        else:
            numpy.random.seed()  # noqa: NPY002
    if keras is not None:  # names of layers count from the start, seeds are drawn anew
        keras.utils.clear_session(free_memory=False)
        if "keras" in before:
            floatx, epsilon, image_data_format = before["keras"]
            keras.config.set_floatx(floatx)
            keras.config.set_epsilon(epsilon)
            keras.config.set_image_data_format(image_data_format)
    if tensorflow is not None:
        tensorflow.random.set_seed(before.get("tensorflow"))
