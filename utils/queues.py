"""Site facts: what a cluster calls its queues and resources, and what a run asks of them.

`utils/queues.toml` has a table for each environment. ``queues.local.toml`` in the root of the
checkout, or the file that `QUEUES` names, replaces single keys of it.
"""

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from utils import engines, paths, signatures
from utils.command_lines import Refusal
from utils.grid_engine import GridEngine
from utils.slurm import Slurm

ENGINES: dict[str, GridEngine | Slurm] = {"grid-engine": GridEngine(), "slurm": Slurm()}
LOCAL = "queues.local.toml"
EVERYTHING = ("ALL", "NONE", "NIL")
"""No names of variables to Slurm, but words for all of them and none."""

KEYS = ("engine", "options", "slots", "resources", "environment", "setup", "python")

_MEMORY = re.compile(r"([1-9]\d*)([KMGT])", re.IGNORECASE)
_BYTES = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_VALUE = re.compile(r"[A-Za-z0-9_.:*@/=][A-Za-z0-9_.:*@/=-]*")
_ABOUT_GPUS = re.compile(r"per-gpu|mem", re.IGNORECASE)  # what a GPU has, not how many
_GPUS = re.compile(r"(gpu(?::[A-Za-z0-9_.-]+)?):(\d+)")


@dataclass(frozen=True)
class Site:
    """What a cluster calls things, for one environment.

    Parameters
    ----------
    name : str
        The environment.
    engine : GridEngine or Slurm
        Its engine.
    options : list of str
        Words that every submission gets unchanged.
    parallel_environment : str
        Grid Engine's for several slots; empty for none.
    slots : int
        Cores of a run, unless the runner asks for more.
    resources : dict
        What else a run gets, unless the runner asks for something else.
    environment : list of str
        Names of variables that travel with a run.
    setup : list of str
        Lines for the shell of the node, before the run.
    python : list of str
        Words that start Python on a node; empty for the launcher's own.
    """

    name: str
    engine: GridEngine | Slurm
    options: list[str]
    parallel_environment: str
    slots: int
    resources: dict[str, str]
    environment: list[str]
    setup: list[str]
    python: list[str]


def site(environment: str) -> Site:
    """Return the facts for an environment.

    Raises
    ------
    Refusal
        If the site's file is missing or cannot be read, or says what no engine understands.
    """
    own = tomllib.loads(Path(__file__).with_name("queues.toml").read_text("utf-8"))
    facts = dict(own[environment])
    path = _local_file()
    if path is None:
        return _site(environment, facts, "utils/queues.toml")
    local = _tables(path)
    for name, table in local.items():
        if name not in own or not isinstance(table, dict):
            raise Refusal(
                f"{path} has {name!r}, which is no environment; there are {', '.join(own)}. Use "
                f"tables of these names.{signatures.nearest(name, own)}"
            )
    return _site(environment, {**facts, **local.get(environment, {})}, str(path))


def _local_file() -> Path | None:
    named = os.environ.get("QUEUES")
    if named:
        return Path(named)
    path = paths.ROOT / LOCAL
    return path if path.exists() or path.is_symlink() else None


def _tables(path: Path) -> dict[str, Any]:
    try:
        if path.exists() and not path.is_file():
            raise Refusal(f"the site's file {path} is no regular file; name one in QUEUES")
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as problem:
        raise Refusal(
            f"the site's file {path} cannot be read ({problem.strerror}); correct QUEUES, or unset "
            "it for utils/queues.toml alone"
        ) from None
    except (ValueError, RecursionError) as problem:
        raise Refusal(f"{path} is not TOML ({problem}); correct it there") from None


