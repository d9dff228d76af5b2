"""What `NDN.train` keeps in its `output_dir`, by names that tell one training from another.

A training is known by a mark: a few digits made of all that it depends on. Its files carry the mark
in their names, so the same call finds its own again, and another one overwrites nothing.
"""

import keras
import numpy as np

from NDN3 import checkpoints

# Hexadecimal digits of a mark
DIGITS = 8
# Options that change nothing of what is learned and recorded
OF_NO_MATTER = ("display", "use_gpu", "data_pipe_type", "epochs_ckpt")


def mark_of(models, options, *parts):
    """Mark of a training.

    Parameters
    ----------
    models : list of NDN3.NDN.NDN
        As they are before it: training starts from their arrays.
    options : dict
        From `NDN3.training_options.options`.
    *parts
        Data, rows and whatever else was given.

    Returns
    -------
    str
        Of `DIGITS` hexadecimal digits.
    """
    first = models[0]
    described = [first.keras_model.structure, first.keras_model.numbers]
    given = {name: value for name, value in options.items() if name not in OF_NO_MATTER}
    everything = keras.tree.map_structure(
        lambda leaf: np.asarray(leaf) if hasattr(leaf, "__array__") else leaf,
        [
            *(
                keras.backend.backend(),
                described,
                first.noise_dist,
                first.legacy,
                first.log_correlation,
            ),
            *([(model.tf_seed, model.poisson_unit_norm, model.arrays) for model in models], given),
            *parts,
        ],
    )
    return checkpoints.signature(training=everything)[:DIGITS]


def kept(folder, model, found, silent, *given):
    """Where a training of one model keeps its summaries and its checkpoint.

    Parameters
    ----------
    folder : Path
    model : NDN3.NDN.NDN
    found : dict
        From `training_options.options`.
    silent : bool
        Do not say that there is a checkpoint from which the training goes on.
    *given
        Data and all else on which the training depends.

    Returns
    -------
    dict
        Arguments of `fit_together`.
    """
    if found["epochs_summary"] is None and found["epochs_ckpt"] is None:
        return {}
    mark = mark_of([model], found, *given)
    arguments = {"folder_of": lambda position: folder, "mark": mark}
    if found["epochs_ckpt"] is not None:
        path = folder / f"checkpoint-{mark}.npz"
        arguments["checkpoint"] = lambda position: path
        if path.exists() and not silent:
            print(f"{path} is of this training: it goes on from there.")
    return arguments
