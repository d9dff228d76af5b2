"""No command of this repository is read by a shell: the lint rules forbid it, everywhere."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RUFF = [sys.executable, "-m", "ruff", "check"]
FORBIDDEN = [
    'subprocess.run("x", shell=True)',
    'subprocess.Popen(["x"], shell=1)',
    'subprocess.getoutput("x")',
    'os.system("x")',
    'os.popen(f"x {sys}")',
    'launch("x", shell=True)',
    'asyncio.create_subprocess_shell("x")',
    'subprocess.Popen("chmod x *", shell=True)',
]
RULES = {"S602", "S604", "S605", "S609", "TID251"}
EXEMPTION = re.compile(r"#\s*(ruff:\s*)?noqa(?!: ?\w)|#\s*(ruff:\s*)?noqa:.*\b(S6\d\d|TID251)\b")


def listed(*patterns):
    """Files that git knows, without those that are deleted."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", *patterns]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        pytest.skip("this is no clone: git does not list its files", allow_module_level=True)
    return sorted(name for name in done.stdout.split("\0") if name and (ROOT / name).exists())


@pytest.mark.parametrize(
    "folder", sorted({str(Path(name).parent) for name in listed("*.py")} | {"new/folder"})
)
def test_shell_strings_are_flagged_in_every_folder(folder):
    code = "import asyncio, os, subprocess, sys\n" + "\n".join(FORBIDDEN) + "\n"
    done = subprocess.run(
        [*RUFF, "--output-format", "json", "--stdin-filename", f"{folder}/example.py", "-"],
        input=code,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    flagged = {
        found["location"]["row"] for found in json.loads(done.stdout) if found["code"] in RULES
    }
    assert flagged == set(range(2, 2 + len(FORBIDDEN)))


def test_every_python_file_is_checked():
    done = subprocess.run([*RUFF, "--show-files", "."], cwd=ROOT, capture_output=True, text=True)
    checked = {str(Path(line).relative_to(ROOT)) for line in done.stdout.splitlines()}
    assert not set(listed("*.py")) - checked


def test_no_file_exempts_itself():
    exempt = {
        name
        for name in listed("*.py")
        if EXEMPTION.search((ROOT / name).read_text()) and not (ROOT / name).samefile(__file__)
    }
    assert not exempt
    assert EXEMPTION.search("x()  # noqa: S602")
    assert EXEMPTION.search("x()  # noqa")
    assert not EXEMPTION.search("x()  # noqa: E402")


def test_notebooks_hold_no_commands():
    notebooks = listed("*.ipynb")
    assert notebooks
    for name in notebooks:
        for cell in json.loads((ROOT / name).read_text())["cells"]:
            if cell["cell_type"] == "code":
                text = "".join(cell["source"])
                assert not re.search(r"(?m)^\s*(!|%%?(bash|sh|system|sx|script)\b)", text), name
                assert not re.search(r"\bos\.(system|popen)\b|shell\s*=|getoutput", text), name