def _site(environment: str, facts: Mapping[str, Any], source: str) -> Site:
    def refuse(what: str, allowed: str, close: str = "") -> Refusal:
        return Refusal(f"[{environment}] of {source}: {what}; {allowed}. Correct it there.{close}")

    for key in facts:
        if key not in KEYS:
            close = signatures.nearest(key, KEYS)
            raise refuse(f"{key!r} is no key", f"there are {', '.join(KEYS)}", close)
    for key in ("options", "environment", "setup", "python"):
        told = facts.get(key, [])
        if not isinstance(told, list) or not all(isinstance(word, str) for word in told):
            raise refuse(f"{key} is {told!r}", "it is a list of texts")
        if any("\n" in word or "\0" in word for word in told):
            raise refuse(f"{key} has a word with a line break", "one word, or one line, each")
    engine = facts.get("engine")
    if not isinstance(engine, str) or engine not in ENGINES:
        raise refuse(f"engine is {engine!r}", f"there are {', '.join(ENGINES)}")
    for word in facts.get("options", []):
        # `--name=value`, and a letter with its value behind it
        named = {word.partition("=")[0], word[:2] if engine == "slurm" else word}
        if taken := sorted(named & ENGINES[engine].ours):
            raise refuse(f"options has {word!r}", f"{taken[0]} is what the launcher itself says")
    for name in facts.get("environment", []):
        if not re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII) or name in EVERYTHING:
            raise refuse(f"environment has {name!r}", "it is a list of names of variables")
    resources = facts.get("resources", {})
    if not isinstance(resources, dict):
        raise refuse(f"resources is {resources!r}", "it is a table of names and values")
    for name, value in resources.items():
        sound = type(value) in (int, str) and _VALUE.fullmatch(str(value))
        if not (_NAME.fullmatch(name) and sound):
            raise refuse(
                f"resources has {name} = {value!r}",
                "a value is a whole number, or a text without blanks, commas and a dash in front",
            )
    slots = facts.get("slots", {})
    count = slots.get("count", 1) if isinstance(slots, dict) else None
    pe = slots.get("pe", "") if isinstance(slots, dict) else None
    if (
        type(count) is not int
        or count < 1
        or not isinstance(pe, str)
        or not set(slots) <= {"pe", "count"}
    ):
        raise refuse(f"slots is {slots!r}", 'it is such as { pe = "smp", count = 4 }')
    if pe and not _NAME.fullmatch(pe):
        raise refuse(
            f"slots names the parallel environment {pe!r}",
            "a name has no blanks, nor a dash in front",
        )
    texts = {name: str(value) for name, value in resources.items()}
    if "cpus" in texts:  # Slurm's word for the same
        if not texts["cpus"].isdigit() or not int(texts["cpus"]):
            raise refuse(f"cpus is {texts['cpus']!r}", "it is a whole number from 1")
        cpus = int(texts.pop("cpus"))
        count = count if "slots" in facts else cpus
    lists = {key: list(facts.get(key, [])) for key in ("options", "environment", "setup", "python")}
    return Site(
        environment, ENGINES[engine], parallel_environment=pe, slots=count, resources=texts, **lists
    )


def demand(place: Site, resources: Mapping[str, Any]) -> engines.Demand:
    """Return what a run asks of a cluster.

    Parameters
    ----------
    place : Site
        The cluster's facts.
    resources : dict
        What the runner asks for: ``threads``, ``memory``, ``gpus``, ``hours``; the site's facts
        hold for what it leaves open.

    Raises
    ------
    Refusal
        If it asks for what the site does not name.
    """
    threads, memory, gpus, hours = (
        resources.get(name) for name in ("threads", "memory", "gpus", "hours")
    )
    slots = threads if threads and threads > 1 else place.slots
    if slots > 1 and place.engine.name == "grid-engine" and not place.parallel_environment:
        raise Refusal(
            f"a run needs {slots} threads, and [{place.name}] names no parallel environment in "
            "which Grid Engine grants several; add slots = { pe = …, count = … } to its table, or "
            "ask for one thread"
        )
    wanted = dict(place.resources)
    if memory:
        wanted |= _memory(place, memory, slots)
    if gpus:
        wanted |= _gpus(place, gpus)
    seconds = max(1, round(hours * 3600)) if hours else 0
    return engines.Demand(
        place.options, slots, place.parallel_environment, wanted, seconds, place.environment
    )


