"""The engines themselves, before anything of ours: an array, its environment, its exit statuses."""

import fcntl
import secrets
import shutil
import tempfile
from pathlib import Path

import pytest
from cluster_checkout import ClusterCheckout
from real_engines import GridEngine
from toy_checkout import wait_until

USERS = [None, "nobody"]
TASK = """#!/bin/sh
task=${SLURM_ARRAY_TASK_ID:-$SGE_TASK_ID}
echo "$(id -un) $task $1 ${NSLOTS:-$SLURM_CPUS_PER_TASK}" > "task $task.txt"
exit $((task + 4))
"""
SUBMIT = {
    "Grid Engine": [
        *("qsub", "-terse", "-t", "1-3", "-q", "cpu.q", "-pe", "smp", "2"),
        *("-cwd", "-j", "y", "-o", "engine.log", "-b", "y", "-shell", "n"),
    ],
    "Slurm": [
        *("sbatch", "--parsable", "--array=0-2", "-p", "cpu", "-c", "2"),
        *("-o", "engine.log", "--open-mode=append", "--mem=100M"),
    ],
}


def send(engine, folder, user, *arguments, submit=None):
    """Submit the task above; return the name and the number of its job."""
    name = f"r{secrets.token_hex(5)}"
    script = folder / "task.sh"
    script.write_text(TASK)
    script.chmod(0o755)
    if user:
        shutil.chown(folder, user)
    named = ["-N" if isinstance(engine, GridEngine) else "-J", name]
    first, *rest = submit or SUBMIT[engine.name]
    command = [first, *named, *rest, "./task.sh", *arguments]
    said = engine.call(*command, cwd=folder, user=user)
    assert said.returncode == 0, said.stderr
    return name, said.stdout.split(".")[0].strip()


def wait_for_end(engine, folder):
    wait_until(lambda: not engine.jobs(folder), "the end of the job")


@pytest.mark.parametrize("user", USERS, ids=["root", "ordinary"])
def test_an_array_runs_and_reports_its_exit_statuses(engine, cluster_folder, user):
    job = send(engine, cluster_folder, user, "a;b $HOME")
    wait_for_end(engine, cluster_folder)
    tasks = range(engine.first_task, engine.first_task + 3)
    written = [(cluster_folder / f"task {task}.txt").read_text() for task in tasks]
    assert written == [f"{user or 'root'} {task} a;b $HOME 2\n" for task in tasks]
    assert [engine.exit_status(*job, task) for task in tasks] == [task + 4 for task in tasks]


def test_jobs_of_other_folders_are_left_alone(engine, cluster_folder):
    for name in ("mine", "theirs"):
        (cluster_folder / name).mkdir()
        wait = ["-b", "y", "/bin/sleep", "600"] if isinstance(engine, GridEngine) else []
        script = cluster_folder / name / "wait.sh"
        script.write_text("#!/bin/sh\nexec sleep 600\n")
        words = SUBMIT[engine.name][:-4] if wait else [*SUBMIT[engine.name], script]
        said = engine.call(*words, *wait, cwd=cluster_folder / name)
        assert said.returncode == 0, said.stderr
    engine.clear(cluster_folder / "mine")
    assert not engine.jobs(cluster_folder / "mine")
    assert len(engine.jobs(cluster_folder)) == 1


def test_a_setting_lasts_for_one_test(grid_engine, cluster_folder):
    grid_engine.bring_up(GE_MAX_TASKS="2")
    said = grid_engine.call(*SUBMIT["Grid Engine"], "/bin/true", cwd=cluster_folder)
    assert "more than 2 tasks" in said.stderr
    grid_engine.bring_up()
    said = grid_engine.call(*SUBMIT["Grid Engine"], "/bin/true", cwd=cluster_folder)
    assert said.returncode == 0, said.stderr


@pytest.mark.skipif(shutil.which("csh") is None, reason="csh is not installed: install tcsh")
def test_a_queue_whose_shell_is_csh_runs_programs_with_shell_n(grid_engine, cluster_folder):
    """A script is read by the queue's shell and its first line is ignored; a program is not."""
    grid_engine.bring_up(GE_SHELL="/bin/csh")
    job = send(grid_engine, cluster_folder, None, "x")
    wait_for_end(grid_engine, cluster_folder)
    assert [grid_engine.exit_status(*job, task) for task in (1, 2, 3)] == [5, 6, 7]
    as_script = ["qsub", "-terse", "-t", "1-1", "-q", "cpu.q", "-cwd", "-j", "y", "-o", "csh.log"]
    job = send(grid_engine, cluster_folder, None, "x", submit=as_script)
    wait_for_end(grid_engine, cluster_folder)
    assert grid_engine.exit_status(*job, 1) != 5
    assert "Bad : modifier" in (cluster_folder / "csh.log").read_text(), "no csh has read it"


def test_an_engine_belongs_to_one_test(engine):
    """Otherwise one process would undo the settings that a test of another one needs."""
    path = Path(tempfile.gettempdir(), f"bench-{engine.name.replace(' ', '-')}.lock")
    with open(path, "a") as lock, pytest.raises(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_daemon_that_was_killed_is_brought_up_again(engine):
    name = {"Grid Engine": "sge_qmaster", "Slurm": "slurmctld"}[engine.name]
    before = engine.daemons()
    engine.kill(name)
    assert name not in engine.daemons()
    engine.bring_up()
    after = engine.daemons()
    assert set(after) == set(before)
    assert after[name] != before[name]


def test_an_ordinary_user_can_run_a_toy_checkout(ordinary_checkout):
    assert isinstance(ordinary_checkout, ClusterCheckout)
    ordinary_checkout.write_grid('product("toys", "toy", number=range(2))')
    answer = ordinary_checkout.run("local")
    assert answer.returncode == 0, answer.stderr
    assert ordinary_checkout.states() == {0: "done", 1: "done"}
    assert {path.owner() for path in ordinary_checkout.logs().iterdir()} == {"nobody"}
