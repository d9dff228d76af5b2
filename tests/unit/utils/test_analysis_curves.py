"""Percentiles behind learning curves, and what the drawing of them shows."""

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot
from matplotlib.colors import to_hex

from utils import analysis_curves, analysis_metrics, analysis_style, paths

TAG = "loss/correlation/correlation"


@pytest.fixture(autouse=True)
def close_figures():
    yield
    pyplot.close("all")


def curves(values, tag=TAG, **columns):
    """One run: values (repetitions, steps), at the steps 0, 99, 199, …"""
    rows = []
    for index, of_repetition in enumerate(values):
        for place, value in enumerate(of_repetition):
            step = max(100 * place - 1, 0)
            rows.append({"Step": step, "Run": index, "Value": value, "Tag": tag, **columns})
    return pd.DataFrame(rows)


def run(number, values, **arguments):
    described = {"exp_folder": "demo", "exp": "grid", "run": number, "name": f"grid_{number}"}
    return curves(values, **described, **arguments)


def test_percentiles_of_one_to_ten():
    values = np.arange(1.0, 11)[:, None] * [1, 10]
    table = analysis_curves.percentiles(run(0, values))
    assert list(table.columns) == ["model", "Step", "10th", "median", "90th", "count"]
    expected = [[1.9, 5.5, 9.1], [19, 55, 91]]
    np.testing.assert_allclose(table[["10th", "median", "90th"]], expected, rtol=1e-12)
    assert table["Step"].tolist() == [0, 99]
    assert table["count"].tolist() == [10, 10]
    np.testing.assert_allclose(analysis_metrics.percentiles(values[:, 0], (25, 75)), [3.25, 7.75])


def test_models_by_columns_in_their_order():
    table = pd.concat(
        [
            run(0, [[0.5]], filters=9, hidden=0.2),
            run(1, [[0.25], [0.75]], filters=4, hidden=0.2),
            run(2, [[0.125]], filters=9, hidden=0.1),
        ]
    )
    by_filters = analysis_curves.percentiles(table, "filters")
    assert by_filters["model"].tolist() == ["filters 4", "filters 9"]
    assert by_filters["median"].tolist() == [0.5, 0.3125]
    by_both = analysis_curves.percentiles(table, ["filters", "hidden"])
    assert by_both["model"].tolist() == [
        "filters 4, hidden 0.2",
        "filters 9, hidden 0.1",
        "filters 9, hidden 0.2",
    ]
    by_run = analysis_curves.percentiles(table)
    assert by_run["model"].tolist() == ["grid_0", "grid_1", "grid_2"]


def test_runs_in_the_order_of_their_numbers_and_told_apart():
    table = pd.concat([run(n, [[0.5]]) for n in (10, "hand-0a1b2c", 9)], ignore_index=True)
    assert analysis_curves.percentiles(table)["model"].tolist() == [
        "grid_9", "grid_10", "grid_hand-0a1b2c",
    ]  # fmt: skip
    table["name"] = "same"
    assert analysis_curves.percentiles(table)["model"].tolist() == [
        "same (gridx9)", "same (gridx10)", "same (gridxhand-0a1b2c)",
    ]  # fmt: skip


def test_limits_are_inclusive_and_broken_values_left_out():
    table = run(0, [[0.0, 0.25, 0.5, 1.0], [0.0, 0.75, np.nan, np.inf]])
    found = analysis_curves.percentiles(table, limit_steps=(99, 299))
    assert found["Step"].tolist() == [99, 199, 299]
    assert found["median"].tolist() == [0.5, 0.5, 1.0]
    assert found["count"].tolist() == [2, 1, 1]


def medians(ax):
    """Lines that have a name, which the dots at their ends have not."""
    return [line for line in ax.get_lines() if not line.get_label().startswith("_")]


