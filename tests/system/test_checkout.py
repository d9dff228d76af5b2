"""The checkout's own commands, in a copy with a space in its path, without installing anything.

A stand-in for Python writes down how it was called, so that what `make env` would install, and when
it would install nothing, is seen in seconds and without a network.
"""

import os
import pty
import re
import select
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TARGETS = """help env env-dev NDN3 activate data demo check test test-unit test-system
test-cluster chaos notebooks tensorboard snapshot image Dockerfile apptainer clean
clean_env clean_tflogs clean_activate""".split()
TOOLS = (
    "sh make awk cat rm mkdir touch printf mv cp git find grep uname env dirname ls wc chmod true"
)

# Answers the two questions of the Makefile, makes an env/ out of itself, and notes every call.
PYTHON = """#!/bin/sh
echo "$*" >> {log}
case "$*" in
    *'print("%d.%d"'*) echo {version} ;;
    *"import venv, ensurepip"*) exit {no_venv} ;;
    *"-m venv"*) mkdir -p env/bin && cp "$0" env/bin/python ;;
esac
"""


def copy_of_the_tree(folder):
    """What git has or would add, committed in a repository of its own."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if listed.returncode:
        pytest.skip("this tree is no git checkout, and what belongs to it cannot be told")
    for name in filter(None, listed.stdout.split("\0")):
        source, target = ROOT / name, folder / name
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
    git = ["git", "-C", folder, "-c", "user.name=test", "-c", "user.email=test@localhost"]
    for arguments in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "copy"]):
        subprocess.run([*git, *arguments], check=True, capture_output=True)


@pytest.fixture
def checkout(tmp_path):
    folder = tmp_path / "check out"
    copy_of_the_tree(folder)
    return folder


@pytest.fixture
def tools(tmp_path):
    """A PATH with what a bare machine has, and no Python."""
    folder = tmp_path / "tools"
    folder.mkdir()
    for name in TOOLS.split():
        if found := shutil.which(name):
            (folder / name).symlink_to(found)
    return folder


def add_python(tools, name="python3", version="3.12", no_venv=0):
    """A stand-in on the PATH; its calls are in tools/calls."""
    log = tools / "calls"
    text = PYTHON.format(log=shlex.quote(str(log)), version=version, no_venv=no_venv)
    (tools / name).write_text(text)
    (tools / name).chmod(0o755)


def calls(tools):
    log = tools / "calls"
    made = log.read_text().splitlines() if log.exists() else []
    log.unlink(missing_ok=True)
    return made


def run(folder, *command, path=None, **environment):
    clean = {k: v for k, v in os.environ.items() if not re.match("MAKE|MFLAGS|PYTHON$|BENCH_", k)}
    if path:
        clean["PATH"] = str(path)
    return subprocess.run(
        [str(word) for word in command],
        cwd=folder,
        env={**clean, **environment},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=60,
    )


def make(folder, *arguments, **options):
    return run(folder, "make", *arguments, **options)


# ---------------------------------------------------------------------------- make


def test_help_is_the_default_and_lists_every_target(checkout):
    done = make(checkout)
    assert done.returncode == 0, done.stderr
    assert done.stdout == make(checkout, "help").stdout
    lines = [line.split(maxsplit=1) for line in done.stdout.splitlines()]
    assert {name for name, _ in lines} == set(TARGETS)
    assert all(len(line) == 2 for line in lines), "each with a line of its own"


@pytest.mark.parametrize("target", TARGETS)
def test_every_target_can_be_planned(checkout, target):
    done = make(checkout, "-n", target)
    assert done.returncode == 0, done.stderr


def test_make_outside_the_checkout_says_where_to_call_it(checkout, tmp_path):
    done = make(tmp_path, "-f", checkout / "Makefile")
    assert done.returncode
    assert "call make in the root of the checkout" in done.stderr


def test_an_unknown_demo_is_answered_with_the_known_ones(checkout):
    done = make(checkout, "demo", "DEMO=slow")
    assert done.returncode
    assert "DEMO must be full or quick, got slow" in done.stderr


def test_env_installs_once_and_again_when_a_list_changed(checkout, tools):
    add_python(tools)
    done = make(checkout, "env", path=tools)
    assert done.returncode == 0, done.stderr
    made = calls(tools)
    assert "-m venv --clear env" in made
    installs = [c.partition("install ")[2] for c in made if "pip" in c and "install " in c]
    assert installs == ["--requirement requirements.txt", "--no-deps --editable ."]
    assert any("import NDN3, utils" in c for c in made)

    make(checkout, "env", path=tools)
    assert calls(tools) == [], "a second call asks no Python for anything"

    later = (checkout / "env" / ".installed").stat().st_mtime + 10
    os.utime(checkout / "NDN3" / "requirements.txt", (later, later))
    make(checkout, "env", path=tools)
    made = calls(tools)
    assert any("--requirement requirements.txt" in c for c in made)
    assert not any("-m venv" in c for c in made), "the environment itself is kept"


def test_env_dev_adds_to_env(checkout, tools):
    add_python(tools)
    assert make(checkout, "env-dev", path=tools).returncode == 0
    assert [c for c in calls(tools) if "requirements-dev.txt" in c]
    assert make(checkout, "env-dev", path=tools).returncode == 0
    assert calls(tools) == []


def test_gpu_environment_stays_one(checkout, tools):
    add_python(tools)
    assert make(checkout, "env", path=tools).returncode == 0
    assert not [c for c in calls(tools) if "requirements-gpu.txt" in c]
    assert make(checkout, "env", "GPU=1", path=tools).returncode == 0
    made = calls(tools)
    assert [c for c in made if "--requirement NDN3/requirements-gpu.txt" in c]

    later = (checkout / "env" / ".installed-gpu").stat().st_mtime + 10
    os.utime(checkout / "requirements.txt", (later, later))
    assert make(checkout, "env", path=tools).returncode == 0
    assert [c for c in calls(tools) if "--requirement NDN3/requirements-gpu.txt" in c]


def test_a_moved_environment_is_made_anew(checkout, tools):
    add_python(tools)
    assert make(checkout, "env", path=tools).returncode == 0
    calls(tools)
    moved = checkout.with_name("elsewhere")
    checkout.rename(moved)
    done = make(moved, "env", path=tools)
    assert done.returncode == 0, done.stderr
    assert f"env/ was made in {checkout}" in done.stdout
    assert "-m venv --clear env" in calls(tools)


def test_without_python_one_sentence_says_what_to_do(checkout, tools):
    done = make(checkout, "env", path=tools)
    assert done.returncode
    first = done.stderr.splitlines()[0]
    assert first.startswith("No Python 3.11, 3.12 or 3.13 under the name python3")
    assert "apt-get install python3 python3-venv" in first
    assert not (checkout / "env").exists()


def test_an_unfit_python_is_named_and_a_fit_one_is_looked_for(checkout, tools):
    add_python(tools, version="3.9")
    done = make(checkout, "env", path=tools)
    assert done.returncode
    assert "python3 is Python 3.9" in done.stderr
    add_python(tools, "python3.13", version="3.13")
    done = make(checkout, "env", path=tools)
    assert done.returncode == 0, done.stderr
    assert "python3.13 (Python 3.13)" in done.stdout


def test_a_python_that_the_user_names_is_used_or_refused(checkout, tools):
    add_python(tools, "python3.13", version="3.13")
    add_python(tools, "python3.14", version="3.14")
    done = make(checkout, "env", "PYTHON=python3.14", path=tools)
    assert done.returncode
    assert "python3.14 is Python 3.14" in done.stderr
    assert make(checkout, "env", f"PYTHON={tools}/python3.13", path=tools).returncode == 0


def test_a_python_without_venv_says_what_to_install(checkout, tools):
    add_python(tools, version="3.11", no_venv=1)
    done = make(checkout, "env", path=tools)
    assert done.returncode
    assert "apt-get install python3-venv, or python3.11-venv" in done.stderr.splitlines()[0]


def test_ndn3_says_that_it_is_here(checkout):
    done = make(checkout, "NDN3")
    assert done.returncode == 0
    assert "part of this tree" in done.stdout
    (checkout / "NDN3" / "NDN.py").unlink()
    done = make(checkout, "NDN3")
    assert done.returncode
    assert "git checkout -- NDN3" in done.stderr


# ---------------------------------------------------------------------------- cleaning


def test_activate_can_be_removed_and_restored(checkout):
    before = (checkout / "activate").read_bytes()
    assert make(checkout, "clean_activate").returncode == 0
    assert not (checkout / "activate").exists()
    assert make(checkout, "activate").returncode == 0
    assert (checkout / "activate").read_bytes() == before
    (checkout / "activate").write_text("spoiled")
    shutil.rmtree(checkout / ".git")
    done = make(checkout, "activate", GIT_CEILING_DIRECTORIES=str(checkout.parent))
    assert done.returncode
    assert "this folder is no git checkout" in done.stderr
    assert (checkout / "activate").read_text() == "spoiled", "nothing is lost on the way"


@pytest.mark.parametrize("elsewhere", [False, True], ids=["here", "BENCH_RESULTS"])
def test_results_are_removed_only_when_told(checkout, tmp_path, elsewhere):
    results = tmp_path / "my results" if elsewhere else checkout / "training_data"
    environment = {"BENCH_RESULTS": str(results)} if elsewhere else {}
    for name in ("logs", "models", "job_logs"):
        (results / name / "group").mkdir(parents=True)
    (results / "experiments.txt").touch()
    (results / "notes.txt").touch()
    (checkout / "Data" / "region1").mkdir(parents=True)
    done = make(checkout, "clean_tflogs", **environment)
    assert done.returncode
    assert "YES=1" in done.stderr
    assert (results / "logs" / "group").exists()
    assert make(checkout, "clean_tflogs", "YES=1", **environment).returncode == 0
    assert {p.name for p in results.iterdir()} - {"README.md"} == {"notes.txt"}
    assert (checkout / "Data" / "region1").exists()


def test_clean_removes_what_tools_left_and_nothing_else(checkout):
    kept = [checkout / "env" / "__pycache__", checkout / "Data" / "region1"]
    gone = [checkout / "utils" / "__pycache__", checkout / ".pytest_cache", checkout / "build"]
    for folder in kept + gone:
        folder.mkdir(parents=True)
    assert make(checkout, "clean").returncode == 0
    assert all(folder.exists() for folder in kept)
    assert not any(folder.exists() for folder in gone)
    status = run(checkout, "git", "status", "--porcelain", "--untracked-files=no")
    assert status.stdout == ""


# ---------------------------------------------------------------------------- activate


@pytest.fixture(params=["bash", "zsh"])
def shell(request):
    if not shutil.which(request.param):
        pytest.skip(f"there is no {request.param} here: apt-get install {request.param}")
    return [request.param, "-f"] if request.param == "zsh" else [request.param, "--norc"]


@pytest.fixture
def with_environment(checkout):
    """The copy with an env/ that consists of a Python that knows its version."""
    binaries = checkout / "env" / "bin"
    binaries.mkdir(parents=True)
    (checkout / "env" / ".installed").write_text(f"{checkout}\n")
    (binaries / "activate").write_text(f"PATH={shlex.quote(str(binaries))}:$PATH\n")
    (binaries / "python").write_text("#!/bin/sh\necho Python 3.12.34\n")
    (binaries / "python").chmod(0o755)
    return checkout


def source(shell, checkout, after, folder="/", before=":"):
    activate = shlex.quote(str(checkout / "activate"))
    return run(folder, *shell, "-c", f"{before}\nsource {activate}\n{after}")


def test_without_an_environment_activate_says_so(shell, checkout):
    done = source(shell, checkout, "echo status $?")
    assert "run make env first" in done.stderr
    assert done.stdout == "status 1\n"


def test_activate_works_from_any_folder(shell, with_environment):
    done = source(shell, with_environment, "command -v python")
    assert done.stderr == ""
    first, second = done.stdout.splitlines()
    assert re.fullmatch(r"Python 3\.12\.34, (no GPU|1 GPU|\d+ GPUs) seen", first)
    assert second == str(with_environment / "env" / "bin" / "python")
    relative = run(with_environment, *shell, "-c", "source ./activate && command -v python")
    assert relative.stdout == done.stdout


def test_activate_answers_at_once(shell, with_environment):
    """TensorFlow, which could tell about the GPU, would need seconds."""
    done = source(shell, with_environment, "", before="SECONDS=0; trap 'echo $SECONDS' EXIT")
    assert int(done.stdout.splitlines()[-1]) <= 1


def test_activate_leaves_nothing_behind(shell, with_environment):
    for completion in (with_environment / "utils").glob("completion.*"):
        completion.unlink()
    names = {
        "bash": "{ compgen -v; compgen -A function; set +o; }",
        "zsh": "{ print -l ${(k)parameters} ${(k)functions}; setopt; }",
    }[shell[0]]
    done = source(
        shell, with_environment, f"{names} > after", with_environment, f"{names} > before"
    )
    assert done.returncode == 0, done.stderr
    before, after = (set((with_environment / n).read_text().split()) for n in ("before", "after"))
    assert "PATH" in before
    assert after - before <= {"PIPESTATUS"}, "bash itself makes this one"
    assert before <= after


def test_activate_survives_strict_shells(shell, with_environment):
    done = source(shell, with_environment, "echo reached $-", before="set -eu")
    assert done.returncode == 0, done.stderr
    assert re.search(r"reached \w*e\w*", done.stdout), "and leaves them strict"


def test_a_moved_environment_is_not_activated(shell, with_environment):
    (with_environment / "env" / ".installed").write_text("/another/place\n")
    done = source(shell, with_environment, "echo status $?")
    assert "run make env again" in done.stderr
    assert done.stdout == "status 1\n"


def test_running_instead_of_sourcing_is_explained(shell, with_environment):
    done = run("/", *shell, with_environment / "activate")
    assert done.returncode == 1
    assert "source ./activate" in done.stderr


# ---------------------------------------------------------------------------- completion


class Terminal:
    """A shell on a terminal of its own, to press the Tab key in."""

    def __init__(self, shell, folder):
        self.terminal, other_end = pty.openpty()
        settings = {"TERM": "dumb", "VISUAL": "", "EDITOR": "", "BENCH_RESULTS": str(folder)}
        self.process = subprocess.Popen(
            [*shell, "-i"],
            cwd=folder,
            env={**os.environ, **settings},
            stdin=other_end,
            stdout=other_end,
            stderr=other_end,
            start_new_session=True,
        )
        os.close(other_end)

    def type(self, keys, until):
        """Press keys and return the match of what has to appear."""
        os.write(self.terminal, keys.encode())
        said, end = "", time.monotonic() + 30
        while time.monotonic() < end:
            if select.select([self.terminal], [], [], 0.1)[0]:
                said += os.read(self.terminal, 65536).decode(errors="replace")
            if found := re.search(until, said):
                return found
        raise AssertionError(f"{until} did not appear after {keys!r}:\n{said}")

    def completed(self, keys):
        """The command line after Tab: held by Ctrl-A and echo, so that nothing is started."""
        os.write(self.terminal, f"{keys}\t".encode())
        # what is typed while a completion is computed waits in the terminal
        return self.type("\x01echo COMPLETED: \n", r"\nCOMPLETED: ([^\r\n]*)").group(1).strip()


@pytest.fixture
def terminal(shell, checkout):
    """A shell in the copy, with this Python as its environment and the completion loaded."""
    python = checkout / "env" / "bin" / "python"
    python.parent.mkdir(parents=True)
    words = f"PYTHONPATH={shlex.quote(str(checkout))} exec {shlex.quote(sys.executable)}"
    python.write_text(f'#!/bin/sh\n{words} "$@"\n')
    python.chmod(0o755)
    interactive = Terminal(shell, checkout)
    interactive.type("export VIRTUAL_ENV=$PWD/env\n", "env")
    interactive.type(f"source utils/completion.{shell[0]}; echo LOADED-$?\n", "LOADED-0")
    yield interactive
    interactive.process.kill()
    interactive.process.wait()
    os.close(interactive.terminal)


def test_tab_completes_runs_runners_and_experiments(terminal):
    assert terminal.completed("runs ta") == "runs table"
    assert terminal.completed("runs table --c") == "runs table --csv"
    assert terminal.completed("runs list baseline/bl4") == "runs list baseline/bl4"
    assert terminal.completed("runs list demo/f") == "runs list demo/first_grid"
    runner = "python experiments/demo/first_grid_runner.py"
    assert terminal.completed(f"{runner} lin") == f"{runner} linux"
    assert terminal.completed(f"{runner} linux --resu") == f"{runner} linux --resume"
    assert terminal.completed(f"{runner} slurm-g") == f"{runner} slurm-gpu"
    assert terminal.completed(f"{runner} qsub-cpu --chec") == f"{runner} qsub-cpu --check"
    assert terminal.completed("runs sen") == "runs send"
    assert terminal.completed("runs retry --mem") == "runs retry --memory"
    script = "python experiments/demo/first_grid.py"
    assert terminal.completed(f"{script} --hid") == f"{script} --hidden"
    assert terminal.completed("python utils/runners.py base") == "python utils/runners.py baseline"
    assert terminal.completed("python READ") == "python README.md", "file names as before"
