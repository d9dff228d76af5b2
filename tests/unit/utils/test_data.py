import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from utils import data, make_data, manifest, registry

SHAPES = {
    "training_inputs": (6, 9),
    "training_set": (6, 2),
    "validation_inputs": (4, 9),
    "validation_set": (4, 2),
    "raw_validation_set": (3, 4, 2),
}


def write_region(folder, seed=0, **changed):
    """Five files of random numbers as a stranger would put them there."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {name: rng.uniform(0, 3, shape) for name, shape in SHAPES.items()}
    arrays["validation_set"] = arrays["raw_validation_set"].mean(0)
    arrays |= changed
    for name, values in arrays.items():
        np.save(folder / f"{name}.npy", values)
    return arrays


# ---------------------------------------------------------------------------------- pooling


def test_pooling_of_a_worked_example():
    images, responses, mask = data.merge(
        [np.array([[1.0], [2.0]]), np.array([[3.0]])],
        [np.array([[10.0, 11.0], [20.0, 22.0]]), np.array([[200.0]])],
    )
    assert images.tolist() == [[1], [2], [3]]
    assert responses.tolist() == [[10, 11, 0], [20, 22, 0], [0, 0, 200]]
    assert mask.tolist() == [[1, 1, 0], [1, 1, 0], [0, 0, 1]]
    assert {part.dtype for part in (images, responses, mask)} == {np.dtype(np.float32)}


@settings(max_examples=50, deadline=None)
@given(
    sizes=st.lists(st.tuples(st.integers(1, 5), st.integers(1, 4)), min_size=1, max_size=4),
    seed=st.integers(0, 2**16),
)
def test_pooling_keeps_every_response_once_and_nothing_else(sizes, seed):
    rng = np.random.default_rng(seed)
    images = [rng.random((rows, 3), np.float32) for rows, _ in sizes]
    responses = [1 + rng.random((rows, columns), np.float32) for rows, columns in sizes]
    merged_images, merged, mask = data.merge(images, responses)
    assert merged.shape == mask.shape == tuple(np.sum(sizes, axis=0))
    assert len(merged_images) == len(merged)
    # rows: each sees exactly the neurons of its recording; columns: exactly its images
    assert mask.sum(1).tolist() == [columns for rows, columns in sizes for _ in range(rows)]
    assert mask.sum(0).tolist() == [rows for rows, columns in sizes for _ in range(columns)]
    assert ((merged != 0) == (mask == 1)).all()
    np.testing.assert_array_equal(
        merged[mask == 1], np.concatenate([part.ravel() for part in responses])
    )
    np.testing.assert_array_equal(merged_images, np.concatenate(images))


def test_pooling_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="images of one size"):
        data.merge([np.ones((2, 3)), np.ones((2, 4))], [np.ones((2, 1)), np.ones((2, 1))])
    with pytest.raises(ValueError, match="3 images came with 2 rows"):
        data.merge([np.ones((3, 3))], [np.ones((2, 1))])


# ----------------------------------------------------------------------------- normalization


@settings(max_examples=50, deadline=None)
@given(
    values=st.lists(st.floats(-1e3, 1e3), min_size=4, max_size=40),
    shift=st.floats(-100, 100),
    scale=st.floats(0.01, 100),
)
def test_normalizing_forgets_shift_and_scale(values, shift, scale):
    array = np.array([*values, 0.0, 1e3])
    normal = data.normalize_mean_std(array)
    assert normal.mean() == pytest.approx(0, abs=1e-9)
    assert normal.std() == pytest.approx(1)
    np.testing.assert_allclose(data.normalize_mean_std(scale * array + shift), normal, atol=1e-6)
    assert data.normalize_std(array).std() == pytest.approx(1)
    # with statistics of other data it is undone by them
    other = data.normalize_mean_std(array + 1, statistics_of=array)
    np.testing.assert_allclose(other * array.std() + array.mean(), array + 1, atol=1e-6)


def test_constant_values_cannot_be_normalized():
    with pytest.raises(ValueError, match="all 6 values are 2;"):
        data.normalize_mean_std(np.full((2, 3), 2.0))


def test_both_splits_take_the_statistics_of_the_training_images(bench_folders):
    raw = write_region(bench_folders.data / "region1")
    training, validation = data.load_regions([1], responses="normalize_std")
    shown = raw["training_inputs"]
    np.testing.assert_allclose(training.images, (shown - shown.mean()) / shown.std(), rtol=1e-5)
    held = (raw["validation_inputs"] - shown.mean()) / shown.std()
    np.testing.assert_allclose(validation.images, held, rtol=1e-4, atol=1e-6)
    spread = raw["training_set"].std()
    np.testing.assert_allclose(training.responses, raw["training_set"] / spread, rtol=1e-6)
    np.testing.assert_allclose(validation.responses, raw["validation_set"] / spread, rtol=1e-6)
    np.testing.assert_allclose(validation.repeats[0].mean(0), validation.responses, rtol=1e-5)


def test_legacy_gives_each_split_its_own_statistics(bench_folders):
    raw = write_region(bench_folders.data / "region2")
    training, validation = data.load_regions(2, responses="normalize_std", legacy=True)
    for recording, name in ((training, "training"), (validation, "validation")):
        images, responses = raw[f"{name}_inputs"], raw[f"{name}_set"]
        wanted = (images - images.mean()) / images.std()
        np.testing.assert_allclose(recording.images, wanted, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(recording.responses, responses / responses.std(), rtol=1e-6)
    np.testing.assert_allclose(validation.repeats[0].mean(0), validation.responses, rtol=1e-5)


def test_other_scales_of_images(bench_folders):
    raw = write_region(bench_folders.data / "region1")
    for name, factor in (("times_mil", 1e6), ("identity", 1.0)):
        training, _ = data.load_regions([1], images=name)
        np.testing.assert_allclose(training.images, factor * raw["training_inputs"], rtol=1e-6)


# -------------------------------------------------------------------------------- recordings


def test_one_region_has_no_mask(bench_folders):
    raw = write_region(bench_folders.data / "region3")
    training, validation = data.load_regions(3)
    assert (training.n_images, training.n_neurons) == (6, 2)
    assert training.mask is None and validation.mask is None and training.repeats is None
    assert training.regions == (3,) and training.neurons_per_region == (2,)
    assert [part.shape for part in validation.repeats] == [(3, 4, 2)]
    assert training.images.dtype == training.responses.dtype == validation.repeats[0].dtype
    np.testing.assert_allclose(training.responses, raw["training_set"], rtol=1e-6)


def test_pooled_regions_are_normalized_each_and_keep_the_given_order(bench_folders):
    one = write_region(bench_folders.data / "region1", 1)
    two = write_region(
        bench_folders.data / "region2",
        2,
        training_inputs=np.random.default_rng(5).uniform(10, 90, (6, 9)),
    )
    training, validation = data.load_regions([2, 1])
    assert training.regions == (2, 1) and training.neurons_per_region == (2, 2)
    for rows, region in ((slice(0, 6), two), (slice(6, 12), one)):
        part = region["training_inputs"]
        wanted = (part - part.mean()) / part.std()
        np.testing.assert_allclose(training.images[rows], wanted, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(training.responses[:6, :2], two["training_set"], rtol=1e-6)
    np.testing.assert_allclose(validation.responses[4:, 2:], one["validation_set"], rtol=1e-6)
    assert validation.mask.sum() == 2 * 4 * 2
    assert [part.shape for part in validation.repeats] == [(3, 4, 2)] * 2


def test_singleton_axes_and_single_precision_are_accepted(bench_folders):
    raw = write_region(bench_folders.data / "region1", 7)
    write_region(
        bench_folders.data / "region2",
        7,
        training_inputs=raw["training_inputs"][:, None, :],
        training_set=raw["training_set"][None].astype(np.float32),
        raw_validation_set=raw["raw_validation_set"][:, :, None, :],
    )
    for plain, other in zip(data.load_regions(1), data.load_regions(2), strict=True):
        np.testing.assert_array_equal(plain.images, other.images)
        np.testing.assert_allclose(plain.responses, other.responses, rtol=1e-6)


def test_a_single_repeat_keeps_its_axis(bench_folders):
    one = np.ones((1, 4, 2)) * np.arange(4)[:, None]
    write_region(bench_folders.data / "region1", raw_validation_set=one, validation_set=one[0])
    _, validation = data.load_regions(1)
    assert validation.repeats[0].shape == (1, 4, 2)


# ------------------------------------------------------------------------------------ errors


def test_missing_file_is_named_with_its_source_and_remedy(bench_folders):
    write_region(bench_folders.data / "region1")
    path = bench_folders.data / "region1" / "raw_validation_set.npy"
    path.unlink()
    with pytest.raises(FileNotFoundError) as caught:
        data.load_regions([1])
    for part in (str(path), "e1004927", "Data/README.md", "`make data`"):
        assert part in str(caught.value)


@pytest.mark.parametrize("region", [0, 4, "1", True, 1.5])
def test_unknown_region(region):
    with pytest.raises(ValueError) as caught:
        data.load_regions([region])
    assert str(caught.value) == (
        f"region must be 1, 2 or 3, got {region}. Data/README.md says how to fetch the recordings."
    )


@pytest.mark.parametrize("regions", [[], [1, 2, 1]])
def test_regions_are_named_once(regions):
    with pytest.raises(ValueError, match="at least one region and none twice"):
        data.load_regions(regions)


def test_unknown_normalization_lists_the_allowed():
    with pytest.raises(ValueError, match="images must be one of normalize_mean_std, times_mil"):
        data.load_regions([1], images="normalise")
    with pytest.raises(ValueError, match="responses must be one of identity, normalize_std"):
        data.load_regions([1], responses="times_mil")


@pytest.mark.parametrize(
    ("changed", "file", "sentence"),
    [
        ({"training_set": np.ones((5, 2))}, "training_set", "5 rows, training_inputs.npy has 6"),
        (
            {"validation_set": np.ones((4, 3))},
            "validation_set",
            "3 neurons, training_set.npy has 2",
        ),
        ({"validation_inputs": np.ones((4, 8))}, "validation_inputs", "8 pixels"),
        ({"raw_validation_set": np.ones((3, 5, 2))}, "raw_validation_set", "5 rows"),
        ({"training_set": np.ones(6)}, "training_set", r"shape \(6,\); expected 2 axes"),
        (
            {"training_set": np.full((6, 2), np.nan)},
            "training_set",
            "12 values that are not finite",
        ),
        ({"training_set": np.array([["a"]])}, "training_set", "no plain numbers"),
        ({"validation_set": np.ones((0, 2))}, "validation_set", "expected 2 axes"),
    ],
)
def test_files_that_do_not_fit_are_named(bench_folders, changed, file, sentence):
    folder = bench_folders.data / "region1"
    write_region(folder, **changed)
    with pytest.raises(ValueError, match=sentence) as caught:
        data.load_regions([1])
    assert str(caught.value).startswith(str(folder / f"{file}.npy"))


def test_a_torn_file_is_named(bench_folders):
    folder = bench_folders.data / "region1"
    write_region(folder)
    path = folder / "training_set.npy"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match="no readable array") as caught:
        data.load_regions([1])
    assert str(path) in str(caught.value)


def header(shape):
    text = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}}}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


@pytest.mark.parametrize("content", [b"PK\x03\x04 no archive", header((10**13, 10)), b""])
def test_a_file_of_nonsense_is_named(bench_folders, content):
    folder = bench_folders.data / "region1"
    write_region(folder)
    (folder / "training_set.npy").write_bytes(content)
    with pytest.raises(ValueError, match=r"training_set\.npy is no readable array"):
        data.load_regions([1])


def test_data_in_a_file_that_is_no_folder_are_missing(monkeypatch):
    monkeypatch.setenv("BENCH_DATA", "/dev/null")
    with pytest.raises(FileNotFoundError, match=r"`make data` writes a synthetic stand-in"):
        data.load_regions([1])
    assert registry.data_checksum(["region1"]) == registry.NO_DATA


def test_objects_are_not_unpickled(bench_folders):
    folder = bench_folders.data / "region1"
    write_region(folder)
    np.save(folder / "training_set.npy", np.array([[{}]], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="no readable array"):
        data.load_regions([1])


# --------------------------------------------------------------------------- noise and truth


def test_signal_power_and_ceiling_of_a_worked_example():
    # two repeats of three images: y1 = (0, 2, 4), y2 = (0, 4, 2)
    repeats = np.array([[[0.0], [2.0], [4.0]], [[0.0], [4.0], [2.0]]])
    # sum (0, 6, 6): variance 12; each repeat: variance 4; (12 - 8) / 2 = 2
    assert data.signal_power(repeats) == pytest.approx([2.0])
    # mean (0, 3, 3): variance 3
    assert data.cc_max(repeats) == pytest.approx([np.sqrt(2 / 3)])


def test_ceiling_finds_the_planted_one():
    rng = np.random.default_rng(0)
    rates = rng.gamma(2.0, 1.0, (4000, 3))
    repeats = rng.poisson(rates, (6, 4000, 3))
    exact = np.sqrt(rates.var(0) / (rates.var(0) + rates.mean(0) / 6))
    np.testing.assert_allclose(data.cc_max(repeats), exact, atol=0.01)


def test_neurons_without_signal_are_counted(bench_folders):
    repeats = np.zeros((2, 4, 2))
    repeats[:, :, 0] = [0, 1, 2, 3]
    repeats[:, :, 1] = [[0, 1, 0, 1], [1, 0, 1, 0]]  # the second contradicts the first
    folder = bench_folders.data / "region1"
    write_region(folder, raw_validation_set=repeats, validation_set=repeats.mean(0))
    found = data.noise_ceiling(data.load_regions(1)[1])
    assert found.cc_max[0] == pytest.approx(1)
    assert np.isnan(found.cc_max[1]) and found.n_undefined == 1
    assert found.planted is None


def test_a_ceiling_needs_repeats(bench_folders):
    write_region(bench_folders.data / "region1")
    with pytest.raises(ValueError, match="single trials only"):
        data.noise_ceiling(data.load_regions(1)[0])
    with pytest.raises(ValueError, match=r"shape \(1, 4, 2\)"):
        data.signal_power(np.ones((1, 4, 2)))


@pytest.fixture
def synthetic(bench_folders):
    folder = bench_folders.data / "region1"
    make_data.make_region(folder, 4, 12, 6, 3, seed=3)
    return folder


def test_truth_of_synthetic_data(synthetic):
    _, validation = data.load_regions(1)
    planted = data.truth(1)
    assert planted["rates_validation"].shape == validation.responses.shape
    np.testing.assert_array_equal(data.noise_ceiling(validation).planted, planted["ceiling"])


def test_truth_survives_a_copy_with_other_times(synthetic):
    os.utime(synthetic / "training_set.npy", ns=(1, 1))
    assert data.truth(1) is not None


def test_truth_of_one_pooled_region_is_not_enough(synthetic):
    write_region(synthetic.with_name("region2"))
    for name in ("training_inputs", "validation_inputs"):
        path = synthetic.with_name("region2") / f"{name}.npy"
        np.save(path, np.random.default_rng(0).random((len(np.load(path)), 961)))
    assert data.noise_ceiling(data.load_regions([1, 2])[1]).planted is None
    assert data.noise_ceiling(data.load_regions([1])[1]).planted is not None


def test_real_data_void_the_truth(synthetic):
    shape = np.load(synthetic / "training_set.npy").shape
    for name in data.FILES:
        values = np.load(synthetic / name)
        np.save(synthetic / name, values + 1)
    assert data.load_regions(1)[0].responses.shape == shape
    assert data.truth(1) is None
    assert data.noise_ceiling(data.load_regions(1)[1]).planted is None


def test_no_manifest_no_truth(synthetic):
    (synthetic.parent / "manifest.json").unlink()
    assert data.truth(1) is None


def test_truth_of_other_files_does_not_count(synthetic, tmp_path):
    make_data.make_region(tmp_path / "other" / "region1", 4, 12, 6, 3, seed=4)
    (tmp_path / "other" / "region1" / "truth.npz").replace(synthetic / "truth.npz")
    assert data.truth(1) is None


def test_truth_missing_or_torn(synthetic):
    (synthetic / "truth.npz").write_bytes(b"PK")
    assert data.truth(1) is None
    (synthetic / "truth.npz").unlink()
    assert data.truth(1) is None


def test_synthetic_and_real_files_are_not_mixed(synthetic):
    path = synthetic / "training_set.npy"
    np.save(path, np.load(path) * 2)
    assert manifest.origin(synthetic, data.FILES) == "mixed"
    with pytest.raises(ValueError, match=r"but training_set\.npy is not as `make data` wrote it"):
        data.load_regions(1)


def test_a_synthetic_file_that_was_damaged_is_named(synthetic):
    path = synthetic / "validation_set.npy"
    values = np.load(path)
    np.save(path, np.where(values == values.max(), np.nan, values))
    with pytest.raises(ValueError, match=r"validation_set\.npy holds 1 values .* not finite"):
        data.load_regions(1)
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(ValueError, match=r"validation_set\.npy is no readable array"):
        data.load_regions(1)


@pytest.mark.parametrize("text", ["", "[]", '{"files": {"region1/a.npy": {}}}', '{"files": [1]}'])
def test_a_broken_manifest_is_named(synthetic, text):
    (synthetic.parent / "manifest.json").write_text(text)
    with pytest.raises(ValueError, match="is not the manifest"):
        data.truth(1)
