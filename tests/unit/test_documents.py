"""What the documents say can be typed.

Every fenced block of a README, of CONTRIBUTING and below docs/ names its language. Python blocks
parse, and import what exists. Commands, in blocks and in tables, name programs, targets, files and
flags that exist; runners of this tree are started with `--dry-run`, all other programs of this tree
with `--help`.
"""

import ast
import functools
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import pytest

from utils import environments

ROOT = Path(__file__).parents[2]
LANGUAGES = {"bash", "sh", "python", "text", "json", "toml", ""}
# Programs that a document may name and that are not ours to check.
STRANGERS = {"cd", "cp", "git", "mkdir", "jupyter", "apt-get", "unzip", "deactivate", "pre-commit"}
# …and those that only some machines have.
STRANGERS |= {"apptainer", "nvidia-smi"}
OURS = ("make", "python", "python3", "runs", "source", "pip", "containers/runcmd")
# runs of whoever tests must not change what a dry run says
NO_RESULTS = tempfile.TemporaryDirectory()


class Block(NamedTuple):
    """A fenced block: the file it is in, its line, language and text, and the line before it."""

    file: Path
    line: int
    language: str
    text: str
    lead: str

    def __str__(self):
        return f"{self.file.relative_to(ROOT)}:{self.line}"


def documents():
    found = [ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *ROOT.glob("README.md")]
    found += [p for p in ROOT.glob("*/README.md") if p.parent.name != "env"]
    return sorted({*found, *(ROOT / "docs").rglob("*.md")})


def blocks_of(path):
    """Fenced blocks of a Markdown file."""
    lines, blocks, start = path.read_text().splitlines(), [], None
    for number, line in enumerate(lines):
        if not line.lstrip().startswith("```"):
            continue
        if start is None:
            start = number
        else:
            lead = next((text for text in reversed(lines[:start]) if text.strip()), "")
            language = lines[start].lstrip()[3:].strip()
            blocks.append(
                Block(path, start + 1, language, "\n".join(lines[start + 1 : number]), lead)
            )
            start = None
    assert start is None, f"{path}:{start + 1} is not closed"
    return blocks


def spans_of(path):
    """Inline code outside fenced blocks."""
    text = re.sub(r"^```.*?^```", "", path.read_text(), flags=re.S | re.M)
    return re.findall(r"`([^`\n]+)`", text)


DOCUMENTS = documents()
BLOCKS = [block for path in DOCUMENTS for block in blocks_of(path)]
# A block whose lead ends in "`some/file.py`:" is that file, as a reader of the document types it.
TYPED = {
    match.group(1): block
    for block in BLOCKS
    if (match := re.search(r"`([\w/.-]+\.py)`[^`]*:$", block.lead))
}


def commands():
    """(where, command line) of everything a reader is told to type."""
    for block in BLOCKS:
        if block.language in ("bash", "sh"):
            text = block.text.replace("\\\n", " ")
            for line in text.splitlines():
                if line.strip() and not line.lstrip().startswith("#"):
                    yield str(block), line.strip()
    for path in DOCUMENTS:
        for span in spans_of(path):
            # words in capitals stand for something: GROUP, RUN, FILE
            words = span.split()
            if words[0] in OURS and len(words) > 1 and "…" not in span and "{" not in span:
                yield str(path.relative_to(ROOT)), span


COMMANDS = sorted({(line, where) for where, line in commands()})


def short(value):
    return str(value)[:60]


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_blocks_name_a_language(block):
    assert block.language in LANGUAGES
    if block.language == "json":
        json.loads(block.text)


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.language == "python"], ids=str)
def test_python_blocks_parse_and_import_what_exists(block):
    tree = ast.parse(block.text)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module in ("utils", "NDN3"):
            for alias in node.names:
                assert ROOT.joinpath(node.module, f"{alias.name}.py").is_file(), alias.name
        elif isinstance(node, ast.ImportFrom) and node.module.split(".")[0] in ("utils", "NDN3"):
            assert ROOT.joinpath(*node.module.split(".")).with_suffix(".py").is_file(), node.module


@pytest.mark.parametrize(("line", "where"), COMMANDS, ids=short)
def test_commands_can_be_typed(line, where):
    check_line(line)


