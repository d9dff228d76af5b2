"""Layers use native convolutions where a program is for one member and XLA does not compile it."""

import every_layer
import numpy as np
import pytest
import small_trainings
from keras import ops

from NDN3 import backend, forms
from NDN3.layers import LAYERS, layer_class
from NDN3.layers.windows import Windows, native_convolutions
from NDN3.NDNutils import ffnetwork_params
from NDN3.network_model import NetworkModel
from NDN3.training import Data, fit

CUTTING = [name for name in LAYERS if hasattr(layer_class(name), "window_entries")]


def value_and_gradients(model, inputs):
    """Sum of the outputs with weights that differ, its gradients, and the operations."""
    variables, others = (
        [ops.convert_to_tensor(np.asarray(variable)) for variable in part]
        for part in (model.trainable_variables, model.non_trainable_variables)
    )

    def total(trainable):
        outputs = model.stateless_call(trainable, others, inputs)[0]
        weights = np.arange(1.0, 1 + np.prod(outputs.shape)).reshape(outputs.shape)
        return ops.sum(outputs * weights), ()

    (value, _), gradients = backend.value_and_gradients(total, variables)
    names, _ = backend.operations(total, (variables,))
    return [np.asarray(array) for array in (value, *gradients)], names


@pytest.mark.parametrize("name", CUTTING)
def test_both_ways_give_the_same(name):
    model = NetworkModel(every_layer.description_of(name), dtype="float64")
    inputs = ops.convert_to_tensor(every_layer.inputs())
    cut, names = value_and_gradients(model, inputs)
    assert "convolution" not in names
    with native_convolutions():
        native, names = value_and_gradients(model, inputs)
    # a layer that computes at a few positions alone goes on cutting
    assert ("convolution" in names) == (model.stack[0].window_entries > 0)
    for a, b in zip(native, cut, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9 * np.abs(b).max())


def deep(width):
    return NetworkModel(
        ffnetwork_params(
            input_dims=[1, 31, 31],
            layer_sizes=[2, 3, 4],
            layer_types=["conv", "conv", "sep"],
            conv_filter_widths=[width, 3],
            act_funcs="softplus",
            verbose=False,
        )
    )


def test_many_windows_make_members_take_turns(monkeypatch):
    # 961 windows of 9 and 18 numbers, or of 49 and 18
    small, large = deep(3), deep(7)
    assert not forms.takes_native(small, "auto", "auto")
    assert forms.takes_native(large, "auto", "auto")
    assert forms.takes_native(large, "auto", False)
    assert not forms.takes_native(large, "group", "auto")
    assert not forms.takes_native(large, "auto", True), "XLA has no fast convolution in a loop"
    assert forms.takes_native(small, "turns", False), "nor has anything else fast windows"
    monkeypatch.setattr(backend, "XLA_IS_OPTIONAL", False)
    assert not forms.takes_native(large, "auto", "auto")


@pytest.fixture(scope="module")
def recording():
    source = np.random.default_rng(3)
    images = source.normal(size=(9, 961)).astype("float32")
    return images, source.poisson(1.0, (9, 4)).astype("float32")


def test_predictions_cut_no_windows(recording, monkeypatch):
    model = deep(3)
    expected = ops.convert_to_numpy(model(recording[0]))
    monkeypatch.delattr(Windows, "cut")
    arrays = [ops.convert_to_numpy(variable) for variable in model.weights]
    np.testing.assert_allclose(model.predict_with(arrays, recording[0]), expected, rtol=1e-5)


def trained(recording, **options):
    """Arrays and validation costs after nine rows in batches of four, the last one of one row."""
    forms_taken = []
    (result,) = fit(
        deep(7),
        Data(*recording),
        epochs=3,
        batch_size=4,
        loss=small_trainings.poisson(),
        validation=Data(*recording),
        decided=lambda *form: forms_taken.append(form),
        **options,
    )
    assert forms_taken == [("turns", 1)]
    return [*result.weights, result.history["test/cost"]]


def test_trainings_agree(recording, monkeypatch):
    native = trained(recording)
    monkeypatch.setattr(backend, "XLA_IS_OPTIONAL", False)
    cut = trained(recording, form="turns", xla=False)
    for a, b in zip(native, cut, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    assert any(np.any(a != b) for a, b in zip(native, cut, strict=True)), "both were computed alike"
