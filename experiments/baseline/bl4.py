"""bl4: baseline 4, a penalty on the output weights.

Baseline 3 with a quadratic penalty on the weights of the last layer, 25 seeds.
Asks whether long training keeps its level once the output weights are held small.
"""

from NDN3.NDNutils import ffnetwork_params
from utils import data, experiment, network

DATA = ["region1"]


def train(run, epochs: int = 35_000, legacy: bool = False):
    training, validation = data.load_regions([1], images="normalize_mean_std", legacy=legacy)
    neurons = training.responses.shape[1]

    run.name = f"baseline4_1normIms_Dog9xN0x2N_LxSpxSp_Wn_Btn_Nonorm_regL2Last0.1_0.001x16x{epochs}"
    repetitions = run.repetitions(25)
    description = ffnetwork_params(
        input_dims=[1, 31, 31],
        layer_sizes=[9, int(0.2 * neurons), neurons],
        layer_types=["diff_of_gaussians", "normal", "normal"],
        act_funcs=["lin", "softplus", "softplus"],
        reg_list={"l2": [None, 0.0, 0.1]},
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
        epochs_summary=max(epochs // 50, 1),
    ):
        network.save(model, repetition.model_path)
        repetition.finish(correlation=network.correlation(model, validation).mean())


if __name__ == "__main__":
    experiment.main(train)
