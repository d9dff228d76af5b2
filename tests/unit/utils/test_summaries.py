"""Event files as tables: own runs, trees of the original program, files that still grow."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from tensorboard.compat.proto import event_pb2
from tensorboard.summary.writer.record_writer import RecordWriter

from NDN3 import events
from utils import paths, summaries

TAG = "loss/correlation/correlation"


def repetition(run, index, steps, values, tag=TAG, split="test", **arguments):
    """A row as the registry gives it, and the curve it stands for."""
    folder = paths.log_dir("demo", "grid", run, "name", index)
    rows = [
        (int(step), 0.0, {"loss/cost": -1.0, tag: value})
        for step, value in zip(steps, values, strict=True)
    ]
    events.write_scalars(folder / "summaries" / split, rows)
    return {
        "exp_folder": "demo", "exp": "grid", "run": run, "repetition": index, "seed": index,
        "state": "done", **arguments, "correlation": values[-1], "seconds": 1.0, "host": "here",
        "log_dir": str(folder.relative_to(paths.results_dir())), "model_path": "m",
    }  # fmt: skip


def tensorflow_1_file(path, values, tag=TAG):
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:
        writer = RecordWriter(file)
        writer.write(event_pb2.Event(file_version="brain.Event:2").SerializeToString())
        for step, value in values:
            event = event_pb2.Event(step=step)
            event.summary.value.add(tag=tag, simple_value=value)
            writer.write(event.SerializeToString())
    return path


def test_curves_with_the_columns_of_their_repetitions(bench_folders):
    runs = pd.DataFrame(
        [
            repetition(0, 0, [0, 99], [0.25, 0.5], filters=4),
            repetition(0, 1, [0, 99], [0.125, 0.75], filters=4),
            repetition(1, 0, [0, 99, 199], [0.0, 0.5, 1.0], filters=9),
        ],
        index=[5, 7, 9],
    )
    table = summaries.scalars(runs)
    assert list(table.columns) == [
        "Step", "Run", "Value", "Tag",
        "exp_folder", "exp", "run", "repetition", "seed", "filters", "correlation",
    ]  # fmt: skip
    assert table["Step"].tolist() == [0, 99, 0, 99, 0, 99, 199]
    assert table["Run"].tolist() == [0, 0, 1, 1, 2, 2, 2]
    assert table["Value"].tolist() == [0.25, 0.5, 0.125, 0.75, 0.0, 0.5, 1.0]
    assert set(table["Tag"]) == {TAG}
    assert table["filters"].tolist() == [4, 4, 4, 4, 9, 9, 9]
    assert table["repetition"].tolist() == [0, 0, 1, 1, 0, 0, 0]
    assert set(summaries.scalars(runs, "loss/cost")["Value"]) == {-1.0}


def test_repetitions_without_curves_have_no_rows(bench_folders):
    here = repetition(0, 0, [0], [0.5])
    missing = {**here, "repetition": 1, "log_dir": "logs/demo/gridx0/name__1"}
    table = summaries.scalars(pd.DataFrame([missing, here]))
    assert table["Run"].tolist() == [1]
    for empty in (
        summaries.scalars(pd.DataFrame([here]), split="train"),
        summaries.scalars(pd.DataFrame([here]).iloc[:0]),
    ):
        assert len(empty) == 0
        assert {"Step", "Run", "Value", "Tag"} <= set(empty.columns)


def test_an_epoch_in_two_files_counts_once(bench_folders):
    row = repetition(0, 0, [0, 99, 199], [0.25, 0.5, 0.625])
    folder = paths.results_dir() / row["log_dir"] / "summaries" / "test"
    with events.EventWriter(folder) as later:
        later.scalars(199, {TAG: 0.75})
        later.scalars(299, {TAG: 0.875})
    table = summaries.scalars(pd.DataFrame([row]))
    assert table["Step"].tolist() == [0, 99, 199, 299]
    assert table["Value"].tolist() == [0.25, 0.5, 0.75, 0.875]


def test_tree_of_the_original_program(bench_folders, tmp_path):
    root = tmp_path / "old" / "logs"
    name = "baseline/bl3/01-02_03-04-05_baseline3__{}/summaries/{}/events.out.tfevents.1.host"
    for index, last in enumerate([0.5, 0.25]):
        tensorflow_1_file(root / name.format(index, "test"), [(0, 0.0), (699, last)])
        tensorflow_1_file(root / name.format(index, "train"), [(0, 1.0)])
    (root / "baseline" / "notes.txt").write_text("bl3 test")
    files = summaries.find(root, "bl3.*summaries/test/")
    assert [path.relative_to(root).parts[2][-1] for path in files] == ["0", "1"]
    table = summaries.read_files(files)
    assert table["Step"].tolist() == [0, 699, 0, 699]
    assert table["Run"].tolist() == [0, 0, 1, 1]
    assert table["Value"].tolist() == [0.0, 0.5, 0.0, 0.25]
    assert list(table.columns) == ["Step", "Run", "Value", "Tag"]
    # the folder above the tree is not searched for the pattern
    assert summaries.find(root, "old") == []
    with pytest.raises(FileNotFoundError, match="nowhere"):
        summaries.find(tmp_path / "nowhere", "x")
    with pytest.raises(FileNotFoundError, match="There is no event file"):
        summaries.read_files([tmp_path / "nothing"])


def test_reads_again_what_has_changed_and_only_that(bench_folders, tmp_path, monkeypatch):
    read = []
    original = events.read_events
    monkeypatch.setattr(
        events, "read_events", lambda path, tag: read.append(path) or original(path, tag)
    )
    files = [tensorflow_1_file(tmp_path / n, [(0, 0.5), (9, 0.25)]) for n in ("a", "b", "empty")]
    tensorflow_1_file(files[2], [])
    first = summaries.read_files(files)
    assert read == files
    read.clear()
    pd.testing.assert_frame_equal(summaries.read_files(files), first)
    assert read == [], "neither the files with values nor the one without"
    summaries.read_files(files, "loss/cost")
    assert read == files, "another tag is another table"
    read.clear()
    tensorflow_1_file(files[1], [(0, 0.5), (9, 0.25), (19, 0.125)])
    assert summaries.read_files(files)["Step"].tolist() == [0, 9, 0, 9, 19]
    assert read == [files[1]]
    read.clear()
    summaries.read_files(files[:1])
    assert summaries.read_files(files[::-1])["Run"].tolist() == [1, 1, 1, 2, 2]
    assert read == []


def test_a_damaged_or_forbidden_cache_changes_nothing(bench_folders, tmp_path):
    files = [tensorflow_1_file(tmp_path / "a", [(0, 0.5)])]
    expected = summaries.read_files(files)
    (cache,) = (paths.results_dir() / ".cache" / "summaries").iterdir()
    cache.write_bytes(b"PAR1 no longer")
    pd.testing.assert_frame_equal(summaries.read_files(files), expected)
    cache.unlink()
    cache.parent.rmdir()
    cache.parent.write_text("a file where the folder should be")
    pd.testing.assert_frame_equal(summaries.read_files(files), expected)


def test_reading_while_training_writes(bench_folders):
    folder = paths.log_dir("demo", "grid", 0, "name", 0)
    runs = pd.DataFrame([{"log_dir": str(folder), "run": 0}])
    with events.EventWriter(folder / "summaries" / "test") as writer:
        for step in range(3):
            writer.scalars(step, {TAG: step / 4})
            writer.flush()
            assert summaries.scalars(runs)["Value"].tolist() == [i / 4 for i in range(step + 1)]
        with open(writer.path, "ab") as file:
            file.write(b"\x40\0\0\0\0\0\0\0half a record")
        assert len(summaries.scalars(runs)) == 3


def test_files_replaced_between_looking_and_reading(bench_folders, monkeypatch):
    runs = pd.DataFrame([repetition(0, 0, [0], [0.25])])
    original = events.event_files

    def list_then_replace(folder):
        listed = original(folder)
        monkeypatch.setattr(events, "event_files", original)
        events.write_scalars(folder, [(0, 0.0, {TAG: 0.5})])
        return listed

    monkeypatch.setattr(events, "event_files", list_then_replace)
    assert summaries.scalars(runs)["Value"].tolist() == [0.5]


def test_values_survive_the_cache_exactly(bench_folders, tmp_path):
    rng = np.random.default_rng(0)
    values = [float(np.float32(v)) for v in rng.normal(size=20)] + [np.nan, np.inf]
    files = [tensorflow_1_file(tmp_path / "a", list(enumerate(values)))]
    summaries.read_files(files)
    np.testing.assert_array_equal(summaries.read_files(files)["Value"], values)


def test_import_is_light():
    program = (
        "import sys, utils.summaries;"
        "print([m for m in ('tensorflow', 'keras', 'pandas', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_files_that_are_damaged_or_cannot_be_read_are_named(bench_folders, tmp_path, caplog):
    """The others are read all the same; what was forbidden is read when it is allowed."""
    written = []
    for number in range(3):
        with events.EventWriter(tmp_path / f"run{number}") as writer:
            for step in range(4):
                writer.scalars(step, {"a": number + step / 10})
        written.append(writer.path)
    whole = written[0].read_bytes()
    written[0].write_bytes(whole[: len(whole) // 2] + bytes(40) + whole[len(whole) // 2 :])
    forbidden = events.read_events

    def read(path, tag):
        if path == written[1]:
            raise PermissionError(13, "Permission denied")
        return forbidden(path, tag)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(events, "read_events", read)
        table = summaries.read_files(written, "a")
    assert table.groupby("Run").size().to_dict() == {0: 1, 2: 4}
    assert [message.partition(" ")[0] for message in caplog.messages] == [
        str(p) for p in written[:2]
    ]
    assert summaries.read_files(written, "a").groupby("Run").size().to_dict() == {0: 1, 1: 4, 2: 4}