def check_line(line):
    words = shlex.split(line, comments=True)
    while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):
        words.pop(0)
    program, arguments = words[0], words[1:]
    assert program in (*STRANGERS, *OURS), f"{program} is not a program that documents name"
    if program == "make":
        for word in arguments:
            assert "=" in word or word in targets(), f"make has no target {word}"
    elif program == "source":
        assert (ROOT / arguments[0]).is_file()
    elif program == "containers/runcmd":
        *options, command = arguments
        assert options in ([], ["--gpus"])
        check_line(command)
    elif program == "pip":
        check_pip(arguments)
    elif program == "runs":
        verb = [] if arguments[0].startswith("-") else arguments[:1]
        check_flags(("-m", "utils.jobs", *verb), arguments[len(verb) :])
    elif program in ("python", "python3"):
        check_python(arguments)


def targets():
    return set(re.findall(r"^([\w-]+):.*## ", (ROOT / "Makefile").read_text(), flags=re.M))


def check_pip(arguments):
    assert arguments[0] == "install"
    for flag, value in zip(arguments, arguments[1:], strict=False):
        if flag == "-r":
            assert (ROOT / value).is_file()


def check_python(arguments):
    if arguments[0] == "-m":
        check_flags(arguments[:2], arguments[2:])
        return
    script = arguments[0].removeprefix("./")
    if script in TYPED:
        return  # tests/system/test_tutorials.py types the whole document
    if any(part.isupper() for part in script.split("/")):
        return  # GROUP stands for something
    assert (ROOT / script).is_file(), f"there is no {script}"
    if script == "utils/runners.py":
        group, exp, environment = arguments[1:4]
        if not group.isupper():
            assert (ROOT / "experiments" / group / f"{exp}.py").is_file()
            check_start(arguments, environment)
    elif script.endswith("_runner.py") and not arguments[1].startswith("-"):
        check_start(arguments, arguments[1])
    else:
        check_flags(arguments[:1], arguments[1:])


def check_start(arguments, environment):
    """A grid is started as printed, or one sentence says that this environment is not there."""
    if environment in (*environments.AVAILABLE, *environments.ALIASES):
        if "--dry-run" not in arguments:
            arguments = [*arguments, "--dry-run"]
        assert run_quickly(*arguments)
    else:
        assert environment in environments.ENVIRONMENTS
        answer = run_quickly(*arguments, status=2)
        assert environment in answer
        assert len(answer.splitlines()) == 1


def check_flags(command, arguments):
    """Every flag of a command line is in its help."""
    known = run_quickly(*command, "--help")
    for word in arguments:
        if word.startswith("-"):
            flag = word.partition("=")[0]
            assert re.search(rf"(?<![\w-]){re.escape(flag)}(?![\w-])", known), f"no flag {flag}"


@functools.cache
def run_quickly(*arguments, status=0):
    """What a Python program of this tree says that has to answer at once."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, "BENCH_RESULTS": NO_RESULTS.name, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == status, f"{shlex.join(arguments)}: {done.stdout}{done.stderr}"
    return done.stdout + done.stderr


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(path):
    text = re.sub(r"^```.*?^```", "", path.read_text(), flags=re.S | re.M)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not re.match(r"https?://|mailto:|#", target):
            assert (path.parent / target.partition("#")[0]).exists(), target
        elif target.startswith("#"):
            headings = re.findall(r"^#+ (.*)$", path.read_text(), flags=re.M)
            assert target[1:] in {
                re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in headings
            }


def test_every_target_has_a_line_of_help():
    makefile = (ROOT / "Makefile").read_text()
    phony = set(re.findall(r"^\.PHONY: (.*)$", makefile, flags=re.M))
    assert phony - targets() == {"moved", "lint"}, "these two are steps, not tasks"


def test_the_experiments_are_all_in_their_table():
    # those that somebody adds to a checkout of their own are not ours to list
    try:
        listed = subprocess.run(
            ["git", "ls-files", "-z", "experiments"], cwd=ROOT, capture_output=True, text=True
        )
    except FileNotFoundError:
        pytest.skip("there is no git to say which experiments belong to this tree")
    if listed.returncode:
        pytest.skip("this folder is no git checkout, so its own experiments cannot be told")
    scripts = [Path(name) for name in listed.stdout.split("\0") if name.endswith(".py")]
    experiments = [f"{p.parent.name}/{p.name}" for p in scripts if not p.stem.endswith("_runner")]
    assert experiments
    table = (ROOT / "experiments" / "README.md").read_text()
    assert not [name for name in experiments if f"`{name}`" not in table]
