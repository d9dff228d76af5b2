"""The program of NDN3/README.md runs as printed and finds what it says; its tables are whole."""

import codeop
import re
from pathlib import Path

import keras
import numpy as np
import pytest

from NDN3 import NDNutils, layers, noise, regularization, training_options, vocabulary

README = Path(__file__).parents[3] / "NDN3" / "README.md"
TEXT = README.read_text()
MATHEMATICS = "docs/background/ndn3-mathematics.md"


@pytest.fixture(scope="module")
def tour(tmp_path_factory):
    """Names of the program after its end, what it printed, and the folder in which it ran."""
    folder = tmp_path_factory.mktemp("tour")
    blocks = re.findall(r"^```python\n(.*?)^```", TEXT, flags=re.S | re.M)
    printed, names = [], {"print": lambda *values: printed.append(" ".join(map(str, values)))}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("MPLBACKEND", "Agg")
        for block in blocks:
            exec(compile(block, README.name, "exec"), names)  # noqa: S102
    names["plt"].close("all")
    return names, printed, folder


def test_the_program_can_be_pasted_line_by_line():
    """Before Python 3.13 the prompt wants an empty line behind each indented block."""
    for block in re.findall(r"^```python\n(.*?)^```", TEXT, flags=re.S | re.M):
        waiting = []
        for line in [*block.splitlines(), ""]:
            waiting.append(line)
            if codeop.compile_command("\n".join(waiting), symbol="single") is not None:
                waiting = []
        assert not waiting


def test_the_hierarchy_finds_what_was_planted(tour):
    names, printed, _ = tour
    dense, hierarchy = (
        [
            np.corrcoef(*pair)[0, 1]
            for pair in zip(names["planted"], names["found"][key], strict=True)
        ]
        for key in ("dense", "hierarchy")
    )
    assert min(hierarchy) > 0.9 > np.mean(dense)
    scores = [float(re.search(r": ([\d.]+) bits", line)[1]) for line in printed[:5]]
    assert len(scores) == 5 and scores[-1] > scores[0], "the ensemble is better than pixels"
    assert scores[-1] > np.mean(scores[1:4]), "and better than its members on average"
    assert sorted(line[:6] for line in printed[1:4]) == ["seed 0", "seed 1", "seed 2"]


def test_the_cell_in_time_finds_what_was_planted(tour):
    names, printed, _ = tour
    assert np.corrcoef(names["in_time"], names["kernel"])[0, 1] > 0.95
    np.testing.assert_allclose(names["after_spikes"], [-2, -2, -2, 0, 0], atol=0.4)
    assert printed[-1].startswith("after a spike:")


def test_what_the_program_leaves_behind(tour):
    names, _, folder = tour
    left = ["cell.png", "ensemble.ndnmod", "filters.png", "model.ndnmod", "summaries"]
    assert sorted(path.name for path in folder.iterdir()) == left
    assert names["prediction"].shape == (500, 6)
    assert isinstance(names["plain"], keras.Sequential)


def first_column(heading):
    """Words in the first column of the table below a heading."""
    table = re.split(r"^#+ ", TEXT.split(f"# {heading}\n")[1], flags=re.M)[0]
    rows = re.findall(r"^\| ([^|]*)\|", table, flags=re.M)
    return [word for row in rows[1:] for word in re.findall(r"`(\w+)`", row)]


@pytest.mark.parametrize(
    ("heading", "words"),
    [
        ("Layers", layers.LAYERS),
        ("Likelihoods", noise.NOISE),
        ("Helpers", [*NDNutils.__all__, *NDNutils.PLOTS]),
    ],
)
def test_tables_have_all_words_once(heading, words):
    assert sorted(first_column(heading)) == sorted(words)


def test_all_regularizers_activations_and_options_are_named():
    # the two of parts stand in the row of the whole
    parts = {"norm2_filt", "norm2_space"}
    assert set(first_column("Penalties")) == set(vocabulary.REGULARIZERS) - parts
    said = re.findall(r"`(\w+)`", TEXT)
    assert parts | set(vocabulary.ACTIVATIONS) | set(layers.OWN_KEYS) <= set(said)
    options = {*training_options.DEFAULTS, *training_options.LBFGS_DEFAULTS}
    table = TEXT.split("## Options of training")[1].split("\n## ")[0]
    assert options <= set(re.findall(r"`(\w+)`", table))


def penalties_of_layers():
    """Last column of the table of layers, by layer, with "as `other`" looked up."""
    table = TEXT.split("## Layers\n")[1].split("\n### ")[0]
    rows = re.findall(r"^\| (`[^|]*)\|.*\| ([^|]*) \|$", table, flags=re.M)
    said = {name: last for first, last in rows[1:] for name in re.findall(r"`(\w+)`", first)}
    for name, last in said.items():
        other = re.fullmatch(r"as `(\w+)`", last)
        yield name, said[other[1]] if other else last


@pytest.mark.parametrize(("name", "said"), list(penalties_of_layers()))
def test_the_penalties_of_each_layer(name, said):
    taken = set(layers.layer_class(name).penalty_names)
    if said in ("all", "none"):
        assert taken == (set(regularization.GENERAL) if said == "all" else set())
    else:
        assert taken == set(re.findall(r"`(\w+)`", said))


def test_the_layers_without_dropout():
    without = {name for name in layers.LAYERS if not layers.layer_class(name).takes_dropout}
    differences = {name for name in layers.LAYERS if re.search("dog|gaussians", name)}
    assert without == {"spike_history", *differences}


def test_the_page_of_formulae_has_all_words():
    said = re.findall(r"`(\w+)`", (README.parents[1] / MATHEMATICS).read_text())
    words = {*layers.LAYERS, *vocabulary.REGULARIZERS, *vocabulary.ACTIVATIONS, *noise.NOISE}
    # convolved twins and parts of penalties stand with those that they belong to
    twins = {"conv_diff_of_gaussians", "conv_bounded_dog", "norm2_filt", "norm2_space"}
    assert words - twins <= set(said)
