"""Company, order and interruption do not matter to a member of a group."""

import dataclasses
import os
import signal
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import small_trainings
from keras import ops
from small_trainings import by_seed, distance, options_of, same_bits

from NDN3 import checkpoints, running, schedules, streams
from NDN3.fitting import Loss
from NDN3.groups import Group
from NDN3.training import Adam, Data, EarlyStop, Summaries, fit


@pytest.fixture(scope="module")
def recording():
    return small_trainings.recording()


# ---- who depends on whom -----------------------------------------------------------------------


def test_company_does_not_matter(recording):
    options = options_of(recording)
    together = by_seed(fit(seeds=[0, 1, 2, 3], group=4, **options))
    for seeds in ([3], [3, 9], [3, 2, 1, 0]):
        assert same_bits(by_seed(fit(seeds=seeds, group=4, **options))[3], together[3])
    for group in (2, 3, 10):
        other = by_seed(fit(seeds=[0, 1, 2, 3], group=group, **options))[3]
        assert distance(other, together[3]) < 2e-6
        assert other.group == group
    assert not same_bits(together[2], together[3])


@pytest.mark.parametrize("form", ["group", "turns"])
def test_interrupted_training_ends_with_the_same_bits(recording, tmp_path, form):
    options = options_of(recording, early_stop=EarlyStop(3, tolerance=-1.0), keep_best=True)
    seeds, whole = [4, 7], dict(options, epochs=12)
    undisturbed = by_seed(fit(seeds=seeds, form=form, **whole))

    def path(index):
        return tmp_path / f"{seeds[index]}.npz"

    for epochs in (4, 6):
        list(fit(seeds=seeds, form=form, checkpoint=path, **dict(options, epochs=epochs)))
    resumed = by_seed(fit(seeds=seeds, form=form, checkpoint=path, **whole))
    for seed in seeds:
        assert same_bits(resumed[seed], undisturbed[seed])
        assert list(resumed[seed].history["epoch"]) == list(range(12))
    # resumed again: all is done, nothing changes
    again = by_seed(fit(seeds=seeds, form=form, checkpoint=path, **whole))
    assert same_bits(again[4], undisturbed[4])


def test_members_of_different_age_train_side_by_side(recording, tmp_path):
    options = options_of(recording, early_stop=None)
    undisturbed = by_seed(fit(seeds=[0, 1], **options))
    list(fit(seeds=[1], group=2, checkpoint=lambda _: tmp_path / "1", **dict(options, epochs=5)))
    mixed = by_seed(fit(seeds=[0, 1], checkpoint=lambda index: tmp_path / str(index), **options))
    for seed in (0, 1):
        assert same_bits(mixed[seed], undisturbed[seed])


def test_checkpoint_of_another_training_is_refused(recording, tmp_path):
    options = options_of(recording)
    path = tmp_path / "checkpoint.npz"
    list(fit(seeds=[0], checkpoint=lambda _: path, **options))
    with pytest.raises(ValueError, match="another model, data, seed"):
        fit(seeds=[0], checkpoint=lambda _: path, **dict(options, batch_size=8))
    with pytest.raises(ValueError, match="another model, data, seed"):
        fit(seeds=[0], checkpoint=lambda _: path, optimizer=Adam(2e-3), **options)
    with pytest.raises(ValueError, match="another model, data, seed"):
        fit(seeds=[1], checkpoint=lambda _: path, **options)
    with pytest.raises(ValueError, match="only 2 are asked for"):
        fit(seeds=[0], checkpoint=lambda _: path, **dict(options, epochs=2))
    path.write_bytes(b"torn")
    with pytest.raises(ValueError, match="cannot be read as a checkpoint"):
        fit(seeds=[0], checkpoint=lambda _: path, **options)
    (fresh,) = fit(seeds=[0], checkpoint=lambda _: path, resume=False, **options)
    assert fresh.history["epoch"][0] == 0


@pytest.mark.parametrize(
    "changes",
    [
        lambda data: {"data": dataclasses.replace(data, inputs=data.inputs + 1)},
        lambda data: {"data": dataclasses.replace(data, responses=data.responses + 1)},
        lambda data: {"data": dataclasses.replace(data, mask=None)},
        lambda data: {"data": dataclasses.replace(data, rows=range(11, 60))},
        lambda data: {"validation": dataclasses.replace(data, rows=range(9))},
        lambda data: {"model": small_trainings.dense_model(keras.layers.Dense(5, "softplus"))},
        lambda data: {"group": 2},
        lambda data: {"form": "turns"},
        lambda data: {"early_stop": EarlyStop(4)},
        lambda data: {"keep_best": True},
        lambda data: {"optimizer": Adam(clip_norm=1.0)},
        lambda data: {"per_member": {"penalty": [0.5]}},
        lambda data: {"per_member": {"tolerance": [0.5]}},
        lambda data: {"fit_variables": [True, True, True, False]},
        lambda data: {"metrics": {"mean": lambda y, p, mask: ops.mean(p)}},
        lambda data: {"summaries": Summaries(every=3)},
        lambda data: {"schedule": schedules.schedule("cosine", 4)},
        lambda data: {"schedule": lambda step: 0.5},
        lambda data: {"loss": small_trainings.gaussian},
        lambda data: {"order": streams.SequentialOrder(data.rows)},
        lambda data: {"holdout": dataclasses.replace(data, rows=range(9))},
        lambda data: {"evaluate_with_dropout": True},
    ],
)
def test_whatever_changes_a_training_makes_its_checkpoint_strange(begun, changes):
    options = begun | changes(begun["data"])
    with pytest.raises(ValueError, match="another model, data, seed"):
        fit(**options)


