"""Processes of real engines, and of ours beside them, that are killed without warning."""

import os
import shutil
import signal
from pathlib import Path

from faulty_grids import (
    CPU,
    attempts,
    check_accepted,
    counted,
    listed,
    one_sentence,
    parent,
    processes,
    put_toys,
    run_again_until_done,
    wait_for_states,
)
from toy_checkout import wait_until

MASTER = {"Grid Engine": "sge_qmaster", "Slurm": "slurmctld"}
NODE = {"Grid Engine": "sge_execd", "Slurm": "slurmd"}
SUBMIT = {"Grid Engine": "qsub", "Slurm": "sbatch"}
PROGRAM, WRAPPER, SHEPHERD, OTHER, WAITING = range(5)


def test_every_process_beside_a_run_is_killed(engine, own_checkout):
    checkout = own_checkout
    put_toys(checkout, 'product("toys", "toy", number=range(5))')
    assert checkout.run(CPU[engine.name], "--jobs", "4").returncode == 0
    wait_until(lambda: len(processes(checkout)) == 4, "the start of four")
    programs = processes(checkout)
    wrappers = {run: parent(program) for run, program in programs.items()}
    os.kill(programs[PROGRAM], signal.SIGKILL)
    os.kill(wrappers[WRAPPER], signal.SIGKILL)
    # the place of these may be taken by the one that waits
    wait_until(lambda: not {PROGRAM, WRAPPER} & processes(checkout).keys(), "the end of both")
    wait_until(lambda: WAITING in processes(checkout), "the start of the fifth")
    shepherd = parent(wrappers[SHEPHERD])
    assert "shepherd" in command(shepherd) or "stepd" in command(shepherd)
    os.kill(shepherd, signal.SIGKILL)
    engine.kill(NODE[engine.name])
    reasons = wait_for_states(
        checkout,
        {
            PROGRAM: "failed",
            WRAPPER: "lost",
            SHEPHERD: "running",
            OTHER: "running",
            WAITING: "running",
        },
    )
    assert "killed by signal 9" in reasons[PROGRAM]
    assert SHEPHERD in processes(checkout), "an orphan is a living run"
    engine.bring_up()
    retried = checkout.runs("retry", "--failed", "toys/toy")
    assert retried.returncode == 0, retried.stderr
    assert "2 runs of toys/toy sent" in retried.stdout
    (checkout.root / "go").touch()
    wait_for_states(checkout, dict.fromkeys(range(5), "done"))
    check_accepted(checkout, range(5))
    assert attempts(checkout, range(5)) == [2, 2, 1, 1, 1]


def test_a_master_that_is_down_is_asked_for_nothing(engine, own_checkout):
    """It is killed while runs run and wait, is asked, gets new runs, and comes back."""
    checkout = own_checkout
    put_toys(checkout, 'product("toys", "toy", number=range(4))')
    assert checkout.run(CPU[engine.name], "--jobs", "2").returncode == 0
    wait_until(lambda: len(processes(checkout)) == 2, "the start of two")
    os.kill(processes(checkout)[0], signal.SIGKILL)
    wait_until(lambda: listed(checkout)[0][0] == "failed", "the end of one")
    wait_until(lambda: len(processes(checkout)) == 2, "the start of a third")
    engine.kill(MASTER[engine.name])
    states = wait_for_states(checkout, {0: "failed", 1: "running", 2: "running", 3: "unknown"})
    assert "ended with status 1" in states[3]
    last = one_sentence(checkout.runs("retry", "--failed", "toys/toy"))
    assert last.startswith("nothing was sent: ")
    refused = checkout.runs("remove", "toys/toy:3", "--yes")
    assert "is unknown; stop it first" in refused.stderr
    (checkout.root / "go").touch()
    wait_until(lambda: counted(checkout) == {"failed": 1, "done": 2, "unknown": 1}, "two ends")
    engine.bring_up()
    run_again_until_done(checkout, range(4))
    assert attempts(checkout, range(3)) == [2, 1, 1]


def test_a_master_that_dies_between_two_calls(engine, own_checkout, tmp_path):
    """Of three jobs two are sent when it is killed; the rest is sent later, and nothing twice."""
    checkout = own_checkout
    put_toys(checkout, 'product("toys", "toy", number=range(3), what=["quick"])')
    submit = SUBMIT[engine.name]
    before = checkout.environment["PATH"]
    checkout.environment["PATH"] = f"{tmp_path}:{before}"
    pid = engine.daemons()[MASTER[engine.name]]
    script = tmp_path / submit
    script.write_text(
        "#!/bin/sh\n"
        f'echo call >> "{tmp_path}/calls"\n'
        # the first one only judges the request
        f'if [ "$(wc -l < "{tmp_path}/calls")" = 4 ]; then\n'
        f"  kill -9 {pid}\n"
        f"  while kill -0 {pid} 2> /dev/null; do sleep 0.05; done\n"
        "fi\n"
        f'exec {shutil.which(submit)} "$@"\n'
    )
    script.chmod(0o755)
    answer = checkout.run(CPU[engine.name], "--no-array")
    last = one_sentence(answer, "2 runs of toys/toy sent")
    assert last.startswith("1 of 3 runs was not sent: ")
    assert last.endswith("the same command with --resume sends the rest")
    assert "tried again in" in answer.stderr
    checkout.environment["PATH"] = before
    assert listed(checkout)[2] == ("unknown", listed(checkout)[2][1])
    engine.bring_up()
    again = checkout.run(CPU[engine.name], "--no-array", "--resume")
    assert again.returncode == 0, again.stderr
    run_again_until_done(checkout, range(3))
    assert attempts(checkout, range(3)) == [1, 1, 1]


def test_a_master_that_is_killed_when_it_has_accepted(engine, own_checkout):
    """Slurm forgets the job, and gives its number to the next; Grid Engine remembers it."""
    checkout = own_checkout
    put_toys(checkout, 'product("toys", "toy", number=range(3), what=["quick"])')
    assert checkout.run(CPU[engine.name]).returncode == 0
    engine.kill(MASTER[engine.name])
    assert set(counted(checkout)) <= {"unknown", "running", "done"}
    engine.bring_up()
    run_again_until_done(checkout, range(3))


def command(pid):
    return Path(f"/proc/{pid}/comm").read_text()
