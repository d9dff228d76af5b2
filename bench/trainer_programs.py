"""The programs that bench/trainer.py lets work in turn; each is started in a process of its own.

All of them train the same network on the same rows with the same optimiser: 961 pixels, nine
difference-of-Gaussians filters, 20 and 103 softplus units, Poisson loss, Adam, batches of 16 out
of 1800 images, so that the last batch of an epoch has 8.

A program calls ``turns.after(n)`` whenever it has trained n more member-epochs. That call
blocks while it is another program's turn; commands come in on standard input, one line each,
answers go out on standard output as one JSON object a line.
"""

import json
import os
import resource
import sys
import time
from pathlib import Path

import numpy as np

SIDE, FILTERS, HIDDEN, NEURONS = 31, 9, 20, 103
ROWS, VALIDATION_ROWS, BATCH = 1800, 50, 16
STEPS = -(-ROWS // BATCH)
LEARNING_RATE, EPSILON, LOG_GUARD = 1e-3, 1e-8, 1e-6
MEMBERS = 10
CHECK_EPOCHS = 10
WARM_UP_EPOCHS = 3
ENDLESS = 1_000_000


def recording():
    """Images [1850, 961] and responses [1850, 103]; the last 50 rows are for validation."""
    random = np.random.default_rng(7)
    images = random.standard_normal((ROWS + VALIDATION_ROWS, SIDE, SIDE))
    for axis in (1, 2):  # neighbouring pixels alike, as in a photograph
        for _ in range(3):
            images = images + np.roll(images, 1, axis)
    images = ((images - images.mean()) / images.std()).reshape(len(images), -1)
    drive = forward(start_values(99), images, last=False)
    rates = np.logaddexp(0, (drive - drive.mean(0)) / drive.std(0) - 1)
    return images.astype("float32"), random.poisson(rates).astype("float32")


def start_values(seed):
    """Weights and biases of the three layers, in the order in which a Keras model lists them."""
    random = np.random.default_rng(seed)
    low = np.array([0, 1, 2, 2, 0, 1, 2, 2])[:, None]
    high = np.array([10, 25, 29, 29, 10, 25, 29, 29])[:, None]
    gaussians = low + (high - low) * random.random((8, FILTERS))
    sizes = [FILTERS, HIDDEN, NEURONS]
    values = [gaussians, 0.1 * random.standard_normal(FILTERS)]
    for n_in, n_out in zip(sizes[:-1], sizes[1:], strict=True):
        values += [0.1 * random.standard_normal((n_in, n_out)), 0.1 * random.standard_normal(n_out)]
    return [value.astype("float32") for value in values]


def forward(values, images, last=True):
    """Responses that the network with these values predicts, in plain NumPy; the reference."""
    gaussians, *others = [np.asarray(value, "float64") for value in values]
    bias, w2, b2, w3, b3 = (value.reshape(value.shape[-2:]) for value in others)
    pixel = np.arange(SIDE)
    y, x = np.meshgrid(pixel, pixel, indexing="ij")
    kernels = np.zeros((SIDE * SIDE, gaussians.shape[1]))
    for k, (a1, s1, mx, my, a2, s2, _, _) in enumerate(gaussians.T):
        mx, my = np.clip(mx, 2, SIDE - 2), np.clip(my, 2, SIDE - 2)
        s1, s2 = np.clip(s1, 1, 25), np.clip(s2, 1, 25)
        distance = (x - mx) ** 2 + (y - my) ** 2
        for amplitude, variance, sign in ((a1, s1, 1), (a2, s1 + s2, -1)):
            weight = sign * max(amplitude, np.finfo("float32").eps) / (2 * np.pi * variance)
            kernels[:, k] += (weight * np.exp(-distance / (2 * variance))).ravel()
    hidden = np.logaddexp(0, (images @ kernels + bias) @ w2 + b2)
    prediction = hidden @ w3 + b3
    return np.logaddexp(0, prediction) if last else prediction


def cost(values, images, responses):
    """Poisson cost over all rows, as every program minimises it."""
    prediction = forward(values, images)
    loss = prediction - responses * np.log(prediction + LOG_GUARD)
    return float((loss / responses.mean(0)).sum(1).mean())


class Turns:
    """The program's end of the pipe: counts epochs, waits for its turn, reports what it took."""

    def __init__(self, folder, check):
        self.folder = Path(folder)
        self.check = check
        self.images, self.responses = recording()
        self.weights = None  # a function, set by programs that can be looked into at any time
        self.epochs = CHECK_EPOCHS if check else ENDLESS
        self._answers = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)  # whatever a library prints must not reach the referee as an answer
        self._seconds = None
        self._done = self._reported = 0
        self._cpu = self._wall = 0.0

    @property
    def train_rows(self):
        return self.images[:ROWS], self.responses[:ROWS]

    def after(self, epochs):
        """Note that this many member-epochs were trained since the last call."""
        self._done += epochs
        if self.check:
            if self.weights is not None and self._done >= CHECK_EPOCHS:
                self.finish(self.weights())
        elif self._seconds is None:
            if self._done >= WARM_UP_EPOCHS:
                self._answer(start_cpu=time.process_time())
        elif time.process_time() - self._cpu >= self._seconds:
            self._answer(
                epochs=self._done - self._reported,
                cpu=time.process_time() - self._cpu,
                wall=time.monotonic() - self._wall,
            )

    def finish(self, values):
        """End a check: say which cost the trained values reach."""
        print(json.dumps({"cost": cost(values, *self.train_rows)}), file=self._answers, flush=True)
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


