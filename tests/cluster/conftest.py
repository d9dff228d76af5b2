"""Real engines for the tests of this folder, which send jobs through them.

`make test-cluster` runs them. An engine is brought up when the first test asks for it and taken
down at the end, unless it was up before. One test at a time has an engine for itself, in all
processes of pytest. It ends the jobs that it has sent and no others, so that the engines of a
machine can be shared with somebody else's work.
"""

import contextlib
import fcntl
import os
import shutil
import tempfile
from pathlib import Path

import pytest
import real_engines
from cluster_checkout import ClusterCheckout, python_for

USER = "nobody"


_up_before = pytest.StashKey[list]()


def pytest_configure(config):
    """Remember what is up, in the process that outlives the workers of pytest-xdist."""
    if config.getoption("--cluster") and not hasattr(config, "workerinput"):
        engines = [kind() for kind in real_engines.ENGINES.values()]
        config.stash[_up_before] = [engine.name for engine in engines if engine.daemons()]


def pytest_unconfigure(config):
    """Take down what the tests have brought up."""
    before = config.stash.get(_up_before, None)
    if before is None:
        return
    for kind in real_engines.ENGINES.values():
        engine = kind()
        if engine.name not in before and engine.daemons():
            engine.down()


def pytest_collection_modifyitems(items):
    """Mark all tests of this folder, and sort them by engine, so that two workers rarely wait."""
    here = [item for item in items if Path(__file__).parent in item.path.parents]
    for item in here:
        item.add_marker("cluster")
    if len(here) == len(items):
        items.sort(key=_place)


def _place(item):
    engine = item.callspec.params.get("engine") if hasattr(item, "callspec") else None
    names = {engine, *item.fixturenames}
    return ("slurm" in names) - ("grid_engine" in names)


def _session(name):
    """One engine for all tests of a process."""
    engine = real_engines.ENGINES[name]()
    try:
        with _alone(engine):
            engine.bring_up()
    except real_engines.Unavailable as reason:
        pytest.skip(str(reason))
    return engine


@contextlib.contextmanager
def _alone(engine):
    """No other process of these tests has the engine."""
    path = Path(tempfile.gettempdir(), f"bench-{engine.name.replace(' ', '-')}.lock")
    with open(path, "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session")
def _grid_engine():
    return _session("grid_engine")


@pytest.fixture(scope="session")
def _slurm():
    return _session("slurm")


def _for_one_test(engine, folder):
    with _alone(engine):
        # Slurm drains a node some seconds after what an earlier test has done to its daemons
        engine.bring_up()
        yield engine
        # a test may have stopped daemons or changed settings
        engine.bring_up()
        engine.clear(folder)


@pytest.fixture
def grid_engine(_grid_engine, cluster_folder):
    """Grid Engine; jobs that were sent from `cluster_folder` are ended after the test."""
    yield from _for_one_test(_grid_engine, cluster_folder)


@pytest.fixture
def slurm(_slurm, cluster_folder):
    """Slurm; jobs that were sent from `cluster_folder` are ended after the test."""
    yield from _for_one_test(_slurm, cluster_folder)


@pytest.fixture(params=list(real_engines.ENGINES))
def engine(request):
    """Each engine in turn."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def cluster_folder():
    """A folder that every user can read, unlike those of pytest."""
    folder = Path(tempfile.mkdtemp(prefix="bench-cluster-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def ordinary_python():
    """An interpreter with numpy that an ordinary user can run."""
    if os.geteuid() != 0:
        pytest.skip("only root can run commands as another user: run `make test-cluster` as root")
    folder = Path(tempfile.mkdtemp(prefix="bench-python-"))
    folder.chmod(0o755)
    python = python_for(USER, folder)
    if python is None:
        pytest.skip(f"{USER} can run no Python of this version: install one in /usr/bin")
    yield python
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["root", "ordinary user"])
def checkout(request, cluster_folder):
    """A toy checkout of root's, and one of an ordinary user's."""
    if request.param == "root":
        return ClusterCheckout(cluster_folder)
    return ClusterCheckout(cluster_folder, USER, request.getfixturevalue("ordinary_python"))


@pytest.fixture
def own_checkout(cluster_folder):
    """A toy checkout of whoever runs the tests."""
    return ClusterCheckout(cluster_folder)


@pytest.fixture
def ordinary_checkout(cluster_folder, ordinary_python):
    """A toy checkout of an ordinary user's."""
    return ClusterCheckout(cluster_folder, USER, ordinary_python)