def test_bands_show_the_percentiles():
    table = pd.concat([run(0, [[0.25, 0.5], [0.5, 1.0]]), run(1, [[0.125, 0.25]])])
    colors = analysis_style.colors(["grid_1", "grid_0"])
    ax = analysis_curves.bands(table, ceiling=1.25, references={"published": 0.375}, colors=colors)
    first, second, published, ceiling = medians(ax)
    np.testing.assert_allclose(first.get_xydata(), [[0, 0.375], [99, 0.75]])
    np.testing.assert_allclose(second.get_ydata(), [0.125, 0.25])
    assert to_hex(first.get_color()).upper() == analysis_style.COLORS[1]
    assert set(published.get_ydata()) == {0.375}
    assert set(ceiling.get_ydata()) == {1.25}
    band = ax.collections[0].get_paths()[0].vertices
    at_end = band[band[:, 0] == 99, 1]
    np.testing.assert_allclose([at_end.min(), at_end.max()], [0.55, 0.95])
    assert ax.get_xlabel() == "training epoch"
    assert ax.get_ylabel() == "mean validation correlation (Pearson r)"
    assert "1 to 2 repetitions" in ax.get_title(loc="left")
    assert {text.get_text() for text in ax.texts} == {
        "grid_0", "grid_1", "published", "noise ceiling 1.25",
    }  # fmt: skip


def test_a_label_is_tied_to_the_end_of_its_own_curve():
    table = pd.concat([run(0, [[0.1, 0.2]]), run(1, [[0.1, 0.2, 0.3, 0.4]])])
    short, long = analysis_curves.bands(table).texts
    assert (short.xy, long.xy) == ((99.0, 0.2), (299.0, 0.4))
    assert (short.arrow_patch.get_linestyle(), long.arrow_patch.get_linestyle()) == (":", "-")


@pytest.mark.parametrize(("start", "bottom"), [(0.0, 0.0), (-0.01, -0.01), (0.001, 0.0)])
def test_the_axis_begins_where_the_curves_do(start, bottom):
    ax = analysis_curves.bands(run(0, [[start, 0.5, 1.0]]))
    assert ax.get_ylim()[0] == pytest.approx(bottom)


def epochs_shown(ax):
    low, high = ax.get_xlim()
    return [tick for tick in ax.get_xticks() if low <= tick <= high]


def test_epochs_are_whole_numbers():
    rows = [{"Step": step, "Run": 0, "Value": step / 2, "Tag": TAG} for step in range(3)]
    described = {"exp_folder": "demo", "exp": "grid", "run": 0}
    ax = analysis_curves.bands(pd.DataFrame(rows).assign(**described))
    assert epochs_shown(ax) == [0, 1, 2]
    # the last of 500 epochs is number 499
    ax = analysis_curves.bands(run(0, [np.linspace(0, 1, 6)]))
    assert epochs_shown(ax) == [0, 100, 200, 300, 400, 500]


def test_labels_do_not_overlap_even_of_equal_curves():
    table = pd.concat([run(n, [[0.0, 0.5]], filters=n) for n in range(12)])
    ax = analysis_curves.bands(table, "filters", ceiling=0.5)
    ax.figure.canvas.draw()
    # the size of a text without the line that leads to it
    boxes = [super(type(text), text).get_window_extent() for text in ax.texts]
    boxes.sort(key=lambda box: box.y0)
    assert len(boxes) == 13
    assert all(low.y1 <= high.y0 + 1 for low, high in zip(boxes, boxes[1:], strict=False))
    inside = ax.get_window_extent()
    assert boxes[0].y0 > inside.y0 - 10
    assert boxes[-1].y1 < inside.y1 + 10
    assert all(box.x0 > inside.x1 for box in boxes)


def test_bands_draw_into_the_given_axis():
    ax = pyplot.figure().add_subplot()
    assert analysis_curves.bands(run(0, [[0.5, 1.0]]), ax=ax) is ax
    assert len(pyplot.get_fignums()) == 1
    with pytest.raises(ValueError, match=r"limit_steps is \(1000, 2000\)"):
        analysis_curves.bands(run(0, [[0.5, 1.0]]), limit_steps=(1000, 2000))
    with pytest.raises(ValueError, match="no column depth"):
        analysis_curves.bands(run(0, [[0.5, 1.0]]), by="depth")


def test_axis_of_other_tags():
    ax = analysis_curves.bands(curves([[1.0]], tag="loss/cost", exp_folder="a", exp="b", run=0))
    assert "likelihood" in ax.get_ylabel()
    assert ax.texts[0].get_text() == "bx0"
    ax = analysis_curves.bands(curves([[1.0]], tag="mine", exp_folder="a", exp="b", run=0))
    assert ax.get_ylabel() == "mine"


