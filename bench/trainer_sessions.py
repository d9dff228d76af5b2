"""Stand-ins for the original TensorFlow 1 program: graph mode, one ``session.run`` a step."""

import numpy as np
from trainer_reference import (
    BATCH,
    EPSILON,
    GRID,
    KERNEL_SIDE,
    KERNELS,
    LEARNING_RATE,
    LOG_GUARD,
    ROWS,
    SIDE,
    STRIDE,
    conv_cost,
    conv_start,
    dog_cost,
    dog_start,
    train_rows,
)
from trainer_turns import tensorflow


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


def dog_hidden(tf, images, variables, lean):
    """Input of the hidden units of the network with Gaussians."""
    gaussians, bias, w2, b2 = variables
    filters = kernels(tf, gaussians) if lean else kernels_by_pixel(tf, gaussians)
    return tf.matmul(tf.matmul(images, filters, transpose_b=True) + bias, w2) + b2


def conv_hidden(tf, images, variables, lean):
    """Input of the hidden units of the convolutional network."""
    weights, bias, factors, b2 = variables
    kernel = tf.reshape(weights, [KERNEL_SIDE, KERNEL_SIDE, 1, KERNELS])
    images = tf.reshape(images, [-1, SIDE, SIDE, 1])
    first = tf.nn.softplus(tf.nn.conv2d(images, kernel, STRIDE, "SAME") + bias)
    features, mask = factors[:KERNELS], factors[KERNELS:]
    full = tf.reshape(mask[:, None, :] * features[None], [GRID * GRID * KERNELS, -1])
    return tf.matmul(tf.reshape(first, [-1, GRID * GRID * KERNELS]), full) + b2


def session(turns, network, lean=False):
    """One ``session.run`` a step, data in graph variables, fed with row numbers.

    As in the original program, Gaussians are evaluated at every pixel, and a filter that is one
    everywhere multiplies responses and predictions; the lean form has the trainer's formula of the
    Gaussians, no filter.
    """
    tf = tensorflow()
    tf1 = tf.compat.v1
    tf1.disable_v2_behavior()
    hidden_of, start, turns.cost = {
        "dog": (dog_hidden, dog_start, dog_cost),
        "conv": (conv_hidden, conv_start, conv_cost),
    }[network]
    images, responses = train_rows()
    all_images = tf1.Variable(images, trainable=False)
    all_responses = tf1.Variable(responses, trainable=False)
    rows = tf1.placeholder(tf.int32, [None])
    variables = [tf1.Variable(value) for value in start(0)]
    x, y = tf.gather(all_images, rows), tf.gather(all_responses, rows)
    *first, w3, b3 = variables
    hidden = tf.nn.softplus(hidden_of(tf, x, first, lean))
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
            for begin in range(0, ROWS, BATCH):
                active.run(step, {rows: order[begin : begin + BATCH]})
            turns.after(1)
