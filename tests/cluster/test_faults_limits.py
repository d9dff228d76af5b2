"""Limits of real engines that runs reach: time, memory, and requests that never can be met."""

from faulty_grids import (
    CPU,
    check_accepted,
    one_sentence,
    processes,
    put_toys,
    run_again_until_done,
    wait_for_states,
)

# memory is limited to what a run asks for, also under Grid Engine
LIMITED = """
[qsub-cpu]
slots = { pe = "smp", count = 1 }
resources = { h_data = "1G", mem_free = "1G" }
environment = ["PATH", "PYTHONPATH"]

[slurm-cpu]
resources = { mem = "500M", cpus = 1 }
environment = ["PATH", "PYTHONPATH"]
"""
POLITE, STUBBORN, HUNGRY = range(3)


def test_limits_of_time_and_memory(engine, own_checkout):
    """One program ends when it is warned, another one ignores it, a third one has no memory."""
    checkout = own_checkout
    (checkout.root / "queues.local.toml").write_text(LIMITED)
    put_toys(
        checkout,
        'zipped("toys", "toy", number=range(3), what=["", "stubborn", "hungry"])',
        ", hours=24 / 3600",
    )
    answer = checkout.run(CPU[engine.name])
    assert answer.returncode == 0, answer.stderr
    ends = {POLITE: "timeout", STUBBORN: "timeout", HUNGRY: "memory"}
    reasons = wait_for_states(checkout, ends)
    for run in (POLITE, STUBBORN):
        assert f"continue it with `runs retry toys/toy:{run} --hours N`" in reasons[run]
    assert "its memory did not suffice" in reasons[HUNGRY]
    assert f"`runs retry toys/toy:{HUNGRY} --memory SIZE`" in reasons[HUNGRY]
    assert processes(checkout) == {}
    (checkout.root / "go").touch()
    again = checkout.runs("retry", "--failed", "toys/toy", "--memory", "3G", "--hours", "1")
    assert again.returncode == 0, again.stderr
    assert "3 runs of toys/toy sent" in again.stdout
    wait_for_states(checkout, dict.fromkeys(range(3), "done"))
    check_accepted(checkout, range(3))


def test_a_request_that_nothing_can_satisfy_waits_until_it_is_changed(grid_engine, own_checkout):
    """Grid Engine's own judgement is too strict to be believed, so it is only told."""
    checkout = own_checkout
    put_toys(checkout, 'product("toys", "toy", what=["quick"])', ', memory="900T"')
    answer = checkout.run("qsub-cpu")
    assert answer.returncode == 0
    assert "finds no queue or node that could start these runs now" in answer.stderr
    assert "cannot run in" in answer.stderr
    wait_for_states(checkout, {0: "pending"})
    assert checkout.runs("cancel", "toys/toy").returncode == 0
    wait_for_states(checkout, {0: "cancelled"})
    assert not grid_engine.jobs(checkout.root)
    again = checkout.runs("retry", "toys/toy:0", "--memory", "500M")
    assert again.returncode == 0, again.stderr
    run_again_until_done(checkout, {"toy": [0]})


def test_a_node_that_is_drained_is_waited_for(slurm, own_checkout):
    """Slurm judges a request as if the node did not exist, and accepts it all the same."""
    checkout = own_checkout
    put_toys(checkout, 'product("toys", "toy", what=["quick"])')
    node = slurm.call("sinfo", "-h", "-p", "cpu", "-o", "%n").stdout.strip()
    slurm.call("scontrol", "update", f"nodename={node}", "state=drain", "reason=test")
    answer = checkout.run("slurm-cpu")
    assert answer.returncode == 0, answer.stderr
    assert "no queue or node that could start these runs now" in answer.stderr
    put_toys(checkout, 'product("toys", "more", script="toys/toy.py")', ", memory='900T'")
    refused = one_sentence(checkout.run("slurm-cpu"))
    assert "Memory specification can not be satisfied" in refused
    wait_for_states(checkout, {0: "pending"})
    slurm.bring_up()
    run_again_until_done(checkout, {"toy": [0]})
