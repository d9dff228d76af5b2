"""Readouts at points: interpolation, draws, gradients, planted positions."""

import json
import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops
from layer_gradients import disagreement
from scipy import ndimage

from NDN3 import streams, trained_parts
from NDN3.draws import Draws
from NDN3.layers.points import GaussianReadout, PointReadout, Sampler, interpolation
from NDN3.NDN import NDN
from NDN3.NDNutils import ffnetwork_params
from NDN3.network_model import NetworkModel
from NDN3.training import Adam, Data, fit

DIMS = [2, 5, 4]
KINDS = {
    "point": (PointReadout, {}),
    "diagonal": (GaussianReadout, {"deviation": 0.3}),
    "full": (Sampler, {"deviation": 0.3, "covariance": "full"}),
}


def made(kind, units=3, **options):
    layer_class, own = KINDS[kind]
    options = {"input_dims": DIMS, "activation": "softplus", "dtype": "float64"} | own | options
    layer = layer_class(units, seed=3, **options)
    layer.build((None, math.prod(layer.input_dims)))
    layer.bias.assign(np.random.default_rng(0).normal(size=layer.bias.shape))
    return layer


def arrays_of(layer):
    return {name: ops.convert_to_numpy(variable) for name, variable in layer.arrays.items()}


def images_of(dims, count=4):
    return np.random.default_rng(1).normal(size=(count, math.prod(dims)))


def softplus(values):
    return np.logaddexp(0, values)


def seen_at(image, dims, place):
    """Channels of one flat image at a place in [-1, 1], by SciPy's interpolation."""
    channels, width, height = dims
    x, y = (np.clip(place, -1, 1) + 1) / 2 * (np.array([width, height]) - 1)
    image = image.reshape(height, width, channels)
    return [ndimage.map_coordinates(image[..., c], [[y], [x]], order=1)[0] for c in range(channels)]


def at_places(images, dims, places, weights, biases):
    """Output before the activation function; places are (rows, units, 2)."""
    seen = np.array(
        [
            [seen_at(image, dims, place) for place in row]
            for image, row in zip(images, places, strict=True)
        ]
    )
    return np.einsum("rjc,cj->rj", seen, weights) + biases


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dims", [DIMS, [1, 6, 1], [3, 1, 4]])
def test_images_are_interpolated_between_pixels(kind, dims):
    layer = made(kind, 4, input_dims=dims, num_inh=1)
    places = np.array([(-0.97, 0.3), (0.11, -0.7), (1, 1), (1.7, -3)])
    layer.arrays["positions"].assign(places.T)
    images, arrays = images_of(dims), arrays_of(layer)
    linear = at_places(images, dims, [places] * 4, arrays["weights"], arrays["biases"])
    expected = softplus(linear) * [1, 1, 1, -1]
    found = ops.convert_to_numpy(layer(images))
    np.testing.assert_allclose(found, expected, rtol=1e-10)
    pixels = (np.clip(places, -1, 1) + 1) / 2 * (np.array(dims[1:]) - 1)
    np.testing.assert_allclose(layer.pixels(), pixels)


def test_normalization_and_signs_concern_the_channels():
    layer = made("point", normalize_weights=1, pos_constraint=True)
    arrays = arrays_of(layer)
    weights = np.maximum(arrays["weights"], 0)
    weights /= np.maximum(np.linalg.norm(weights, axis=0), 1e-6)
    places = [arrays["positions"].T] * 4
    expected = at_places(images_of(DIMS), DIMS, places, weights, arrays["biases"])
    found = ops.convert_to_numpy(layer(images_of(DIMS), pre_activation=True))
    np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_interpolation_is_a_tent_around_the_place():
    places = np.linspace(-1, 1, 41)
    for size in (1, 2, 6):
        pixels = (places + 1) / 2 * (size - 1)
        tents = np.maximum(1 - np.abs(pixels[:, np.newaxis] - np.arange(size)), 0)
        found = interpolation(ops.convert_to_tensor(places), size)
        np.testing.assert_allclose(found, tents, atol=1e-14)


