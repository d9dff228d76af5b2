"""Set-up without a network: one sentence, exit status 2 of make, and what is there is kept."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PARTS = "Makefile pyproject.toml requirements.txt NDN3/requirements.txt requirements-dev.txt"
NOBODY = "http://127.0.0.1:9/simple"  # the port of a service that no machine offers any more

# stands in for the interpreter of env/ when there is a network again
PYTHON = """#!/bin/sh
echo "$*" >> {log}
"""


def make(folder, *arguments, **environment):
    clean = {k: v for k, v in os.environ.items() if not re.match("MAKE|MFLAGS|PYTHON$|PIP_", k)}
    return subprocess.run(
        ["make", *arguments, f"PYTHON={sys.executable}"],
        cwd=folder,
        env={**clean, "PIP_CONFIG_FILE": os.devnull, **environment},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=240,
    )


@pytest.fixture(scope="module")
def offline(tmp_path_factory):
    """What `make env` needs, and how it ended where no index could be reached."""
    folder = tmp_path_factory.mktemp("offline") / "check out"
    (folder / "NDN3").mkdir(parents=True)
    for name in PARTS.split():
        shutil.copy(ROOT / name, folder / name)
    # pip would try again for a quarter of a minute
    return folder, make(folder, "env", PIP_INDEX_URL=NOBODY, PIP_RETRIES="0")


def test_without_a_network_one_sentence_says_what_to_do(offline):
    folder, ended = offline
    assert ended.returncode == 2
    assert "making env/ with" in ended.stdout
    assert "is ready" not in ended.stdout
    advice, failed = ended.stderr.splitlines()[-2:]
    assert advice.startswith("pip could not install that: its reason stands above.")
    assert "name an index within reach in PIP_INDEX_URL" in advice
    assert advice.endswith("call make again, which goes on from here.")
    assert failed.startswith("make: ***")
    assert "No matching distribution found for " in ended.stderr
    assert not (folder / "env" / ".installed").exists(), "nobody takes it for whole"


def test_with_a_network_again_it_goes_on(offline, tmp_path):
    folder, _ = offline
    log, python = tmp_path / "calls", folder / "env" / "bin" / "python"
    kept = (folder / "env" / "pyvenv.cfg").stat().st_mtime_ns
    python.unlink()
    python.write_text(PYTHON.format(log=shlex.quote(str(log))))
    python.chmod(0o755)
    ended = make(folder, "env")
    assert ended.returncode == 0, ended.stderr
    assert "env/ is ready" in ended.stdout
    installs = [line.partition("install ")[2] for line in log.read_text().splitlines()]
    assert [line for line in installs if line] == [
        "--requirement requirements.txt",
        "--no-deps --editable .",
    ]
    assert "making env/" not in ended.stdout
    assert (folder / "env" / "pyvenv.cfg").stat().st_mtime_ns == kept, "the folder stays"
    log.unlink()
    again = make(folder, "env")
    assert (again.returncode, log.exists()) == (0, False)
