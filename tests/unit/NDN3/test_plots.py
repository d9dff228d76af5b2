"""Plots: what is drawn, on which scale, in how many axes; names; wrong arguments."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import plotted_models
import pytest
from matplotlib import pyplot
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse, FancyBboxPatch
from PIL import Image
from plotted_models import model_of

from NDN3 import NDNutils, filter_views, plots
from NDN3.NDN import NDN
from NDN3.NDNutils import ffnetwork_params
from NDN3.pixel_mapping import SparseMapping, sparse_mapping
from NDN3.plots_diagram import layout


@pytest.fixture(autouse=True)
def nothing_left_behind():
    """Settings stay as they were; figures of a test are closed."""
    before = dict(pyplot.rcParams)
    yield
    pyplot.close("all")
    assert dict(pyplot.rcParams) == before


@pytest.fixture(scope="module")
def dog_model():
    return plotted_models.dog_model()


@pytest.fixture(scope="module")
def readout_model():
    return plotted_models.readout_model()


@pytest.fixture(scope="module")
def side_model():
    return plotted_models.side_model()


def pixels_of(ax, number=0):
    return np.asarray(ax.images[number].get_array())


def random_filters(*shape):
    return np.random.default_rng(0).normal(size=shape)


# ---- plots of filters -------------------------------------------------------------------------


def test_spatial_filters_share_one_symmetric_gray_scale():
    filters = random_filters(4, 6, 1, 7)
    axes = plots.plot_filters(filters)
    assert axes.shape == (7, 1)
    for unit, ax in enumerate(axes[:, 0]):
        np.testing.assert_array_equal(pixels_of(ax), filters[:, :, 0, unit])
        assert ax.images[0].get_clim() == (-np.abs(filters).max(), np.abs(filters).max())
        assert ax.images[0].get_cmap().name == "gray"
        assert ax.get_title() == f"unit {unit}"
    assert axes[0, 0].figure.axes[-1].get_ylabel() == "weight"


def test_each_filter_on_its_own_scale_and_only_some_units():
    filters = random_filters(4, 6, 1, 7)
    axes = plots.plot_filters(filters, units=[5, 2], common_scale=False)
    assert [ax.get_title() for ax in axes[:, 0]] == ["unit 5", "unit 2"]
    limit = np.abs(filters[..., 5]).max()
    assert axes[0, 0].images[0].get_clim() == (-limit, limit)
    assert axes[1, 0].images[0].get_clim()[1] == np.abs(filters[..., 2]).max()
    assert len(axes[0, 0].figure.axes) == 2  # no scale that would be wrong for the others


def test_space_time_filters_have_lags_downwards():
    filters = random_filters(6, 3, 2)  # W, lags, units
    axes = plots.plot_filters(filters)
    np.testing.assert_array_equal(pixels_of(axes[1, 0]), filters[:, :, 1].T)
    corner = [ax for ax in axes.ravel() if ax.get_xlabel()]
    assert [(ax.get_xlabel(), ax.get_ylabel()) for ax in corner] == [("x [pixel]", "lag [row]")]


def test_filters_of_one_dimension_are_curves():
    filters = random_filters(5, 3)
    axes = plots.plot_filters(filters, dims=[5, 1, 1])
    np.testing.assert_array_equal(axes[2, 0].lines[-1].get_ydata(), filters[:, 2])


def test_filters_of_channels_have_an_image_for_each():
    filters = random_filters(4, 6, 3, 2)
    axes = plots.plot_filters(filters)
    assert axes.shape == (2, 3)
    np.testing.assert_array_equal(pixels_of(axes[1, 2]), filters[:, :, 2, 1])
    assert axes[1, 2].get_title() == "unit 1, channel 2"


def test_filters_of_a_model_in_given_axes(dog_model):
    own = Figure().subplots(1, 5)
    axes = plots.plot_filters(dog_model, axes=own)
    assert list(axes[:, 0]) == list(own)
    assert len(own[0].figure.axes) == 5  # nothing is added to a figure that is not its own
    np.testing.assert_array_equal(
        pixels_of(own[3]), filter_views.shaped_filters(dog_model)[:, :, 0, 3]
    )


def test_filters_of_zeros_have_a_scale():
    axes = plots.plot_filters(np.zeros((2, 2, 1, 1)))
    assert axes[0, 0].images[0].get_clim() == (-1, 1)


def test_3dfilters_show_the_best_lag_and_two_courses():
    filters = 0.1 * random_filters(5, 4, 6, 2)
    filters[1, 3, 2, 0], filters[4, 0, 2, 0] = 3.0, -2.0
    axes = plots.plot_3dfilters(filters, lag_ms=10)
    image, course = axes[0]
    np.testing.assert_array_equal(pixels_of(image), filters[:, :, 2, 0])
    assert image.get_title() == "unit 0, 20 ms"
    assert [line.get_xydata().tolist() for line in image.lines] == [[[3, 1]], [[0, 4]]]
    positive, negative = course.lines[-2:]
    np.testing.assert_array_equal(positive.get_ydata(), filters[1, 3, :, 0])
    np.testing.assert_array_equal(negative.get_ydata(), filters[4, 0, :, 0])
    np.testing.assert_allclose(positive.get_xdata(), [0, 10, 20, 30, 40, 50])
    assert positive.get_linestyle() != negative.get_linestyle()
    assert axes[1, 1].get_ylim() == course.get_ylim()
    ((image, course),) = plots.plot_3dfilters(filters[..., ::-1], units=[1])
    assert image.get_title() == "unit 1, lag 2"
    np.testing.assert_array_equal(course.lines[-1].get_ydata(), filters[4, 0, :, 0])


def test_masks_beside_features(readout_model):
    features, masks = filter_views.separable_parts(readout_model.networks[0].layers[1])
    axes = plots.plot_masks(readout_model, units=[2, 0])
    assert axes.shape == (2, 2)
    heights = [bar.get_height() for bar in axes[0, 0].patches]
    np.testing.assert_allclose(heights, features[:, 2], rtol=1e-6)
    np.testing.assert_array_equal(pixels_of(axes[0, 1]), masks[:, :, 2])
    limit = np.abs(masks[:, :, 2]).max()
    np.testing.assert_allclose(axes[0, 1].images[0].get_clim(), (-limit, limit))


# ---- matrices ---------------------------------------------------------------------------------


def test_internal_weights_mark_inhibitory_units(dog_model):
    dog_model.networks[0].layers[1].weights = np.abs(random_filters(5, 3))
    ax = plots.plot_internal_weights(dog_model)
    np.testing.assert_array_equal(pixels_of(ax), dog_model.networks[0].layers[1].weights)
    assert [line.get_ydata()[0] for line in ax.lines] == [2.5]  # two of five rows below it
    weights = random_filters(4, 6)
    ax = plots.plot_internal_weights(weights, num_inh=1, ax=Figure().subplots())
    assert [line.get_xdata()[0] for line in ax.lines] == [4.5]
    assert ax.images[0].get_clim() == (-np.abs(weights).max(), np.abs(weights).max())


@pytest.mark.parametrize(
    ("dims", "shape", "labels", "entry"),
    [
        ([2, 3, 1], (2, 3), ("x [pixel]", "channel"), (1, 2)),
        ([1, 3, 2], (2, 3), ("x [pixel]", "y [pixel]"), (1, 2)),
        ([3, 1, 2], (2, 3), ("channel", "y [pixel]"), (1, 2)),
    ],
)
def test_2dweights_of_flat_arrays(dims, shape, labels, entry):
    weights = np.arange(6.0)
    ax = plots.plot_2dweights(weights, dims, num_inh=1)
    assert pixels_of(ax).shape == shape
    assert pixels_of(ax)[entry] == 5
    assert (ax.get_xlabel(), ax.get_ylabel()) == labels
    assert pixels_of(ax)[0, 1] == (2 if dims == [2, 3, 1] else 1)
    assert [line.get_ydata()[0] for line in ax.lines] == [0.5]


def test_2dweights_of_a_matrix():
    weights = random_filters(3, 4)
    np.testing.assert_array_equal(pixels_of(plots.plot_2dweights(weights)), weights)


def test_side_network_shows_strengths_and_shares(side_model):
    levels = filter_views.side_weights(side_model)
    axes = plots.side_network_analyze(side_model)
    assert axes.shape == (2,)
    expected = np.sqrt((levels[1] ** 2).sum(axis=(0, 1)))
    np.testing.assert_allclose(pixels_of(axes[1]), expected, rtol=1e-6)
    share = (levels[0] ** 2).sum() / sum((level**2).sum() for level in levels)
    assert axes[0].get_title() == f"layer 0: {100 * share:.0f} %"


def test_side_network_shows_the_images_of_one_unit(side_model):
    levels = filter_views.side_weights(side_model)
    axes = plots.side_network_analyze(side_model, unit=4)
    image = pixels_of(axes[0])  # three channels in two rows, a gap between
    assert image.shape == (4 + 1 + 4, 5 + 1 + 5)
    np.testing.assert_array_equal(image[:4, :5], levels[0][:, :, 0, 4])
    np.testing.assert_array_equal(image[:4, 6:], levels[0][:, :, 1, 4])
    np.testing.assert_array_equal(image[5:, :5], levels[0][:, :, 2, 4])
    assert np.ma.getmaskarray(np.ma.masked_invalid(image))[4].all()


# ---- models -----------------------------------------------------------------------------------


def test_sparse_mapping_shows_changes_of_both_signs():
    baseline = np.array([0.0, 2.0])
    on, off = random_filters(2, 4, 5, 3, 2)
    mapping = SparseMapping(on, off, baseline)
    axes = plots.plot_sparse_mapping(mapping, units=[1], channel=2)
    assert axes.shape == (1, 2)
    for ax, responses, sign in zip(axes[0], (on, off), "+−", strict=True):
        np.testing.assert_array_equal(pixels_of(ax), responses[:, :, 2, 1] - 2)
        assert ax.get_title() == f"unit 1, {sign}"
        limit = max(np.abs(on[:, :, 2, 1] - 2).max(), np.abs(off[:, :, 2, 1] - 2).max())
        assert ax.images[0].get_clim() == (-limit, limit)


def test_positions_and_spreads_of_gaussian_readouts():
    model = model_of(
        {
            "input_dims": [2, 9, 5],
            "layer_sizes": [2],
            "layer_types": ["gaussian_readout"],
        }
    )
    layer = model.networks[0].layers[0]
    layer.set_array("positions", [[0.0, 0.5], [-1.0, 1.5]])
    layer.set_array("deviations", [[0.25, 0.5], [0.5, 1.0]])
    ax = plots.plot_positions(model)
    (points,) = ax.lines
    np.testing.assert_allclose(points.get_xydata(), [[4, 0], [6, 4]])
    ellipses = [patch for patch in ax.patches if isinstance(patch, Ellipse)]
    sides = [sorted([ellipse.width, ellipse.height]) for ellipse in ellipses]
    np.testing.assert_allclose(sides, [[2, 2], [4, 4]], rtol=1e-6)
    assert ax.get_xlim() == (-0.5, 8.5)
    assert ax.get_ylim() == (4.5, -0.5)  # rows count downwards
    assert [text.get_text() for text in ax.texts] == ["0", "1"]


def test_ellipse_of_a_full_covariance():
    description = ffnetwork_params([1, 5, 5], [1], ["gaussian_readout"], verbose=False)
    layer = NDN(description | {"covariance": ["full"]}).networks[0].layers[0]
    turned = np.sqrt(0.5) * np.array([[1, -1], [1, 1]]) @ np.diag([0.5, 0.1])
    layer.set_array("deviations", turned.reshape(4, 1))
    (ellipse,) = plots.plot_positions(layer).patches
    np.testing.assert_allclose([ellipse.width, ellipse.height], [2.0, 0.4], rtol=1e-5)
    assert ellipse.angle % 180 == pytest.approx(45)


def test_ellipses_in_an_image_that_is_not_square():
    description = ffnetwork_params([1, 9, 5], [6], ["gaussian_readout"], verbose=False)
    layer = NDN(description | {"covariance": ["full"]}).networks[0].layers[0]
    matrices = random_filters(6, 2, 2)
    layer.set_array("deviations", matrices.reshape(6, 4).T)
    ellipses = plots.plot_positions(layer).patches
    for matrix, ellipse in zip(np.diag([4, 2]) @ matrices, ellipses, strict=True):
        x, y = np.cos(np.radians(ellipse.angle)), np.sin(np.radians(ellipse.angle))
        axes = np.array([[x, -y], [y, x]]) * (ellipse.width / 2, ellipse.height / 2)
        np.testing.assert_allclose(axes @ axes.T, matrix @ matrix.T, rtol=1e-4, atol=1e-4)


def test_positions_of_arrays_and_centers_over_an_image(dog_model):
    image = random_filters(6, 7)
    ax = plots.plot_positions(dog_model, layer_target=0, image=image, numbers=False)
    layer = dog_model.networks[0].layers[0]
    np.testing.assert_array_equal(pixels_of(ax), image)
    centers = layer.keras_layer.centers(layer.weights)
    np.testing.assert_array_equal(ax.lines[0].get_xydata(), centers)
    ax = plots.plot_positions([[1, 2], [3, 0]], dims=[1, 5, 4])
    np.testing.assert_array_equal(ax.lines[0].get_xydata(), [[1, 2], [3, 0]])


def test_diagram_has_a_box_for_each_layer_and_input(side_model):
    ax = plots.display_model(side_model)
    boxes = [patch for patch in ax.patches if isinstance(patch, FancyBboxPatch)]
    assert len(boxes) == 4
    texts = [text.get_text() for text in ax.texts if text.get_text()]
    assert "input 0\n[1, 5, 4]" in texts
    assert "net0L0 conv\n3 units, relu\n[3, 5, 4]" in texts
    assert "net1L0 normal\n6 units, relu\n[6, 1, 1]" in texts
    _, arrows = layout(side_model)
    assert set(arrows) == {
        (("input", 0), ("layer", 0, 0), False),
        (("layer", 0, 0), ("layer", 0, 1), False),
        (("layer", 0, 0), ("layer", 1, 0), True),
        (("layer", 0, 1), ("layer", 1, 0), True),
    }


def test_boxes_of_a_diagram_do_not_overlap_and_arrows_lead_up():
    stream = {"input_dims": [1, 4, 4], "layer_sizes": [2, 3], "layer_types": ["conv", "normal"]}
    reader = {"xstim_n": None, "layer_types": ["normal"], "layer_sizes": [3]}
    model = model_of(
        {**stream, "conv_filter_widths": [3, None]},
        {**stream, "conv_filter_widths": [3, None], "xstim_n": 1},
        {**reader, "ffnet_n": [0, 1]},
        {**reader, "ffnet_n": 0},
        {**reader, "ffnet_n": 0},
        {**reader, "ffnet_n": [2, 3, 4]},
        ffnet_out=[5, 1],
    )
    boxes, arrows = layout(model)
    places = list(boxes.values())
    for number, one in enumerate(places):
        for other in places[:number]:
            assert abs(one.x - other.x) > 3.2 or abs(one.y - other.y) > 1.0
    assert all(boxes[start].y < boxes[end].y for start, end, _ in arrows)
    assert {start for start, end, _ in arrows if end == ("layer", 3, 0)} == {("layer", 0, 1)}
    assert {key for key, box in boxes.items() if box.gives} == {("layer", 5, 0), ("layer", 1, 1)}


def test_gif_has_the_frames(tmp_path):
    frames = np.zeros((3, 4, 6))
    frames[0, 0, 0], frames[1, 3, 5], frames[2, 0, 5] = 2.0, -2.0, 1.0
    path = plots.make_gif(frames, tmp_path / "new" / "x.gif", fps=5)
    assert [file.name for file in path.parent.iterdir()] == ["x.gif"]
    with Image.open(path) as found:
        assert found.n_frames == 3
        assert found.info["duration"] == 200
        for number, (row, column, shade) in enumerate([(0, 0, 255), (3, 5, 0), (0, 5, 191)]):
            found.seek(number)
            gray = np.asarray(found.convert("L"), dtype=int)
            side = gray.shape[0] // 4
            middle = gray[side // 2 :: side, side // 2 :: side]
            assert abs(middle[row, column] - shade) <= 2
            assert abs(np.median(middle) - 127) <= 2


# ---- names and wrong arguments ----------------------------------------------------------------


def test_plots_have_their_names_in_ndnutils():
    assert set(NDNutils.PLOTS) == set(plots.__all__)
    assert NDNutils.plot_filters is plots.plot_filters
    assert {"plot_filters", "ffnetwork_params"} <= set(dir(NDNutils))
    with pytest.raises(AttributeError, match="plot_nothing"):
        _ = NDNutils.plot_nothing


def test_ndnutils_loads_matplotlib_only_for_plots():
    program = (
        "import sys\nfrom NDN3 import NDNutils\nbefore = 'matplotlib' in sys.modules\n"
        "NDNutils.plot_filters\n"
        "sys.exit(before or 'matplotlib' not in sys.modules or 'keras' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


@pytest.mark.parametrize(
    ("call", "part"),
    [
        (lambda: plots.plot_filters(np.zeros((4, 3))), "dims=\\[C, W, H\\]"),
        (lambda: plots.plot_filters(np.zeros((4, 3)), dims=[5, 1, 1]), "4 rows"),
        (lambda: plots.plot_filters("all"), "array of numbers"),
        (lambda: plots.plot_filters(np.full((2, 2, 1, 1), np.nan)), "NaN"),
        (lambda: plots.plot_filters(np.zeros((2, 2, 1, 3)), units=[3]), "units"),
        (lambda: plots.plot_filters(np.zeros((2, 2, 1, 3)), columns=0), "columns"),
        (lambda: plots.plot_filters(np.zeros((2, 2, 1, 3)), common_scale=1), "common_scale"),
        (lambda: plots.plot_filters(np.zeros((2, 2, 1, 3)), axes=[1, 2, 3]), "axes"),
        (lambda: plots.plot_filters(np.zeros((2, 2, 1, 3)), axes=[]), "3 axes"),
        (lambda: plots.plot_3dfilters(np.zeros((2, 2, 1, 3))), "Use plot_filters"),
        (lambda: plots.plot_3dfilters(np.zeros((2, 2, 4, 3)), lag_ms=0), "lag_ms"),
        (lambda: plots.plot_masks(np.zeros((2, 2))), "must be an NDN"),
        (lambda: plots.plot_internal_weights(np.zeros(3)), "must be a matrix"),
        (lambda: plots.plot_internal_weights(np.eye(3), num_inh=4), "num_inh"),
        (lambda: plots.plot_internal_weights(np.eye(3), num_inh_before=-1), "num_inh_before"),
        (lambda: plots.plot_2dweights(np.zeros(3)), "input_dims"),
        (lambda: plots.plot_2dweights(np.zeros(8), [2, 2, 2]), "one of them must be 1"),
        (lambda: plots.plot_2dweights(np.eye(3), num_inh=4), "num_inh"),
        (lambda: plots.plot_2dweights(np.eye(3), ax="left"), "one axis"),
        (lambda: plots.display_model(3), "must be an NDN"),
        (lambda: plots.plot_sparse_mapping(np.zeros(3)), "sparse_mapping"),
        (lambda: plots.plot_positions(np.zeros((3, 2))), "dims"),
        (lambda: plots.make_gif(np.zeros((3, 3)), "x.gif"), "frames, height, width"),
        (lambda: plots.make_gif(np.zeros((3, 3, 3)), "x.png"), ".gif"),
        (lambda: plots.make_gif(np.zeros((3, 3, 3)), "x.gif", fps=0), "fps"),
        (lambda: plots.make_gif(np.zeros((3, 3, 3)), "x.gif", limits=3), "limits"),
        (lambda: plots.make_gif(np.zeros((3, 3, 3)), "x.gif", limits=(1, 1)), "limits"),
    ],
)
def test_wrong_arrays(call, part):
    with pytest.raises(ValueError, match=part):
        call()


def test_wrong_layers(dog_model, side_model):
    for call, part in (
        (lambda: plots.plot_masks(dog_model), "only sep"),
        (lambda: plots.plot_filters(dog_model, layer_target=2), "layer_target"),
        (lambda: plots.plot_filters(dog_model, ffnet_target=1), "ffnet_target"),
        (lambda: plots.plot_positions(dog_model), "no place of their own"),
        (lambda: plots.plot_positions(dog_model, layer_target=0, image=np.eye(3)), "image"),
        (lambda: plots.side_network_analyze(dog_model), "no side network"),
        (lambda: plots.side_network_analyze(side_model, unit=6), "units"),
        (lambda: sparse_mapping(dog_model, size=0), "size"),
        (lambda: sparse_mapping(dog_model, stream=1), "stream"),
        (lambda: sparse_mapping(dog_model, background=np.nan), "background"),
    ):
        with pytest.raises(ValueError, match=part):
            call()


def test_the_guide_draws_what_was_planted(tmp_path, monkeypatch):
    guide = (Path(__file__).parents[3] / "docs/how-to/plot-a-model.md").read_text()
    (program,) = re.findall(r"^```python\n(.*?)^```", guide, flags=re.S | re.M)
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(compile(program, "plot-a-model.md", "exec"), names)  # noqa: S102
    assert [path.name for path in tmp_path.iterdir()] == ["filters.png"]
    for unit in range(2):
        pair = names["planted"][:, :, 0, unit].ravel(), pixels_of(names["axes"][unit, 0]).ravel()
        assert np.corrcoef(*pair)[0, 1] > 0.9
    listed = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| `[^|]*", guide, flags=re.M))))
    assert listed == set(plots.__all__)
