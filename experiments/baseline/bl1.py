"""bl1: baseline 1, the hierarchical structural model on raw grey levels.

Nine difference-of-Gaussians filters, a hidden layer of a fifth as many units as neurons, one unit
per neuron. Images in grey levels from 0 to 255, biases start at zero, small steps, 50 seeds.
Asks how well the published model does in this framework, and how far its seeds lie apart.
"""

from NDN3.NDNutils import ffnetwork_params
from utils import data, experiment, network

DATA = ["region1"]


def train(run, epochs: int = 35_000, legacy: bool = False):
    training, validation = data.load_regions([1], images="times_mil", legacy=legacy)
    neurons = training.responses.shape[1]

    run.name = f"baseline_1mult1e6_Dog9xN0x2N_LxSpxSp_Nonorm_1e3x16x{epochs}"
    repetitions = run.repetitions(50)
    description = ffnetwork_params(
        input_dims=[1, 31, 31],
        layer_sizes=[9, int(0.2 * neurons), neurons],
        layer_types=["diff_of_gaussians", "normal", "normal"],
        act_funcs=["lin", "softplus", "softplus"],
    )
    description["weights_initializers"] = ["random", "normal", "normal"]
    description["biases_initializers"] = ["zeros", "zeros", "zeros"]
    models = network.build(
        description,
        noise_dist="poisson",
        seeds=repetitions.seeds,
        log_correlation="zero-NaNs",
        legacy=legacy,
    )
    for repetition, model in network.train(
        models,
        training,
        validation,
        repetitions,
        epochs=epochs,
        batch_size=16,
        learning_rate=1e-4,
        epochs_summary=100,
    ):
        network.save(model, repetition.model_path)
        repetition.finish(correlation=network.correlation(model, validation).mean())


if __name__ == "__main__":
    experiment.main(train, exp="b1")
