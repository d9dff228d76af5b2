import subprocess

import pytest

from utils import gpus


@pytest.fixture
def devices(tmp_path, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(gpus.shutil, "which", lambda name: None)
    return tmp_path


def test_devices_are_counted(devices):
    assert gpus.visible(devices) == []
    for name in ("nvidiactl", "nvidia-uvm", "nvidia-caps", "nvidia0", "nvidia3", "nvidia10"):
        (devices / name).touch()
    assert gpus.visible(devices) == ["0", "1", "2"], (
        "programs count from 0 whatever a device's name"
    )


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("", []),
        ("-1", []),
        ("NoDevFiles", []),
        ("2", ["2"]),
        ("3, 1", ["3", "1"]),
        ("1,-1,2", ["1"]),
        ("GPU-1a-2b,MIG-3c/1/0", ["GPU-1a-2b", "MIG-3c/1/0"]),
    ],
)
def test_the_variable_has_the_last_word(devices, monkeypatch, given, expected):
    (devices / "nvidia0").touch()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
    assert gpus.visible(devices) == expected


LISTED = """GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-5f0c)
  MIG 1g.5gb      Device  0: (UUID: MIG-1)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-77aa)
"""


@pytest.mark.parametrize(
    ("answer", "count"),
    [
        ((0, LISTED), 2),
        ((0, ""), 0),
        ((9, "NVIDIA-SMI has failed because it could not communicate with the driver"), 0),
        (subprocess.TimeoutExpired("nvidia-smi", 10), 0),
        (PermissionError(), 0),
    ],
)
def test_the_driver_is_asked_where_there_are_no_devices(devices, monkeypatch, answer, count):
    def run(command, timeout, **_):
        assert (command, timeout) == (["nvidia-smi", "-L"], 10.0)
        if isinstance(answer, Exception):
            raise answer
        return subprocess.CompletedProcess(command, *answer)

    monkeypatch.setattr(gpus.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(gpus.subprocess, "run", run)
    assert len(gpus.visible(devices)) == count


def test_gpus_are_chosen_by_name():
    assert gpus.chosen("2, 0", ["0", "1", "2"]) == ["2", "0"]
    assert gpus.chosen("GPU-1a", ["0", "1"]) == ["GPU-1a"]
    assert gpus.chosen("GPU-1a", ["GPU-1a", "GPU-2b"]) == ["GPU-1a"]


@pytest.mark.parametrize(
    ("text", "there", "words"),
    [
        ("3", ["0", "1"], "'3'; this machine has 0, 1"),
        ("0,x", ["0", "1"], "'0,x'; this machine has 0, 1"),
        ("", ["0", "1"], "''; this machine has 0, 1"),
        ("GPU-3c", ["GPU-1a"], "this machine has GPU-1a"),
        ("0,1,0", ["0", "1"], "twice; once is allowed"),
    ],
)
def test_what_is_no_gpu_of_this_machine_is_refused(text, there, words):
    with pytest.raises(ValueError, match="--gpus is") as problem:
        gpus.chosen(text, there)
    assert words in str(problem.value)


def test_each_run_has_a_share():
    def named(names, each):
        return [share["CUDA_VISIBLE_DEVICES"] for share in gpus.shares(names, each)]

    assert named(["0", "1", "2"], 1) == ["0", "1", "2"]
    assert named(["0", "1", "2", "3", "4"], 2) == ["0,1", "2,3"]
    assert named(["0"], 2) == []
