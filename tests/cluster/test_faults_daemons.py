"""Processes of real engines, and of ours beside them, that are killed without warning."""

import contextlib
import os
import shutil
import signal
from pathlib import Path

from faulty_grids import (
    CPU,
    attempts,
    check_accepted,
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
    expected = {PROGRAM: "failed", WRAPPER: "lost"}
    expected |= dict.fromkeys((SHEPHERD, OTHER, WAITING), "running")
    reasons = wait_for_states(checkout, expected)
    assert "killed by signal 9" in reasons[PROGRAM]
    assert SHEPHERD in processes(checkout), "an orphan is a living run"
    # not for long: Slurm ends the jobs of a node that is silent
    engine.kill(NODE[engine.name])
    assert {run: state for run, (state, _) in listed(checkout).items()} == expected
    engine.bring_up()
    retried = checkout.runs("retry", "--failed", "toys/toy")
    assert retried.returncode == 0, retried.stderr
    assert "2 runs of toys/toy sent" in retried.stdout
    (checkout.root / "go").touch()
    wait_for_states(checkout, dict.fromkeys(range(5), "done"))
    check_accepted(checkout, range(5))
    assert attempts(checkout, range(5)) == [2, 2, 1, 1, 1]


def test_a_master_that_is_killed_while_runs_run_wait_and_are_sent(engine, own_checkout, tmp_path):
    """Of three more jobs it has just accepted two, which Slurm forgets and Grid Engine does not."""
    checkout = own_checkout
    put_toys(checkout, 'product("toys", "toy", number=range(4))')
    more = 'product("toys", "more", script="toys/toy.py", number=range(3), what=["quick"])'
    checkout.write_grid(more, "more_runner.py")
    environment = CPU[engine.name]
    assert checkout.run(environment, "--jobs", "2").returncode == 0
    wait_until(lambda: len(processes(checkout)) == 2, "the start of two")
    os.kill(processes(checkout)[0], signal.SIGKILL)
    wait_until(lambda: {1, 2} == processes(checkout).keys(), "the start of a third")
    with killing_at(4, engine, checkout, tmp_path):  # the first call only judges the request
        answer = checkout.run(environment, "--no-array", runner="more_runner.py")
    last = one_sentence(answer, "2 runs of toys/more sent")
    assert last.startswith("1 of 3 runs was not sent: ")
    assert last.endswith("the same command with --resume sends the rest")
    assert "tried again in" in answer.stderr
    assert "unknown" in {state for state, _ in listed(checkout, "toys/more").values()}
    states = listed(checkout, "toys/toy")
    assert [states[run][0] for run in range(4)] == ["failed", "running", "running", "unknown"]
    assert "ended with status 1" in states[3][1]
    last = one_sentence(checkout.runs("retry", "--failed", "toys/toy"))
    assert last.startswith("nothing was sent: ")
    refused = checkout.runs("remove", "toys/toy:3", "--yes")
    assert "is unknown; stop it first" in refused.stderr
    (checkout.root / "go").touch()
    wait_until(lambda: checkout.states() == {0: "failed", 1: "done", 2: "done"}, "two ends")
    engine.bring_up()
    again = [environment, "--no-array", "--resume"]
    # until the nodes have reported to a new master, Slurm takes them for missing and refuses
    wait_until(lambda: not checkout.run(*again, runner="more_runner.py").returncode, "a sending")
    run_again_until_done(checkout, {"toy": range(4), "more": range(3)}, engine)
    assert attempts(checkout, range(3)) == [2, 1, 1]


@contextlib.contextmanager
def killing_at(number, engine, checkout, folder):
    """Kill the master right before a call of the command that submits, and before later ones."""
    submit, master = SUBMIT[engine.name], MASTER[engine.name]
    script = folder / submit
    script.write_text(
        "#!/bin/sh\n"
        f'echo call >> "{folder}/calls"\n'
        f'if [ "$(wc -l < "{folder}/calls")" -ge {number} ]; then\n'
        f"  while pidof {master} > /dev/null; do kill -9 $(pidof {master}); sleep 0.05; done\n"
        "fi\n"
        f'exec {shutil.which(submit)} "$@"\n'
    )
    script.chmod(0o755)
    before = checkout.environment["PATH"]
    checkout.environment["PATH"] = f"{folder}:{before}"
    yield
    checkout.environment["PATH"] = before


def command(pid):
    return Path(f"/proc/{pid}/comm").read_text()
