"""The programs of `launch.py`: each is started in a process of its own and answers with JSON.

python bench/launch_programs.py PROGRAM FOLDER [NUMBER]
"""

import builtins
import contextlib
import gc
import io
import json
import os
import statistics
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import launch_tree
from launch_tree import EXP, GROUP

from utils import (
    command_lines,
    engines,
    job_node,
    jobs,
    ledger,
    paths,
    plans,
    promises,
    runners,
    states,
)

REPOSITORY = Path(__file__).parents[1]
TAGS = ("loss/cost", "loss/unregularized", "loss/regularization", "loss/correlation/correlation")
POINTS = 51
LOOK_S, BEAT_S, MINUTES = 5, 30, 5
RESOURCES = {"threads": 1, "memory": None, "gpus": 0, "hours": None}


def measured(work):
    """CPU seconds of this process and its children while it works, and what it returns."""
    gc.set_threshold(command_lines.COLLECT_AFTER)  # as in every command
    before = os.times()
    result = work()
    used = [now - then for now, then in zip(os.times()[:4], before[:4], strict=True)]
    return sum(used), result


def tree(number):
    """Make a folder of results in which all runs are done."""
    launch_tree.record_all(number)
    return {}


def plan(number):
    """From the values of a grid to plan, index and tasks on the disk."""
    wish = promises.Wish()

    def work():
        planned = promises.by_experiment(launch_tree.runs(number), wish)
        with plans.lock(paths.jobs_dir(GROUP, EXP)):
            batch = promises.decide(GROUP, EXP, planned[GROUP, EXP], wish)
            return plans.send(batch.jobs_dir, batch.entries, batch.tasks, launch_tree.about())

    cpu, sent = measured(work)
    return {"cpu": cpu, "runs": len(sent.tasks()), "mb": sent.plan_file.stat().st_size / 1e6}


def launched(number, *options):
    """A runner's command line, from the values of its grid to its last word."""
    said = io.StringIO()

    def work():
        with contextlib.redirect_stdout(said):
            arguments = ["linux", "--jobs", "1", *options]
            return runners.launch(launch_tree.runs(number), RESOURCES, arguments, "bench")

    cpu, status = measured(work)
    return {"cpu": cpu, "status": status, "said": said.getvalue().splitlines()[-1]}


def dry_run(number):
    """A dry run of all."""
    return launched(number, "--dry-run")


def resume(number):
    """The same grid once more, all of it done."""
    return launched(number, "--resume")


def listed(number):
    """`runs list`, as the command does it."""
    said = io.StringIO()

    def work():
        with contextlib.redirect_stdout(said):
            return jobs.follow(["list"])

    cpu, _ = measured(work)
    return {"cpu": cpu, "said": said.getvalue().splitlines()[0]}


def listed_by_reading(number):
    """States from the contents of all records instead of their names: what names save."""

    def work():
        root = Path(paths.jobs_dir(GROUP, EXP)) / "state"
        return Counter(job_node.read_json(str(path)).get("state") for path in root.glob("*/*.*.*"))

    cpu, counts = measured(work)
    return {"cpu": cpu, "said": f"{counts['done']} done"}


def ledger_anew(number):
    """The list of finished runs, from nothing but their results."""
    paths.ledger_file().unlink()
    cpu, _ = measured(ledger.refresh)
    return {"cpu": cpu, "said": f"{len(paths.ledger_file().read_text().splitlines())} lines"}


class Asked:
    """Counts what is asked of the file system below a folder, and of an engine."""

    def __init__(self, folder):
        self.counts = Counter()
        self._folder = str(folder)
        self._before = []

    def __enter__(self):
        for module, name, kind in (
            (os, "stat", "times"),
            (os, "listdir", "listings"),
            (os, "scandir", "listings"),
            (os, "open", "files"),
            (builtins, "open", "files"),
            (engines, "ask", "queries"),
        ):
            self._before.append((module, name, getattr(module, name)))
            setattr(module, name, self._counted(getattr(module, name), kind))
        return self

    def __exit__(self, *_):
        for module, name, real in self._before:
            setattr(module, name, real)

    def _counted(self, real, kind):
        def counted(path, *more, **named):
            below = isinstance(path, str | os.PathLike) and os.fspath(path).startswith(self._folder)
            if below or kind == "queries":
                self.counts[kind] += 1
            return real(path, *more, **named)

        return counted


