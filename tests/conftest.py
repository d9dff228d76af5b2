"""Options, markers and folders that all tests share."""

import os
from pathlib import Path
from typing import NamedTuple

import pytest
from stub_engine import StubEngine

# Tests share few cores, with each other and with programs they start: one thread each, no banners.
for variable, value in {
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "KERAS_BACKEND": "tensorflow",
    "MPLBACKEND": "Agg",
    # compiled programs, fonts: made once for all tests, and not in the home of whoever runs them
    "XDG_CACHE_HOME": str(Path(__file__).parents[1] / ".pytest_cache" / "home"),
}.items():
    os.environ.setdefault(variable, value)

OPTIONS = {
    "gpu": "needs a GPU; run `pytest --gpu` on a machine that has one",
    "cluster": "sends jobs through Grid Engine or Slurm; run `make test-cluster` as root",
    "real": "needs the published files in Data/, see its README.md; run `pytest --real` with them",
}


def pytest_addoption(parser):
    for name, sentence in OPTIONS.items():
        parser.addoption(f"--{name}", action="store_true", help=f"run each test that {sentence}")


def pytest_configure(config):
    for name, sentence in OPTIONS.items():
        config.addinivalue_line("markers", f"{name}: {sentence}")
    if not config.getoption("--gpu"):
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # numbers must not depend on what is plugged in


def pytest_collection_modifyitems(config, items):
    for name, sentence in OPTIONS.items():
        if config.getoption(f"--{name}"):
            continue
        skip = pytest.mark.skip(reason=f"this test {sentence}")
        for item in items:
            if item.get_closest_marker(name):
                item.add_marker(skip)


class Folders(NamedTuple):
    """Where `utils.paths` looks during a test."""

    data: Path
    results: Path


@pytest.fixture
def stub_engine(tmp_path, monkeypatch):
    """Commands of Grid Engine and Slurm, in front of `PATH`, with the faults that are asked for."""
    stub = StubEngine(tmp_path / "stub engine")
    monkeypatch.setenv("PATH", str(stub.bin), prepend=os.pathsep)
    return stub


@pytest.fixture
def bench_folders(tmp_path, monkeypatch):
    """Empty Data/ and training_data/ of the test's own, also for programs that it starts."""
    folders = Folders(tmp_path / "Data", tmp_path / "training_data")
    for folder in folders:
        folder.mkdir()
    monkeypatch.setenv("BENCH_DATA", str(folders.data))
    monkeypatch.setenv("BENCH_RESULTS", str(folders.results))
    monkeypatch.delenv("BENCH_JOB", raising=False)
    return folders
