"""What `utils.network` hands to the trainer, and how it judges; the training itself is replaced."""

from types import SimpleNamespace

import numpy as np
import pytest

from utils import analysis_metrics, network
from utils.data import Recording


class Declared(list):
    """Repetitions of a run that declares four; one of them is still to do."""

    declared = 4
    group = None

    def trained_in(self, form, size):
        self.form, self.group = form, size


@pytest.fixture
def pooled():
    """Training and validation of two pooled regions, 6 and 4 images, 3 neurons."""
    generator = np.random.default_rng(0)

    def recording(rows):
        mask = np.ones((rows, 3), np.float32)
        mask[: rows // 2, 2] = 0
        mask[rows // 2 :, :2] = 0
        responses = generator.poisson(2.0, (rows, 3)).astype(np.float32) * mask
        images = generator.normal(size=(rows, 5)).astype(np.float32)
        return Recording(images, responses, mask, (1, 2), (2, 1), None)

    return recording(6), recording(4)


@pytest.fixture
def fitted(monkeypatch):
    """Records what reaches the trainer; the results it is to give are put into `results`."""
    from NDN3.NDN import NDN

    seen = SimpleNamespace(results=[])

    def fit_together(models, inputs, responses, **options):
        seen.models, seen.inputs, seen.responses = models, inputs, responses
        seen.options = options
        yield from seen.results

    monkeypatch.setattr(NDN, "fit_together", staticmethod(fit_together))
    return seen


def test_rows_mask_and_group(pooled, fitted, tmp_path):
    training, validation = pooled
    repetitions = Declared([SimpleNamespace(log_dir=tmp_path, checkpoint_path=tmp_path / "c")])
    assert list(network.train([None], training, validation, repetitions, epochs=100)) == []
    options = fitted.options
    assert options["train_rows"].tolist() == [0, 1, 2, 3, 4, 5]
    assert options["test_rows"].tolist() == [6, 7, 8, 9]
    np.testing.assert_array_equal(fitted.inputs[6:], validation.images)
    np.testing.assert_array_equal(fitted.responses[:6], training.responses)
    np.testing.assert_array_equal(
        options["data_filters"], np.concatenate([training.mask, validation.mask])
    )
    # from what the run declares, not from what is left, so that a resumed run has the same bits
    assert (options["group"], options["declared"], options["threads"]) == ("auto", 4, 1)
    options["decided"]("group", 3)
    assert repetitions.group == 3
    assert options["summaries"].every == 2
    assert options["summaries"].folder_of(0) == tmp_path
    assert options["checkpoint"](0) == tmp_path / "c"


def test_a_recorded_group_is_used_again(pooled, fitted):
    repetitions = Declared([SimpleNamespace()])
    repetitions.group = 7
    list(network.train([None], *pooled, repetitions, epochs=1))
    assert fitted.options["group"] == repetitions.group == 7


def test_granted_threads_work(pooled, fitted, monkeypatch):
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", "3")
    list(network.train([None], *pooled, Declared([SimpleNamespace()]), epochs=1))
    assert fitted.options["threads"] == 3
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", "many")
    with pytest.raises(ValueError, match="is 'many'; it is the number of threads"):
        list(network.train([None], *pooled, Declared([SimpleNamespace()]), epochs=1))


@pytest.mark.parametrize("text", ["-1", "0", "1025", "9" * 30, "²", "٣", "", "2.0"])
def test_a_number_of_threads_that_ends_tensorflow_is_refused_before_it_is_built(text, monkeypatch):
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", text)
    with pytest.raises(ValueError, match="it is the number of threads, from 1 to 1024"):
        network.build({})


def test_diverged_ones_are_recorded_and_not_handed_out(pooled, fitted):
    recorded = []
    members = [SimpleNamespace(diverged=recorded.append), SimpleNamespace()]
    fitted.results = [
        (0, "a", SimpleNamespace(diverged_epoch=12)),
        (1, "b", SimpleNamespace(diverged_epoch=None)),
    ]
    handed = list(network.train(["a", "b"], *pooled, Declared(members), epochs=1))
    assert handed == [(members[1], "b")]
    assert recorded == [12]


def test_as_many_models_as_repetitions(pooled):
    with pytest.raises(ValueError, match="2 models for 1 repetitions"):
        list(network.train([None, None], *pooled, Declared([None]), epochs=1))


def test_correlation_counts_what_the_mask_shows(pooled, monkeypatch):
    _, validation = pooled
    predicted = np.random.default_rng(1).random(validation.responses.shape).astype(np.float32)
    monkeypatch.setattr(network, "predict", lambda model, images: predicted)
    np.testing.assert_allclose(
        network.correlation(None, validation),
        analysis_metrics.correlation(validation.responses, predicted, validation.mask),
        atol=1e-6,
    )
