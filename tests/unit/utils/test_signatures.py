import json
import textwrap

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils import signatures


@pytest.fixture
def script(tmp_path):
    """Writes an experiment file whose train function has these parameters."""

    def write(parameters, before="", call="experiment.main(train)"):
        path = tmp_path / "toy.py"
        text = f"from utils import experiment\n{before}\ndef train({parameters}):\n    pass\n"
        path.write_text(f"{text}\nif __name__ == '__main__':\n    {call}\n")
        return path

    return write


def test_names_types_and_defaults_are_read_in_order(script):
    path = script(
        "run, filters: int = 9, hidden: float = 1, kind='l1', regions: list[int] = [1, 2], "
        "legacy: bool = False, *, limit: int | None = None, size: int"
    )
    assert list(signatures.signature(path, "toy").items()) == [
        ("filters", (9, "int")),
        ("hidden", (1.0, "float")),
        ("kind", ("l1", "str")),
        ("regions", ([1, 2], "list[int]")),
        ("legacy", (False, "bool")),
        ("limit", (None, "int | None")),
        ("size", (signatures.REQUIRED, "int")),
    ]
    assert type(signatures.signature(path, "toy")["hidden"][0]) is float


def test_the_file_is_not_run(script):
    path = script("run, x: int = 1", before="raise SystemExit('imported')")
    assert list(signatures.signature(path, "toy")) == ["x"]


def test_defaults_may_be_constants_of_the_file(script):
    path = script("run, epochs: int = EPOCHS, rate: float = -1e-3", before="EPOCHS = 5_000")
    assert signatures.signature(path, "toy") == {
        "epochs": (5000, "int"),
        "rate": (-0.001, "float"),
    }


PARTS = textwrap.dedent(
    """
    from utils import experiment
    def train_9(run, filters: int = 9): ...
    def train_16(run, filters: int = 16, extra: bool = True): ...
    experiment.main({"bs1_exp1": train_9, "bs1_exp1_b": train_16})
    """
)


@pytest.mark.parametrize(
    "exp, names",
    [
        ("bs1_exp1", ["filters"]),
        ("bs1_exp1_b", ["filters", "extra"]),
        ("bs1_exp1_short", ["filters"]),
        ("bs1_exp1_b_legacy", ["filters", "extra"]),
    ],
)
def test_the_experiment_chooses_the_part(tmp_path, exp, names):
    path = tmp_path / "bs1.py"
    path.write_text(PARTS)
    assert list(signatures.signature(path, exp)) == names


def test_a_part_that_is_not_there_is_refused(tmp_path):
    path = tmp_path / "bs1.py"
    path.write_text(PARTS)
    with pytest.raises(ValueError, match=r"no part bs1_exq1.*Did you mean bs1_exp1\?"):
        signatures.signature(path, "bs1_exq1")


@pytest.mark.parametrize(
    "parameters, sentence",
    [
        ("run, *args", r"\*args"),
        ("run, **kwargs", r"\*\*kwargs"),
        ("", "takes no run"),
        ("run, x", "neither a type nor a default"),
        ("run, x=None", "neither a type nor a default"),
        ("run, x: int = f()", "default f()"),
        ("run, x: int = 1.5", "default 1.5, which is not a whole number"),
        ("run, x: ndarray = 1", "annotated ndarray"),
        ("run, resume: bool = False", "resume .* harness uses itself"),
        ("run, seed: int = 0", "seed .* harness uses itself"),
    ],
)
def test_what_cannot_be_a_flag_is_refused(script, parameters, sentence):
    with pytest.raises(ValueError, match=sentence):
        signatures.signature(script(parameters), "toy")


@pytest.mark.parametrize("call", ["pass", "experiment.main(other)", "experiment.main()"])
def test_a_file_hands_over_a_function_of_its_own(script, call):
    with pytest.raises(ValueError, match=r"experiment.main\(train\)"):
        signatures.signature(script("run", call=call), "toy")


def test_a_missing_or_broken_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="There is no experiment file .*toy.py"):
        signatures.signature(tmp_path / "toy.py", "toy")
    (tmp_path / "toy.py").write_text("def train(:\n")
    with pytest.raises(ValueError, match="toy.py is not valid Python .*line 1"):
        signatures.signature(tmp_path / "toy.py", "toy")


# values and texts


