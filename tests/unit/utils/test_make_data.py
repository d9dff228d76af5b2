import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from utils import data, make_data, manifest
from utils import synthetic_regions as synthetic

ROOT = Path(make_data.__file__).parents[1]
TINY = make_data.Published(5, 20, 8, 3, seed=1)


@pytest.fixture
def tiny(bench_folders, monkeypatch):
    monkeypatch.setattr(synthetic, "CALIBRATION", 40)
    monkeypatch.setattr(make_data, "REGIONS", {n: TINY._replace(seed=n) for n in (1, 2, 3)})
    return bench_folders.data


def contents(folder):
    return {
        path.relative_to(folder): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


# ------------------------------------------------------------------------------ what is written


def test_published_regions(bench_folders):
    """Names, shapes, types and quirks of the published files, and a realistic noise ceiling."""
    assert make_data.main([]) == 0
    for number, (neurons, images, repeats) in {
        1: (103, 1800, 10),
        2: (55, 1260, 8),
        3: (102, 1800, 12),
    }.items():
        folder = bench_folders.data / f"region{number}"
        files = {name: np.load(folder / name) for name in data.FILES}
        assert {name: part.shape for name, part in files.items()} == {
            "training_inputs.npy": (images, 961),
            "training_set.npy": (images, neurons),
            "validation_inputs.npy": (50, 961),
            "validation_set.npy": (50, neurons),
            "raw_validation_set.npy": (repeats, 50, neurons),
        }
        assert {part.dtype for part in files.values()} == {np.dtype(float)}
        grey = files["training_inputs.npy"] * 1e6
        np.testing.assert_allclose(grey, grey.round(), atol=1e-6)
        assert grey.min() >= 0 and grey.max() <= 255
        assert grey.mean() == pytest.approx(125, abs=5) and 55 < grey.std() < 80
        raw = files["raw_validation_set.npy"]
        np.testing.assert_allclose(files["validation_set.npy"], raw.mean(0))
        assert min(part.min() for part in files.values()) == 0

        planted = data.truth(number)
        single, ten = planted["ceiling_single"], planted["rates_validation"]
        assert single.mean() == pytest.approx(0.5, abs=1e-3)
        assert synthetic.ceiling(ten, planted["kappa"], 10).mean() == pytest.approx(0.85, abs=0.02)
        found = correlations(ten, files["validation_set.npy"])
        assert found.mean() == pytest.approx(planted["ceiling"].mean(), abs=0.02)
        found = np.mean([correlations(ten, trial).mean() for trial in raw])
        assert found == pytest.approx(single.mean(), abs=0.02)


def correlations(a, b):
    """Pearson's r per column; zero for a neuron that kept silent throughout."""
    pairs = zip(a.T, b.T, strict=True)
    return np.array([np.corrcoef(x, y)[0, 1] if y.std() else 0.0 for x, y in pairs])


def test_low_noise(tiny):
    make_data.make_region(tiny / "region1", 40, 300, 50, 4, seed=1, noise="low")
    planted = data.truth(1)
    assert planted["noise"] == "low"
    assert planted["ceiling"].mean() == pytest.approx(0.93, abs=0.01)
    found = correlations(
        planted["rates_validation"], np.load(tiny / "region1" / "validation_set.npy")
    )
    assert found.mean() == pytest.approx(planted["ceiling"].mean(), abs=0.02)


def test_files_are_a_function_of_the_seed(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        make_data.make_region(tmp_path / name / "region1", 5, 20, 8, 3, seed)
    for name in (*data.FILES, data.TRUTH):
        a, b, c = ((tmp_path / x / "region1" / name).read_bytes() for x in "abc")
        assert a == b and a != c


def test_the_truth_describes_the_files(tiny):
    """Rates worked out again from images and planted parameters, by the formulae."""
    make_data.make_region(tiny / "region1", 12, 40, 8, 3, seed=5, noise="realistic")
    planted = data.truth(1)
    images = np.load(tiny / "region1" / "training_inputs.npy")
    images = (images - images.mean()) / images.std()
    x, y = np.tile(np.arange(31), 31), np.repeat(np.arange(31), 31)
    kernels = []
    for a1, s1, mx, my, a2, s2, _, _ in planted["lgn"].T:
        square = (x - mx) ** 2 + (y - my) ** 2
        near = a1 / (2 * np.pi * s1) * np.exp(-square / (2 * s1))
        kernels.append(near - a2 / (2 * np.pi * (s1 + s2)) * np.exp(-square / (2 * (s1 + s2))))
    drive = images @ np.array(kernels).T @ planted["hidden_weights"] + planted["hidden_biases"]
    hidden = np.log1p(np.exp(drive))
    even, odd = planted["gabors"]
    squares = (images @ even) ** 2 + (images @ odd) ** 2
    hidden[:, planted["energy_units"]] = squares[:, planted["energy_units"]]
    out = hidden @ planted["output_weights"] + planted["output_biases"]
    rates = planted["gains"] * np.log1p(np.exp(out))
    np.testing.assert_allclose(rates, planted["rates_training"], rtol=1e-4, atol=1e-6)
    assert 0 < planted["energy_units"].sum() + 1 <= 2


# ------------------------------------------------------------------------------------- teacher


@pytest.fixture(scope="module")
def teacher():
    rng = np.random.default_rng(3)
    grey = synthetic.natural_images(60, rng).astype(float)
    images = (grey - grey.mean()) / grey.std()
    recipe = synthetic.RECIPES["realistic"]
    return synthetic.make_teacher(30, images, recipe, rng), images


def test_receptive_fields_are_gradients(teacher):
    cortex, images = teacher
    assert cortex.energy_units.sum() == 1  # a fifth of six hidden units
    fields = cortex.receptive_fields(images)
    rng = np.random.default_rng(4)
    for _ in range(3):
        step = 1e-4 * rng.normal(size=(31, 31))
        ahead, behind = (cortex.rates(images + s * step.ravel()).mean(0) for s in (1, -1))
        np.testing.assert_allclose(
            (fields * step).sum((1, 2)), (ahead - behind) / 2, rtol=1e-4, atol=1e-10
        )


def test_stages_have_the_planted_ranges(teacher):
    cortex, images = teacher
    filtered = images @ synthetic.difference_of_gaussians(cortex.lgn)
    np.testing.assert_allclose(filtered.std(0), 1)
    assert (cortex.lgn[2:4] > 31 / 4 - 1e-9).all() and (cortex.lgn[2:4] < 31 * 3 / 4).all()
    assert (cortex.hidden_weights[:, cortex.energy_units] == 0).all()
    assert cortex.rates(images).min() >= 0
    # blind to uniform light: nothing in the image may drive an energy unit by its mean
    flat = np.abs(cortex.gabors.sum(1)).max()
    assert flat < 1e-3 * np.abs(cortex.gabors).sum(1).max()


def test_images_fall_off_like_natural_scenes():
    images = synthetic.natural_images(400, np.random.default_rng(0)).astype(float)
    images = images.reshape(-1, 31, 31) - images.mean(1)[:, None, None]
    window = np.hanning(31)[:, None] * np.hanning(31)
    power = (np.abs(np.fft.fft2(images * window)) ** 2).mean(0)
    frequency = np.hypot(np.fft.fftfreq(31)[:, None], np.fft.fftfreq(31))
    middle = (frequency > 0.1) & (frequency < 0.35)
    slope = np.polyfit(np.log(frequency[middle]), np.log(power[middle]), 1)[0]
    assert slope == pytest.approx(-2, abs=0.4)


def test_ceiling_of_a_worked_example():
    rates = np.array([[1.0], [3.0]])  # variance 1, mean 2
    assert synthetic.ceiling(rates, np.array([2.0]), 1) == pytest.approx([np.sqrt(1 / 2)])
    assert synthetic.ceiling(rates, np.array([2.0]), 3) == pytest.approx([np.sqrt(3 / 4)])


@pytest.mark.parametrize(
    ("name", "value"),
    [("n_neurons", 0), ("n_training", 1), ("n_validation", 1), ("n_repeats", 0), ("seed", -1)],
)
def test_sizes_too_small_are_named(tmp_path, name, value):
    with pytest.raises(ValueError, match=f"{name} must be .* got {value}"):
        make_data.make_region(tmp_path / "region1", **(TINY._asdict() | {name: value}))
    with pytest.raises(ValueError, match="noise must be one of realistic, low, got 'none'"):
        make_data.make_region(tmp_path / "region1", *TINY, noise="none")


@pytest.mark.parametrize("n_neurons", [1, 2, 7])
def test_smallest_regions(tmp_path, n_neurons):
    make_data.make_region(tmp_path / "region1", n_neurons, 2, 2, 1, seed=0)
    assert data.read_region(tmp_path / "region1").raw_validation_set.shape == (1, 2, n_neurons)


# ------------------------------------------------------------------------------------- command


def test_a_second_call_writes_nothing_and_says_so(tiny, capsys):
    assert make_data.main([]) == 0
    assert capsys.readouterr().out.count("written in") == 3
    before = contents(tiny)
    assert make_data.main([]) == 0
    out = capsys.readouterr().out
    assert out.count("\n") == 1 and "nothing to write" in out
    assert contents(tiny) == before


def test_manifest_lists_what_is_there(tiny):
    make_data.main(["--regions", "1,3"])
    lines = json.loads((tiny / "manifest.json").read_text())["files"]
    assert sorted(lines) == sorted(f"region{n}/{name}" for n in (1, 3) for name in data.FILES)
    for name, line in lines.items():
        status = (tiny / name).stat()
        assert line == {
            "sha256": manifest.sha256_of(tiny / name),
            "bytes": status.st_size,
            "mtime_ns": status.st_mtime_ns,
            "synthetic": True,
        }


def test_folder_and_noise(tiny, tmp_path, capsys):
    other = tmp_path / "other"
    assert make_data.main(["--regions", "2", "--noise", "low", "--folder", str(other)]) == 0
    assert (other / "region2" / "truth.npz").exists() and not list(tiny.iterdir())
    assert make_data.main(["--regions", "2", "--folder", str(other)]) == 1
    assert "low noise, asked for was realistic" in capsys.readouterr().err


def real_region(folder, seed=9):
    """A recording as fetched: same format, nothing of ours beside it."""
    make_data.make_region(folder.parent / "elsewhere" / folder.name, *TINY._replace(seed=seed))
    folder.mkdir(parents=True, exist_ok=True)
    for name in data.FILES:
        (folder.parent / "elsewhere" / folder.name / name).replace(folder / name)


def test_real_data_are_kept_and_win(tiny, capsys):
    real_region(tiny / "region1")
    before = contents(tiny / "region1")
    assert make_data.main([]) == 0
    assert "region1: recordings of your own, kept" in capsys.readouterr().out
    assert contents(tiny / "region1") == before
    lines = manifest.read(tiny)
    assert {
        name: lines[f"{name}/training_set.npy"]["synthetic"] for name in ("region1", "region2")
    } == {
        "region1": False,
        "region2": True,
    }
    assert data.truth(1) is None and data.truth(2) is not None
    everything = contents(tiny)
    assert make_data.main([]) == 0
    assert contents(tiny) == everything


def test_real_data_over_synthetic_ones(tiny):
    make_data.main([])
    real_region(tiny / "region1")
    assert data.truth(1) is None  # before make data is called again, too
    assert make_data.main([]) == 0
    assert data.truth(1) is None
    assert not (tiny / "region1" / "truth.npz").exists()
    assert not manifest.read(tiny)["region1/training_set.npy"]["synthetic"]


def test_real_and_missing_files_are_not_completed(tiny, capsys):
    real_region(tiny / "region2")
    for name in ("training_set.npy", "raw_validation_set.npy"):
        (tiny / "region2" / name).unlink()
    assert make_data.main([]) == 1
    error = capsys.readouterr().err
    assert "no training_set.npy, raw_validation_set.npy" in error and error.count("\n") == 1
    assert not (tiny / "region2" / "training_set.npy").exists()
    assert data.truth(1) is not None and data.truth(3) is not None


def test_real_and_synthetic_files_are_not_mixed(tiny, capsys):
    make_data.main(["--regions", "1"])
    np.save(tiny / "region1" / "training_set.npy", np.ones((20, 5)))
    assert make_data.main(["--regions", "1"]) == 1
    assert "training_set.npy from elsewhere" in capsys.readouterr().err


def test_real_data_that_do_not_fit_are_named(tiny, capsys):
    real_region(tiny / "region1")
    np.save(tiny / "region1" / "training_set.npy", np.ones((3, 5)))
    assert make_data.main(["--regions", "1"]) == 1
    assert "training_set.npy has 3 rows" in capsys.readouterr().err


def test_make_region_spares_what_it_did_not_write(tiny):
    real_region(tiny / "region1")
    before = contents(tiny / "region1")
    with pytest.raises(FileExistsError, match="not written by `make data`"):
        make_data.make_region(tiny / "region1", *TINY)
    assert contents(tiny / "region1") == before


@pytest.mark.parametrize("lost", ["validation_set.npy", "truth.npz"])
def test_a_lost_file_is_made_again(tiny, lost):
    make_data.main(["--regions", "1"])
    path = tiny / "region1" / lost
    before = path.read_bytes()
    path.unlink()
    assert make_data.main(["--regions", "1"]) == 0
    assert path.read_bytes() == before and data.truth(1) is not None


@pytest.mark.parametrize("moment", range(1, 15))
def test_interrupted_at_any_file(tiny, monkeypatch, moment, capsys):
    """Whatever rename or write is the last, a second call completes and no file is torn."""
    calls = iter(range(1, 1000))

    def interrupting(original):
        def call(*arguments, **named):
            if next(calls) == moment:
                raise KeyboardInterrupt
            return original(*arguments, **named)

        return call

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", interrupting(Path.replace))
        patch.setattr(np, "save", interrupting(np.save))
        patch.setattr(np, "savez", interrupting(np.savez))
        assert make_data.main(["--regions", "1"]) in (0, 130)
    left = {path.name for path in tiny.rglob("*")}
    assert left <= {*data.FILES, "truth.npz", "region1", "manifest.json", ".make_data.lock"}
    assert make_data.main(["--regions", "1"]) == 0
    assert data.truth(1) is not None
    make_data.make_region(tiny / "elsewhere" / "region1", *make_data.REGIONS[1])
    for name in data.FILES:
        wanted = (tiny / "elsewhere" / "region1" / name).read_bytes()
        assert (tiny / "region1" / name).read_bytes() == wanted


@pytest.mark.parametrize("after_s", [0.3, 0.6])
def test_killed_at_some_moment(bench_folders, after_s):
    command = [sys.executable, "-m", "utils.make_data", "--regions", "2"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    time.sleep(after_s)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert make_data.main(["--regions", "2"]) == 0
    assert data.truth(2) is not None
    assert not list(bench_folders.data.glob(f"{make_data.ASIDE}*"))


def test_two_calls_at_once(bench_folders):
    command = [sys.executable, "-m", "utils.make_data", "--regions"]
    pair = [subprocess.Popen([*command, which], cwd=ROOT) for which in ("2", "2,3")]
    assert [process.wait() for process in pair] == [0, 0]
    assert data.truth(2) is not None and data.truth(3) is not None


def test_a_broken_manifest_is_named(tiny, capsys):
    make_data.main(["--regions", "1"])
    (tiny / "manifest.json").write_text("{")
    assert make_data.main(["--regions", "1"]) == 1
    assert "is not the manifest" in capsys.readouterr().err


def test_a_folder_that_cannot_be_made(tiny, capsys):
    (tiny / "file").write_text("")
    assert make_data.main(["--folder", str(tiny / "file")]) == 1
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--regions", "4"], "region must be 1, 2 or 3, got '4'"),
        (["--regions", ""], "region must be 1, 2 or 3"),
        (["--noise", "none"], "realistic"),
        (["--loud"], "--loud"),
    ],
)
@pytest.mark.parametrize("program", [["-m", "utils.make_data"], ["utils/make_data.py"]])
def test_bad_arguments_are_one_sentence(bench_folders, program, arguments, part):
    done = subprocess.run(
        [sys.executable, *program, *arguments], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert part in done.stderr and done.stderr.count("\n") == 1
    assert not list(bench_folders.data.iterdir())
