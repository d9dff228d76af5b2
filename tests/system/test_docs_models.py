"""Pages about layers, the trainer and other systems, typed as they are printed."""

import ast

from document_trees import read_pages, tree


def test_pages_about_models(tmp_path):
    said = read_pages(tree(tmp_path / "tree"), "models")
    layer = said["docs/how-to/add-a-layer.md"]
    assert "2 passed" in layer["pytest tests/unit/NDN3/test_thresholds.py"]
    every = "pytest tests/unit/NDN3/test_every_layer.py -k=thresholds"
    assert "4 passed" in layer[every], "with a sign constraint, too"
    assert "[(1, 961), (961, 20), (20, 103)]" in layer["page.py"]
    plain = said["docs/how-to/use-ndn3-layers-in-keras.md"]
    printed = plain["python fit_in_keras.py"].splitlines()
    scores = ast.literal_eval(next(line for line in printed if line.startswith("{")))
    assert scores["correlation"] > 0.6, "0.71 with the rates that were planted"
    assert "2 penalties" in plain["page.py"] and "2 arrays are trained" in plain["page.py"]
    trainer = said["docs/how-to/train-any-keras-model.md"]
    under_jax = trainer["python fit_with_jax.py"].splitlines()
    assert [line.split()[:2] for line in under_jax] == [["jax", str(seed)] for seed in range(3)]
    lines = [line.split() for line in trainer["page.py"].splitlines() if line[:1].isdigit()]
    assert [line[0] for line in lines[:4]] == ["0", "1", "2", "3"], "a line for each seed"
    assert [line[0] for line in lines[4:7]] == ["0.001", "0.003", "0.01"], "one for each rate"
    assert lines[7][:2] == ["0", "turns"] and lines[8][:2] == ["1", "turns"]
    moved = said["docs/how-to/migrate-an-ndn3-script.md"]["page.py"].splitlines()
    assert float(moved[-3].strip("[]")) > 0 and moved[-2:] == ["12", "True"]
    table = said["docs/developer/adding-a-system.md"]["runs table straight"]
    assert [line.split()[0] for line in table.splitlines()[2:]] == ["0", "1", "2", "3"]
    assert "slope" in table and "error" in table
    shown = said["docs/developer/adding-a-system.md"]["runs show straight/network:0"]
    assert shown.count(" done ") == 10, "ten repetitions"
