"""The framework below Keras: one that the trainer does not know is refused."""

import importlib

import keras
import pytest

from NDN3 import backend
from utils import experiment


def test_an_unknown_backend_gets_a_sentence_alone(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    expected = "the backend of Keras is 'torch'; the trainer knows tensorflow and jax"
    with pytest.raises(ValueError, match=expected) as said:
        importlib.reload(backend)
    assert experiment._sentence(said.value) == str(said.value)
