"""A folder of results with very many runs, as the launcher and the programs would leave it.

Files are written directly and not forced to the disk one by one, or 300 000 of them would take an
hour; their names come from `utils`, so that a changed layout changes the tree, too.
"""

import json
import os
import socket
from pathlib import Path

from utils import environments, grid, job_node, paths, plans, promises, registry
from utils.grid_engine import GridEngine

GROUP, EXP = "many", "grid"
JOB = "17"
EXPERIMENT = '''"""grid: an experiment of which there are many runs."""
from utils import experiment

DATA = []


def train(run, filters: int = 9, hidden: float = 0.2, l2: float = 0.1, epochs: int = 500):
    run.name = f"grid_{filters}_{hidden}_{l2}_{epochs}"
    for repetition in run.repetitions(1):
        repetition.finish(correlation=0.5)


if __name__ == "__main__":
    experiment.main(train)
'''
ELSEWHERE = {"host": "node17", "machine": "0123456789abcdef pid:[4026531836]", "pid": 4321}
PROGRESS = "# a run\n" + "".join(
    f"{100 * done}/2500 epochs · 10 repetitions · {25 - done}:00 left\n" for done in range(1, 11)
)


def use(folder):
    """Let `utils.paths` look into a folder; a new one gets the experiment, no data, no results."""
    folder = Path(folder)
    paths.ROOT = folder / "checkout"
    for variable, name in (("BENCH_DATA", "Data"), ("BENCH_RESULTS", "training_data")):
        (folder / name).mkdir(parents=True, exist_ok=True)
        os.environ[variable] = str(folder / name)
    script = paths.experiment_file(GROUP, EXP)
    if not script.exists():
        script.parent.mkdir(parents=True)
        script.write_text(EXPERIMENT)


def runs(number):
    """Combinations of four hyper-parameters, so many of them that there are `number`."""
    per_side = 1
    while per_side**4 < number:
        per_side += 1
    sides = range(1, per_side + 1)
    values = {
        "filters": list(sides),
        "hidden": [side / 100 for side in sides],
        "l2": [side / 1000 for side in sides],
        "epochs": [100 * side for side in sides],
    }
    return grid.product(GROUP, EXP, **values)[:number]


def record_all(number, running=0, waiting=0):
    """Leave behind a submission of so many runs, all done but the last ones; return it.

    A run has one repetition; those that are running are held by another machine. Where some are
    waiting, behind these, Grid Engine has got all as its job `JOB`.
    """
    planned = promises.by_experiment(runs(number), promises.Wish())[GROUP, EXP]
    jobs_dir = paths.jobs_dir(GROUP, EXP)
    queue = queued(number) if waiting else {}
    tasks = [(line["run"], 0, 1) for line in planned]
    sent = plans.send(jobs_dir, planned, tasks, {**about(), **queue})
    if waiting:
        sent.note_queued(0, JOB)
        planned = planned[:-waiting]
        number -= waiting
    done, held = planned[: number - running], planned[number - running :]
    ledger = []
    for line in done:
        name = "grid_{filters}_{hidden}_{l2}_{epochs}".format(**line["arguments"])
        folder = paths.log_dir(GROUP, EXP, line["run"], name, 0)
        folder.mkdir(parents=True)
        _write(folder / "run.json", run_json(line, name))
        ledger.append(registry.ledger_line(GROUP, EXP, line["run"], name))
    for line in done:  # records are younger than results
        claim(jobs_dir, line["run"], sent.token)
        record(jobs_dir, line["run"])
    for line in held:
        claim(jobs_dir, line["run"], sent.token)
        Path(job_node.log_file(jobs_dir, line["run"], 0, "o")).write_text(PROGRESS)
    paths.ledger_file().write_text("".join(f"{line}\n" for line in ledger))
    return sent


def claim(jobs_dir, run, token):
    """Let the other machine take a run."""
    os.makedirs(job_node.state_dir(jobs_dir, run), exist_ok=True)
    about = {"token": token, "task": run, "repetitions": None, **ELSEWHERE, "pid_start": 987654}
    about |= {"claimed": "2026-01-01T00:00:00+00:00", "program": 4322, "program_start": 987660}
    _write(job_node.state_file(jobs_dir, run, 0, 1, "claim"), about)


def record(jobs_dir, run):
    """Let the other machine end a run."""
    about = {"token": "0123456789", "task": run, "repetitions": None, "seconds": 81.337, "exit": 0}
    about |= {"start": "2026-01-01T00:00:00+00:00", "end": "2026-01-01T00:01:21+00:00"}
    about |= {"reason": "", "memory_mb": 612, "signal": None, "state": "done"}
    _write(job_node.state_file(jobs_dir, run, 0, 1, "done"), about)


def about():
    """What a submission says of itself, as far as it matters here."""
    folder = paths.logs_root() / GROUP / paths.run_folder(EXP, "")
    return {
        "environment": {},
        "python": "python",
        "resources": {"threads": 1},
        "run_folder": str(folder),
    }


def queued(number):
    """What a submission of so many runs in one array says of Grid Engine."""
    engine = {"name": GridEngine.name, "first": GridEngine.first_task, **GridEngine.variables}
    engine |= {"threads": environments.THREADS, "patience": 4.0}
    return {"engine": engine, "calls": [(0, number)], "per_task": 1, "array": True, "user": "lab"}


def answered(sent, number, running, waiting):
    """What Grid Engine says about a submission of which so many are running and waiting."""
    done = number - running - waiting
    tasks = [("r", str(task)) for task in range(done + 1, done + running + 1)]
    tasks.append(("qw", f"{done + running + 1}-{number}:1"))
    entry = "<job_list><JB_job_number>{}</JB_job_number><JB_name>{}</JB_name>"
    entry = entry.format(JOB, sent.job_name(0)) + "<state>{}</state><tasks>{}</tasks></job_list>"
    listed = "".join(entry.format(state, named) for state, named in tasks)
    return f"<?xml version='1.0'?><job_info><queue_info>{listed}</queue_info></job_info>"


def run_json(line, name):
    """What a repetition that is done says of itself."""
    return {
        **{"exp_folder": GROUP, "exp": EXP, "run": line["run"], "repetition": 0, "seed": 0},
        **{"name": name, "arguments": line["arguments"], "key": line["key"], "state": "done"},
        "reason": None,
        "start": "2026-01-01T00:00:00+00:00",
        "end": f"2026-01-01T00:{line['run'] // 60 % 60:02d}:{line['run'] % 60:02d}+00:00",
        "seconds": 81.3,
        "host": socket.gethostname(),
        **{"machine": ELSEWHERE["machine"], "pid": 4321, "pid_start": 987654, "job": "0123456789"},
        **{"commit": "0123456789abcdef0123456789abcdef01234567", "clean": True},
        "versions": {"python": "3.11.7", "numpy": "2.4.0", "tensorflow": "2.21.0"},
        **{"data": line["data"], "declared": 1, "group": 1, "scores": {"correlation": 0.5}},
    }


def _write(path, content):
    with open(path, "w", encoding="utf-8") as stream:
        stream.write(json.dumps(content))