def _memory(place: Site, memory: str, slots: int) -> dict[str, str]:
    """Return the resources that stand for memory, all larger or smaller by the same factor.

    The first of them is what a run gets: for each slot under Grid Engine, in all under Slurm.
    """
    told = {name: value for name, value in place.resources.items() if _MEMORY.fullmatch(value)}
    if not told:
        raise Refusal(
            f"a run needs {memory} of memory, and [{place.name}] has no resource for it; add one "
            'to its table, such as mem = "8G"'
        )
    shares = slots if place.engine.name == "grid-engine" else 1
    per = shares * in_bytes(next(iter(told.values())))
    return {name: _as_text(in_bytes(value) * in_bytes(memory), per) for name, value in told.items()}


def _gpus(place: Site, gpus: int) -> dict[str, str]:
    told = _GPUS.fullmatch(place.resources.get("gres", ""))
    if told is not None:
        return {"gres": f"{told[1]}:{gpus}"}
    if name := _gpu_name(place.resources):
        return {name: str(gpus)}
    raise Refusal(
        f"a run needs {gpus} GPU{'s' if gpus > 1 else ''}, and {place.name} has none: choose the "
        'environment with GPUs, or name them in its table, as gpu = 1 or gres = "gpu:1"'
    )


def _gpu_name(resources: Mapping[str, str]) -> str:
    """Return the resource that counts GPUs, such as gpu, ngpus or gpus-per-node; empty for none."""
    counts = (name for name, value in resources.items() if value.isdigit())
    return next((n for n in counts if "gpu" in n.lower() and not _ABOUT_GPUS.search(n)), "")


def _gpu_count(resources: Mapping[str, str]) -> int:
    told = _GPUS.fullmatch(resources.get("gres", ""))
    return int(told[2] if told else resources.get(_gpu_name(resources), "0"))


def in_bytes(text: str) -> int:
    """Return the bytes of a text such as ``"16G"``."""
    told = _MEMORY.fullmatch(text)
    if told is None:
        raise ValueError(f"{text!r} is no memory; it is a number with K, M, G or T, such as 16G")
    return int(told[1]) * _BYTES[told[2].upper()]


def _as_text(size: int, per: int = 1) -> str:
    """Return so many bytes per so much as engines read them, rounded up to whole megabytes."""
    megabytes = -(-size // (per * 2**20))
    return f"{megabytes // 1024}G" if megabytes % 1024 == 0 else f"{megabytes}M"


def summed(place: Site, asked: engines.Demand, runs: int, at_once: int) -> str:
    """Return what a run gets, and what all that may run together get, as a sentence.

    Parameters
    ----------
    place : Site
        The cluster's facts.
    asked : Demand
        What each run asks for.
    runs, at_once : int
        How many runs there are, and how many at a time at most; 0 for no limit.
    """
    per_slot = place.engine.name == "grid-engine"
    memory = next((v for v in asked.resources.values() if _MEMORY.fullmatch(v)), None)
    size = in_bytes(memory) * (asked.slots if per_slot else 1) if memory else 0

    def told(times: int) -> list[str]:
        counts = {"slot": asked.slots * times, "GPU": _gpu_count(asked.resources) * times}
        words = [f"{n} {name}{'' if n == 1 else 's'}" for name, n in counts.items() if n]
        return [*words[:1], *([f"{_as_text(size * times)} of memory"] if size else []), *words[1:]]

    each = ", ".join(told(1))
    if memory and per_slot and asked.slots > 1:
        each = each.replace(" of memory", f" of memory ({memory} per slot)")
    limit = f"{asked.seconds / 3600:g} h at most" if asked.seconds else "the queue's time limit"
    if runs == 1:
        return f"the run gets {each}, {limit}"
    together = min(runs, at_once or runs)
    most = f"{together} at a time" if together < runs else f"{runs} together"
    return f"each run gets {each}, {limit}; {most}: {', '.join(told(together))}"
