"""The framework below Keras: one that the trainer does not know is refused, and none complains."""

import importlib
import logging

import keras
import numpy as np
import pytest

from NDN3 import backend
from NDN3.NDN import NDN
from NDN3.NDNutils import ffnetwork_params
from utils import experiment


def test_an_unknown_backend_gets_a_sentence_alone(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    expected = "the backend of Keras is 'torch'; the trainer knows tensorflow and jax"
    with pytest.raises(ValueError, match=expected) as said:
        importlib.reload(backend)
    assert experiment._sentence(said.value) == str(said.value)


def test_many_models_bring_no_warning(caplog):
    description = ffnetwork_params([3, 1, 1], [2], ["normal"], verbose=False)
    logger = logging.getLogger("tensorflow")
    logger.addHandler(caplog.handler)  # it hands nothing on to the root
    try:
        for seed in range(8):
            NDN(description, tf_seed=seed).generate_prediction(np.ones((4, 3)))
    finally:
        logger.removeHandler(caplog.handler)
    assert not [record for record in caplog.records if "retracing" in record.getMessage()]
