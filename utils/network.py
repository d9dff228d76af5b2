"""NDN3 models in experiments: build one per seed, train them together, predict, save, load."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from utils import progress

if TYPE_CHECKING:
    from NDN3.NDN import NDN
    from utils.data import Recording
    from utils.repetitions import Repetition, Repetitions

# what the launcher grants, and people set by hand
THREADS = "TF_NUM_INTRAOP_THREADS"
MOST_THREADS = 1024


def build(
    description: Mapping[str, Any],
    noise_dist: str = "poisson",
    seeds: Sequence[int] = (0,),
    *,
    log_correlation: str | None = "zero-NaNs",
    legacy: bool = False,
) -> list[NDN]:
    """One model per seed, all of the same architecture.

    Parameters
    ----------
    description : dict
        From `NDN3.NDNutils.ffnetwork_params`.
    noise_dist : {"poisson", "gaussian"}
    seeds : sequence of int
        Each gives a model its start values and the order of its batches.
    log_correlation : {"zero-NaNs", "filter-NaNs", "filter-low-std-gold", None}
        How the correlation in the summaries treats neurons without one; None leaves it out.
    legacy : bool
        The original program's ways, for its published numbers.

    Returns
    -------
    list of NDN
        They share one Keras model and hold their own arrays.
    """
    granted_threads()  # a wrong number ends TensorFlow, and with it the process
    from NDN3.NDN import NDN

    models = NDN.for_seeds(dict(description), noise_dist=noise_dist, seeds=seeds, legacy=legacy)
    for model in models:
        model.log_correlation = log_correlation
    return models


def train(
    models: Sequence[NDN],
    training: Recording,
    validation: Recording,
    repetitions: Repetitions,
    *,
    epochs: int,
    batch_size: int = 16,
    learning_rate: float = 1e-3,
    epochs_summary: int | None = None,
    **opt_params: Any,
) -> Iterator[tuple[Repetition, NDN]]:
    """Train the models of a run together; hand out each repetition with its model when it ends.

    Summaries go to the repetition's folder, and so does a checkpoint that is kept until the caller
    has saved the model and asks for the next. A repetition whose cost is no longer finite is
    recorded and not handed out.

    Parameters
    ----------
    models : list of NDN
        From `build`, one per repetition.
    training, validation : Recording
    repetitions : Repetitions
        From `run.repetitions`.
    epochs, batch_size : int
    learning_rate : float
    epochs_summary : int, optional
        Summaries at epoch 0 and every so many epochs; by default about 50 in all.
    **opt_params
        Further ones of `NDN.train`, such as `early_stop`.

    Yields
    ------
    repetition : Repetition
    model : NDN
    """
    threads = granted_threads()
    from NDN3.NDN import NDN
    from NDN3.training import Summaries

    members = list(repetitions)
    if len(members) != len(models):
        raise ValueError(
            f"there are {len(models)} models for {len(members)} repetitions; build them with "
            "seeds=repetitions.seeds."
        )
    if not members:
        return
    images = np.concatenate([training.images, validation.images])
    responses = np.concatenate([training.responses, validation.responses])
    mask = None
    if training.mask is not None and validation.mask is not None:
        mask = np.concatenate([training.mask, validation.mask])
    options = {
        "epochs_training": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        **opt_params,
    }
    every = max(epochs // 50, 1) if epochs_summary is None else epochs_summary
    with progress.Line(epochs * len(members), unit="epochs") as line:
        for position, model, result in NDN.fit_together(
            models,
            images,
            responses,
            train_rows=np.arange(training.n_images),
            test_rows=np.arange(training.n_images, len(images)),
            data_filters=mask,
            opt_params=options,
            summaries=Summaries(lambda index: members[index].log_dir, every=every),
            checkpoint=lambda index: members[index].checkpoint_path,
            # The size of the group is part of a result's bits, so it follows from what the run
            # declares and is the same when only some of its repetitions are still to do.
            group=repetitions.group or "auto",
            declared=repetitions.declared,
            threads=threads,
            decided=repetitions.trained_in,
            progress=line,
        ):
            repetition = members[position]
            if result.diverged_epoch is None:
                yield repetition, model
            else:
                repetition.diverged(result.diverged_epoch)


def granted_threads() -> int:
    """Return the number of threads that this process was granted; 1 where nobody says."""
    text = os.environ.get(THREADS, "1")
    if not re.fullmatch(r"0*[1-9][0-9]{0,3}", text) or int(text) > MOST_THREADS:
        raise ValueError(
            f"{THREADS} is {text!r}; it is the number of threads, from 1 to {MOST_THREADS}. "
            "Correct or unset it."
        )
    return int(text)


def predict(model: NDN, images: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Responses that a model predicts.

    Parameters
    ----------
    model : NDN
    images : ndarray, (T, n_pixels)
        Normalized as in training.

    Returns
    -------
    ndarray, (T, n_neurons)
    """
    return np.asarray(model.generate_prediction(images))


def correlation(model: NDN, recording: Recording) -> npt.NDArray[np.float64]:
    """Pearson correlation of prediction and response, per neuron.

    Parameters
    ----------
    model : NDN
    recording : Recording

    Returns
    -------
    ndarray, (n_neurons,)
        0 where it is undefined.
    """
    from NDN3.correlation import pearson

    mask = recording.mask
    predicted = predict(model, recording.images)
    responses = recording.responses
    if mask is not None:
        predicted, responses = predicted * mask, responses * mask
    values, _ = pearson(responses, predicted, mask)
    return np.asarray(values, np.float64)


def save(model: NDN, path: str | Path) -> None:
    """Write a model to a `.ndnmod` file; it is there whole or not at all."""
    model.save_model(path)


def load(path: str | Path) -> NDN:
    """Model from a `.ndnmod` file.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no such file, or it is not a model.
    """
    from NDN3.NDN import NDN

    return NDN.load_model(path)
