"""bs3_exp3: number of filters and size of the hidden layer.

Baseline 3 with 4 to 30 difference-of-Gaussians filters and a hidden layer of 5 to 40 % of the
number of neurons, 10 seeds.
Asks how large the model has to be, and whether a larger one is more stable.
"""

from NDN3.NDNutils import ffnetwork_params
from utils import data, experiment, network

DATA = ["region1"]


def train(run, filters: int = 9, hidden: float = 0.2, epochs: int = 5000, legacy: bool = False):
    training, validation = data.load_regions([1], images="normalize_mean_std", legacy=legacy)
    neurons = training.responses.shape[1]

    run.name = f"baseline3_DoG{filters}xN{hidden}x{epochs}"
    repetitions = run.repetitions(10)
    description = ffnetwork_params(
        input_dims=[1, 31, 31],
        layer_sizes=[filters, int(hidden * neurons), neurons],
        layer_types=["diff_of_gaussians", "normal", "normal"],
        act_funcs=["lin", "softplus", "softplus"],
    )
    description["weights_initializers"] = ["random", "normal", "normal"]
    description["biases_initializers"] = ["trunc_normal", "trunc_normal", "trunc_normal"]
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
        learning_rate=1e-3,
        epochs_summary=100,
    ):
        network.save(model, repetition.model_path)
        repetition.finish(correlation=network.correlation(model, validation).mean())


if __name__ == "__main__":
    experiment.main(train)
