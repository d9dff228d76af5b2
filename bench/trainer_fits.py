"""Keras' own loop, ``model.fit``, and the trainer, on ordinary Keras models.

A U-Net along time (64 steps of 8 channels, three convolutions of width 5 with 32 channels, pooling,
upsampling, a skip connection) and a GRU (40 units, 100 steps), batches of 32 out of 256 rows.
"""

import numpy as np
from trainer_reference import (
    BATCH,
    EPSILON,
    FILTERS,
    HIDDEN,
    LEARNING_RATE,
    LOG_GUARD,
    NEURONS,
    ROWS,
    SIDE,
    dog_cost,
    dog_start,
    train_rows,
)
from trainer_sessions import kernels
from trainer_turns import tensorflow

STEPS = -(-ROWS // BATCH)
SERIES_ROWS, SERIES_BATCH, CHANNELS = 256, 32, 8
SERIES_MEMBERS = 2


def fit(
    turns,
    model,
    inputs,
    responses,
    loss,
    batch,
    shuffle=True,
    jit_compile=False,
    steps_per_execution=1,
):
    """``model.fit`` from tf.data."""
    import keras
    import tensorflow as tf

    class Turn(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            turns.after(1)

    turns.weights = model.get_weights
    model.compile(
        optimizer=keras.optimizers.Adam(LEARNING_RATE, epsilon=EPSILON),
        loss=loss,
        jit_compile=jit_compile,
        steps_per_execution=steps_per_execution,
    )
    rows = tf.data.Dataset.from_tensor_slices((inputs, responses))
    if shuffle:
        rows = rows.shuffle(len(inputs), seed=0)
    model.fit(rows.batch(batch).prefetch(2), epochs=turns.epochs, verbose=0, callbacks=[Turn()])


def dog_fit(turns, jit_compile, whole_epochs):
    """The network with Gaussians."""
    tf = tensorflow()
    import keras

    images, responses = train_rows()
    rates = responses.mean(0)

    class Gaussians(keras.layers.Layer):
        def build(self, shape):
            self.kernel = self.add_weight(shape=(8, FILTERS))
            self.bias = self.add_weight(shape=(FILTERS,))

        def call(self, x):
            return tf.matmul(x, kernels(tf, self.kernel), transpose_b=True) + self.bias

    def loss(y, p):
        return tf.reduce_sum((p - y * tf.math.log(p + LOG_GUARD)) / rates, 1)

    model = keras.Sequential(
        [
            keras.layers.Input((SIDE * SIDE,)),
            Gaussians(),
            keras.layers.Dense(HIDDEN, activation="softplus"),
            keras.layers.Dense(NEURONS, activation="softplus"),
        ]
    )
    model.set_weights(dog_start(0))
    turns.cost = dog_cost
    fit(
        turns,
        model,
        images,
        responses,
        loss,
        BATCH,
        jit_compile=jit_compile,
        steps_per_execution=STEPS if whole_epochs else 1,
    )


def unet():
    """U-Net along time; predicts one number per step."""
    from keras import Model, layers

    def convolution(x):
        return layers.Conv1D(32, 5, padding="same", activation="relu")(x)

    inputs = layers.Input((64, CHANNELS))
    fine = convolution(inputs)
    coarse = convolution(layers.MaxPooling1D(2)(fine))
    joined = layers.Concatenate()([fine, layers.UpSampling1D(2)(coarse)])
    return Model(inputs, layers.Dense(1)(convolution(joined)))


def gru():
    """Recurrent network; predicts one number per sequence."""
    from keras import Model, layers

    inputs = layers.Input((100, CHANNELS))
    return Model(inputs, layers.Dense(1)(layers.GRU(40)(inputs)))


def series(shape):
    """Inputs [256, steps, channels] and one target per step or per sequence."""
    random = np.random.default_rng(5)
    (_, steps, channels), (_, *per_row, _) = shape
    inputs = random.standard_normal((SERIES_ROWS, steps, channels)).astype("float32")
    smooth = inputs @ random.standard_normal((channels, 1)) / np.sqrt(channels)
    for _ in range(3):
        smooth = (smooth + np.roll(smooth, 1, 1)) / np.sqrt(2)
    return inputs, np.maximum(smooth if per_row else smooth[:, -1], 0).astype("float32")


def ordinary(turns, make, with_trainer):
    """An ordinary Keras model, by ``model.fit`` or by the trainer."""
    tensorflow()
    import keras

    keras.utils.set_random_seed(0)  # both ways begin with the same values
    model = make()
    start = model.get_weights()
    inputs, responses = series((model.input_shape, model.output_shape))

    def cost(values):
        model.set_weights(values)
        return float(np.mean((model.predict(inputs, verbose=0) - responses) ** 2))

    turns.cost = cost
    if not with_trainer:
        fit(turns, model, inputs, responses, "mse", SERIES_BATCH, shuffle=not turns.check)
        return
    from trainer_members import in_chunks

    from NDN3 import training

    def loss(response, prediction, mask):
        return keras.ops.mean(
            keras.ops.square(prediction - response), axis=tuple(range(1, len(response.shape)))
        )

    in_chunks(
        turns,
        lambda progress: training.fit(
            model,
            training.Data(inputs, responses),
            range(SERIES_MEMBERS),
            epochs=turns.epochs,
            loss=loss,
            batch_size=SERIES_BATCH,
            optimizer=training.Adam(learning_rate=LEARNING_RATE, epsilon=EPSILON),
            initialize=lambda model, seed: start,
            # after few steps the order of the rows tells more than a mistake would
            order=(lambda seed, epoch: np.arange(SERIES_ROWS)) if turns.check else None,
            progress=progress,
        ),
    )
