"""held_out: how well the models of first_grid predict responses to images they have not seen.

The second of three stages, see `held_out_runner.py`: a run tests what one run of first_grid has
trained, with a repetition for each of its models.
Asks how much they reach of what the noise of the recording leaves to be predicted.
"""

import numpy as np

from utils import data, experiment, network, registry

DATA = ["region1"]


def train(run):
    (training,) = run.needed
    trained = registry.table(*training).query("state == 'done'")
    _, held_out = data.load_regions([1], images="normalize_mean_std")
    noise = data.noise_ceiling(held_out)
    ceiling = noise.cc_max if noise.planted is None else noise.planted
    known = np.isfinite(ceiling)

    run.name = f"held_out_{trained['name'].iloc[0]}"
    for repetition in run.repetitions(seeds=trained["seed"]):
        model = network.load(trained["model_path"].iloc[repetition.index])
        correlation = network.correlation(model, held_out)
        repetition.finish(
            correlation=correlation.mean(),
            ceiling=ceiling[known].mean(),
            of_ceiling=correlation[known].mean() / ceiling[known].mean(),
        )


if __name__ == "__main__":
    experiment.main(train)
