"""Files stay readable: their length, their names, notebooks without output."""

import json
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
LONGEST = 500
# A module under such a name has no one job; what is in it belongs elsewhere.
FORBIDDEN = {"misc", "helper", "helpers", "common", "util", "stuff", "tools"}
LARGEST_KB = 500


def files(suffix=""):
    """Files of this checkout, also those that git does not know yet; nothing that it ignores."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    names = listed.stdout.split("\0") if listed.returncode == 0 else everything()
    return [ROOT / n for n in names if n.endswith(suffix) and (ROOT / n).is_file()]


def everything():
    """The same without git, as in an unpacked archive."""
    ignored = {"env", "Data", "training_data", "build"}
    paths = (p.relative_to(ROOT) for p in ROOT.rglob("*") if p.is_file())
    return [str(p) for p in paths if not ignored & {p.parts[0]} and "__pycache__" not in p.parts]


def test_no_python_file_is_too_long():
    lengths = {p.relative_to(ROOT): len(p.read_text().splitlines()) for p in files(".py")}
    assert lengths, "no Python file was found: the test looks at the wrong folder"
    longest = sorted(lengths, key=lengths.get)[-3:]
    print("longest:", ", ".join(f"{p} {lengths[p]}" for p in longest))
    assert not {str(p): n for p, n in lengths.items() if n > LONGEST}


def test_every_module_is_named_after_its_job():
    assert not [p for p in files(".py") if p.stem.strip("_") in FORBIDDEN]
    assert not [p for p in files(".py") if FORBIDDEN & set(p.relative_to(ROOT).parts[:-1])]


def test_notebooks_hold_no_output():
    for path in files(".ipynb"):
        for number, cell in enumerate(json.loads(path.read_text())["cells"]):
            where = f"{path.relative_to(ROOT)}, cell {number}"
            assert not cell.get("outputs"), f"{where} holds output: clear it before storing"
            assert not cell.get("execution_count"), f"{where} holds its execution count"


def test_no_file_is_large():
    large = {str(p.relative_to(ROOT)): p.stat().st_size // 1024 for p in files()}
    assert not {name: kb for name, kb in large.items() if kb > LARGEST_KB}


def test_no_two_files_differ_in_case_only():
    """On macOS and Windows they would be one file."""
    names = [str(p.relative_to(ROOT)) for p in files()]
    assert len({name.lower() for name in names}) == len(names)