def test_strength_of_a_layer_belongs_to_the_checkpoint(recording, tmp_path):
    images, responses, _ = recording
    options = dict(model=small_trainings.ndn("dense", l2=0.1), data=Data(images, responses))
    options |= dict(loss=small_trainings.poisson(), initialize=small_trainings.start)
    options |= dict(epochs=1, batch_size=16, xla=False, checkpoint=lambda _: tmp_path / "1.npz")
    list(fit(**options))
    fit(**options)
    with pytest.raises(ValueError, match="another model, data, seed"):
        fit(per_member={"layer1/l2": [0.2]}, **options)


def test_schedules_and_costs_are_told_apart_by_their_numbers():
    def named(name, steps):
        return checkpoints.named(schedules.schedule(name, steps))

    assert named("cosine", 4) == named("cosine", 4) != named("cosine", 5)
    assert named({"name": "cosine", "final": 0.1}, 4) != named("cosine", 4)
    assert named("exponential", 4) != named("cosine", 4)
    assert named("constant", 4) == named("constant", 5), "a training may go on with it"
    costs = [checkpoints.named(Loss(*given)) for given in (("poisson", np.ones(2)),) * 2]
    assert costs[0] == costs[1]
    for other in (Loss("gaussian", None), Loss("poisson", np.array([1, 2.0]))):
        assert checkpoints.named(other) != costs[0]


@pytest.fixture(scope="module")
def begun(recording, tmp_path_factory):
    """Options of a training that has left a checkpoint."""
    path = tmp_path_factory.mktemp("begun") / "checkpoint.npz"
    options = options_of(recording, epochs=1, seeds=[0], xla=False, checkpoint=lambda _: path)
    list(fit(**options))
    fit(**options)  # goes on
    return options


def test_a_checkpoint_is_on_the_disk_before_it_takes_the_place_of_the_older(tmp_path, monkeypatch):
    path, state = tmp_path / "1.npz", {"weights": np.ones(3)}
    checkpoints.write(path, "mark", state, {"epoch": [0]})
    calls = []
    for name in ("fsync", "replace"):
        monkeypatch.setattr(f"os.{name}", lambda *_, name=name: calls.append(name))
    checkpoints.write(path, "mark", state, {"epoch": [0]})
    assert calls == ["fsync", "replace"]


def test_a_checkpoint_that_cannot_be_written_leaves_the_older(tmp_path, monkeypatch):
    path, state = tmp_path / "1.npz", {"weights": np.ones(3)}
    checkpoints.write(path, "mark", state, {"epoch": [0]})

    def torn(file, **_arrays):
        file.write(b"half of it")
        raise OSError("No space left on device")

    monkeypatch.setattr(checkpoints.np, "savez", torn)
    with pytest.raises(OSError, match="No space left"):
        checkpoints.write(path, "mark", {"weights": np.zeros(3)}, {"epoch": [0, 1]})
    assert list(tmp_path.iterdir()) == [path]
    found, history = checkpoints.read(path, "mark", state, ["epoch"])
    np.testing.assert_array_equal(found["weights"], 1)
    assert history == {"epoch": [0]}


def test_checkpoints_are_written_while_members_train(recording, tmp_path, monkeypatch):
    """A program that is killed without a word loses no more than what came after the last one."""
    monkeypatch.setattr(running, "CHECKPOINT_SECONDS", -1.0)
    monkeypatch.setattr(running, "CHUNK_SECONDS", 0.0)  # one epoch at a time

    def killed(done, _all_epochs, _text):
        if done == 3:
            raise MemoryError

    path = tmp_path / "checkpoint.npz"
    options = options_of(recording, early_stop=None, xla=False)
    with pytest.raises(MemoryError):
        list(fit(seeds=[0], checkpoint=lambda _: path, progress=killed, **options))
    with np.load(path) as file:
        assert file["history/epoch"].tolist() == [0, 1]