@pytest.mark.parametrize("place", [-3.0, -1.0, 0.0, 1.0, 1.5])
def test_positions_on_pixels_and_beyond_the_border_have_a_gradient(place):
    layer = made("point", 1, activation="lin", input_dims=[1, 5, 5])
    layer.arrays["positions"].assign([[place], [place]])
    layer.kernel.assign([[1.0]])
    image = np.add.outer(3 * np.arange(5.0), np.arange(5.0)).reshape(1, 25)
    with tf.GradientTape() as tape:
        value = layer(image)
    gradient = tape.gradient(value, layer.arrays["positions"].value)
    np.testing.assert_allclose(gradient[:, 0], [2, 6])  # 2 pixels for each half width


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_equal_central_differences(kind, training):
    layer = made(kind, regularizers={"l1": 0.1, "l2": 0.2}, normalize_weights=1)
    layer.kernel.assign(np.random.default_rng(2).normal(size=layer.kernel.shape))
    if not training and kind != "point":
        del layer.arrays["deviations"]  # they act while training only
    found = disagreement(layer, images_of(DIMS, 3), training=training)
    assert {"positions", "weights", "biases", "inputs"} <= set(found)
    assert ("deviations" in found) == (training and kind != "point")
    assert max(found.values()) < 1e-6, found


@pytest.mark.parametrize("kind", ["diagonal", "full"])
def test_positions_are_drawn_for_each_row_while_training(kind):
    layer = made(kind)
    key = np.array([11, 12], np.uint32)
    layer.source.key.assign(key)
    deviations = np.random.default_rng(5).normal(size=layer.arrays["deviations"].shape)
    layer.arrays["deviations"].assign(deviations)
    images, arrays = images_of(DIMS), arrays_of(layer)
    for draw in range(2):
        uniform = ops.convert_to_numpy(streams.uniform(key, np.uint32(draw), 48)).astype(float)
        normals = np.sqrt(-2 * np.log(1 - uniform[:24])) * np.cos(2 * np.pi * uniform[24:])
        places = np.zeros((4, 3, 2))
        for row, unit in np.ndindex(4, 3):
            pair = normals.reshape(4, 2, 3)[row, :, unit]
            own = deviations[:, unit]
            offset = own * pair if kind == "diagonal" else own.reshape(2, 2) @ pair
            places[row, unit] = arrays["positions"][:, unit] + offset
        linear = at_places(images, DIMS, places, arrays["weights"], arrays["biases"])
        found = ops.convert_to_numpy(layer(images, training=True))
        np.testing.assert_allclose(found, softplus(linear), rtol=1e-9)
    assert int(layer.source.draws) == 2
    layer(images)
    assert int(layer.source.draws) == 2


def test_normal_numbers_are_normal():
    draws = Draws()
    draws.build(None)
    draws.key.assign([5, 6])
    numbers = np.stack([draws.normal((50_000, 2), "float64") for _ in range(2)], axis=2)
    numbers = numbers.reshape(50_000, 4)
    error = 5 / np.sqrt(len(numbers))
    np.testing.assert_allclose(numbers.mean(axis=0), 0, atol=error)
    np.testing.assert_allclose(np.corrcoef(numbers.T), np.eye(4), atol=error)
    np.testing.assert_allclose((numbers**2).mean(axis=0), 1, atol=2 * error)
    np.testing.assert_allclose((numbers**4).mean(axis=0), 3, atol=10 * error)
    np.testing.assert_allclose((np.abs(numbers) > 1.96).mean(axis=0), 0.05, atol=error)


def test_start_values_are_drawn_after_the_weights():
    for source in (np.random.default_rng(4), np.random.RandomState(4)):
        layer = GaussianReadout(400, input_dims=DIMS, covariance="full", deviation=0.2)
        weights, biases, positions, deviations = layer.start_values(source)
        assert weights.shape == (2, 400) and not biases.any()
        assert [a.shape for a in (weights, biases, positions, deviations)] == list(
            layer.array_shapes()
        )
        assert np.abs(positions).max() <= 0.5
        assert 0.48 < positions.max() and positions.min() < -0.48
        assert np.array_equal(deviations[:, 0], [0.2, 0, 0, 0.2])
    again = np.random.RandomState(4)
    assert np.array_equal(again.normal(size=(2, 400), scale=0.1), weights)
    assert np.array_equal(again.uniform(-0.5, 0.5, (2, 400)), positions)


