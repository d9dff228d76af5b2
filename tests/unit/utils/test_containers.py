"""Command lines of container engines: who runs what, where, with which folders."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from utils import containers, paths

ROOT = Path(__file__).parents[3]
CALLER = ["--user", f"{os.getuid()}:{os.getgid()}"]


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """An empty PATH, and a function that puts an executable on it."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("BENCH_ENGINE", raising=False)

    def add(name, text="#!/bin/sh\n"):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)

    return add


def mounts(line):
    return [line[at + 1] for at, word in enumerate(line) if word == "--mount"]


def variables(line):
    return [line[at + 1] for at, word in enumerate(line) if word == "--env"]


# ---------------------------------------------------------------------------- run_command


def test_the_whole_line_of_docker():
    line = containers.run_command(
        ["python", "a b.py", "--name", 'it\'s, "ü"'],
        root=Path("/lab/my bench"),
        folders=[Path("/data/größer")],
        environment={"BENCH_DATA": "/data/größer"},
        program="docker",
    )
    assert line == [
        *("docker", "run", "--rm", "--init", "--pull=never", *CALLER),
        *("--mount", "type=bind,source=/lab/my bench,target=/lab/my bench"),
        *("--mount", "type=bind,source=/data/größer,target=/data/größer"),
        *("--env", "PYTHONPATH=/lab/my bench", "--env", "BENCH_DATA=/data/größer"),
        *("--workdir", "/lab/my bench", "neuro-bench:cpu"),
        *("python", "a b.py", "--name", 'it\'s, "ü"'),
    ]


@pytest.mark.parametrize(
    ("program", "words"),
    [("docker", ["--gpus", "all"]), ("podman", ["--device", "nvidia.com/gpu=all"])],
)
def test_gpus_come_with_the_image_that_can_use_them(program, words):
    place = {"root": Path("/a"), "folders": [], "environment": {}, "program": program}
    line = containers.run_command(["x"], gpus=True, **place)
    at = line.index(words[0])
    assert line[at : at + 2] == words
    assert line[-2:] == ["neuro-bench:gpu", "x"]
    assert words[1] not in containers.run_command(["x"], **place)


@pytest.mark.parametrize("user", [0, 1000])
def test_podman_keeps_the_callers_id_and_labels(monkeypatch, user):
    monkeypatch.setattr(os, "getuid", lambda: user)
    line = containers.run_command(
        ["x"], root=Path("/a"), folders=[], environment={}, program="podman"
    )
    assert line[line.index("--user") + 1] == f"{user}:{os.getgid()}"
    assert line[line.index("--security-opt") + 1] == "label=disable"
    assert ("--userns=keep-id" in line) == (user != 0), "as root, podman refuses it"


def test_folders_that_are_there_already_are_not_mounted_twice():
    line = containers.run_command(
        ["x"],
        root=Path("/a/b"),
        folders=[Path("/a/b/Data"), Path("/a/bc"), Path("/a/bc"), Path("/a")],
        environment={},
        program="docker",
    )
    sources = [mount.split(",")[1].removeprefix("source=") for mount in mounts(line)]
    assert sources == ["/a/b", "/a/bc", "/a"]


@pytest.mark.parametrize("name", ["a,b", 'a"b', "a'b", "a\nb", "a\tb"])
def test_a_path_that_cannot_be_mounted_is_refused(name):
    folder = Path("/lab") / name
    for root, folders in ((folder, []), (Path("/lab/x"), [folder])):
        with pytest.raises(ValueError, match="comma, a quote or a control.*rename the folder") as e:
            containers.run_command(
                ["x"], root=root, folders=folders, environment={}, program="docker"
            )
        assert repr(str(folder)) in str(e.value)
        assert "\n" not in str(e.value)


def test_a_relative_path_is_refused():
    with pytest.raises(ValueError, match="'a/b' is relative"):
        containers.run_command(
            ["x"], root=Path("a/b"), folders=[], environment={}, program="docker"
        )


def test_variables_of_the_caller_win():
    line = containers.run_command(
        ["x"],
        root=Path("/a"),
        folders=[],
        environment={"PYTHONPATH": "/b", "EMPTY": "", "TWO": "1\n2, 'three'"},
        program="docker",
    )
    assert variables(line) == ["PYTHONPATH=/b", "EMPTY=", "TWO=1\n2, 'three'"]


# ---------------------------------------------------------------------------- the engine


def test_docker_comes_first_and_the_variable_chooses(programs, monkeypatch):
    assert containers.engine() is None
    programs("podman")
    assert containers.engine() == "podman"
    programs("docker")
    assert containers.engine() == "docker"
    monkeypatch.setenv("BENCH_ENGINE", "podman")
    assert containers.engine() == "podman"
    monkeypatch.setenv("BENCH_ENGINE", "")
    assert containers.engine() == "docker"


def test_a_docker_that_is_podman_is_called_podman(programs):
    programs("docker", '#!/bin/sh\nexec /usr/bin/podman "$@"\n')
    assert containers.engine() is None
    programs("podman")
    assert containers.engine() == "podman"


def test_an_unknown_engine_is_answered_with_the_known_ones(programs, monkeypatch):
    monkeypatch.setenv("BENCH_ENGINE", "lxc")
    with pytest.raises(ValueError, match="BENCH_ENGINE is 'lxc', and docker or podman"):
        containers.engine()