def one_thread():
    """Import TensorFlow and hold it to one thread."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    return tf


def bounded(tf, gaussians):
    """Column and row of the peak [9, 1, 1], signed weight and variance [9, 2, 1] of each filter."""
    a1, s1, mx, my, a2, s2, _, _ = tf.unstack(gaussians)
    mx, my = (tf.clip_by_value(m, 2.0, SIDE - 2.0)[:, None, None] for m in (mx, my))
    s1, s2 = tf.clip_by_value(s1, 1.0, 25.0), tf.clip_by_value(s2, 1.0, 25.0)
    amplitude = tf.maximum(tf.stack([a1, a2], 1), np.finfo("float32").eps)
    variance = tf.stack([s1, s1 + s2], 1)
    weight = amplitude * np.array([1, -1], "float32") / (2 * np.pi * variance)
    return mx, my, weight[:, :, None], variance[:, :, None]


def kernels(tf, gaussians):
    """Filters [9, 961]; each Gaussian is a product of a column and a row."""
    mx, my, weight, variance = bounded(tf, gaussians)
    pixel = np.arange(SIDE, dtype="float32")
    column = tf.exp(-((pixel - my) ** 2) / (2 * variance)) * weight
    row = tf.exp(-((pixel - mx) ** 2) / (2 * variance))
    return tf.reshape(tf.matmul(column, row, transpose_a=True), [-1, SIDE * SIDE])


def kernels_by_pixel(tf, gaussians):
    """Filters [9, 961]; both Gaussians are evaluated at every pixel."""
    mx, my, weight, variance = bounded(tf, gaussians)
    y, x = np.divmod(np.arange(SIDE * SIDE, dtype="float32"), SIDE)
    distance = (x - mx) ** 2 + (y - my) ** 2
    return tf.reduce_sum(weight * tf.exp(-distance / (2 * variance)), 1)


def session(turns, lean):
    """Graph mode as in the original program: one ``session.run`` a step, fed with row numbers.

    As there, Gaussians are evaluated at every pixel, and a filter that is one everywhere multiplies
    responses and predictions; the lean form has the trainer's formula of the Gaussians, no filter.
    """
    tf = one_thread()
    tf1 = tf.compat.v1
    tf1.disable_v2_behavior()
    images, responses = turns.train_rows
    all_images = tf1.Variable(images, trainable=False)
    all_responses = tf1.Variable(responses, trainable=False)
    rows = tf1.placeholder(tf.int32, [None])
    variables = [tf1.Variable(value) for value in start_values(0)]
    gaussians, bias, w2, b2, w3, b3 = variables
    x, y = tf.gather(all_images, rows), tf.gather(all_responses, rows)
    first_layer = kernels(tf, gaussians) if lean else kernels_by_pixel(tf, gaussians)
    first = tf.matmul(x, first_layer, transpose_b=True) + bias
    hidden = tf.nn.softplus(tf.matmul(first, w2) + b2)
    prediction = tf.nn.softplus(tf.matmul(hidden, w3) + b3)
    if not lean:
        filters = tf.gather(tf1.Variable(np.ones_like(responses), trainable=False), rows)
        y, prediction = y * filters, prediction * filters
    loss = prediction - y * tf1.log(prediction + LOG_GUARD)
    mean_cost = tf.reduce_mean(tf.reduce_sum(loss / responses.mean(0), 1))
    step = tf1.train.AdamOptimizer(LEARNING_RATE, epsilon=EPSILON).minimize(mean_cost)
    config = tf1.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=1)
    with tf1.Session(config=config) as active:
        active.run(tf1.global_variables_initializer())
        turns.weights = lambda: active.run(variables)
        random = np.random.RandomState(0)
        while True:
            order = random.permutation(ROWS)
            for start in range(0, ROWS, BATCH):
                active.run(step, {rows: order[start : start + BATCH]})
            turns.after(1)


def keras_fit(turns, jit_compile, steps_per_execution):
    """``model.fit`` from tf.data."""
    tf = one_thread()
    import keras

    images, responses = turns.train_rows
    rates = responses.mean(0)

    class Gaussians(keras.layers.Layer):
        def build(self, shape):
            self.kernel = self.add_weight(shape=(8, FILTERS))
            self.bias = self.add_weight(shape=(FILTERS,))

        def call(self, x):
            return tf.matmul(x, kernels(tf, self.kernel), transpose_b=True) + self.bias

    def loss(y, p):
        return tf.reduce_sum((p - y * tf.math.log(p + LOG_GUARD)) / rates, 1)

    class Turn(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            turns.after(1)

    model = keras.Sequential(
        [
            keras.layers.Input((SIDE * SIDE,)),
            Gaussians(),
            keras.layers.Dense(HIDDEN, activation="softplus"),
            keras.layers.Dense(NEURONS, activation="softplus"),
        ]
    )
    model.set_weights(start_values(0))
    turns.weights = model.get_weights
    model.compile(
        optimizer=keras.optimizers.Adam(LEARNING_RATE, epsilon=EPSILON),
        loss=loss,
        jit_compile=jit_compile,
        steps_per_execution=steps_per_execution,
    )
    batches = tf.data.Dataset.from_tensor_slices((images, responses)).shuffle(ROWS, seed=0)
    model.fit(batches.batch(BATCH).prefetch(2), epochs=turns.epochs, verbose=0, callbacks=[Turn()])


def network(penalty):
    """The network as NDN3 builds it, with a penalty on the output weights unless that is None."""
    from NDN3.ffnetwork import FFNetworkModel
    from NDN3.NDNutils import ffnetwork_params

    return FFNetworkModel(
        ffnetwork_params(
            input_dims=[1, SIDE, SIDE],
            layer_sizes=[FILTERS, HIDDEN, NEURONS],
            layer_types=["diff_of_gaussians", "normal", "normal"],
            act_funcs=["lin", "softplus", "softplus"],
            reg_list={"l2": [None, None, penalty]},
        )
    )


def trainer(folder, members, features, epochs, progress=None):
    """Results of the trainer, bare or with everything that an experiment switches on."""
    one_thread()
    from NDN3 import correlation, noise
    from NDN3.training import Adam, Data, EarlyStop, Summaries, fit

    images, responses = recording()
    likelihood = noise.Poisson()
    rates = likelihood.unit_norm(responses[:ROWS])

    def loss(response, prediction, mask):
        return likelihood.cost(response, prediction, rates)

    def data(rows):
        mask = np.ones_like(responses[rows]) if features else None
        return Data(images[rows], responses[rows], mask)

    options = {}
    if features:
        options = {
            "validation": data(slice(ROWS, None)),
            "metrics": correlation.metrics("zero-NaNs"),
            # watches the validation cost, and lets every member go on
            "early_stop": EarlyStop(window=10, tolerance=-1e9),
            "keep_best": True,
            "summaries": Summaries(lambda index: folder / f"member{index}", every=100),
            "checkpoint": lambda index: folder / f"member{index}" / "checkpoint.npz",
            "per_member": {
                "learning_rate": [LEARNING_RATE] * members,
                "penalty": [1.0] * members,
            },
        }
    return fit(
        network(penalty=1e-4 if features else None),
        data(slice(ROWS)),
        range(members),
        epochs=epochs,
        loss=loss,
        batch_size=BATCH,
        optimizer=Adam(learning_rate=LEARNING_RATE, epsilon=EPSILON),
        initialize=lambda model, seed: start_values(seed),
        progress=progress,
        **options,
    )


def in_chunks(turns, members, features):
    """The trainer, which calls back after every chunk."""
    seen = 0

    def progress(done, total, text):
        nonlocal seen
        turns.after(done - seen)
        seen = done

    for result in trainer(turns.folder, members, features, turns.epochs, progress):
        turns.finish(result.weights)


def end_to_end(folder, members, epochs):
    """A whole training as an experiment does it: nothing is answered, the process is measured."""
    for result in trainer(folder, members, True, epochs):
        np.savez(folder / f"model{result.index}.npz", *result.weights)


PROGRAMS = {
    "session": lambda turns: session(turns, lean=False),
    "lean_session": lambda turns: session(turns, lean=True),
    "fit": lambda turns: keras_fit(turns, jit_compile=False, steps_per_execution=1),
    "best_fit": lambda turns: keras_fit(turns, jit_compile=True, steps_per_execution=STEPS),
    "all": lambda turns: in_chunks(turns, MEMBERS, features=True),
    "group": lambda turns: in_chunks(turns, MEMBERS, features=False),
    "one": lambda turns: in_chunks(turns, 1, features=False),
}

if __name__ == "__main__":
    _, program, output_folder, mode = sys.argv
    if program in PROGRAMS:
        PROGRAMS[program](Turns(output_folder, check=mode == "check"))
    else:
        n_members, n_epochs = map(int, mode.split(","))
        end_to_end(Path(output_folder), n_members, n_epochs)
