"""Pages of reference list what the code has: every flag, state, field and parameter, no other."""

import argparse
import ast
import inspect
import re
from pathlib import Path

import pytest

from NDN3 import NDNutils, descriptions, layers
from utils import data, environments, experiment_flags, jobs, network, registry, runners, states

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference"


def section(page, heading):
    """Text of a page below a heading."""
    text = (REFERENCE / page).read_text()
    found = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", text, flags=re.M | re.S)
    assert found, f"{page} has no heading {heading}"
    return found[1]


def rows(text):
    """Cells of the rows of all tables of a text; the heads are left out."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[c.strip() for c in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    rules = [i for i, row in enumerate(cells) if set("".join(row)) <= set("-: ")]
    heads = {*rules, *(i - 1 for i in rules)}
    return [row for i, row in enumerate(cells) if i not in heads]


def codes(cell):
    return re.findall(r"`([^`]+)`", cell)


def flags_of(parser):
    return {
        name for action in parser._actions for name in action.option_strings if name[:2] == "--"
    }


def flags_in(text):
    """Flags in the first column of a table."""
    return {code.split()[0] for row in rows(text) for code in codes(row[0])}


# ---------------------------------------------------------------------------- commands.md


def test_the_targets_of_make():
    makefile = (ROOT / "Makefile").read_text()
    there = set(re.findall(r"^([\w-]+):.*## ", makefile, flags=re.M))
    listed = {c for row in rows(section("commands.md", "make")) for c in codes(row[0])}
    assert {name for name in listed if "=" not in name} == there
    for name in (name for name in listed if "=" in name):
        assert name.partition("=")[0] in makefile


def test_the_flags_of_an_experiment():
    known = {f"--{name}" for name in (*experiment_flags.VALUES, *experiment_flags.SWITCHES)}
    assert flags_in(section("commands.md", "An experiment")) == {*known, "--help"}


def test_the_flags_of_a_runner():
    text = section("commands.md", "A runner")
    assert flags_in(text) == flags_of(runners._parser("program"))
    for name in (*environments.ENVIRONMENTS, *environments.ALIASES):
        assert f"`{name}`" in text


def test_the_commands_and_flags_of_runs():
    parser = jobs._parser()
    (commands,) = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    listed = {}
    for row in rows(section("commands.md", "runs")):
        name = codes(row[0])[0].split()[1]
        listed[name] = {flag for cell in row for flag in re.findall(r"`(--[\w-]+)", cell)}
    there = {name: flags_of(sub) - {"--help"} for name, sub in commands.choices.items()}
    assert listed == there


@pytest.mark.parametrize(
    "name", ["BENCH_DATA", "BENCH_RESULTS", "BENCH_ENGINE", "QUEUES", "XDG_CACHE_HOME"]
)
def test_the_variables_are_read(name):
    assert f"`{name}`" in section("commands.md", "Others")
    code = [*(ROOT / "utils").glob("*.py"), *(ROOT / "NDN3").glob("*.py")]
    assert any(name in path.read_text() for path in code)


# ---------------------------------------------------------------------------- states.md


def test_the_states_of_a_run_and_of_a_repetition():
    text = (REFERENCE / "states.md").read_text()
    runs, repetitions = text.split("| State of a repetition |")
    assert {code for row in rows(runs) for code in codes(row[0])} == set(states.STATES)
    for name, meaning in states.STATES.items():
        row = next(row for row in rows(runs) if codes(row[0]) == [name])
        assert row[1].startswith(meaning), f"{name}: {meaning}"
    listed = {code for row in rows(f"| State |{repetitions}") for code in codes(row[0])}
    assert listed == {*registry.ENDED, "running", "failed", "interrupted", "unreadable"}


# ---------------------------------------------------------------------------- v1-parameters.md


def parameters(heading):
    """Name -> default as it is written, of the tables below a heading."""
    found = {}
    for row in rows(section("v1-parameters.md", heading)):
        for name in codes(row[0]):
            found[name] = next(iter(codes(row[1])), None)
    return found


def defaults(function, leave_out=()):
    return {
        name: None if parameter.default is inspect.Parameter.empty else repr(parameter.default)
        for name, parameter in inspect.signature(function).parameters.items()
        if name not in leave_out and parameter.kind is not inspect.Parameter.VAR_KEYWORD
    }


def as_written(found):
    return {
        name: None if value is None else value.replace("'", '"') for name, value in found.items()
    }


def test_the_parameters_of_data_network_and_training():
    assert parameters("data.load_regions") == as_written(defaults(data.load_regions))
    assert parameters("network.build") == as_written(defaults(network.build))
    objects = ("models", "training", "validation", "repetitions")
    assert parameters("network.train") == as_written(defaults(network.train, objects))


def test_the_parameters_of_a_description():
    listed = parameters("ffnetwork_params")
    further = {"weights_initializers", "biases_initializers", *layers.OWN_KEYS}
    there = as_written(defaults(NDNutils.ffnetwork_params))
    assert {name: value for name, value in listed.items() if name not in further} == there
    assert further <= set(descriptions.KEYS) and further <= set(listed)
    types = next(row[2] for row in rows(section("v1-parameters.md", "ffnetwork_params"))
                 if codes(row[0]) == ["layer_types"])  # fmt: skip
    assert set(codes(types)) == set(layers.LAYERS)


def test_the_options_of_training():
    # read and not imported, which would load TensorFlow
    tree = ast.parse((ROOT / "NDN3" / "training_options.py").read_text())
    constants = {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and node.targets[0].id in ("DEFAULTS", "LEGACY_DEFAULTS")
    }
    written = rows(section("v1-parameters.md", "Options of training"))
    assert {codes(row[0])[0]: codes(row[1])[0] for row in written} == as_written(
        {name: repr(value) for name, value in constants["DEFAULTS"].items()}
    )
    legacy = {codes(row[0])[0]: codes(row[2])[0] for row in written if row[2]}
    assert legacy == {name: repr(value) for name, value in constants["LEGACY_DEFAULTS"].items()}