def test_positions_may_be_given():
    layer = PointReadout(2, positions=np.array([[0.5, -1], [0, 1]]), input_dims=DIMS)
    layer.build((None, 40))
    assert arrays_of(layer)["positions"].tolist() == [[0.5, 0], [-1, 1]]
    assert layer.pixels().tolist() == [[3, 0], [2, 3]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"positions": [[0, 0]]}, "one pair of numbers .x, y. for each of its 2 units"),
        ({"positions": [[0, 0], [0, 1.2]]}, "reach 1.2; they lie between -1 and 1"),
        ({"input_dims": [40, 1, 1]}, "its input has one pixel .dims .40, 1, 1.*'normal' layer"),
        ({"covariance": "round"}, "unknown covariance 'round'; allowed are diagonal, full"),
        ({"deviation": 0}, "deviation of a gaussian_readout layer is 0; it must be a number above"),
        ({"deviation": np.nan}, "deviation .* nan"),
        ({"regularizers": {"d2x": 1}}, "does not take the regularizer 'd2x'"),
        ({"normalize_weights": 2}, "normalization of a gaussian_readout layer is 2"),
    ],
)
def test_wrong_arguments_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        GaussianReadout(2, **{"input_dims": DIMS} | options).prepare()


@pytest.mark.parametrize("kind", KINDS)
def test_layers_are_made_again_from_their_arguments(kind):
    layer = made(kind, positions=[[0, 0.25], [1, -1], [0.5, 0.5]])
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(layer)))
    again = keras.saving.deserialize_keras_object(config)
    assert again.positions == layer.positions
    again.set_weights(layer.get_weights())
    assert np.array_equal(again(images_of(DIMS)), layer(images_of(DIMS)))


def test_a_plain_keras_model_trains_with_batches_of_any_size():
    model = keras.Sequential([keras.Input((40,)), GaussianReadout(3, input_dims=DIMS, seed=1)])
    model.compile(optimizer=keras.optimizers.SGD(0.1), loss="mse")
    before = arrays_of(model.layers[0])
    images = images_of(DIMS, 10).astype("float32")
    model.fit(images, np.ones((10, 3)), batch_size=4, epochs=2, verbose=0)
    after = arrays_of(model.layers[0])
    assert int(model.layers[0].source.draws) == 6
    assert all(np.abs(after[name] - before[name]).max() > 1e-6 for name in before)


