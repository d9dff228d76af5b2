"""Runs that share programs, started by the launcher: `--together`."""

import json
import os
import signal
import time
import zipfile

import pytest
from toy_checkout import DEADLINE_S, Checkout, wait_until

EXPERIMENT = '''"""toy: says in which program it is, and sometimes ends it."""
import os
import signal
import time

from utils import experiment

DATA = []


def train(run, number: int = 0, act: str = "fine", wait: float = 0.0):
    run.name = f"toy_{number}"
    for repetition in run.repetitions(2):
        with open(repetition.log_dir / "starts", "a") as stream:
            stream.write(f"{os.getpid()}\\n")
        first = len((repetition.log_dir / "starts").read_text().split()) == 1
        print("this is", number, flush=True)
        if act == "raise":
            raise RuntimeError(f"number {number} is no good")
        if act == "die":
            os._exit(7)
        if act == "leave" and repetition.index == 1 and first:
            os._exit(0)
        if act == "killed" and first and repetition.index == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(wait)
        repetition.finish(score=number + 0.5 * repetition.index)


if __name__ == "__main__":
    experiment.main(train)
'''

NETWORK = '''"""net: a network of two layers, and random numbers without a seed of their own."""
import numpy as np
from NDN3.NDNutils import ffnetwork_params

from utils import experiment, network
from utils.data import Recording

DATA = []


def train(run, rate: float = 1e-3):
    import keras
    import tensorflow as tf

    generator = np.random.default_rng(0)
    training, validation = (
        Recording(
            generator.normal(size=(rows, 4)).astype(np.float32),
            generator.poisson(2.0, (rows, 2)).astype(np.float32),
            None, (1,), (2,), None,
        )
        for rows in (8, 4)
    )
    run.name = f"net_{rate}"
    repetitions = run.repetitions(2)
    models = network.build(ffnetwork_params(
        input_dims=[1, 2, 2], layer_sizes=[3, 2], layer_types=["normal", "normal"],
        act_funcs=["softplus", "softplus"], reg_list={"l2": [0.1, None]},
    ), seeds=repetitions.seeds)
    for repetition, model in network.train(
        models, training, validation, repetitions, epochs=2, batch_size=4, learning_rate=rate
    ):
        network.save(model, repetition.model_path)
        dropped = keras.layers.Dropout(0.5)(keras.ops.ones((40,)), training=True)
        repetition.finish(
            by_keras=float(keras.random.normal(())),
            by_tensorflow=float(tf.random.normal(())),
            by_numpy=np.random.normal(),
            left=float(keras.ops.sum(dropped * np.arange(40))),
            layers=int("0" + keras.layers.Dense(1).name.partition("_")[2]),
        )


if __name__ == "__main__":
    experiment.main(train)
'''


@pytest.fixture
def checkout(tmp_path):
    made = Checkout(tmp_path)
    (made.group / "toy.py").write_text(EXPERIMENT)
    return made


def programs(checkout, *runs, exp="toy"):
    """In which program each run was."""
    held = [
        path.read_text()
        for run in runs
        for path in (checkout.logs(exp) / ".jobs" / "state" / "0000").glob(f"{run}.0.1.claim")
    ]
    return [json.loads(text)["program"] for text in held]


def test_a_grid_of_runs_in_few_programs(checkout):
    checkout.write_grid(
        'zipped("toys", "toy", number=range(8), '
        'act=["fine", "raise", "fine", "die", "fine", "fine", "fine", "fine"])'
    )
    dry = checkout.run("linux", "--together", "--dry-run")
    assert "runs of an experiment share a program" in dry.stdout
    ended = checkout.run("linux", "--together", "--jobs", "2")
    assert ended.returncode == 1
    assert "6/8 done" in ended.stdout
    assert "RuntimeError: number 1 is no good" in ended.stdout
    assert "exit status 7, and nothing in the error log" in ended.stdout
    bad = {1: "failed", 3: "failed"}
    assert checkout.states() == {run: bad.get(run, "done") for run in range(8)}
    assert len(set(programs(checkout, *range(8)))) == 3  # two, and one for that which died
    for run in range(8):
        said = (checkout.logs() / f"o_{run}.log").read_text()
        assert said.count("this is") == said.count(f"this is {run}\n") >= 1
    again = checkout.run("linux", "--together", "--resume")
    assert again.returncode == 1
    assert "6 done; not started again" in again.stdout
    assert [checkout.starts(run) for run in (0, 1)] == [[1, 1], [2]]


def test_each_experiment_has_its_programs(checkout):
    (checkout.group / "other.py").write_text(EXPERIMENT)
    checkout.write_grid(
        'product("toys", "toy", number=range(3)) + grid.product("toys", "other", number=range(3))'
    )
    assert checkout.run("linux", "--together", "--jobs", "1").returncode == 0
    (toy,), (other,) = (set(programs(checkout, *range(3), exp=exp)) for exp in ("toy", "other"))
    assert toy != other


def test_a_killed_run_is_tried_again(checkout):
    checkout.write_grid('zipped("toys", "toy", number=range(3), act=["fine", "killed", "fine"])')
    ended = checkout.run("linux", "--together", "--jobs", "1", "--retries", "1")
    assert ended.returncode == 0, ended.stdout
    assert checkout.states() == dict.fromkeys(range(3), "done")
    assert "1 tried again" in ended.stdout