def test_a_missing_engine_is_one_sentence(programs, monkeypatch):
    place = {"root": Path("/a"), "folders": [], "environment": {}}
    with pytest.raises(FileNotFoundError, match="neither docker nor podman.*install one"):
        containers.run_command(["x"], **place)
    monkeypatch.setenv("BENCH_ENGINE", "docker")
    with pytest.raises(FileNotFoundError, match="no docker, which BENCH_ENGINE asks for"):
        containers.run_command(["x"], **place)
    programs("docker")
    assert containers.run_command(["x"], **place)[0] == "docker"


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("exit 0", None),
        ("echo 'Error: No such image: neuro-bench:gpu' >&2; exit 1", "build it with `make image G"),
        ("echo 'Error response from daemon: no such image' >&2; exit 1", "`make image GPU=1`"),
        ("echo 'Error: neuro-bench:gpu: image not known' >&2; exit 125", "`make image GPU=1`"),
        ("echo oh >&2; echo 'Cannot connect. Is it running?' >&2; exit 1", "'Cannot connect. Is"),
        ("exit 4", "does not answer ('exit status 4')"),
    ],
)
def test_why_an_image_cannot_be_used(programs, answer, words):
    programs(
        "docker",
        f'#!/bin/sh\n[ "$1 $2 $5" = "image inspect neuro-bench:gpu" ] || exit 9\n{answer}\n',
    )
    problem = containers.image_problem("docker", gpus=True)
    if words is None:
        assert problem is None
    else:
        assert words in problem
        assert "\n" not in problem


def test_an_engine_that_hangs_is_given_up(programs, monkeypatch):
    programs("docker", "#!/bin/sh\nexec /bin/sleep 60\n")
    monkeypatch.setattr(containers, "ANSWER_S", 0.2)
    assert "docker did not answer within 0.2 s" in containers.image_problem("docker")


# ---------------------------------------------------------------------------- folders


def test_moved_folders_are_mounted_and_named_by_their_real_place(tmp_path, monkeypatch):
    disk = tmp_path / "disk"
    (disk / "recordings").mkdir(parents=True)
    (tmp_path / "results").mkdir()
    (tmp_path / "link").symlink_to(disk / "recordings")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BENCH_DATA", "link")
    monkeypatch.setenv("BENCH_RESULTS", "results")
    real = disk / "recordings", tmp_path / "results"
    assert containers.moved() == (
        list(real),
        {"BENCH_DATA": str(real[0]), "BENCH_RESULTS": str(real[1])},
    )


def test_a_linked_data_folder_of_the_checkout_is_mounted_too(tmp_path, monkeypatch):
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    (tmp_path / "disk").mkdir()
    (checkout / "Data").symlink_to(tmp_path / "disk")
    monkeypatch.setattr(paths, "ROOT", checkout)
    monkeypatch.delenv("BENCH_DATA", raising=False)
    monkeypatch.setenv("BENCH_RESULTS", "")
    assert containers.moved() == ([tmp_path / "disk"], {}), "training_data/ does not exist yet"


def test_a_moved_folder_that_is_missing_is_named(bench_folders):
    bench_folders.results.rmdir()
    with pytest.raises(ValueError, match="BENCH_RESULTS is .*training_data.*mkdir -p"):
        containers.moved()


# ---------------------------------------------------------------------------- building


def test_the_lines_that_build():
    root = Path("/lab/my bench")
    assert containers.build_command("podman", root, gpus=True) == [
        *("podman", "build", "--build-arg", "GPU=1", "--tag", "neuro-bench:gpu"),
        *("--file", "/lab/my bench/containers/Dockerfile", "/lab/my bench"),
    ]
    assert containers.build_command("docker", root)[2:6] == [
        *("--build-arg", "GPU=0", "--tag", "neuro-bench:cpu"),
    ]


@pytest.mark.parametrize(("user", "fakeroot"), [(0, []), (1000, ["--fakeroot"])])
def test_the_line_that_builds_an_image_file(monkeypatch, user, fakeroot):
    monkeypatch.setattr(os, "getuid", lambda: user)
    assert containers.build_file_command("apptainer", Path("/lab"), gpus=True) == [
        *("apptainer", "build", *fakeroot, "--force", "--build-arg", "gpu=1"),
        *("/lab/containers/neuro-bench-gpu.sif", "/lab/containers/apptainer.def"),
    ]


def test_image_files_are_ignored_by_git():
    name = containers.image_file(ROOT).relative_to(ROOT)
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    assert f"/{name.parent}/*{name.suffix}" in ignored


# ---------------------------------------------------------------------------- old Pythons


@pytest.mark.parametrize(
    "name", ["utils/__init__.py", "utils/paths.py", "utils/containers.py", "containers/runcmd"]
)
def test_machines_with_an_older_python_can_read_it(name):
    source = (ROOT / name).read_text()
    tree = ast.parse(source, feature_version=(3, 8))
    unions = [n for n in ast.walk(tree) if isinstance(n, ast.BinOp) and isinstance(n.op, ast.BitOr)]
    assert not unions or "from __future__ import annotations" in source
    # methods and options that came later
    assert not [
        w for w in ("removeprefix", "removesuffix", "is_relative_to", "strict=") if w in source
    ]


def test_it_needs_no_library_of_the_environment():
    runcmd = ROOT / "containers" / "runcmd"
    done = subprocess.run(
        [os.path.realpath(sys.executable), "-S", "-E", runcmd, "--help"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.rstrip() == containers.USAGE