def test_models_are_stored_with_their_positions(tmp_path):
    description = ffnetwork_params(
        input_dims=[1, 8, 8],
        layer_sizes=[2, 3, [1, 4, 4], [2, 4, 4], 3],
        layer_types=["biconv", "convsep", "conv_xy", "point_readout", "sampler"],
        act_funcs="softplus",
        conv_filter_widths=[3, 3, 3],
        verbose=False,
    )
    description["xy_out"] = [None, None, [[unit % 4, unit // 2] for unit in range(16)], None, None]
    description["covariance"] = [None] * 4 + ["full"]
    model = NDN(description, noise_dist="gaussian", tf_seed=2)
    images = np.random.default_rng(1).normal(size=(9, 64)).astype("float32")
    last = model.networks[0].layers[4]
    for name in ("positions", "deviations"):
        last.set_array(name, last.array(name) + np.float32(0.01))
    model.save_model(str(tmp_path / "points.ndnmod"))
    again = NDN.load_model(str(tmp_path / "points.ndnmod"))
    for name in ("positions", "deviations"):
        assert np.array_equal(again.networks[0].layers[4].array(name), last.array(name))
    assert np.array_equal(again.generate_prediction(images), model.generate_prediction(images))


SIZE, UNITS, ROWS = 12, 6, 400


def planted(channels=2, seed=0):
    """Smooth images, positions [pixel], and what units there see of them."""
    source = np.random.default_rng(seed)
    images = source.normal(size=(ROWS, SIZE, SIZE, channels))
    images = ndimage.gaussian_filter(images, (0, 2, 2, 0), mode="wrap")
    images = (images / images.std()).reshape(ROWS, -1)
    places = source.uniform(-0.8, 0.8, (UNITS, 2))
    weights = source.choice([-1, 1], (channels, UNITS)) * source.uniform(0.5, 2, (channels, UNITS))
    dims = [channels, SIZE, SIZE]
    responses = at_places(images, dims, [places] * ROWS, weights, 0.3)
    responses += source.normal(0, 0.1, responses.shape)
    return images, responses, (places + 1) / 2 * (SIZE - 1)


def squares(response, prediction, mask):
    return ops.sum(ops.square(response - prediction), axis=-1)


@pytest.mark.parametrize("kind", ["point_readout", "gaussian_readout"])
def test_planted_positions_are_found(kind):
    images, responses, pixels = planted()
    description = ffnetwork_params(
        input_dims=[2, SIZE, SIZE],
        layer_sizes=[UNITS],
        layer_types=[kind],
        act_funcs=["lin"],
        verbose=False,
    )
    model = NetworkModel(description)
    (result,) = fit(
        model,
        Data(images, responses),
        seeds=[0],
        epochs=60,
        batch_size=50,
        loss=squares,
        optimizer=Adam(learning_rate=0.02),
    )
    model.set_weights(result.weights)
    (layer,) = model.stack
    start = np.array(model.stack[0].start_values(streams.generator(0, streams.START_VALUES))[2])
    moved = np.abs(((start + 1) / 2 * (SIZE - 1)).T - pixels).max(axis=1)
    assert np.median(moved) > 2, "they start elsewhere"
    distances = np.linalg.norm(layer.pixels() - pixels, axis=1)
    # a unit may run away from its place while the sign of its weights is still the wrong one
    assert np.sum(distances < 0.15) >= UNITS - 1, distances
    if kind == "gaussian_readout":
        near = distances < 0.15
        deviations = np.abs(arrays_of(layer)["deviations"])
        assert deviations[:, near].max() < 0.03, "sure of its place"


ROW_SIZE = 5
STRENGTHS = np.array([1.0, -2.0, 0.5, 1.5])
# Images grow along the width, so that a unit of weight 1 at place p gives 2 p times the strength.
RAMPS = np.outer(STRENGTHS, np.arange(ROW_SIZE) - 2.0)


def ramp_model():
    """One unit that looks for its place; its weight is 1."""
    description = ffnetwork_params([1, ROW_SIZE, 1], [1], ["point_readout"], "lin", verbose=False)
    model = NDN(description, noise_dist="gaussian")
    layer = model.networks[0].layers[0]
    layer.weights[:] = 1
    layer.set_array("positions", [[0.2], [0.0]])
    wanted = model.fit_variables()
    assert wanted == [[{"weights": True, "biases": False, "positions": True}]]
    wanted[0][0]["weights"] = False
    return model, wanted


def place_of(model):
    return model.networks[0].layers[0].array("positions")[0, 0]


def places_by_adam(place, target, steps, rate):
    """Steps of Adam on the mean of (2 p r - 2 target r)^2, each put back to [-1, 1]."""
    first = second = 0.0
    for step in range(1, steps + 1):
        gradient = np.mean(STRENGTHS**2) * 8 * (place - target)
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        correction = np.sqrt(1 - 0.999**step) / (1 - 0.9**step)
        place = np.clip(place - rate * correction * first / (np.sqrt(second) + 1e-8), -1, 1)
    return place


def test_units_stay_within_the_image_and_come_back():
    model, wanted = ramp_model()
    options = {"learning_rate": 0.1, "batch_size": 4}
    place = 0.2
    for target, epochs in ((3.0, 40), (-0.5, 6)):
        responses = 2 * target * STRENGTHS[:, np.newaxis]
        trained = NDN.fit_together(
            [model],
            RAMPS,
            responses,
            opt_params={**options, "epochs_training": epochs},
            fit_variables=wanted,
            xla=False,
        )
        list(trained)
        place = places_by_adam(place, target, epochs, 0.1)
        assert place_of(model) == pytest.approx(place, abs=1e-5)
        assert (place == 1) == (target == 3)
    assert place < 0.6, "it returns at once"
    assert model.get_weights() == 1, "the weights rest where positions alone are trained"


def test_lbfgs_and_plain_keras_hold_units_within_the_image():
    model, wanted = ramp_model()
    responses = 6 * STRENGTHS[:, np.newaxis]
    model.train(RAMPS, responses, fit_variables=wanted, learning_alg="lbfgs", silent=True)
    assert place_of(model) == 1
    layer = PointReadout(1, input_dims=[1, ROW_SIZE, 1], positions=[[0.2, 0]], seed=1)
    plain = keras.Sequential([keras.Input((ROW_SIZE,)), layer])
    plain.compile(optimizer=keras.optimizers.SGD(0.1), loss="mse")
    layer.kernel.assign([[1.0]])
    plain.fit(RAMPS, responses, epochs=2, verbose=0)
    assert arrays_of(layer)["positions"][0] == 1


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        ({"weights": True, "postions": True}, "'postions'.* Did you mean 'positions'"),
        ({"positions": True}, "must be a dict with weights, biases, positions"),
        (True, "fit_variables has True for a point_readout layer"),
    ],
)
def test_what_is_trained_of_a_layer_goes_by_the_names_of_its_arrays(entry, sentence):
    model, _ = ramp_model()
    with pytest.raises(ValueError, match=sentence):
        model.train(RAMPS, RAMPS[:, :1], fit_variables=[[entry]])
    old = [[{"weights": False, "biases": True}]]  # without a word about positions
    assert trained_parts.free_variables(model.keras_model, old) == [False, True, False]
