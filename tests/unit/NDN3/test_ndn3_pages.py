"""Pages about models run as printed, in one process, and find what they say."""

import json
import pickle
import re
import zipfile
from pathlib import Path

import pytest

from NDN3 import archives, backend
from NDN3.ensembles import Ensemble
from NDN3.NDN import NDN

HOW_TO = Path(__file__).parents[3] / "docs" / "how-to"


@pytest.fixture(autouse=True)
def without_xla(monkeypatch):
    """Programs are made sooner without XLA, and these run for an instant."""
    compiled = backend.compiled
    monkeypatch.setattr(backend, "compiled", lambda function, xla: compiled(function, False))


def run(name, folder, patch, instead=()):
    """Run the blocks of a page in a folder; return its names and the lines that it printed."""
    text = (HOW_TO / name).read_text()
    for old, new in instead:
        assert text.count(old) == 1, f"{name} says something else now"
        text = text.replace(old, new)
    printed = []
    names = {"print": lambda *values: printed.append(" ".join(map(str, values)))}
    patch.chdir(folder)
    for block in re.findall(r"^```python\n(.*?)^```", text, flags=re.S | re.M):
        exec(compile(block, name, "exec"), names)  # noqa: S102
    return names, printed


def test_a_choice_without_the_test_rows(tmp_path, monkeypatch):
    # one fold of three, so that the page is done soon
    short = [("for fold in range(folds)", "for fold in range(1)")]
    page = "choose-a-model-without-the-test-set.md"
    names, printed = run(page, tmp_path, monkeypatch, short)
    assert 5 < names["last"] < 39, "stopped early"
    assert names["units"] == 3, "as many as there are features behind the counts"
    assert names["strength"] not in (names["strengths"][0], names["strengths"][-1])
    assert names["median"] > 0.35
    assert [re.match(r"[^\d]*", line)[0] for line in printed] == [
        "stopped after epoch ",
        "l",
        "{",
        "",
    ]


def test_models_go_to_others_and_come_from_them(tmp_path, monkeypatch):
    names, printed = run("exchange-models.md", tmp_path, monkeypatch)
    assert names["missing"] == ["net0/layer1/biases"]
    assert (names["layer"]["weights"] == names["model"].networks[0].layers[0].weights).all()
    assert printed[1] == "normal relu [1. 6. 6.] (36, 3)"
    Ensemble([names["model"]]).save_model("ensemble.ndnmod")
    Path("old.ndnmod").write_bytes(pickle.dumps(1))
    description = {**names["content"], "format_version": archives.FORMAT_VERSION + 1}
    with zipfile.ZipFile("newer.ndnmod", "w") as archive:
        archive.writestr("description.json", json.dumps(description))
        archive.writestr("arrays.npz", b"")
    said = ""
    for path in ("newer.ndnmod", "old.ndnmod", "ensemble.ndnmod"):
        with pytest.raises(ValueError) as refused:
            NDN.load_model(path)
        said += f"{path} {refused.value}\n"
    table = (HOW_TO / "exchange-models.md").read_text().split("| you read |")[1].split("\n\n")[0]
    for cell in re.findall(r"^\| (`.*?) \| ", table, flags=re.M):
        for sentence in re.findall(r"`([^`]+)`", cell):
            assert sentence in said
