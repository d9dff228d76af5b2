"""The requirements files name versions, pyproject.toml names packages, and both mean the same."""

import re
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def requirements(name):
    """Requirement lines of a file and of those it includes."""
    path = ROOT / name
    for line in path.read_text().splitlines():
        line = line.partition("#")[0].strip()
        if line.startswith("-r "):
            yield from requirements((path.parent / line[3:].strip()).relative_to(ROOT))
        elif line:
            yield line


def names(lines):
    return {re.match(r"[A-Za-z0-9._-]+(\[[a-z-]+\])?", line).group() for line in lines}


def test_the_first_line_is_the_one_that_users_edit():
    assert (ROOT / "requirements.txt").read_text().splitlines()[0] == "-r NDN3/requirements.txt"
    assert (ROOT / "NDN3/requirements-gpu.txt").is_file()


def test_the_package_needs_what_the_environment_installs():
    assert set(PROJECT["project"]["dependencies"]) == names(requirements("requirements.txt"))


def test_extras_need_what_their_files_install():
    extras = PROJECT["project"]["optional-dependencies"]
    assert set(extras["dev"]) == names(requirements("requirements-dev.txt"))
    gpu = names(requirements("NDN3/requirements-gpu.txt"))
    assert set(extras["gpu"]) == gpu - names(requirements("requirements.txt"))
    cpu = names(requirements("NDN3/requirements.txt")) - {"tensorflow"}
    assert gpu == cpu | set(extras["gpu"])


@pytest.mark.parametrize(
    "name", ["requirements.txt", "requirements-dev.txt", "NDN3/requirements-gpu.txt"]
)
def test_every_requirement_has_a_lower_bound_and_no_other(name):
    for line in requirements(name):
        assert re.fullmatch(r"[A-Za-z0-9._-]+(\[[a-z-]+\])?>=[0-9.]+", line), line


def test_versions_are_named_once():
    project = PROJECT["project"]
    extras = [line for lines in project["optional-dependencies"].values() for line in lines]
    assert not [line for line in project["dependencies"] + extras if re.search(r"[<>=~]", line)]


def test_all_packages_of_the_tree_are_listed():
    found = {
        ".".join(p.parent.relative_to(ROOT).parts)
        for top in ("NDN3", "utils")
        for p in (ROOT / top).rglob("__init__.py")
    }
    assert found == set(PROJECT["tool"]["setuptools"]["packages"])


def test_this_python_is_one_of_those_that_are_promised():
    lowest, end = re.findall(r"\d+\.(\d+)", PROJECT["project"]["requires-python"])
    assert int(lowest) <= sys.version_info.minor < int(end)
