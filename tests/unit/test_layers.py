"""Imports point downward, launchers import nothing heavy, and `utils` is ours.

`RULES` has one line for each module of `utils`. A module without a line fails: whoever adds one
says where it stands.
"""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = ("tensorflow", "keras", "pandas", "matplotlib", "cupy", "luigi", "jax")

PATHS, PROGRESS = "utils.paths", "utils.progress"
LAYER_2 = ("utils.network", "utils.data", "utils.summaries", "utils.registry", "utils.grid")
BELOW_ANALYSIS = (PATHS, PROGRESS, *LAYER_2, "utils.analysis_metrics", "utils.analysis_style")
# the pieces of the launcher, which `runners` and `jobs` put together
LAUNCHING = (
    *(PATHS, PROGRESS, "utils.job_node", "utils.signatures", "utils.run_names", "utils.screen"),
    *("utils.grid", "utils.registry", "utils.plans", "utils.states", "utils.command_lines"),
    "utils.needs",
)
STARTING = ("utils.environments", "utils.gpus", "utils.containers")
ENGINES = ("utils.engines", "utils.grid_engine", "utils.slurm")
QUEUES = ("utils.queues", "utils.queue_states")
POOL = ("utils.pool", "utils.pool_jobs", "utils.outcomes")
ON_RUNS = ("utils.known_runs", "utils.ledger", "utils.promises", "utils.launches", "utils.runners")


class Rule(NamedTuple):
    """What a module may import besides the standard library: anywhere, only inside functions."""

    anywhere: tuple = ()
    late: tuple = ()


