"""More members than slots, several groups in threads, and the arrays that nobody may touch."""

import concurrent.futures
import threading

import numpy as np
import pytest
import small_trainings
from small_trainings import BATCH, by_seed, ndn, options_of, poisson, same_bits, start

from NDN3 import groups
from NDN3.batches import Ahead
from NDN3.training import Data, EarlyStop, Summaries, fit


@pytest.fixture(scope="module")
def recording():
    return small_trainings.recording()


@pytest.fixture(scope="module")
def refilled(recording):
    """Options, lone runs with three slots, and seven members through three slots."""
    stop = EarlyStop(3, tolerance=0.004)
    options = options_of(recording, epochs=12, early_stop=stop, keep_best=True)
    seeds = [8, 1, 2, 9, 4, 5, 6]
    alone = {seed: next(iter(fit(seeds=[seed], group=3, **options))) for seed in seeds}
    return options, seeds, alone


def test_each_of_seven_members_equals_its_lone_run(refilled):
    options, seeds, alone = refilled
    together = by_seed(fit(seeds=seeds, group=3, **options))
    assert set(together) == set(seeds)
    stops = {seed: result.history["epoch"].size for seed, result in alone.items()}
    assert len(set(stops.values())) > 2, "they should end at different epochs"
    for seed in seeds:
        assert same_bits(together[seed], alone[seed])
        assert together[seed].stopped_epoch == alone[seed].stopped_epoch
        assert together[seed].best_epoch == alone[seed].best_epoch
        for a, b in zip(together[seed].best_weights, alone[seed].best_weights, strict=True):
            np.testing.assert_array_equal(a, b)
        assert (together[seed].form, together[seed].group) == ("group", 3)


def test_never_more_members_train_than_there_are_slots_and_none_idles(refilled, monkeypatch):
    """A freed slot is taken at once, whatever the age of its neighbours."""
    options, seeds, alone = refilled
    seen = []
    advance = groups.Group.advance

    def watched(group, seconds):
        group.refill()
        ages = [None if member is None else member.epoch for member in group.members]
        seen.append((ages, len(group.waiting)))
        advance(group, seconds)

    monkeypatch.setattr(groups.Group, "advance", watched)
    list(fit(seeds=seeds, group=3, **options))
    assert all(len(ages) == 3 for ages, _ in seen)
    assert all(None not in ages for ages, waiting in seen if waiting)
    assert any(len(set(ages)) > 1 for ages, _ in seen), "members of different age side by side"


def test_waiting_members_go_on_from_their_checkpoints(refilled, tmp_path):
    options, seeds, alone = refilled

    def path(index):
        return tmp_path / f"{seeds[index]}.npz"

    shorter = dict(options, epochs=3)
    list(fit(seeds=seeds, group=3, checkpoint=path, **shorter))
    resumed = by_seed(fit(seeds=seeds, group=3, checkpoint=path, **options))
    for seed in seeds:
        assert same_bits(resumed[seed], alone[seed])


@pytest.mark.parametrize("form", ["group", "turns"])
def test_groups_in_threads_give_the_same_bits(refilled, form, tmp_path):
    options, seeds, alone = refilled
    folders = Summaries(lambda index: tmp_path / str(index))
    one = by_seed(fit(seeds=seeds, form=form, group=3, summaries=folders, **options))
    two = by_seed(fit(seeds=seeds, form=form, group=3, threads=2, summaries=folders, **options))
    for seed in seeds:
        assert same_bits(one[seed], two[seed])


def test_two_groups_really_work_at_the_same_time(recording, monkeypatch):
    """Each of two groups waits in its first chunk until the other has begun its own."""
    both = threading.Barrier(2, timeout=60)
    advance = groups.Group.advance

    def meeting(group, seconds):
        if group.state is None:
            both.wait()
        advance(group, seconds)

    monkeypatch.setattr(groups.Group, "advance", meeting)
    results = list(fit(seeds=range(4), threads=2, **options_of(recording)))
    assert len(results) == 4 and results[0].group == 2


def test_a_problem_in_one_thread_ends_the_training(recording, monkeypatch):
    def broken(group, seconds):
        raise RuntimeError("no such thing")

    monkeypatch.setattr(groups.Group, "advance", broken)
    with pytest.raises(RuntimeError, match="no such thing"):
        list(fit(seeds=range(4), threads=2, **options_of(recording)))


def test_a_stopped_member_does_not_move_and_its_neighbours_do_not_notice(recording):
    """Member 1 stops early beside members that go on: its last weights are those of its end."""
    images, responses, _ = recording
    options = dict(
        model=ndn("dense"),
        data=Data(images, responses),
        batch_size=BATCH,
        loss=poisson(),
        initialize=start,
        group=3,
    )
    long = by_seed(fit(seeds=[0, 1, 2], epochs=8, **options))
    program_states = []
    advance = groups.Group.advance

    def watched(group, seconds):
        advance(group, seconds)
        program_states.append([np.asarray(leaf) for leaf in group.state["trainable"]])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(groups.Group, "advance", watched)
        # the learning rate of the middle member is infinite: it diverges in its first epoch
        disturbed = by_seed(
            fit(
                seeds=[0, 1, 2],
                epochs=8,
                per_member={"learning_rate": [1e-3, np.inf, 1e-3]},
                **options,
            )
        )
    assert disturbed[1].diverged_epoch is not None
    for seed in (0, 2):
        assert same_bits(disturbed[seed], long[seed])
    ends = [[leaf[1] for leaf in state] for state in program_states]
    for later in ends[1:]:
        for a, b in zip(later, ends[0], strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_waiting_member_brings_its_own_settings_and_batches(recording):
    """Two members of one seed in one slot: only their learning rates tell them apart."""
    images, responses, _ = recording
    options = dict(model=ndn("dense"), data=Data(images, responses), batch_size=BATCH)
    options |= dict(epochs=3, loss=poisson(), initialize=start, group=1)
    rates = [1e-3, 1e-2]
    waited = fit(seeds=[2, 2], per_member={"learning_rate": rates}, **options)
    for result, rate in zip(waited, rates, strict=True):
        (alone,) = fit(seeds=[2], per_member={"learning_rate": [rate]}, **options)
        assert same_bits(result, alone)


def test_batches_made_ahead_are_used_for_what_they_were_made_for():
    """Other seeds or other epochs than those that were announced are made anew."""

    class Source:
        def feed(self, seeds, epochs, length):
            return [(seed, list(coming)) for seed, coming in zip(seeds, epochs, strict=True)]

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        ahead = Ahead(Source(), pool)
        ahead.announce([3, 4], [range(2, 6), range(2, 6)], 8)
        made = ahead.get([3, 4], [range(2, 4), range(0)], 8)
        assert made == [(3, [2, 3, 4, 5]), (4, [2, 3, 4, 5])], (
            "what was announced, and a little less"
        )
        for seeds, epochs in (([3, 5], range(2, 4)), ([3, 4], range(0, 2)), ([3, 4], range(2, 7))):
            ahead.announce([3, 4], [range(2, 6), range(2, 6)], 8)
            made = ahead.get(seeds, [range(2, 4), epochs], 8)
            assert made == [(3, [2, 3]), (seeds[1], list(epochs))]
