"""Real engines for the tests of this folder, which send jobs through them.

`make test-cluster` runs them. An engine is brought up when the first test asks for it and taken
down at the end, unless it was up before. A test ends the jobs that it has sent and no others, so
that the engines of a machine can be shared with somebody else's work.
"""

import os
import shutil
import tempfile
from pathlib import Path

import pytest
import real_engines
from cluster_checkout import ClusterCheckout, python_for

USER = "nobody"


@pytest.hookimpl(tryfirst=True)  # pytest-xdist reads the groups in the same hook
def pytest_collection_modifyitems(items):
    """Mark all tests of this folder; keep those of one engine on one worker of pytest-xdist."""
    for item in items:
        if Path(__file__).parent not in item.path.parents:
            continue
        item.add_marker("cluster")
        names = getattr(item, "callspec", None)
        engine = names.params.get("engine") if names else None
        for name in real_engines.ENGINES:
            if name == engine or name in item.fixturenames:
                item.add_marker(pytest.mark.xdist_group(name))
                break


def _session(name):
    """One engine for all tests of a worker."""
    engine = real_engines.ENGINES[name]()
    was_up = bool(engine.daemons())
    try:
        engine.bring_up()
    except real_engines.Unavailable as reason:
        pytest.skip(str(reason))
    yield engine
    if not was_up:
        engine.down()


@pytest.fixture(scope="session")
def _grid_engine():
    yield from _session("grid_engine")


@pytest.fixture(scope="session")
def _slurm():
    yield from _session("slurm")


def _for_one_test(engine, folder):
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