RULES = {
    "utils": Rule(),
    # layer 1: the standard library, so that a bare Python can run them
    "utils.paths": Rule(),
    "utils.progress": Rule(),
    "utils.grid": Rule(("utils.run_names", "utils.halton")),
    "utils.halton": Rule(),
    # `tasks` it is when started as a program, and Windows needs more
    "utils.job_node": Rule((), ("utils.tasks", "utils.windows")),
    "utils.windows": Rule(("utils.job_node", "utils.programs")),
    "utils.programs": Rule(),
    "utils.needs": Rule(("utils.job_node", "utils.run_names")),
    "utils.tasks": Rule(
        (
            *("utils.job_node", "utils.programs", "utils.run_names", "utils.windows"),
            "utils.needs",
        )
    ),
    "utils.detaching": Rule(("utils.job_node",)),
    "utils.gpus": Rule(),
    "utils.signatures": Rule(),
    "utils.run_names": Rule(),
    "utils.run_files": Rule((PATHS,)),
    "utils.screen": Rule(),
    "utils.containers": Rule((PATHS,)),
    # layer 2
    "utils.manifest": Rule((PATHS,)),
    "utils.registry": Rule(
        (PATHS, "utils.manifest", "utils.run_files", "utils.signatures", "utils.job_node"),
        ("pandas",),
    ),
    "utils.summaries": Rule((PATHS, "NDN3.events", "numpy"), ("pandas", "pyarrow")),
    "utils.data": Rule((PATHS, "utils.manifest", "numpy")),
    "utils.synthetic_regions": Rule(("numpy",)),
    "utils.make_data": Rule(
        (PATHS, "utils.manifest", "utils.data", "utils.synthetic_regions", "numpy")
    ),
    "utils.network": Rule(("NDN3", "numpy", PROGRESS)),
    "utils.plans": Rule((PATHS, "utils.job_node")),
    "utils.states": Rule(
        (
            *(PATHS, "utils.job_node", "utils.plans", "utils.registry"),
            *("utils.engines", "utils.queue_states"),
        )
    ),
    "utils.engines": Rule(),
    "utils.grid_engine": Rule(("utils.engines",)),
    "utils.slurm": Rule(("utils.engines",)),
    "utils.queues": Rule((PATHS, "utils.signatures", "utils.command_lines", *ENGINES)),
    "utils.queue_states": Rule(("utils.job_node", "utils.plans", "utils.queues", *ENGINES)),
    "utils.ledger": Rule((PATHS, "utils.registry", "utils.states")),
    "utils.live_states": Rule((PATHS, "utils.job_node", "utils.plans", "utils.states")),
    # layer 3
    "utils.repetitions": Rule(
        (PATHS, PROGRESS, "utils.registry", "NDN3.events"), ("numpy", "tensorflow")
    ),
    "utils.run": Rule(
        (
            *(PATHS, "utils.registry", "utils.signatures", "utils.job_node"),
            *("utils.repetitions", "utils.run_names", "utils.needs"),
        )
    ),
    "utils.experiment_flags": Rule(
        ("utils.run_names", "utils.signatures", "utils.run", "utils.needs")
    ),
    "utils.experiment": Rule(
        (
            *(PATHS, PROGRESS, "utils.job_node", "utils.signatures", "utils.grid"),
            *("utils.registry", "utils.run_names", "utils.run", "utils.repetitions"),
            *("utils.experiment_flags", "NDN3.compile_cache"),
        ),
        ("utils.together",),
    ),
    "utils.together": Rule((), ("NDN3.training",)),
    "utils.command_lines": Rule(("utils.registry", "utils.signatures", "utils.screen")),
    "utils.pool_jobs": Rule(
        (
            *(PROGRESS, "utils.job_node", "utils.run_names", "utils.needs", "utils.plans"),
            "utils.windows",
        )
    ),
    "utils.outcomes": Rule(("utils.pool_jobs",)),
    "utils.pool_stages": Rule(("utils.needs", "utils.pool_jobs", "utils.run_names")),
    "utils.pool": Rule(
        (
            *(PROGRESS, "utils.job_node", "utils.pool_jobs", "utils.outcomes", "utils.windows"),
            "utils.pool_stages",
        )
    ),
    "utils.finished": Rule(LAUNCHING),
    "utils.division": Rule((*LAUNCHING, "utils.finished")),
    "utils.promises": Rule((*LAUNCHING, "utils.finished", "utils.division")),
    "utils.variants": Rule((*LAUNCHING, "utils.promises")),
    "utils.stages": Rule((*LAUNCHING, "utils.promises")),
    "utils.environments": Rule((*LAUNCHING, "utils.gpus", "utils.containers")),
    "utils.sending": Rule((*LAUNCHING, *ENGINES, *QUEUES, "utils.environments", "utils.promises")),
    "utils.queue_launches": Rule(
        (
            *(*LAUNCHING, *ENGINES, *QUEUES, "utils.environments", "utils.promises"),
            *("utils.sending", "utils.stages"),
        )
    ),
    "utils.launches": Rule(
        (
            *(*LAUNCHING, *POOL, *STARTING, "utils.promises", "utils.detaching", "utils.stages"),
            "utils.queue_launches",
        )
    ),
    "utils.runners": Rule(
        (
            *(*LAUNCHING, *STARTING, "utils.promises", "utils.division", "utils.launches"),
            *("utils.stages", "utils.variants", "utils.queue_launches"),
        )
    ),
    "utils.known_runs": Rule((*LAUNCHING, "utils.division")),
    "utils.queue_cancel": Rule((*LAUNCHING, *ENGINES, *QUEUES, "utils.known_runs")),
    "utils.retries": Rule(
        (*LAUNCHING, *ON_RUNS, "utils.environments", "utils.queue_cancel", "utils.sending")
    ),
    "utils.run_actions": Rule((*LAUNCHING, *ON_RUNS, "utils.queue_cancel", "utils.windows")),
    "utils.run_results": Rule(
        (*LAUNCHING, "utils.known_runs"),
        ("utils.summaries", "utils.analysis_*", "matplotlib", "pandas"),
    ),
    "utils.watch": Rule((*LAUNCHING, "utils.known_runs", "utils.live_states")),
    "utils.jobs": Rule(
        (*LAUNCHING, *ON_RUNS, *QUEUES),
        ("utils.run_results", "utils.run_actions", "utils.retries", "utils.watch"),
    ),
    "utils.analysis_metrics": Rule((*BELOW_ANALYSIS, "numpy", "pandas")),
    "utils.analysis_style": Rule((PATHS, "numpy", "matplotlib")),
    "utils.analysis_runs": Rule((*BELOW_ANALYSIS, "numpy", "pandas")),
    "utils.analysis_curves": Rule((*BELOW_ANALYSIS, "numpy", "pandas", "matplotlib")),
    "utils.analysis_fields": Rule((*BELOW_ANALYSIS, "numpy", "matplotlib")),
}
FROM_NOTEBOOKS = (
    "utils.analysis_*",
    "utils.registry",
    "utils.summaries",
    "utils.network",
    "utils.data",
    PATHS,
)
# What must not be loaded by importing a module, directly or through others.
LIGHT = {
    **{
        f"utils.{name}": (*HEAVY, "numpy")
        for name in ("paths", "grid", "registry", "runners", "jobs", "progress", "job_node")
    },
    **{
        name: ("tensorflow", "keras", "matplotlib", "jax")
        for name in (
            "NDN3",
            "NDN3.NDNutils",
            "NDN3.events",
            "NDN3.compile_cache",
            "utils.network",
            "utils.experiment",
            "utils.data",
            "utils.summaries",
        )
    },
}


