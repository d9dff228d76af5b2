"""The recipes of containers/ built and used, where an engine answers; it is skipped elsewhere.

Hundreds of megabytes are fetched the first time; later only layers that changed are made again.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from utils import containers

ROOT = Path(__file__).parents[2]
RUNCMD = ROOT / "containers" / "runcmd"
pytestmark = pytest.mark.timeout(1800)


def run(*command, **variables):
    return subprocess.run(
        [str(word) for word in command],
        cwd=ROOT,
        env={**os.environ, **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )


def base():
    recipe = (ROOT / "containers" / "Dockerfile").read_text()
    return re.search(r"^FROM (\S+)$", recipe, flags=re.M)[1]


@pytest.fixture(scope="module")
def image():
    """The image, built as a user builds it."""
    for program in containers.ENGINES:
        if shutil.which(program) and run(program, "info").returncode == 0:
            break
    else:
        pytest.skip("neither Docker nor Podman answers on this machine")
    if run(program, "image", "inspect", base()).returncode:
        pulled = run(program, "pull", base())
        if pulled.returncode:
            pytest.skip(f"{base()} cannot be fetched: {pulled.stderr.splitlines()[-1]}")
    done = run("make", "image", "GPU=0", BENCH_ENGINE=program)
    assert done.returncode == 0, done.stdout + done.stderr
    return program


def test_the_image_runs_what_this_checkout_says(image, bench_folders):
    command = (
        "id -u; id -g; echo hello > $BENCH_RESULTS/from-inside; "
        "python -c 'import NDN3, utils; print(utils.__file__)'; git log -1 --format=%H; exit 9"
    )
    done = run(RUNCMD, command, BENCH_ENGINE=image)
    assert done.returncode == 9, done.stderr
    head = run("git", "log", "-1", "--format=%H").stdout.split()
    code = ROOT / "utils" / "__init__.py"
    assert done.stdout.split() == [str(os.getuid()), str(os.getgid()), str(code), *head]
    written = bench_folders.results / "from-inside"
    assert written.read_text() == "hello\n"
    assert written.stat().st_uid == os.getuid()


def test_any_user_can_use_the_image_without_a_network(image):
    program = (
        "import pathlib, matplotlib.pyplot as plt, tensorflow, NDN3, utils; "
        "plt.figure().savefig(pathlib.Path.home() / 'a.png'); print(utils.__file__)"
    )
    done = run(
        *(image, "run", "--rm", "--pull=never", "--network=none", "--user=12345:54321"),
        *(containers.image_name(), "python", "-c", program),
    )
    assert (done.returncode, done.stdout) == (0, "/bench/utils/__init__.py\n"), done.stderr


def test_a_model_is_trained_inside(image, bench_folders):
    command = (
        "python -m utils.make_data && "
        "python experiments/baseline/bl1.py --repetitions 0 --epochs 2 && runs table baseline"
    )
    done = run(RUNCMD, command, BENCH_ENGINE=image)
    assert done.returncode == 0, done.stdout + done.stderr
    assert list(bench_folders.results.rglob("*.ndnmod"))


def test_the_image_file_is_built_and_runs():
    builder = next((name for name in containers.BUILDERS if shutil.which(name)), None)
    if builder is None:
        pytest.skip("neither Apptainer nor Singularity is on the PATH of this machine")
    done = run("make", "apptainer", "GPU=0")
    assert done.returncode == 0, done.stdout + done.stderr
    inside = "import NDN3, utils; print(utils.__file__)"
    image = containers.image_file(ROOT)
    done = run(builder, "exec", "--env", f"PYTHONPATH={ROOT}", image, "python", "-c", inside)
    assert done.stdout.split() == [str(ROOT / "utils" / "__init__.py")], done.stderr