def watch(number):
    """Five minutes of `runs watch` in a moment: what it asks a file server in one of them.

    A tenth of the runs are running on another machine; every ten seconds one of them ends and
    every minute each writes a line of progress.
    """
    launch_tree.record_all(number, number // 10)
    return watched(range(number - number // 10, number))


def watch_queue(number):
    """The same where an engine has a tenth more that wait; it answers at once."""
    tenth = number // 10
    sent = launch_tree.record_all(number, tenth, tenth)
    answer = launch_tree.answered(sent, number, tenth, tenth)
    engines.ask = lambda command, *_: answer
    return watched(range(number - 2 * tenth, number - tenth))


def watched(running):
    """Figures of `runs watch` while so many runs are running and one after the other ends."""
    from utils.watch import View

    jobs_dir, root = paths.jobs_dir(GROUP, EXP), paths.results_dir()
    held = list(running)
    now = time.time()

    def beat(second):
        for run in held:
            claim = job_node.state_file(jobs_dir, run, 0, 1, "claim")
            os.utime(claim, (now + second, now + second))

    clock = [0.0]
    time.monotonic = lambda: clock[0]  # an engine's answer is kept for so long
    view = View(GROUP, lambda: clock[0])
    with Asked(root) as start:
        view.look()
        view.lines(40)
    counts, cpu = Counter(), 0.0
    for second in range(LOOK_S, 60 * MINUTES + 1, LOOK_S):
        clock[0] = second
        if second % BEAT_S == 0:
            beat(second)
        if second % 10 == 0:
            launch_tree.record(jobs_dir, held.pop())
        with Asked(root) as asked:
            used, _ = measured(lambda: (view.look(), view.lines(40)))
        counts += asked.counts
        cpu += used
    with Asked(root) as by_list:
        states.states(GROUP, EXP)
    if view.live[GROUP, EXP].counts()["running"] != len(held):
        raise SystemExit(f"{view.lines(1)[0]}, but {len(held)} are running")
    return {
        "cpu": cpu / MINUTES,
        "start": sum(start.counts.values()),
        "by_list": sum(by_list.counts.values()) * 60 / LOOK_S,
        **{kind: counts[kind] / MINUTES for kind in ("times", "listings", "files", "queries")},
    }


def node(number):
    """Runs of a program that does nothing, as an engine starts them, in turn with that program."""
    script = paths.ROOT / "nothing.py"
    script.write_text("")
    entries = [{"run": run, "script": str(script), "argv": []} for run in range(number)]
    tasks = [(run, 0, 1) for run in range(number)]
    facts = {**launch_tree.about(), **launch_tree.queued(number), "python": sys.executable}
    sent = plans.send(paths.jobs_dir(GROUP, EXP), entries, tasks, facts)
    words = ["utils/run_in_env.sh", sys.executable, str(sent.jobs_dir), sent.token, "c0"]
    times = []
    for task in range(1, number + 1):
        bare = spent([sys.executable, str(script)])
        times.append((*bare, *spent(words, SGE_TASK_ID=str(task), JOB_ID=launch_tree.JOB)))
    done = list(Path(job_node.state_dir(sent.jobs_dir, 0)).glob("*.done"))
    if len(done) != number:
        raise SystemExit(f"{len(done)} of {number} runs are done")
    return {
        "bare": 1000 * statistics.median(bare for bare, _, _, _ in times),
        "node": 1000 * statistics.median(whole - bare for bare, _, whole, _ in times),
        "node_cpu": 1000 * statistics.median(whole - bare for _, bare, _, whole in times),
    }


def spent(words, **variables):
    """Seconds and CPU seconds of a command in the checkout, what it starts included."""
    begin = time.monotonic()
    process = subprocess.Popen(
        words, cwd=REPOSITORY, env={**os.environ, **variables}, stdin=subprocess.DEVNULL
    )
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{words[0]} ended with {process.returncode}")
    return time.monotonic() - begin, used.ru_utime + used.ru_stime


def write_events(number):
    """Make so many event files of some tags and points."""
    from NDN3 import events

    for index in range(number):
        with events.EventWriter(paths.logs_root() / f"run{index}", temporary=True) as writer:
            for step in range(POINTS):
                values = {tag: index + step / (place + 2) for place, tag in enumerate(TAGS)}
                writer.scalars(10 * step, values)
    return {}


def read_events(number):
    """One tag of all files as a table, twice: from the files, and once more from what was kept."""
    import pandas  # noqa: F401  (imported here, so that it is not measured)

    from utils import summaries

    files = summaries.find(paths.logs_root(), "run")
    summaries.read_files(files[:1], TAGS[0])
    cpu, table = measured(lambda: summaries.read_files(files, TAGS[-1]))
    again, same = measured(lambda: summaries.read_files(files, TAGS[-1]))
    if not table.equals(same):
        raise SystemExit("the table that was kept is another one")
    return {"cpu": cpu, "again": again, "points": len(table), "sum": float(table["Value"].sum())}


def tensorboard_events(number):
    """The same by TensorBoard's accumulators, which use TensorFlow where it is installed."""
    from tensorboard.backend.event_processing import event_accumulator

    def values(path):
        sizes = {event_accumulator.TENSORS: 0, event_accumulator.SCALARS: 0}
        reader = event_accumulator.EventAccumulator(str(path), size_guidance=sizes)
        reader.Reload()
        return [event.tensor_proto.float_val[0] for event in reader.Tensors(TAGS[-1])]

    files = sorted(paths.logs_root().glob("*/events*"))
    values(files[0])  # imports TensorFlow
    cpu, found = measured(lambda: [values(path) for path in files])
    points = [value for of_file in found for value in of_file]
    return {"cpu": cpu, "points": len(points), "sum": sum(points)}


PROGRAMS = {
    work.__name__: work
    for work in (
        *(tree, plan, dry_run, resume, listed, listed_by_reading, ledger_anew, watch),
        *(watch_queue, node),
        *(write_events, read_events, tensorboard_events),
    )
}


def main():
    name, folder, number = sys.argv[1:4]
    launch_tree.use(folder)
    result = PROGRAMS[name](int(number))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