def test_comparison_keeps_the_given_order():
    ax = analysis_curves.comparison({"z": curves([[0.5, 0.5]]), "a": curves([[0.25, 0.25]])})
    assert [text.get_text() for text in ax.texts] == ["z", "a"]
    assert [line.get_ydata()[0] for line in medians(ax)] == [0.5, 0.25]


def test_a_model_keeps_its_color():
    palette = analysis_style.colors(["a", "b", "a", "c"])
    assert list(palette) == ["a", "b", "c"]
    assert palette["c"] == analysis_style.COLORS[2]
    many = analysis_style.colors(range(21))
    assert len(set(many.values())) == 21
    assert [many[i] for i in range(7)] == list(analysis_style.COLORS)


# Machado, Oliveira & Fernandes 2009, IEEE TVCG 15(6), table 1: what a complete lack of one kind of
# cone does to linear red, green and blue
DICHROMACY = {
    "none": np.eye(3),
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
               [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
               [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602],
               [0.004733, 0.691367, 0.303900]],
}  # fmt: skip


def lab(linear):
    """CIE L*a*b* of linear sRGB, white D65."""
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    ratios = np.clip(linear, 0, 1) @ np.transpose(to_xyz) / [0.9505, 1.0, 1.089]
    x, y, z = np.where(ratios > 0.008856, np.cbrt(ratios), 7.787 * ratios + 16 / 116).T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)


@pytest.mark.parametrize("kind", DICHROMACY)
def test_colors_differ_for_every_kind_of_color_vision(kind):
    shown = [*analysis_style.COLORS, "#FFFFFF"]
    channels = np.array([[int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)] for c in shown])
    linear = np.where(channels > 0.04045, ((channels + 0.055) / 1.055) ** 2.4, channels / 12.92)
    seen = lab(linear @ np.transpose(DICHROMACY[kind]))
    distances = np.linalg.norm(seen[:, None] - seen, axis=2)
    # 2.3 is just noticeable side by side
    assert distances[np.triu_indices(len(seen), 1)].min() > 10


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ([1.0, 3.0], [1.0, 3.0]),
        ([2.0, 2.0], [1.5, 2.5]),
        ([3.0, 2.9, 0.0], [3.45, 2.45, 0.0]),
        ([0.0, 0.0, 0.0], [0.0, 1.0, 2.0]),
        ([], []),
    ],
)
def test_spread_of_labels(wanted, expected):
    np.testing.assert_allclose(analysis_style.spread(wanted, 1.0, low=0.0), expected)


def test_spread_is_the_nearest_arrangement():
    rng = np.random.default_rng(1)
    for _ in range(20):
        wanted = np.sort(rng.uniform(0, 4, 3))
        placed = analysis_style.spread(wanted, 1.0, 0.0, 4.0)
        grid = np.arange(0, 4.001, 0.05)
        a, b, c = np.meshgrid(grid, grid, grid, indexing="ij")
        allowed = (b - a >= 1 - 1e-9) & (c - b >= 1 - 1e-9)
        cost = (a - wanted[0]) ** 2 + (b - wanted[1]) ** 2 + (c - wanted[2]) ** 2
        assert ((placed - wanted) ** 2).sum() <= cost[allowed].min() + 1e-9
        assert (np.diff(placed) >= 1 - 1e-9).all()
    np.testing.assert_allclose(analysis_style.spread([1, 1, 1], 5.0, 0.0, 1.0), [0, 0.5, 1])


def test_figures_are_saved_as_png_and_pdf(bench_folders):
    ax = analysis_curves.bands(run(0, [[0.5, 1.0]]))
    files = analysis_style.save(ax.figure, "curves")
    assert [file.name for file in files] == ["curves.png", "curves.pdf"]
    assert {file.parent for file in files} == {paths.figures_dir()}
    assert files[0].read_bytes().startswith(b"\x89PNG")
    first = files[1].read_bytes()
    assert first.startswith(b"%PDF")
    again = analysis_curves.bands(run(0, [[0.5, 1.0]]))
    analysis_style.save(again.figure, "curves")
    assert files[1].read_bytes() == first, "the same figure is the same file"
    with pytest.raises(ValueError, match="plain file name"):
        analysis_style.save(ax.figure, "../curves")


def test_style_does_not_leak():
    before = dict(pyplot.rcParams)
    analysis_curves.bands(run(0, [[0.5, 1.0]]))
    assert dict(pyplot.rcParams) == before
