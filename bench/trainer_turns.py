"""A program's end of the pipe to the referee.

A program calls ``turns.after(n)`` whenever it has trained n more member-epochs. That call blocks
while it is another program's turn; commands come in on standard input, one line each, answers go
out on standard output as one JSON object a line.
"""

import json
import os
import resource
import sys
import time
from pathlib import Path

CHECK_EPOCHS = 10
WARM_UP_EPOCHS = 3
ENDLESS = 1_000_000
BEGAN = time.monotonic()


class Turns:
    """Counts epochs, waits for its turn, reports what it took.

    Parameters
    ----------
    folder : path
    check : bool
        Train ten epochs, say which cost they reach, and end.
    clock : callable
        By which a turn ends: CPU seconds of the process, or wall seconds where a GPU works.
    **about
        What the first answer tells, too.
    """

    def __init__(self, folder, check=False, clock=time.process_time, **about):
        self.folder = Path(folder)
        self.check = check
        self.cost = None  # a function of trained values; a program sets it
        self.weights = None  # a function, set by programs that can be looked into at any time
        self.epochs = CHECK_EPOCHS if check else ENDLESS
        self._clock, self._about = clock, about
        self._answers = answers()
        self._seconds = None
        self._done = self._reported = 0
        self._began = self._cpu = self._wall = 0.0

    def after(self, epochs):
        """Note that this many member-epochs were trained since the last call."""
        self._done += epochs
        if self.check:
            if self.weights is not None and self._done >= CHECK_EPOCHS:
                self.finish(self.weights())
        elif self._seconds is None:
            if self._done >= WARM_UP_EPOCHS:
                start = {"start_cpu": time.process_time(), "start_wall": time.monotonic() - BEGAN}
                self._answer(**start, **self._about)
        elif self._clock() - self._began >= self._seconds:
            self._answer(
                epochs=self._done - self._reported,
                cpu=time.process_time() - self._cpu,
                wall=time.monotonic() - self._wall,
            )

    def finish(self, values):
        """End a check: say which cost the trained values reach."""
        print(json.dumps({"cost": self.cost(values)}), file=self._answers, flush=True)
        os._exit(0)

    def _answer(self, **numbers):
        numbers["mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        # what threads of this program do while others have their turn counts, too
        self._cpu, self._reported = time.process_time(), self._done
        print(json.dumps(numbers), file=self._answers, flush=True)
        command = sys.stdin.readline().split()
        if not command or command[0] == "stop":
            os._exit(0)
        self._seconds = float(command[1])
        self._wall = time.monotonic()
        self._began = self._cpu if self._clock is time.process_time else self._clock()


def answers():
    """Stream to the referee; whatever a library prints goes to standard error from now on."""
    stream = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return stream


def tensorflow(threads=1):
    """TensorFlow, held to this many threads."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    return tf