def test_ctrl_c_and_resume(checkout):
    checkout.write_grid('product("toys", "toy", number=range(4), wait=[1.0])')
    launcher = checkout.start("linux", "--together", "--jobs", "2")
    wait_until(lambda: sum(bool(checkout.starts(run)) for run in range(4)) == 2, "two starts")
    launcher.send_signal(signal.SIGINT)
    out, err = launcher.communicate(timeout=DEADLINE_S)
    assert launcher.returncode == 130, err
    assert "2 not started" in out
    assert checkout.programs() == []
    assert checkout.states() == {0: "cancelled", 1: "cancelled"}
    assert checkout.run("linux", "--together", "--resume", "--jobs", "2").returncode == 0
    assert checkout.states() == dict.fromkeys(range(4), "done")


def test_a_killed_launcher_loses_nothing(checkout):
    checkout.write_grid('product("toys", "toy", number=range(4), wait=[1.0])')
    launcher = checkout.start("linux", "--together", "--jobs", "2")
    wait_until(lambda: sum(bool(checkout.starts(run)) for run in range(4)) == 2, "two starts")
    launcher.kill()
    launcher.communicate()
    wait_until(lambda: not checkout.programs(), "the end of the programs")
    wait_until(lambda: checkout.states() == {0: "cancelled", 1: "cancelled"}, "the records")


@pytest.mark.parametrize("whom", ["program", "pid"])
def test_a_killed_program_or_wrapper_takes_one_run_along(checkout, whom):
    checkout.write_grid('zipped("toys", "toy", number=range(4), wait=[0.0, 1.0, 0.0, 0.0])')
    launcher = checkout.start("linux", "--together", "--jobs", "1")
    wait_until(lambda: checkout.starts(1), "the start")
    (claim,) = (checkout.logs() / ".jobs" / "state" / "0000").glob("1.0.1.claim")
    wait_until(lambda: "program" in json.loads(claim.read_text()), "the program")
    os.kill(json.loads(claim.read_text())[whom], signal.SIGKILL)
    out, _ = launcher.communicate(timeout=DEADLINE_S)
    assert launcher.returncode == 1
    reason = {"program": "killed by signal 9", "pid": "its wrapper was killed by SIGKILL"}[whom]
    assert reason in out
    states = dict.fromkeys(range(4), "done")
    assert checkout.states() == {**states, 1: {"program": "failed", "pid": "claim"}[whom]}
    assert len(set(programs(checkout, *range(4)))) == 2


def test_one_run_is_cancelled_and_the_rest_goes_on(checkout):
    checkout.write_grid('product("toys", "toy", number=range(3), wait=[1.0])')
    launcher = checkout.start("linux", "--together", "--jobs", "1")
    wait_until(lambda: checkout.starts(1), "the start")
    cancelled = checkout.runs("cancel", "toys/toy:1")
    assert (cancelled.returncode, cancelled.stdout) == (0, "toys/toy:1 cancelled\n")
    assert launcher.wait(DEADLINE_S) == 1
    launcher.communicate()
    assert checkout.states() == {0: "done", 1: "cancelled", 2: "done"}


def test_a_hopeless_grid_is_given_up(checkout):
    checkout.write_grid('product("toys", "toy", number=range(30))')
    script = checkout.group / "toy.py"
    script.write_text("import no_such_module\n" + script.read_text())
    begin = time.monotonic()
    ended = checkout.run("linux", "--together", "--jobs", "2")
    assert ended.returncode == 1
    assert "ModuleNotFoundError: No module named 'no_such_module'" in ended.stdout
    assert len(checkout.states()) < 12
    assert time.monotonic() - begin < 30


def test_runs_in_containers_cannot_share_a_program(checkout):
    checkout.write_grid('product("toys", "toy", number=range(2))')
    refused = checkout.run("docker", "--together")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "--together has runs share a program" in refused.stderr


def numbers(results, run):
    """All arrays of a run's models, as bytes, and its scores."""
    found = {}
    for path in sorted((results / "models" / "toys" / f"netx{run}").glob("*.ndnmod")):
        with zipfile.ZipFile(path) as model:
            found[path.name] = {name: model.read(name) for name in model.namelist()}
    for path in sorted((results / "logs" / "toys" / f"netx{run}").glob("*/run.json")):
        found[path.parent.name] = json.loads(path.read_text())["scores"]
    return found


def test_numbers_are_those_of_single_runs(checkout):
    (checkout.group / "net.py").write_text(NETWORK)
    checkout.write_grid('product("toys", "net", rate=[1e-3, 2e-3])')
    assert checkout.run("linux", "--together", "--jobs", "1").returncode == 0
    assert len(set(programs(checkout, 0, 1, exp="net"))) == 1
    together = numbers(checkout.results, 1)
    checkout.environment["BENCH_RESULTS"] = str(checkout.results.with_name("alone"))
    assert checkout.run("linux", "--only", "1").returncode == 0
    assert len(together) == 4
    assert together == numbers(checkout.results.with_name("alone"), 1)
    assert together != numbers(checkout.results, 0)


@pytest.mark.parametrize("together", [[], ["--together"]])
def test_a_program_that_leaves_with_status_0_is_not_done(checkout, together):
    checkout.write_grid('product("toys", "toy", number=[0], act=["leave"])')
    left = checkout.run("linux", *together)
    assert left.returncode == 1
    assert "its program ended with status 0 and 1 of 2 repetitions was not finished" in left.stdout
    assert checkout.states() == {0: "failed"}
    assert checkout.run("linux", "--resume", *together).returncode == 0
    assert checkout.states() == {0: "done"}
