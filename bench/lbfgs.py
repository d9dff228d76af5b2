"""What does L-BFGS gain when ten members go in step, against one by one?

    python bench/lbfgs.py                 two minutes; exit status 1 if a bound is missed
    python bench/lbfgs.py --only dog      one network
    python bench/lbfgs.py --markdown

The networks, the recording and the start values of bench/trainer.py; an evaluation is value and
gradient of the Poisson cost of all 1800 rows for one member. In each round ten members are
minimized in one program of ten slots, then in one of a single slot, one after the other, as often
as SciPy asks in 20 iterations (--iterations). CPU seconds of one thread per evaluation and member,
medians over the rounds; compiling and preparing are not counted. The ratio is the median of the
ratios within the rounds. For comparison: plain SciPy on a function of TensorFlow, compiled with
XLA, without anything of NDN3's trainer around it.
"""

import argparse
import os
import statistics
import sys
import time
from pathlib import Path

import numpy as np
from tables import say, text
from trainer_members import data, functions, network
from trainer_reference import ROWS, conv_start, dog_start
from trainer_turns import tensorflow

sys.path.insert(0, str(Path(__file__).parents[1]))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

MEMBERS = 10
STARTS = {"dog": dog_start, "conv": conv_start}
# One by one over in step
BOUND = 1.2


def trainer(kind, slots, iterations):
    """Function that minimizes ten members; it returns (CPU seconds, evaluations)."""
    from NDN3 import lbfgs

    model = network(kind)

    def initialize(model, seed):
        # NDN3's biases have an axis more
        pairs = zip(STARTS[kind](seed), model.weights, strict=True)
        return [np.reshape(value, variable.shape) for value, variable in pairs]

    def minimized():
        marks = []
        results = lbfgs.fit(
            model,
            data(slice(ROWS)),
            range(MEMBERS),
            loss=functions(ROWS)[0],
            limits=lbfgs.Limits(iterations, 0, 0),
            initialize=initialize,
            group=slots,
            reuse=True,
            progress=lambda done, whole, line: marks.append(time.process_time()),
        )
        evaluations = sum(result.evaluations for result in results)
        # the first call compiles
        return marks[-1] - marks[0], evaluations - slots

    return minimized


def plain(kind, iterations):
    """The same for one member with SciPy alone."""
    import tensorflow as tf
    from scipy import optimize

    model = network(kind)
    rows = data(slice(ROWS))
    inputs, responses = tf.constant(model.precompute(rows.inputs)), tf.constant(rows.responses)
    shapes = [tuple(variable.shape) for variable in model.trainable_variables]
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes])
    loss = functions(ROWS)[0]

    @tf.function(jit_compile=True)
    def cost(vector):
        with tf.GradientTape() as tape:
            tape.watch(vector)
            parts = tf.split(vector, np.diff(ends, prepend=0))
            arrays = [tf.reshape(part, shape) for part, shape in zip(parts, shapes, strict=True)]
            predicted, _ = model.stateless_call(arrays, [], inputs, training=False)
            value = tf.reduce_mean(loss(responses, predicted, None))
        return value, tape.gradient(value, vector)

    start = np.concatenate([array.ravel() for array in STARTS[kind](0)])
    cost(tf.constant(start))

    def asked(vector):
        value, gradient = cost(tf.constant(vector.astype("float32")))
        return float(value), np.asarray(gradient, float)

    def minimized():
        began = time.process_time()
        found = optimize.minimize(
            asked, start, jac=True, method="L-BFGS-B",
            options={"maxiter": iterations, "gtol": 0, "ftol": 0},
        )  # fmt: skip
        return time.process_time() - began, found.nfev

    return minimized


def measured(kind, rounds, iterations):
    """Milliseconds per evaluation and member of each form, one number per round."""
    forms = {
        f"{MEMBERS} in step": trainer(kind, MEMBERS, iterations),
        "one by one": trainer(kind, 1, iterations),
        "SciPy alone, one": plain(kind, iterations),
    }
    for name, minimized in forms.items():
        say(f"{kind}: {name}, compiling")
        minimized()
    figures = {name: [] for name in forms}
    for number in range(rounds):
        say(f"{kind}: round {number + 1} of {rounds}")
        for name, minimized in forms.items():
            seconds, evaluations = minimized()
            figures[name].append(1000 * seconds / evaluations)
    return figures


def main():
    parser = argparse.ArgumentParser(
        description="L-BFGS: ten members in step against one by one, in CPU seconds."
    )
    parser.add_argument("--rounds", type=int, default=5, help="turns of each form (5)")
    parser.add_argument("--iterations", type=int, default=20, help="of each member (20)")
    parser.add_argument("--only", choices=[*STARTS], help="one network (both)")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    options = parser.parse_args()
    if min(options.rounds, options.iterations) < 1:
        parser.error("rounds and iterations must be positive")
    tensorflow(1)
    rows, holds = [["network", "form", "CPU ms per evaluation", "x in step"]], True
    for kind in [options.only] if options.only else STARTS:
        figures = measured(kind, options.rounds, options.iterations)
        together, *others = figures
        rows.append([kind, together, f"{statistics.median(figures[together]):.2f}", ""])
        for name in others:
            pairs = zip(figures[name], figures[together], strict=True)
            ratio = statistics.median(one / other for one, other in pairs)
            rows.append([kind, name, f"{statistics.median(figures[name]):.2f}", f"{ratio:.2f}"])
            if name == "one by one":
                holds &= ratio >= BOUND
    print(text(rows, options.markdown))
    print(f"one by one must take {BOUND} times as long as in step: {'yes' if holds else 'MISSED'}")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
