"""`containers/runcmd`, `make image` and `make apptainer`, beside an engine that only plays one.

The stand-in for Docker writes down how it was called and really runs the command, in the folder and
with the variables that it was given, so exit status, quoting and signals are those of the real way.
tests/system/test_container_build.py builds and runs with a real one.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RUNCMD = ROOT / "containers" / "runcmd"

ENGINE = """#!{python}
import json, os, sys
words = sys.argv[1:]
with open({log!r}, "a") as log:
    log.write(json.dumps(words) + "\\n")
if words[:2] == ["image", "inspect"]:
    if words[-1] not in {images}:
        sys.exit("Error: No such image: " + words[-1])
elif words[0] == "run":
    at = next(n for n, word in enumerate(words) if word.startswith("neuro-bench:"))
    pairs = dict()
    for flag, value in zip(words[:at], words[1:at]):
        pairs.setdefault(flag, []).append(value)
    os.chdir(pairs["--workdir"][0])
    os.environ.update(dict(v.split("=", 1) for v in pairs["--env"]))
    os.execvp(words[at + 1], words[at + 1 :])
"""


@pytest.fixture
def host(tmp_path, monkeypatch):
    """A machine with nothing but Python, make and a shell; `engine` adds a stand-in."""

    class Host:
        folder = tmp_path / "bin"
        log = tmp_path / "calls"

        def engine(self, name="docker", images=("neuro-bench:cpu",)):
            text = ENGINE.format(python=sys.executable, log=str(self.log), images=list(images))
            (self.folder / name).write_text(text)
            (self.folder / name).chmod(0o755)

        def calls(self):
            return [json.loads(line) for line in self.log.read_text().splitlines()]

    Host.folder.mkdir()
    for name in ("sh", "env", "make", "cat", "awk", "head", "sleep"):
        if found := shutil.which(name):
            (Host.folder / name).symlink_to(found)
    (Host.folder / "python3").symlink_to(sys.executable)
    monkeypatch.setenv("PATH", str(Host.folder))
    for name in ("BENCH_ENGINE", "BENCH_DATA", "BENCH_RESULTS", "GPU", "MAKEFLAGS"):
        monkeypatch.delenv(name, raising=False)
    return Host()


def run(*command, cwd=ROOT, text=None):
    return subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        input=text,
        stdin=subprocess.DEVNULL if text is None else None,
        capture_output=True,
        text=True,
        timeout=60,
    )


def refused(done, status, *words):
    """Whether a command was answered with one sentence and a status."""
    assert done.returncode == status, done.stderr
    # make[1]: where make itself runs the tests
    lines = [line for line in done.stderr.splitlines() if not line.startswith(("make:", "make["))]
    assert len(lines) == 1, done.stderr
    assert all(word in lines[0] for word in words), lines[0]
    assert lines[0].endswith(".")
    return True


# ---------------------------------------------------------------------------- runcmd


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("echo it\\'s \"a  b\"; printf '%s\\n' '$HOME' 'ü, ;'", "it's a  b\n$HOME\nü, ;\n"),
        ("X=1; for n in 1 2; do echo $n$X; done | head -n 1", "11\n"),
        ("echo $PYTHONPATH", f"{ROOT}\n"),
    ],
)
def test_a_shell_inside_reads_the_command(host, command, said):
    host.engine()
    done = run(RUNCMD, command)
    assert (done.returncode, done.stdout, done.stderr) == (0, said, "")
    inspected, ran = host.calls()
    assert inspected[:2] == ["image", "inspect"]
    assert ran[-4:] == ["neuro-bench:cpu", "sh", "-c", command]
    assert ran[ran.index("--user") + 1] == f"{os.getuid()}:{os.getgid()}"
    assert f"type=bind,source={ROOT},target={ROOT}" in ran
    assert "--tty" not in ran


def test_exit_status_and_input_are_passed_on(host):
    host.engine()
    done = run(RUNCMD, "cat; echo no >&2; exit 41", text="in")
    assert (done.returncode, done.stdout, done.stderr) == (41, "in", "no\n")
    assert "--interactive" in host.calls()[-1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_signals_are_passed_on(host, number):
    host.engine()
    name = number.name.removeprefix("SIG")
    command = f"trap 'echo got {name}; exit 43' {name}; echo ready; while :; do sleep 0.05; done"
    # a shell cannot trap what was ignored when it began, as it is for programs in the background
    program = (
        "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); "
        "os.execv(sys.argv[1], sys.argv[1:])"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, RUNCMD, command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        assert process.communicate(timeout=60)[0] == f"got {name}\n"
        assert process.returncode == 43
    finally:
        process.kill()


def test_a_closed_pipe_ends_the_command(host):
    """Python ignores SIGPIPE, and what it becomes would ignore it, too."""
    # a stand-in in Python would ignore it by itself
    (host.folder / "docker").write_text(
        '#!/bin/sh\n[ "$1" = image ] || while :; do echo y || exit 44; done\n'
    )
    (host.folder / "docker").chmod(0o755)
    process = subprocess.Popen(
        [RUNCMD, "yes"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert process.stdout.readline() == b"y\n"
        process.stdout.close()
        assert process.wait(60) == -signal.SIGPIPE
    finally:
        process.kill()


def test_a_terminal_is_passed_on(host):
    host.engine()
    program = "import os, pty, sys; os._exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))"
    done = run(sys.executable, "-c", program, RUNCMD, "test -t 0 && test -t 1 && exit 45")
    assert done.returncode == 45, done.stderr
    assert {"--interactive", "--tty"} <= set(host.calls()[-1])


def test_the_command_starts_where_the_caller_stands(host, tmp_path):
    host.engine()
    assert run(RUNCMD, "pwd", cwd=ROOT / "utils").stdout == f"{ROOT / 'utils'}\n"
    assert run(RUNCMD, "pwd", cwd=tmp_path).stdout == f"{ROOT}\n", "which is not mounted"


def test_moved_folders_are_mounted(host, bench_folders):
    host.engine()
    done = run(RUNCMD, "echo $BENCH_DATA; echo $BENCH_RESULTS")
    assert done.stdout.splitlines() == [str(folder) for folder in bench_folders]
    for folder in bench_folders:
        assert f"type=bind,source={folder},target={folder}" in host.calls()[-1]


def test_gpus_are_asked_for(host):
    host.engine(images=["neuro-bench:gpu"])
    assert run(RUNCMD, "--gpus", "exit 46").returncode == 46
    ran = host.calls()[-1]
    assert ran[ran.index("--gpus") + 1] == "all"
    assert "neuro-bench:gpu" in ran
    assert refused(run(RUNCMD, "true"), 125, "there is no image neuro-bench:cpu", "`make image`")
    host.engine()
    assert refused(run(RUNCMD, "--gpus", "true"), 125, "`make image GPU=1`")


def test_what_is_missing_is_said_in_a_sentence(host, monkeypatch, bench_folders):
    assert refused(run(RUNCMD, "true"), 125, "neither docker nor podman")
    assert refused(run(RUNCMD), 2, "there is no command")
    assert refused(run(RUNCMD, " "), 2, "there is no command")
    assert refused(run(RUNCMD, "ls", "-l"), 2, "got 2", "containers/runcmd 'ls -l'")
    assert refused(run(RUNCMD, "--gpu", "ls"), 2, "'--gpu' is not known", "--gpus")
    host.engine()
    monkeypatch.setenv("BENCH_ENGINE", "lxc")
    assert refused(run(RUNCMD, "true"), 2, "BENCH_ENGINE is 'lxc'")
    monkeypatch.delenv("BENCH_ENGINE")
    monkeypatch.setenv("BENCH_DATA", str(bench_folders.data / "none"))
    assert refused(run(RUNCMD, "true"), 2, "BENCH_DATA", "mkdir -p")
    comma = bench_folders.data / "a,b"
    comma.mkdir()
    monkeypatch.setenv("BENCH_DATA", str(comma))
    assert refused(run(RUNCMD, "true"), 2, "a,b", "comma")
    assert not host.log.exists(), "nothing was started"


# ---------------------------------------------------------------------------- make


@pytest.mark.parametrize("target", ["image", "Dockerfile"])
@pytest.mark.parametrize(("gpu", "name"), [("", "cpu"), ("0", "cpu"), ("1", "gpu")])
def test_make_builds_the_image(host, target, gpu, name):
    host.engine()
    done = run("make", target, f"GPU={gpu}")
    assert done.returncode == 0, done.stderr
    assert host.calls() == [
        [
            *("build", "--build-arg", f"GPU={int(name == 'gpu')}", "--tag", f"neuro-bench:{name}"),
            *("--file", f"{ROOT}/containers/Dockerfile", f"{ROOT}"),
        ]
    ]


@pytest.mark.parametrize("program", ["apptainer", "singularity"])
def test_make_builds_the_image_file(host, program):
    host.engine(program)
    done = run("make", "apptainer", "GPU=1")
    assert done.returncode == 0, done.stderr
    (call,) = host.calls()
    assert call[0] == "build"
    assert call[-4:] == [
        *("--build-arg", "gpu=1", f"{ROOT}/containers/neuro-bench-gpu.sif"),
        f"{ROOT}/containers/apptainer.def",
    ]


def test_make_without_an_engine_says_so_in_a_sentence(host):
    for target in ("image", "Dockerfile"):
        assert refused(run("make", target), 2, "neither docker nor podman", "install one")
    assert refused(run("make", "apptainer"), 2, "neither apptainer nor singularity", "install one")
    assert refused(run("make", "image", "PYTHON=python9"), 2, "there is no python9")


def test_a_build_that_fails_fails(host):
    (host.folder / "podman").write_text("#!/bin/sh\nexit 3\n")
    (host.folder / "podman").chmod(0o755)
    assert run("make", "image", "GPU=").returncode == 2
