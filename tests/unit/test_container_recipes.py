"""The recipes of containers/, executed step by step in a plain folder.

The folder stands for the root of the container: absolute paths of the recipes are below it. The
programs are those of this machine but for the three that would need a network or another system:
`apt-get` and `pip` check what they are given, and `python3 -m venv` makes an environment out of
the Python that runs the tests.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "containers" / "Dockerfile"
DEFINITION = ROOT / "containers" / "apptainer.def"
PYTHON = sys.executable

APT_GET = """#!/bin/sh
case "$1" in
    update) mkdir -p "$ROOT/var/lib/apt/lists" && echo > "$ROOT/var/lib/apt/lists/a" ;;
    install) case "$*" in *--yes*--no-install-recommends*=*) ;; *) exit 91 ;; esac ;;
    *) exit 92 ;;
esac
"""
VENV = """#!/bin/sh
[ "$1 $2" = "-m venv" ] || exit 93
mkdir -p "$3/bin" && cp "$STAND_INS/python" "$STAND_INS/pip" "$3/bin"
"""
# What is installed already is enough for every list but the one with CUDA, or pip says what is not.
PIP = """#!{python}
import pathlib, subprocess, sys
words = sys.argv[1:]
assert words[0] == "install", words
assert "--no-cache-dir" in words, "the cache would stay in the image"
if "--editable" in words:
    assert "--no-deps" in words, "the lists say what is installed"
    assert pathlib.Path(words[words.index("--editable") + 1], "pyproject.toml").is_file()
