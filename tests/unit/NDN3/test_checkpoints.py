"""Checkpoints: read back as they were written; any damage gets one sentence."""

import zipfile

import numpy as np
import pytest

from NDN3 import checkpoints

STATE = {"trainable": [np.zeros((2, 3), np.float32), np.ones(3, np.float32)], "step": np.int32(4)}
HISTORY = {"epoch": [0, 1], "loss": [2.5, 1.5]}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "checkpoint.npz"
    checkpoints.write(path, "mark", STATE, HISTORY)
    return path


def read(path):
    return checkpoints.read(path, "mark", STATE, HISTORY)


def test_a_checkpoint_comes_back(path):
    state, history = read(path)
    np.testing.assert_array_equal(state["trainable"][0], STATE["trainable"][0])
    assert state["step"] == 4
    assert history == HISTORY


def change(path, **changes):
    with np.load(path) as file:
        arrays = dict(file)
    for name, value in changes.items():
        if value is None:
            del arrays[name.replace("_", "/")]
        else:
            arrays[name.replace("_", "/")] = value
    np.savez(path, **arrays)


def strange_compression(path):
    """As if it were packed by a method that nobody knows."""
    with zipfile.ZipFile(path) as archive:
        begins = [info.header_offset for info in archive.infolist()]
        directory = archive.start_dir
    content = bytearray(path.read_bytes())
    content[begins[0] + 8] = content[directory + 10] = 77
    path.write_bytes(content)


def plain_array(path):
    with open(path, "wb") as file:
        np.save(file, np.zeros(3))


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (strange_compression, "compression"),
        (plain_array, ""),
        (lambda path: path.write_bytes(path.read_bytes()[:-40]), ""),
        (lambda path: path.write_bytes(b""), ""),
        (lambda path: change(path, signature=None), "signature"),
        (lambda path: change(path, state_0001=None), "state/0001 is missing"),
        (lambda path: change(path, state_0007=np.ones(2)), "state/0007 is missing or unknown"),
        (lambda path: change(path, history_loss=None), "history/loss is missing"),
        (lambda path: change(path, state_0001=np.ones((3, 3), np.float32)), r"shape \(3, 3\)"),
        (lambda path: change(path, state_0000=np.int64(4)), "of int64"),
        (lambda path: change(path, history_loss=np.ones(1)), "no lists of numbers of one"),
        (lambda path: change(path, history_loss=np.array(["a", "b"])), "no lists of numbers"),
    ],
)
def test_damage_gets_one_sentence(path, damage, reason):
    damage(path)
    expected = rf"cannot be read as a checkpoint \(.*{reason}.*\)\. Remove it"
    with pytest.raises(ValueError, match=expected) as said:
        read(path)
    assert str(path) in str(said.value)
    assert "\n" not in str(said.value)


def test_another_training_is_told_from_damage(path):
    with pytest.raises(ValueError, match="was written by a training with another model"):
        checkpoints.read(path, "another", STATE, HISTORY)


def test_arrays_of_equal_bytes_differ_in_shape_and_type():
    arrays = (np.zeros(4), np.zeros((2, 2)), np.zeros(4, int))
    assert len({checkpoints.signature(data=array) for array in arrays}) == 3
