"""The examples of NDN3/README.md run as printed."""

import re
from pathlib import Path

import keras

README = Path(__file__).parents[3] / "NDN3" / "README.md"


def test_examples_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {}
    blocks = re.findall(r"^```python\n(.*?)^```", README.read_text(), flags=re.S | re.M)
    assert len(blocks) == 4
    for block in blocks:
        exec(compile(block, README.name, "exec"), names)  # noqa: S102
    assert names["predictions"].shape == (50, 6)
    assert names["per_neuron"].shape == (6,)
    assert names["filters"].shape == (4, 15, 15)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "model.ndnmod",
        "summaries_of_one_model",
    ]
    assert len(re.findall(r"^[012] [012] ", capsys.readouterr().out, flags=re.M)) == 3
    assert isinstance(names["plain"], keras.Sequential)