@pytest.mark.parametrize(
    "annotation, text, value",
    [
        ("int", "20_000", 20000),
        ("int", "-3", -3),
        ("float", "1e-3", 0.001),
        ("float", "1", 1.0),
        ("bool", "true", True),
        ("bool", "False", False),
        ("str", "1", "1"),
        ("str", "none", "none"),
        ("str | None", "none", None),
        ("str | None", "l1", "l1"),
        ("Optional[int]", "3", 3),
        ("Optional[int]", "null", None),
        ("typing.Union[int, float]", "3", 3),
        ("int | float", "3.5", 3.5),
        ("list", "[1,2]", [1, 2]),
        ("list[float]", "[1, 2.5]", [1.0, 2.5]),
        ("list[list[int]]", "[[1],[2,3]]", [[1], [2, 3]]),
        ("tuple[int, ...]", "[1]", [1]),
        ("dict", '{"a": 1}', {"a": 1}),
        ("Literal['sep', 'normal']", "sep", "sep"),
        ("Literal[1, 2]", "2", 2),
        ("'int'", "4", 4),
        ("object", "[1]", [1]),
        ("object", "word", "word"),
        ("int | str", "word", "word"),
    ],
)
def test_texts_behind_flags(annotation, text, value):
    read = signatures.parse("x", annotation, text)
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    "annotation, text, allowed",
    [
        ("int", "1.5", "a whole number such as 20_000"),
        ("int", "", "a whole number"),
        ("int", "true", "a whole number"),
        ("float", "abc", "a number"),
        ("bool", "1", "true or false"),
        ("list[int]", "1,2", "a list such as"),
        ("list[int]", '["a"]', "a list such as"),
        ("Literal['sep', 'normal']", "spe", "sep, normal"),
        ("int | None", "x", "a whole number such as 20_000 or none"),
    ],
)
def test_a_text_that_is_no_value_is_refused(annotation, text, allowed):
    with pytest.raises(ValueError) as refusal:
        signatures.parse("x", annotation, text)
    assert f"--x is {text!r}" in str(refusal.value)
    assert allowed in str(refusal.value)


@given(
    st.one_of(
        st.tuples(st.just("int"), st.integers()),
        st.tuples(st.just("float"), st.floats(allow_nan=False)),
        st.tuples(st.just("bool"), st.booleans()),
        st.tuples(st.just("str"), st.text(st.characters(codec="utf-8", exclude_characters="\0"))),
        st.tuples(st.just("list[int]"), st.lists(st.integers())),
        st.tuples(st.just("list[str]"), st.lists(st.text())),
        st.tuples(st.just("float | None"), st.none() | st.floats(allow_nan=False)),
    )
)
def test_a_value_survives_the_command_line(pair):
    annotation, value = pair
    assert signatures.parse("x", annotation, signatures.as_text(value)) == value


@pytest.mark.parametrize("text", ["a\0b", "\udcff"])
def test_a_text_that_no_command_line_can_hold_is_refused(script, text):
    with pytest.raises(ValueError, match="no zero byte and nothing but UTF-8"):
        signatures.parse("kind", "str", text)
    with pytest.raises(ValueError, match="no zero byte and nothing but UTF-8"):
        signatures.resolve(script("run, kind: str = 'a'"), "toy", {"kind": text})


def test_a_run_has_all_arguments(script):
    path = script("run, filters: int = 9, hidden: float = 0.2, regions: list[int] = [1]")
    resolved = signatures.resolve(path, "toy", {"hidden": 1, "regions": (2, 3)})
    assert json.dumps(resolved) == '{"filters": 9, "hidden": 1.0, "regions": [2, 3]}'


def test_numbers_of_numpy_are_numbers(script):
    path = script("run, n: int = 9, x: float = 0.2, regions: list[int] = [1]")
    given_values = {"n": np.int64(4), "x": np.linspace(0, 1, 3)[1], "regions": np.array([1, 2])}
    resolved = signatures.resolve(path, "toy", given_values)
    assert json.dumps(resolved) == '{"n": 4, "x": 0.5, "regions": [1, 2]}'


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        ({"n": 1, "filter": 3}, r"no hyper-parameter filter; it has filters, n\..*filters\?"),
        ({"n": 1, "filters": 4.5}, "filters of toy is 4.5; it must be a whole number"),
        ({"n": 1, "filters": True}, "filters of toy is True"),
        ({"n": 1, "filters": "4"}, "filters of toy is '4'"),
        ({}, "was given no n, which has no default"),
    ],
)
def test_wrong_arguments_of_a_grid_are_refused(script, arguments, sentence):
    path = script("run, filters: int = 9, *, n: int")
    with pytest.raises(ValueError, match=sentence):
        signatures.resolve(path, "toy", arguments)
