"""Programs of the trainer on the two networks: groups, single members, bare and with everything."""

import functools

import numpy as np
from trainer_reference import (
    BATCH,
    EPSILON,
    FILTERS,
    GRID,
    HIDDEN,
    KERNEL_SIDE,
    KERNELS,
    LEARNING_RATE,
    NEURONS,
    ROWS,
    SIDE,
    STRIDE,
    conv_cost,
    conv_start,
    dog_cost,
    dog_start,
    recording,
)
from trainer_turns import CHECK_EPOCHS

MEMBERS = 10
CALL_EPOCHS = 30
# Of the members of a refilled group every other one stops in its twelfth epoch.
REFILL_EPOCHS, REFILL_WINDOW = 60, 10
NEVER, AT_ONCE = -1e9, 1e9


def network(kind, penalty=None):
    """A network as NDN3 builds it, with a penalty on the output weights unless that is None."""
    from NDN3.NDNutils import ffnetwork_params
    from NDN3.network_model import NetworkModel

    layers = {
        "dog": {
            "layer_sizes": [FILTERS, HIDDEN, NEURONS],
            "layer_types": ["diff_of_gaussians", "normal", "normal"],
            "act_funcs": ["lin", "softplus", "softplus"],
        },
        "conv": {
            "layer_sizes": [KERNELS, HIDDEN, NEURONS],
            "layer_types": ["conv", "sep", "normal"],
            "act_funcs": ["softplus", "softplus", "softplus"],
            "normalization": [0, -1, 0],  # features and mask are not scaled
            "conv_filter_widths": [KERNEL_SIDE],
            "shift_spacing": [STRIDE],
        },
    }[kind]
    return NetworkModel(
        ffnetwork_params(
            input_dims=[1, SIDE, SIDE], reg_list={"l2": [None, None, penalty]}, **layers
        )
    )


def native():
    """The convolutional network with the convolution of the framework below Keras."""
    from keras import Sequential, layers

    from NDN3.layers.separable import Separable

    return Sequential(
        [
            layers.Input((SIDE * SIDE,)),
            layers.Reshape((SIDE, SIDE, 1)),
            layers.Conv2D(KERNELS, KERNEL_SIDE, STRIDE, padding="same", activation="softplus"),
            layers.Flatten(),
            Separable(
                HIDDEN,
                input_dims=[KERNELS, GRID, GRID],
                activation="softplus",
                normalize_weights=-1,
            ),
            layers.Dense(NEURONS, activation="softplus"),
        ]
    )


@functools.cache  # calls that share a program have the same functions
def functions(rows):
    """Loss on this many rows, and metrics."""
    from NDN3 import correlation, noise

    likelihood = noise.Poisson()
    rates = likelihood.unit_norm(recording(rows)[1][:rows])

    def loss(response, prediction, mask):
        return likelihood.cost(response, prediction, rates)

    return loss, correlation.metrics("zero-NaNs")


def data(rows, masked=False, length=ROWS):
    """Rows of a recording of so many images."""
    from NDN3.training import Data

    images, responses = (array[rows] for array in recording(length))
    return Data(images, responses, np.ones_like(responses) if masked else None)


def everything(folder, members):
    """Options of `fit` that an experiment switches on."""
    from NDN3.training import EarlyStop, Summaries

    return {
        "validation": data(slice(ROWS, None), masked=True),
        "metrics": functions(ROWS)[1],
        # watches the validation cost, and lets every member go on
        "early_stop": EarlyStop(window=10, tolerance=NEVER),
        "keep_best": True,
        "summaries": Summaries(lambda index: folder / f"member{index}", every=100),
        "checkpoint": lambda index: folder / f"member{index}" / "checkpoint.npz",
        "per_member": {
            "learning_rate": [LEARNING_RATE] * members,
            "penalty": [1.0] * members,
        },
    }


def train(model, start, members, epochs, rows=None, **options):
    """Results of the trainer for a model on the recording."""
    from NDN3.training import Adam, fit

    rows = data(slice(ROWS)) if rows is None else rows

    def initialize(model, seed):
        # NDN3's biases have an axis more
        pairs = zip(start(seed), model.weights, strict=True)
        return [np.reshape(value, variable.shape) for value, variable in pairs]

    return fit(
        model,
        rows,
        range(members),
        epochs=epochs,
        loss=functions(len(rows.responses))[0],
        batch_size=BATCH,
        optimizer=Adam(learning_rate=LEARNING_RATE, epsilon=EPSILON),
        initialize=initialize,
        **options,
    )


def experiment(folder, members, epochs, progress=None, **options):
    """Results for the network with Gaussians, with everything that an experiment switches on."""
    rows = data(slice(ROWS), masked=True)
    options = everything(folder, members) | options
    return train(
        network("dog", penalty=1e-4), dog_start, members, epochs, rows, progress=progress, **options
    )


def in_chunks(turns, started):
    """A training that calls back after every chunk."""
    seen = 0

    def progress(done, total, text):
        nonlocal seen
        turns.after(done - seen)
        seen = done

    for result in started(progress):
        if result.index == 0:  # others may end before it
            turns.finish(result.weights)


def with_everything(turns):
    turns.cost = dog_cost
    in_chunks(
        turns, lambda progress: experiment(turns.folder, MEMBERS, turns.epochs, progress=progress)
    )


def bare(turns, kind, members, length=ROWS, **options):
    """The trainer without any option; "native" is the framework's own convolution."""
    start, turns.cost = {"dog": (dog_start, dog_cost)}.get(kind, (conv_start, conv_cost))
    model = native() if kind == "native" else network(kind)
    rows = data(slice(length), length=length)
    in_chunks(
        turns,
        lambda progress: train(
            model, start, members, turns.epochs, rows, progress=progress, **options
        ),
    )


def in_calls(turns, threads):
    """Whole calls of the trainer, a group of ten in each thread; all share one program."""
    turns.cost = dog_cost
    epochs = CHECK_EPOCHS if turns.check else CALL_EPOCHS
    members = threads * MEMBERS
    while True:
        for result in train(
            *(network("dog"), dog_start, members, epochs),
            group=MEMBERS,
            threads=threads,
            reuse=True,
        ):
            if turns.check and result.index == 0:
                turns.finish(result.weights)
        turns.after(members * epochs)


def twenty_members(turns, refill):
    """Twenty members of which half stop early, through ten slots or as ten and ten."""
    from NDN3.training import EarlyStop

    calls = 1 if refill else 2
    members = 2 * MEMBERS // calls
    tolerances = [AT_ONCE if index % 2 else NEVER for index in range(members)]
    while True:
        trained = 0
        for _ in range(calls):
            for result in train(
                *(network("dog"), dog_start, members, REFILL_EPOCHS),
                group=MEMBERS,
                reuse=True,
                validation=data(slice(ROWS, None)),
                early_stop=EarlyStop(window=REFILL_WINDOW),
                per_member={"tolerance": tolerances},
            ):
                trained += len(result.history["epoch"])
        turns.after(trained)