else:
    name = words[words.index("--requirement") + 1]
    dry = ["--dry-run", "--no-index"] if "gpu" not in name else ["--help"]
    pip = [sys.executable, "-m", "pip", *words, *dry]
    done = subprocess.run(pip, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert pathlib.Path(name).is_file(), name
with open({log!r}, "a") as log:
    print(*words, file=log)
"""


class Step(NamedTuple):
    """An instruction of a Dockerfile and what follows it."""

    word: str
    rest: str


def steps(path=DOCKERFILE):
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    whole = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [Step(*line.split(maxsplit=1)) for line in whole.splitlines() if line.strip()]


def of(word):
    return [step.rest for step in steps() if step.word == word]


def sections(path=DEFINITION):
    """Header and sections of an Apptainer recipe, each a list of lines without comments."""
    found = {"": []}
    name = ""
    for line in path.read_text().splitlines():
        if line.startswith("%"):
            name = line.strip()
            found[name] = []
        elif line.strip() and not line.strip().startswith("#"):
            found[name].append(line.strip())
    return found


def filled(lines, arguments):
    """The lines with the values of `{{ name }}`, which Apptainer fills in before it reads on."""
    return [re.sub(r"\{\{ (\w+) \}\}", lambda match: arguments[match[1]], line) for line in lines]


def left_out(name, patterns):
    """Whether .dockerignore leaves a file out: the last pattern that fits decides."""
    out = False
    parts = name.split("/")
    places = ["/".join(parts[: n + 1]) for n in range(len(parts))]
    for pattern in patterns:
        body = re.escape(pattern.lstrip("!")).replace(r"\*\*/", "(.*/)?").replace(r"\*", "[^/]*")
        if any(re.fullmatch(body, place) for place in places):
            out = not pattern.startswith("!")
    return out


def patterns():
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def context():
    """Every file that an engine is given: what lies in the checkout and is not left out."""
    found = []
    for folder, folders, files in os.walk(ROOT):
        here = Path(folder).relative_to(ROOT)
        # an engine goes through all of them; env/ and the like are left out as a whole
        folders[:] = [f for f in folders if here.parts or not left_out(f, patterns())]
        names = [(here / name).as_posix() for name in files]
        found += [name for name in names if not left_out(name, patterns())]
    return found


def copy(words, place, files):
    """One COPY: files into a folder, or the content of a folder."""
    *sources, target = words
    for source in sources:
        chosen = [f for f in files if f == source or f.startswith(f"{source}/")]
        assert chosen, f"{source} is copied, and .dockerignore leaves it out"
        for name in chosen:
            rest = Path(name).relative_to(source) if name != source else Path(name).name
            to = place / target / rest
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, to)


class Container(NamedTuple):
    """A folder that stands for the root of a container."""

    root: Path
    stand_ins: Path

    @property
    def installed(self):
        return (self.stand_ins / "log").read_text().splitlines()

    def below(self, text, quoted=True):
        """The text with absolute paths moved below the folder."""
        root = shlex.quote(str(self.root)) if quoted else str(self.root)
        moved = re.sub(r"(?<![\w./}])/(?=(opt|home|bench|var)\b)", lambda _: f"{root}/", text)
        rest = moved.replace(str(self.root), "")
        assert not re.search(r"(?<![\w.])/(?!opt|home|bench|var)\w", rest), f"not moved: {rest}"
        return moved

    def shell(self, script, cwd, environment):
        done = subprocess.run(
            ["sh", "-eu", "-c", self.below(script)],
            cwd=self.root / cwd,
            env={"STAND_INS": str(self.stand_ins), "ROOT": str(self.root), **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"
        return done.stdout


@pytest.fixture
def container(tmp_path):
    found = Container(tmp_path / "root", tmp_path / "stand-ins")
    found.root.mkdir()
    found.stand_ins.mkdir()
    log = str(found.stand_ins / "log")
    for name, text in {
        "apt-get": APT_GET,
        "python3": VENV,
        "python": f'#!/bin/sh\nexec {shlex.quote(PYTHON)} "$@"\n',
        "pip": PIP.format(python=PYTHON, log=log),
    }.items():
        (found.stand_ins / name).write_text(text)
        (found.stand_ins / name).chmod(0o755)
    for name in ("sh", "mkdir", "chmod", "rm", "cp"):
        (found.stand_ins / name).symlink_to(shutil.which(name))
    return found


def environment_of(container, text, before):
    """Variables with those of an ENV line."""
    pairs = (word.split("=", 1) for word in shlex.split(text))
    moved = {name: container.below(value, quoted=False) for name, value in pairs}
    return {**before, **{n: v.replace("$PATH", before["PATH"]) for n, v in moved.items()}}


def smoke(container, environment, folder):
    """The code in the container, and not that of the checkout, can be used."""
    assert shutil.which("python", path=environment["PATH"]).startswith(str(container.root))
    assert not list((container.root / "var").rglob("lists/*")), "they would stay in the image"
    environment = {**environment, "PYTHONPATH": str(folder)}
    program = (
        "import NDN3, NDN3.layers, utils.jobs, utils.containers; "
        "print(NDN3.__file__, utils.__file__)"
    )
    where = container.shell(
        f"cd {shlex.quote(str(folder.parent))}; python -c '{program}'", ".", environment
    )
    assert where.split() == [str(folder / name / "__init__.py") for name in ("NDN3", "utils")]
    runs = container.shell("python -m utils.jobs --help", folder, environment)
    assert "list" in runs
    said = container.shell(
        "python experiments/demo/first_grid_runner.py linux --dry-run", folder, environment
    )
    assert "first_grid" in said


# ---------------------------------------------------------------------------- the Dockerfile


@pytest.mark.parametrize("gpu", ["0", "1"])
def test_the_steps_of_the_dockerfile(container, gpu):
    environment, files, place = {"PATH": str(container.stand_ins)}, context(), None
    for word, rest in steps():
        if word == "ENV":
            environment = environment_of(container, rest, environment)
        elif word == "WORKDIR":
            assert rest.startswith("/")
            place = container.root / rest[1:]
            place.mkdir(parents=True, exist_ok=True)
        elif word == "ARG":
            name, default = rest.split("=")
            assert (name, default) == ("GPU", "0")
            environment[name] = gpu
        elif word == "COPY":
            copy(rest.split(), place, files)
        elif word == "RUN":
            container.shell(rest, place or container.root, environment)
        else:
            assert word in ("FROM", "LABEL", "USER", "CMD"), f"{word} is not executed here"
    lists = [line.split()[-1] for line in container.installed]
    assert lists == ["requirements.txt", *["NDN3/requirements-gpu.txt"] * int(gpu), "."]
    home = Path(environment["HOME"])
    assert home == container.root / "home" / "bench"
    assert all(p.stat().st_mode & 0o777 == 0o777 for p in (home, *home.rglob("*")) if p.is_dir())
    assert list(home.rglob("fontlist*.json")), "otherwise each container lists the fonts again"
    smoke(container, environment, container.root / "bench")


def test_the_image_holds_the_code_and_nothing_else():
    files = context()
    tops = {name.split("/")[0] for name in files}
    assert tops == {
        *("LICENSE", "README.md", "pyproject.toml", "requirements.txt"),
        *("NDN3", "utils", "experiments"),
    }
    assert not [name for name in files if "__pycache__" in name]
    copied = [word for rest in of("COPY") for word in rest.split()[:-1]]
    assert tops == {word.split("/")[0] for word in copied}, "what is sent is copied"


def test_what_dockerignore_leaves_out():
    lines = ["*", "!utils", "!a/b.txt", "**/__pycache__", "utils/*.log"]
    for name, out in {
        "env/bin/python": True,
        "utils/paths.py": False,
        "utils/x.log": True,
        "utils/deep/x.log": False,
        "utils/__pycache__/x.pyc": True,
        "utils/deep/__pycache__/x.pyc": True,
        "a/b.txt": False,
        "a/c.txt": True,
    }.items():
        assert left_out(name, lines) == out, name


def test_lists_come_before_code():
    """Otherwise each changed line of code installs everything again."""
    words = [f"{step.word} {step.rest}" for step in steps()]
    install = next(n for n, w in enumerate(words) if "--requirement requirements.txt" in w)
    before = " ".join(w for w in words[:install] if w.startswith("COPY"))
    assert set(re.findall(r"[\w/.-]+\.txt", before)) == {
        *("requirements.txt", "NDN3/requirements.txt", "NDN3/requirements-gpu.txt")
    }
    assert all("COPY" not in w or ".txt" in w for w in words[:install])


def test_nobody_is_root_by_default():
    assert steps()[-2] == Step("USER", "1000:1000"), "numbers, which a cluster can check"
    assert steps()[-1] == Step("CMD", '["python"]')


def test_hadolint_finds_nothing():
    hadolint = shutil.which("hadolint", path=f"{Path(PYTHON).parent}:{os.environ['PATH']}")
    if not hadolint:
        pytest.skip("there is no hadolint: make env-dev installs it")
    options = ["--failure-threshold", "style", "--no-color", "--disable-ignore-pragma"]
    done = subprocess.run(
        [hadolint, *options, DOCKERFILE], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr


# ---------------------------------------------------------------------------- the Apptainer recipe


@pytest.mark.parametrize("gpu", [None, "1"])
def test_the_steps_of_the_apptainer_recipe(container, gpu):
    found = sections()
    defaults = dict(line.split("=") for line in found["%arguments"])
    assert defaults == {"gpu": "0"}
    arguments = {**defaults, **({"gpu": gpu} if gpu else {})}
    for line in found["%files"]:
        source, target = line.split()
        assert target == f"/bench/{source}"
        if (ROOT / source).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / source, container.root / target[1:], ignore=ignored)
        else:
            (container.root / "bench").mkdir(exist_ok=True)
            shutil.copy2(ROOT / source, container.root / target[1:])
    environment = {"PATH": str(container.stand_ins)}
    container.shell("\n".join(filled(found["%post"], arguments)), ".", environment)
    lists = [line.split()[-1] for line in container.installed]
    assert lists == ["requirements.txt", *["NDN3/requirements-gpu.txt"] * bool(gpu), "."]
    folder = container.root / "bench"
    inside = "\n".join([*found["%environment"], "set -eu", *found["%test"]])
    container.shell(inside, ".", {**environment, "PYTHONPATH": str(folder)})
    path = container.shell("\n".join([*found["%environment"], 'echo "$PATH"']), ".", environment)
    smoke(container, {"PATH": path.strip()}, folder)


def test_both_recipes_install_the_same():
    header = dict(line.split(": ") for line in sections()[""])
    assert header == {"Bootstrap": "docker", "From": of("FROM")[0]}
    assert re.fullmatch(r"docker\.io/library/debian:\d+-slim", header["From"])
    labels = dict(word.split("=", 1) for word in shlex.split(" ".join(of("LABEL"))))
    assert labels == dict(line.split(maxsplit=1) for line in sections()["%labels"])
    assert labels["org.opencontainers.image.base.name"] == header["From"]

    def installs(text):
        text = re.sub(r"\s+", " ", text)
        packages = re.findall(r'"[\w-]+=[\w.:*]+"', text)
        return packages, re.findall(r"pip install [^&;\n]*?(?:\.txt|editable \.)", text)

    docker, apptainer = installs(" ".join(of("RUN"))), installs(" ".join(sections()["%post"]))
    assert docker == apptainer
    assert [len(found) for found in docker] == [3, 3]
