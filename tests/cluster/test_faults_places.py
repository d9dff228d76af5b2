"""Folders that are away, full or closed when a real engine starts a task."""

import os

from cluster_checkout import QUEUES, ClusterCheckout
from faulty_grids import (
    CPU,
    HELD,
    counted,
    listed,
    one_sentence,
    processes,
    put_toys,
    run_again_until_done,
    wait_for_states,
)
from real_engines import GridEngine
from small_disk import fill, small_disk
from toy_checkout import wait_until

RUNS = 'product("toys", "toy", number=range(2), what=["quick"])'


def held_checkout(engine, folder):
    """A checkout whose jobs wait until somebody releases them, and the job of its grid."""
    folder.mkdir()
    checkout = ClusterCheckout(folder)
    words = ", ".join(f'"{word}"' for word in HELD[engine.name])
    environment = CPU[engine.name]
    (checkout.root / "queues.local.toml").write_text(
        QUEUES.replace(f"[{environment}]\n", f"[{environment}]\noptions = [{words}]\n")
    )
    put_toys(checkout, RUNS)
    assert checkout.run(environment).returncode == 0
    wait_for_states(checkout, {0: "pending", 1: "pending"})
    (checkout.root / "queues.local.toml").write_text(QUEUES)
    (job,) = engine.jobs(folder)
    return checkout, job


def release(engine, job):
    command = ["qrls"] if isinstance(engine, GridEngine) else ["scontrol", "release"]
    said = engine.call(*command, job)
    assert said.returncode == 0, said.stderr


def test_folders_that_are_not_there_when_a_task_starts(engine, cluster_folder):
    """The checkout is moved; the folder of the logs is away; the wrapper's script cannot be run."""
    places = {
        name: held_checkout(engine, cluster_folder / name) for name in ("moved", "away", "closed")
    }
    moved, away, closed = (checkout for checkout, _ in places.values())
    elsewhere = moved.root.with_name("elsewhere")
    moved.root.rename(elsewhere)
    aside = away.results.with_name("aside")
    away.results.rename(aside)
    (closed.root / "utils" / "run_in_env.sh").chmod(0o644)
    for _, job in places.values():
        release(engine, job)
    grid_engine = isinstance(engine, GridEngine)
    if grid_engine:
        jobs = [job for _, job in places.values()]
        wait_until(
            lambda: all({*engine.tasks(job).values()} == {"Eqw"} for job in jobs), "three errors"
        )
    else:
        ended = {"FAILED"}
        wait_until(
            lambda: all(
                {*engine.tasks(places[name][1]).values()} == ended for name in ("moved", "away")
            ),
            "two failures",
        )
    elsewhere.rename(moved.root)
    aside.rename(away.results)
    (closed.root / "utils" / "run_in_env.sh").chmod(0o755)
    bad = {0: "stuck", 1: "stuck"} if grid_engine else {0: "lost", 1: "lost"}
    said = wait_for_states(moved, bad)[0]
    assert (
        "can't chdir to" if grid_engine else "is not the checkout that sent this; it was"
    ) in said
    said = wait_for_states(away, bad)[0]
    assert ("can't open output file" if grid_engine else "Slurm says: FAILED") in said
    if grid_engine:
        said = wait_for_states(closed, bad)[0]
        assert "utils/run_in_env.sh" in said or "execv" in said
    else:  # it has a copy of the script
        wait_for_states(closed, {0: "done", 1: "done"})
    for checkout in (moved, away, closed):
        run_again_until_done(checkout, {"toy": range(2)})
    wait_until(lambda: not engine.jobs(cluster_folder), "the end of all jobs")


def test_a_full_disk(engine, own_checkout):
    """It fills up while runs are at work: they are lost, and done when there is room again."""
    checkout = own_checkout
    put_toys(checkout, 'product("toys", "toy", number=range(2))')
    with small_disk(checkout.results, 2000):
        checkout.results.chmod(0o755)
        assert checkout.run(CPU[engine.name]).returncode == 0
        wait_until(lambda: len(list(checkout.results.rglob("starts"))) == 2, "two begins")
        wait_until(lambda: len(list(checkout.results.rglob("*.claim"))) == 2, "two claims")
        filler = fill(checkout.results)
        (checkout.root / "go").touch()
        wait_until(lambda: not processes(checkout), "the end of both")
        wait_until(lambda: not engine.jobs(checkout.root), "the end of the job")
        assert "done" not in counted(checkout)
        filler.unlink()
        wait_for_states(checkout, {0: "lost", 1: "lost"})
        run_again_until_done(checkout, {"toy": range(2)})


def test_an_ordinary_user_who_may_not_write(engine, ordinary_checkout):
    """Neither there where the user sends, nor on the node; everything else is done."""
    checkout = ordinary_checkout
    put_toys(checkout, RUNS)
    checkout.results.chmod(0o755)
    os.chown(checkout.results, 0, 0)
    one_sentence(checkout.run(CPU[engine.name]), str(checkout.results))
    assert not engine.jobs(checkout.root)
    checkout.give_to_user()
    states = checkout.logs() / ".jobs" / "state"
    states.mkdir(parents=True)
    checkout.give_to_user()
    os.chown(states, 0, 0)
    assert checkout.run(CPU[engine.name]).returncode == 0
    wait_until(lambda: set(counted(checkout)) == {"lost"}, "an end of the patience")
    assert "Permission denied" in listed(checkout)[0][1]
    checkout.give_to_user()
    run_again_until_done(checkout, {"toy": range(2)})
    assert {path.owner() for path in checkout.logs().rglob("*.done")} == {checkout.owner}