class Import(NamedTuple):
    """One imported module, the line, and whether importing the file imports it."""

    module: str
    line: int
    at_import: bool


def is_module(name, root):
    path = root.joinpath(*name.split("."))
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def imports_of(source, package="", root=None):
    """Every import of a source text; `from a import b` is `a.b` where `root` has that module."""
    root = root or ROOT
    found = []

    def visit(node, at_import):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                for other in child.orelse:
                    visit(ast.Module([other], []), at_import)
                continue
            if isinstance(child, ast.Import):
                found.extend(Import(n.name, child.lineno, at_import) for n in child.names)
            elif isinstance(child, ast.ImportFrom):
                parts = package.split(".") if child.level else []
                parts = parts[: len(parts) - child.level + 1] if child.level else parts
                base = ".".join([*parts, *([child.module] if child.module else [])])
                for alias in child.names:
                    longer = f"{base}.{alias.name}"
                    name = longer if is_module(longer, root) else base
                    found.append(Import(name, child.lineno, at_import))
            function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            visit(child, at_import and not function)

    visit(ast.parse(source), True)
    return found


def allowed(module, patterns):
    """Whether a module is one of the patterns, or below one."""
    for pattern in patterns:
        if pattern.endswith("*"):
            if module.startswith(pattern[:-1]):
                return True
        elif module == pattern or module.startswith(pattern + "."):
            return True
    return False


def foreign(imports):
    """The imports that are not of the standard library."""
    return [i for i in imports if i.module.split(".")[0] not in sys.stdlib_module_names]


def module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def breaches(path, rule):
    name = module_name(path)
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for found in foreign(imports_of(path.read_text(), package)):
        if found.module == name:
            continue
        if allowed(found.module, rule.anywhere):
            continue
        if not found.at_import and allowed(found.module, rule.late):
            continue
        yield f"{path.relative_to(ROOT)}:{found.line} imports {found.module}"


UTILS = sorted((ROOT / "utils").glob("*.py"))
FRAMEWORK = sorted((ROOT / "NDN3").rglob("*.py"))
EXPERIMENTS = sorted((ROOT / "experiments").rglob("*.py"))
NOTEBOOKS = sorted((ROOT / "playgrounds").glob("*.ipynb"))


def short(path):
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", UTILS, ids=short)
def test_utils_import_downward(path):
    name = module_name(path)
    assert name in RULES, f"{name} has no line in RULES: say there what it may import"
    assert not list(breaches(path, RULES[name]))


def test_the_map_of_utils_names_every_module():
    text = ast.get_docstring(ast.parse((ROOT / "utils" / "__init__.py").read_text()))
    assert not [p.stem for p in UTILS if p.stem != "__init__" and f"`{p.stem}`" not in text]


