"""Whole processes, which are measured from start to end."""

import json
import os
import time
from pathlib import Path

import numpy as np
from trainer_turns import answers, tensorflow

SHORT_EPOCHS = 20
MEMBERS = 10


def end_to_end(folder, members, epochs):
    """A whole training as an experiment does it."""
    from trainer_members import experiment

    tensorflow()
    for result in experiment(folder, members, epochs):
        np.savez(folder / f"model{result.index}.npz", *result.weights)


def first_result(folder, features):
    """A training until its first numbers are there, with everything on or with nothing."""
    from NDN3 import compile_cache

    compile_cache.switch_on()
    from trainer_members import dog_start, experiment, network, train

    tensorflow()
    if features:
        results = experiment(folder, MEMBERS, SHORT_EPOCHS, progress=lambda *_: os._exit(0))
    else:
        results = train(
            *(network("dog"), dog_start, MEMBERS, SHORT_EPOCHS), progress=lambda *_: os._exit(0)
        )
    next(iter(results))


def memory(folder, members):
    """One group of so many members."""
    from trainer_members import experiment

    tensorflow()
    list(experiment(folder, members, SHORT_EPOCHS, group=members))


def later_compilations(folder):
    """How many programs were traced or compiled after the first chunk.

    What was compiled is counted in a cache on the disk that is empty at first.
    """
    from NDN3 import compile_cache

    compile_cache.switch_on()
    from trainer_members import experiment

    from NDN3 import lockstep

    tensorflow()
    traced, counts = [], []
    chunk = lockstep.Program.chunk

    def counted(*arguments):
        traced.append(1)
        return chunk(*arguments)

    lockstep.Program.chunk = counted
    kept = compile_cache.folder(os.environ)

    def progress(*_):
        counts.append((len(traced), len(list(kept.rglob("xla_compile_cache*.pb")))))

    list(experiment(folder, MEMBERS, 5 * SHORT_EPOCHS, progress=progress))
    first, last = counts[0], counts[-1]
    if len(counts) < 3 or min(first) < 1:
        raise SystemExit(f"too few chunks or nothing compiled: {counts}")
    return {"compilations": sum(last) - sum(first)}


def grid_points(folder):
    """CPU and wall seconds of a grid point from its start to its first numbers, and of the next."""
    began = time.monotonic()
    from trainer_members import LEARNING_RATE, experiment
    from trainer_reference import recording

    tensorflow()
    marks = [(0.0, began)]
    for factor in (1, 2):
        recording.cache_clear()  # every point loads its data
        rates = {"learning_rate": [factor * LEARNING_RATE] * MEMBERS}
        list(experiment(folder / f"point{factor}", MEMBERS, 1, per_member=rates, reuse=True))
        marks.append((time.process_time(), time.monotonic()))
    first, following = np.diff(marks, axis=0).tolist()
    return {"first": first, "next": following}


PROGRAMS = {
    "end_to_end": end_to_end,
    "first_result": first_result,
    "memory": memory,
    "later_compilations": later_compilations,
    "grid_points": grid_points,
}


def run(name, folder, words):
    """One of the programs of this module, with numbers as its arguments."""
    stream = answers()
    found = PROGRAMS[name](Path(folder), *map(int, words))
    print(json.dumps(found or {}), file=stream, flush=True)
