"""One training of bench/families.py: ``families_programs.py FOLDER NETWORK WAY ROWS``."""

import sys
import time

from families_networks import DEEP_KERNELS, NETWORKS
from trainer_reference import EPSILON, LEARNING_RATE, SIDE
from trainer_turns import Turns, tensorflow

MEMBERS = {"one": 1, "ten": 10}
# whether XLA compiles, and whether a call of the compiled function is a whole epoch
FITS = {
    "fit": (False, False),
    "fit_xla": (True, False),
    "fit_epochs": (True, True),
    "native": (False, False),
    "native_xla": (True, False),
    "native_epochs": (False, True),
}


def cost_by(responses):
    """Poisson cost of each row, by the mean response of each neuron."""
    from NDN3 import noise

    likelihood = noise.Poisson()
    rates = likelihood.unit_norm(responses)
    return lambda response, prediction: likelihood.cost(response, prediction, rates)


def native(network):
    """The deep network with Keras' own convolutions, for its readout there is no layer of Keras."""
    from keras import Sequential, layers

    from NDN3.layers.separable import Separable

    *channels, neurons = network.sizes
    return Sequential(
        [
            layers.Input((SIDE * SIDE,)),
            layers.Reshape((SIDE, SIDE, 1)),
            *(
                layers.Conv2D(count, width, padding="same", activation="softplus")
                for count, width in zip(channels, DEEP_KERNELS, strict=True)
            ),
            layers.Flatten(),
            Separable(
                neurons,
                input_dims=[channels[-1], SIDE, SIDE],
                activation="softplus",
                normalize_weights=network.normalization[-1],
            ),
        ]
    )


def with_trainer(network, inputs, responses, cost, members):
    """Function that trains endlessly; it takes the turns."""
    from trainer_members import in_chunks

    from NDN3 import training
    from NDN3.network_model import NetworkModel

    model = NetworkModel(network.description())

    def train(turns):
        in_chunks(
            turns,
            lambda progress: training.fit(
                model,
                training.Data(inputs, responses),
                range(members),
                epochs=turns.epochs,
                loss=lambda response, prediction, mask: cost(response, prediction),
                batch_size=network.batch,
                optimizer=training.Adam(learning_rate=LEARNING_RATE, epsilon=EPSILON),
                progress=progress,
            ),
        )

    return train


def with_fit(network, inputs, responses, cost, way):
    """The same by Keras' own loop, with NDN3's layers or with those of Keras."""
    import keras
    import trainer_fits

    from NDN3.network_model import NetworkModel

    if way.startswith("native"):
        model = native(network)
    else:
        stack = NetworkModel(network.description()).stack
        model = keras.Sequential([keras.layers.Input((inputs.shape[1],)), *stack])
    jit_compile, whole_epochs = FITS[way]
    steps = -(-len(inputs) // network.batch)
    return lambda turns: trainer_fits.fit(
        turns,
        model,
        inputs,
        responses,
        cost,
        network.batch,
        # the rows of a batch follow each other where a layer looks back
        shuffle="temporal" not in network.types,
        jit_compile=jit_compile,
        steps_per_execution=steps if whole_epochs else 1,
    )


def main():
    _, folder, name, way, rows = sys.argv
    tensorflow()
    network = NETWORKS[name]
    inputs, responses = (array[: int(rows)] for array in network.recording())
    cost = cost_by(responses)
    if way in MEMBERS:
        train = with_trainer(network, inputs, responses, cost, MEMBERS[way])
    else:
        train = with_fit(network, inputs, responses, cost, way)
    # all before this is loading
    train(Turns(folder, loaded_cpu=time.process_time()))


if __name__ == "__main__":
    main()