@pytest.mark.parametrize("end", ["stopped", "diverged"])
def test_who_has_ended_early_stays_so_when_more_epochs_are_asked_for(recording, tmp_path, end):
    """Costs that never change stop a window of 2 in epoch 3; an infinite rate diverges at once."""
    rate = {"stopped": 0.0, "diverged": np.inf}[end]
    path = tmp_path / "checkpoint.npz"
    options = options_of(recording, early_stop=EarlyStop(2, tolerance=0.1), xla=False)
    for epochs in (6, 9):
        (result,) = fit(
            seeds=[0],
            checkpoint=lambda _: path,
            per_member={"learning_rate": [rate]},
            **dict(options, epochs=epochs),
        )
        epoch = getattr(result, f"{end}_epoch")
        assert epoch == {"stopped": 3, "diverged": 0}[end]
        assert list(result.history["epoch"]) == list(range(epoch + 1))


@pytest.mark.timeout(60)
def test_who_was_interrupted_in_the_epoch_that_is_now_the_last_is_done(
    recording, tmp_path, monkeypatch
):
    monkeypatch.setattr(running, "CHECKPOINT_SECONDS", -1.0)
    monkeypatch.setattr(running, "CHUNK_SECONDS", 0.0)  # one epoch at a time

    def killed(done, _all_epochs, _text):
        if done == 3:
            raise MemoryError

    options = options_of(recording, early_stop=None, xla=False, seeds=[0])
    options["checkpoint"] = lambda _: tmp_path / "checkpoint.npz"
    with pytest.raises(MemoryError):
        list(fit(progress=killed, **options))  # leaves the checkpoint of two epochs of nine
    (result,) = fit(**dict(options, epochs=2))
    assert list(result.history["epoch"]) == [0, 1]


def test_an_interruption_between_two_chunks_leaves_a_checkpoint(recording, tmp_path, monkeypatch):
    """Who has ended is taken out between them."""
    collect = Group.collect

    def interrupted(group):
        signal.raise_signal(signal.SIGINT)
        return collect(group)

    monkeypatch.setattr(Group, "collect", interrupted)
    options = options_of(recording, early_stop=None, xla=False, seeds=[0, 1], epochs=40)
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            list(fit(checkpoint=lambda index: tmp_path / f"{index}.npz", **options))
    finally:
        signal.signal(signal.SIGINT, handler)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.npz", "1.npz"]


ROOT = Path(__file__).parents[3]

PROGRAM = """
import signal, sys, numpy as np, keras
signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever started us may ignore it
from keras import ops
from NDN3.training import *
generator = np.random.default_rng(0)
images, responses = generator.normal(size=(60, 9)), generator.poisson(1.0, (60, 4))
model = keras.Sequential([keras.Input((9,)), keras.layers.Dense(5, "softplus"), Dropout(0.8),
                          keras.layers.Dense(4, "softplus")])
def loss(y, p, mask):
    return -ops.sum(ops.cast(y, p.dtype) * ops.log(p + 1e-6) - p, axis=-1)
def progress(done, total, text):
    print(done, total, flush=True)
    sys.stdin.readline()  # here it waits to be interrupted
for result in fit(model, Data(images, responses), range(3), epochs=int(sys.argv[2]), batch_size=16,
                  loss=loss, checkpoint=lambda i: f"{sys.argv[1]}/{i}.npz", progress=progress):
    np.savez(f"{sys.argv[1]}/result{result.seed}.npz", *result.weights)
"""


def start_program(folder, epochs):
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(folder), str(epochs)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def weights_in(folder):
    return [
        [np.load(folder / f"result{seed}.npz")[name] for name in ("arr_0", "arr_1", "arr_2")]
        for seed in range(3)
    ]


def test_interrupted_program_finishes_its_chunk_and_goes_on_later(tmp_path):
    """SIGINT leaves a checkpoint and an exit status that is not 0; so does SIGTERM."""
    undisturbed, disturbed = tmp_path / "a", tmp_path / "b"
    undisturbed.mkdir(), disturbed.mkdir()
    epochs = 2000
    with start_program(undisturbed, epochs) as program:
        _, errors = program.communicate(timeout=200)
        assert program.returncode == 0, errors
    for number in (signal.SIGINT, signal.SIGTERM):
        with start_program(disturbed, epochs) as program:
            program.stdout.readline()  # it trains
            program.send_signal(number)
            program.communicate(timeout=100)
            assert program.returncode != 0
        assert sorted(p.name for p in disturbed.glob("*.npz"))[:3] == ["0.npz", "1.npz", "2.npz"]
    with start_program(disturbed, epochs) as program:
        output, errors = program.communicate(timeout=200)
        assert program.returncode == 0, errors
    assert int(output.split()[0]) > 3, "training should have gone on, not begun again"
    for a, b in zip(weights_in(undisturbed), weights_in(disturbed), strict=True):
        for x, y in zip(a, b, strict=True):
            np.testing.assert_array_equal(x, y)
