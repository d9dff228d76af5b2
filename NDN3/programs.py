"""Compiled programs that later trainings of the same process use again.

Grid points that differ in numbers only (learning rate, strengths of penalties, seeds, epochs) need
one program; compiling it costs more than a short training.
"""

import threading
from collections import OrderedDict

KEPT = 8
# A program holds the data that it was compiled with.
KEPT_BYTES = 512 * 2**20

_programs = OrderedDict()
_lock = threading.Lock()


def compiled(program, key, size):
    """Compiled function of a program, made once for all programs of one key.

    Parameters
    ----------
    program : NDN3.lockstep.Program
    key : hashable
        Equal for programs that compute the same from the same data; their models may be different
        objects.
    size : int
        Of the data that the program holds [bytes].

    Returns
    -------
    callable
        See `NDN3.lockstep.Program.compile`.
    """
    with _lock:
        if key in _programs:
            _programs.move_to_end(key)
        else:
            _programs[key] = program.compile(), size
        run, _ = _programs[key]
        # the one that was used longest ago goes first
        while len(_programs) > KEPT or (
            len(_programs) > 1 and sum(size for _, size in _programs.values()) > KEPT_BYTES
        ):
            _programs.popitem(last=False)
        return run