@pytest.mark.parametrize("path", FRAMEWORK, ids=short)
def test_the_framework_knows_nothing_above_it(path):
    package = module_name(path) if path.name == "__init__.py" else module_name(path.parent)
    ours = ("utils", "experiments", "playgrounds", "tests", "bench")
    found = foreign(imports_of(path.read_text(), package))
    assert not [f"line {i.line}: {i.module}" for i in found if allowed(i.module, ours)]


@pytest.mark.parametrize("path", EXPERIMENTS, ids=short)
def test_experiments_import_no_other_experiment(path):
    siblings = {other.stem for other in EXPERIMENTS} | {"experiments"}
    found = imports_of(path.read_text())
    assert not [i.module for i in found if i.module.split(".")[0] in siblings]
    assert path.stem not in sys.stdlib_module_names, "a script's folder comes first on the path"
    assert path.stem not in {"NDN3", "utils"}, "a script's folder comes first on the path"
    assert not (path.parent / "__init__.py").exists(), "experiments are scripts, no package"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=short)
def test_notebooks_read_and_plot(path):
    cells = json.loads(path.read_text())["cells"]
    code = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "code")
    ours = [i.module for i in imports_of(code) if allowed(i.module, ("utils", "NDN3"))]
    assert [m for m in ours if not allowed(m, FROM_NOTEBOOKS)] == []
    names = {n.attr for n in ast.walk(ast.parse(code)) if isinstance(n, ast.Attribute)}
    assert not names & {"train", "fit"}, "a notebook never trains"
    functions = [n for n in ast.walk(ast.parse(code)) if isinstance(n, ast.FunctionDef)]
    assert all(f.end_lineno - f.lineno < 10 for f in functions), "no function over ten lines"
    assert "sys.path" not in code


def loaded(statement, **environment):
    """The modules that are loaded after a statement in a fresh Python started in another folder."""
    program = f"import sys\n{statement}\nprint('\\n'.join(sys.modules))"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env=environment,
        cwd="/",
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.mark.parametrize("module", [m for m in LIGHT if is_module(m, ROOT)])
def test_importing_stays_light(module):
    assert loaded(f"import {module}").isdisjoint(LIGHT[module])


def test_runners_list_their_runs_without_anything_heavy():
    """All grids in one process: each file as `python FILE` starts it, but for its last line."""
    runners = [str(p) for p in EXPERIMENTS if p.stem.endswith("_runner")]
    statement = f"import runpy\nfor file in {runners!r}: assert runpy.run_path(file)['RUNS']"
    assert runners
    assert loaded(statement).isdisjoint((*HEAVY, "numpy"))


@pytest.mark.parametrize("name", ["utils", "NDN3"])
def test_our_packages_are_found_before_strangers(name):
    """From any folder, as the command `runs` and a script below experiments/ would find them."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", f"import {name}; print({name}.__file__)"],
        capture_output=True,
        text=True,
        env=environment,
        cwd="/",
        timeout=60,
    )
    assert done.returncode == 0, f"{done.stderr}make env installs this checkout"
    assert Path(done.stdout.strip()).parent == ROOT / name


def test_the_parser_sees_what_it_should(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "__init__.py").touch()
    (tmp_path / "a" / "b.py").touch()
    source = """
import os.path, numpy as np
from a import b, c
from . import b
from .b import name
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    import pandas
else:
    import scipy
class C:
    import inside_class
def f():
    import late
    async def g():
        from a.b import x
"""
    found = {(i.module, i.at_import) for i in imports_of(source, "a", tmp_path)}
    assert found == {
        ("os.path", True),
        ("numpy", True),
        ("a.b", True),
        ("a", True),
        ("typing", True),
        ("scipy", True),
        ("inside_class", True),
        ("late", False),
        ("a.b", False),
    }


def test_the_rules_can_be_broken(tmp_path, monkeypatch):
    bad = tmp_path / "utils" / "grid.py"
    bad.parent.mkdir()
    bad.write_text("import json\ndef f():\n    import pandas\nfrom utils import jobs\n")
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    assert list(breaches(bad, Rule())) == [
        "utils/grid.py:3 imports pandas",
        "utils/grid.py:4 imports utils",
    ]
    assert list(breaches(bad, Rule(("utils",), ("pandas",)))) == []
