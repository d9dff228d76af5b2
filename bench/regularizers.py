"""What do the penalties cost on a large weight matrix, in memory and in time?

    python bench/regularizers.py                    two minutes; exit status 1 above a bound
    python bench/regularizers.py --only max,local   these penalties
    python bench/regularizers.py --markdown

Value and gradient of each penalty on the weights of a fully connected layer behind 30 feature maps
of 16 x 16 pixels: 7680 x 20 numbers, 0.6 MB. A matrix of all pairs of inputs has 225 MB; the last
row is `max` with such a matrix, for comparison. Memory is what the process needs at most beyond
what it held before, after the libraries have been warmed up by another shape: compiled and called
three times, operation by operation and with XLA. Peaks are read from /proc, so this runs on Linux
only. The bound is 100 MB for each. Times are CPU seconds of one thread, medians over the calls.
"""

import argparse
import ctypes
import gc
import os
import statistics
import sys
import time
from pathlib import Path

from tables import say, text
from trainer_turns import tensorflow

sys.path.insert(0, str(Path(__file__).parents[1]))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

DIMS = (30, 16, 16)
LEVELS = (10, 20)
UNITS = 20
SMALL = (3, 4, 2)
SMALL_LEVELS = (1, 2)
WITH_A_MATRIX = "max with a matrix"
BOUND_MB = 100


def peak_mb():
    """Most memory that this process has had since the last `forget_peak`."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def forget_peak():
    """Count from the memory that is in use now; returns it [MB]."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # freed memory that is kept would serve the next unnoticed
    Path("/proc/self/clear_refs").write_text("5")
    return peak_mb()


def penalty(name, weights, dims, boundary, levels):
    """Value of a penalty, or of `max` with a matrix of all pairs."""
    import tensorflow as tf

    from NDN3 import regularization

    if name != WITH_A_MATRIX:
        rows = regularization.Rows(dims, boundary, levels)
        return regularization.penalty(name, weights, rows, 0.1)
    size = weights.shape[0]
    others = tf.ones((size, size)) - tf.eye(size)
    squares = tf.square(weights)
    return 0.1 * tf.reduce_sum(squares * (others @ squares))


def measured(name, boundary, xla, calls):
    """Memory [MB] and time of one call [ms] of a penalty and its gradient."""
    import numpy as np
    import tensorflow as tf

    def both(weights, dims, levels):
        with tf.GradientTape() as tape:
            tape.watch(weights)
            value = penalty(name, weights, dims, boundary, levels)
        return value, tape.gradient(value, weights)

    call = tf.function(both, jit_compile=xla, autograph=False)
    source = np.random.default_rng(0)
    call(tf.constant(source.normal(size=(24, 2)).astype("float32")), SMALL, SMALL_LEVELS)
    weights = tf.constant(0.1 * source.normal(size=(np.prod(DIMS), UNITS)).astype("float32"))
    before = forget_peak()
    for _ in range(3):
        value, slope = call(weights, DIMS, LEVELS)
    memory = peak_mb() - before
    if not np.isfinite(value) or not np.isfinite(slope).all():
        raise ArithmeticError(f"{name} or its gradient is not finite")
    times = []
    for _ in range(calls):
        began = time.process_time()
        call(weights, DIMS, LEVELS)[1].numpy()
        times.append(time.process_time() - began)
    return memory, 1000 * statistics.median(times)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", help="names of penalties, separated by commas")
    parser.add_argument("--calls", type=int, default=20, help="that are timed")
    parser.add_argument("--markdown", action="store_true")
    given = parser.parse_args()

    tensorflow()
    from NDN3 import laplacians, regularization

    known = [*regularization.GENERAL, WITH_A_MATRIX]
    names = given.only.split(",") if given.only else known
    unknown = set(names) - set(known)
    if unknown:
        parser.error(f"unknown penalties {', '.join(sorted(unknown))}")
    rows = [["penalty", "boundary", "MB", "CPU ms", "MB with XLA", "CPU ms with XLA"]]
    missed = []
    for name in names:
        for boundary in laplacians.BOUNDARIES if name.startswith("d2") else ("zero",):
            say(f"{name} {boundary}")
            figures = [measured(name, boundary, xla, given.calls) for xla in (False, True)]
            rows.append([name, boundary, *(f"{each:.1f}" for pair in figures for each in pair)])
            needed = max(memory for memory, _ in figures)
            if needed > BOUND_MB and name != WITH_A_MATRIX:
                missed.append(name)
    print(text(rows, given.markdown))
    for name in missed:
        print(f"missed: {name} needs more than {BOUND_MB} MB")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
