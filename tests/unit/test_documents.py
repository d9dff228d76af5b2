"""What the documents say can be typed, is typed by a test, and is true of the code.

Every fenced block of a README, of CONTRIBUTING and below docs/ names its language. Python blocks
parse, and import what exists. Commands, in blocks and in sentences, name programs, targets, files
and flags that exist; runners of this tree are started with `--dry-run`, all other programs of this
tree with `--help`. Each command is typed by a test in tests/system/ or tests/cluster/, run by
another test, or listed with the reason why not. Pages of reference are compared with what they
list.
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

import document_commands
import pytest
from document_commands import ELSEWHERE, NOT_TYPED, PAGES
from document_pages import (
    ENGINES,
    OURS,
    ROOT,
    STRANGERS,
    TOOLS,
    Command,
    blocks_of,
    change,
    commands_in,
    commands_of,
    documents,
    is_shown,
    prose_of,
    spans_of,
    steps_of,
)

from utils import environments

LANGUAGES = {"bash", "sh", "console", "python", "diff", "text", "json", "toml", ""}
# runs of whoever tests must not change what a dry run says
NO_RESULTS = tempfile.TemporaryDirectory()

DOCUMENTS = documents()
BLOCKS = [block for path in DOCUMENTS for block in blocks_of(path)]
TYPED = {block.typed for block in BLOCKS if block.typed}


def name_of(path):
    return path.relative_to(ROOT).as_posix()


def commands():
    """(command line, where) of everything a reader is told to type, or could."""
    for block in BLOCKS:
        for command in commands_in(block):
            yield command.line, str(block)
    for path in DOCUMENTS:
        for span in spans_of(path):
            # words in capitals stand for something: GROUP, RUN, FILE
            words = span.split()
            if words[0] in OURS and len(words) > 1 and "…" not in span and "{" not in span:
                yield span, name_of(path)


COMMANDS = sorted(set(commands()))


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
        if not isinstance(node, ast.ImportFrom) or not node.module:
            continue
        if node.module in ("utils", "NDN3"):
            for alias in node.names:
                assert ROOT.joinpath(node.module, f"{alias.name}.py").is_file(), alias.name
        elif node.module.split(".")[0] in ("utils", "NDN3"):
            file = Path(*node.module.split(".")).with_suffix(".py")
            assert (ROOT / file).is_file() or str(file) in TYPED, node.module


# ---------------------------------------------------------------------------- commands exist


@pytest.mark.parametrize(("line", "where"), COMMANDS, ids=short)
def test_commands_can_be_typed(line, where):
    check_line(line)


def check_line(line):
    words = shlex.split(line, comments=True)
    while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):
        words.pop(0)
    program, arguments = words[0], words[1:]
    assert program in (*STRANGERS, *TOOLS, *OURS), f"{program} is no program that documents name"
    if program == "make":
        for word in arguments:
            assert "=" in word or word in targets(), f"make has no target {word}"
    elif program in ENGINES:
        text = (ROOT / program).read_text()
        assert all(re.search(rf"^    {word}\)", text, flags=re.M) for word in arguments)
    elif program == "source":
        assert (ROOT / arguments[0]).is_file()
    elif program == "containers/runcmd":
        *options, command = arguments
        assert options in ([], ["--gpus"])
        if not command.isupper():
            check_line(command)
    elif program == "pip":
        check_pip(arguments)
    elif program == "runs":
        verb = [] if arguments[0].startswith("-") else arguments[:1]
        check_flags(("-m", "utils.jobs", *verb), arguments[len(verb) :])
    elif program in ("python", "python3"):
        check_python(arguments)
    elif program == "pytest":
        for word in arguments:
            assert word.startswith("-") or (ROOT / word).exists() or word in TYPED, word


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
    if script in TYPED or script == "-c":
        return  # a test types the whole document
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
    """A grid can be started as printed: its dry run works."""
    assert environment in (*environments.ENVIRONMENTS, *environments.ALIASES)
    if not {"--dry-run", "--check"} & set(arguments):
        arguments = [*arguments, "--dry-run"]
    # an engine is not everywhere
    arguments = ["--dry-run" if word == "--check" else word for word in arguments]
    assert run_quickly(*arguments)


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


# ---------------------------------------------------------------------------- commands are typed


def typed_somewhere():
    """Commands of all pages that a test types."""
    return {
        line for name, page in PAGES.items() for line in commands_of(ROOT / name)
        if not page.is_skipped(line)
    }  # fmt: skip


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_each_command_is_typed_or_has_a_reason(path):
    found = typed_somewhere()
    for line in commands_of(path):
        assert (
            line in found or document_commands.where_else(line) or document_commands.why_not(line)
        ), (
            f"no test types `{line}`: add to tests/fixtures/document_commands.py the page (PAGES), "
            "or the command with its test (ELSEWHERE) or with the reason why not (NOT_TYPED)"
        )


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.language == "python"], ids=str)
def test_each_python_block_is_run(block):
    tests = ROOT / "tests" / "unit" / "NDN3"
    elsewhere = {
        "NDN3/README.md": tests / "test_ndn3_readme.py",
        "docs/how-to/plot-a-model.md": tests / "test_plots.py",
        "docs/how-to/choose-a-model-without-the-test-set.md": tests / "test_ndn3_pages.py",
        "docs/how-to/exchange-models.md": tests / "test_ndn3_pages.py",
    }
    name = name_of(block.file)
    assert name in PAGES or elsewhere[name].is_file()


@pytest.mark.parametrize("pattern", [*ELSEWHERE, *NOT_TYPED])
def test_no_list_names_a_command_that_is_not_there(pattern):
    every = [line for path in DOCUMENTS for line in commands_of(path)]
    assert any(
        pattern in (document_commands.where_else(line), document_commands.why_not(line))
        for line in every
    )


@pytest.mark.parametrize("test", sorted(set(ELSEWHERE.values())))
def test_the_tests_that_are_named_exist(test):
    file, _, function = test.partition("::")
    text = (ROOT / file).read_text()
    assert not function or re.search(rf"^def {function}\(", text, flags=re.M)
    if not function and file == ".ci/run":
        for command in (c for c, t in ELSEWHERE.items() if t == test):
            words = set(command.split()) - {"make"}
            assert words <= set(re.findall(r"[\w-]+", text))


def test_typed_pages_exist_and_are_typed_by_a_test():
    folders = [ROOT / "tests" / name for name in ("system", "cluster")]
    tests = "".join(path.read_text() for folder in folders for path in folder.glob("test_*.py"))
    for name, page in PAGES.items():
        assert (ROOT / name).is_file()
        assert f'"{page.tree}"' in tests
        assert set(page.status) <= set(commands_of(ROOT / name))


def test_a_page_is_read_as_its_reader_reads_it(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "Now `some/file.py`:\n\n```python\nx = 1\n```\n\nThen call `runs list demo`, not `runs "
        "list GROUP` or `runs plot`.\n\n```console\n$ python one.py\n^C\n0/4 … left\n"
        "$ python two.py\n```\n\n```bash\n# a word\nmake demo  # about 5 minutes\n```\n"
    )
    steps = list(steps_of(page))
    assert steps[0].typed == "some/file.py"
    assert steps[1:] == [
        Command("runs list demo", aside=True),
        Command("python one.py", ("0/4 … left",), interrupted=True),
        Command("python two.py"),
        Command("make demo"),
    ]
    assert is_shown("0/4 … left", "and\n0/4  done, 3 left\n") and not is_shown("0/4 … left", "0/4")
    (tmp_path / "file.py").write_text("a = 1\nb = 2\nc = 3\n")
    change(tmp_path / "file.py", " a = 1\n-b = 2\n+b = 4\n c = 3")
    assert (tmp_path / "file.py").read_text() == "a = 1\nb = 4\nc = 3\n"
    with pytest.raises(AssertionError, match="0 times"):
        change(tmp_path / "file.py", "-b = 2\n+b = 4")


# ---------------------------------------------------------------------------- links and tables


def anchors(path):
    headings = re.findall(r"^#+ (.*)$", prose_of(path), flags=re.M)
    return {re.sub(r"[^\w -]", "", h).strip().lower().replace(" ", "-") for h in headings}


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_links_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)\s]+)\)", prose_of(path)):
        if re.match(r"https?://|mailto:", target):
            continue
        file, _, anchor = target.partition("#")
        there = path.parent / file if file else path
        assert there.exists(), target
        assert not anchor or anchor in anchors(there), target


def test_the_index_names_every_page_once():
    index = (ROOT / "docs" / "README.md").read_text()
    linked = re.findall(r"\]\(([\w/-]+\.md)\)", index)
    pages = [p.relative_to(ROOT / "docs").as_posix() for p in (ROOT / "docs").rglob("*.md")]
    assert sorted(linked) == sorted(page for page in pages if page != "README.md")


def test_every_background_page_ends_with_its_papers():
    for path in (ROOT / "docs" / "background").glob("*.md"):
        assert re.findall(r"^## (.*)$", path.read_text(), flags=re.M)[-1] == "Papers", path.name


def test_every_figure_says_where_it_is_from():
    for path in DOCUMENTS:
        text = path.read_text()
        for figure in re.findall(r"!\[[^]]*\]\((\S+)\)", text):
            assert (path.parent / figure).is_file()
            assert re.search(r"runs plot|playgrounds/|make demo|\.savefig\(", text), path


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
