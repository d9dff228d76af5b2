"""first_grid: a first grid of the hierarchical structural model.

Baseline 4 with a softplus front end, trained briefly, 5 seeds: difference-of-Gaussians filters,
a hidden layer, one unit per neuron.
Asks what more filters and a larger hidden layer bring within a few hundred epochs.
"""

from NDN3.NDNutils import ffnetwork_params
from utils import data, experiment, network

DATA = ["region1"]


def train(run, filters: int = 9, hidden: float = 0.2, epochs: int = 500):
    training, validation = data.load_regions([1], images="normalize_mean_std")
    neurons = training.responses.shape[1]

    run.name = f"first_grid_DoG{filters}xN{hidden}x{epochs}"
    repetitions = run.repetitions(5)
    description = ffnetwork_params(
        input_dims=[1, 31, 31],
        layer_sizes=[filters, int(hidden * neurons), neurons],
        layer_types=["diff_of_gaussians", "normal", "normal"],
        act_funcs=["softplus", "softplus", "softplus"],
        reg_list={"l2": [None, 0.0, 0.1]},
    )
    description["weights_initializers"] = ["random", "normal", "normal"]
    description["biases_initializers"] = ["trunc_normal", "trunc_normal", "trunc_normal"]
    models = network.build(
        description,
        noise_dist="poisson",
        seeds=repetitions.seeds,
        log_correlation="zero-NaNs",
    )
    for repetition, model in network.train(
        models,
        training,
        validation,
        repetitions,
        epochs=epochs,
        batch_size=16,
        learning_rate=1e-3,
        epochs_summary=max(epochs // 50, 1),
    ):
        network.save(model, repetition.model_path)
        repetition.finish(correlation=network.correlation(model, validation).mean())


if __name__ == "__main__":
    experiment.main(train)
