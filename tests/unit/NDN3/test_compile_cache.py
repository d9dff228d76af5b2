"""Compiled programs that are kept on the disk, and those that are kept in the process."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import small_trainings
from small_trainings import BATCH, NEURONS, SIZE, ndn, poisson, same_bits, start

from NDN3 import backend, compile_cache, programs
from NDN3.NDN import NDN
from NDN3.NDNutils import ffnetwork_params
from NDN3.training import Adam, Data, fit

ROOT = Path(__file__).parents[3]

PROGRAM = """
import hashlib, sys, warnings
from NDN3 import compile_cache
compile_cache.switch_on()
import small_trainings as s
warnings.simplefilter("error")
images, responses, _ = s.recording()
(result,) = s.fit(s.ndn("dense"), s.Data(images, responses), epochs=3, batch_size=16,
                  loss=s.poisson(), initialize=s.start, xla=True)
print(hashlib.sha256(b"".join(array.tobytes() for array in result.weights)).hexdigest())
""".replace("s.fit", "fit").replace("import small", "from NDN3.training import fit\nimport small")


def trained(cache):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=os.environ
        | {
            "XDG_CACHE_HOME": str(cache),
            "PYTHONPATH": f"{ROOT}:{ROOT / 'tests/fixtures'}",
            "TF_CPP_MIN_LOG_LEVEL": "3",
        },
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def files_in(cache):
    return sorted(cache.rglob("xla_compile_cache*.pb"))


def test_same_bits_cold_warm_damaged_and_without(tmp_path):
    """A damaged file is thrown away and made anew, with XLA and without a word."""
    cache = tmp_path / 'a "quoted" cäche'
    cold = trained(cache)
    (kept,) = files_in(cache)
    whole, age = kept.read_bytes(), kept.stat().st_mtime_ns
    assert trained(cache) == cold
    assert files_in(cache) == [kept] and kept.stat().st_mtime_ns == age, "it was compiled again"
    kept.write_bytes(whole[:1000])
    assert trained(cache) == cold
    assert all(path.stat().st_size > 1000 for path in files_in(cache))
    nowhere = tmp_path / "file"
    nowhere.write_text("no folder")
    assert trained(nowhere) == cold


def test_folder_tells_versions_and_processors_apart(tmp_path, monkeypatch):
    environment = {"XDG_CACHE_HOME": str(tmp_path)}
    here = compile_cache.folder(environment)
    assert here.is_relative_to(tmp_path)
    assert "tensorflow-" in here.name
    monkeypatch.setattr(compile_cache, "processor", lambda: "another one")
    assert compile_cache.folder(environment) != here


def test_settings_of_the_user_stay(tmp_path):
    environment = {"XDG_CACHE_HOME": str(tmp_path), "TF_XLA_FLAGS": "--mine"}
    compile_cache.switch_on(environment)
    assert environment["TF_XLA_FLAGS"] == "--mine"
    assert Path(environment["JAX_COMPILATION_CACHE_DIR"]).parent == compile_cache.folder(
        environment
    )
    compile_cache.discard(environment)  # nothing of the user's is touched


@pytest.mark.parametrize("problem", [OSError("No space left on device"), RuntimeError("no home")])
def test_nothing_is_kept_where_nothing_can_be_written(tmp_path, monkeypatch, problem):
    def refuse(*_args, **_options):
        raise problem

    monkeypatch.setattr(compile_cache.tempfile, "TemporaryFile", refuse)
    environment = {"XDG_CACHE_HOME": str(tmp_path)}
    compile_cache.switch_on(environment)
    assert set(environment) == {"XDG_CACHE_HOME"}


def test_the_oldest_programs_go_first(tmp_path, monkeypatch):
    monkeypatch.setattr(compile_cache, "MOST_BYTES", 250)
    for age, name in enumerate(["new", "middle", "old"]):
        path = tmp_path / "deeper" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(bytes(100))
        os.utime(path, (1000 - age, 1000 - age))
    compile_cache.prune(tmp_path)
    assert sorted(path.name for path in (tmp_path / "deeper").iterdir()) == ["middle", "new"]


# ---- in the process ----------------------------------------------------------------------------


@pytest.fixture
def compilations(monkeypatch):
    """How often something was compiled, beginning with no program in memory."""
    programs._programs.clear()
    count = []
    compiled = backend.compiled
    monkeypatch.setattr(backend, "compiled", lambda *given: (count.append(1), compiled(*given))[1])
    yield count
    programs._programs.clear()


def network(l2, dropout=None, hidden=3):
    return ffnetwork_params(
        input_dims=[1, SIZE, SIZE],
        layer_sizes=[hidden, NEURONS],
        layer_types=["normal", "normal"],
        act_funcs=["softplus", "softplus"],
        reg_list={"l2": [None, l2], "dropout": [dropout, None]},
        verbose=False,
    )


def learned(description, data, **options):
    model = NDN(description, tf_seed=3)
    model.train(*data, opt_params={"epochs_training": 3, "batch_size": BATCH} | options)
    return model.arrays


def test_grid_points_that_differ_in_numbers_share_a_program(compilations):
    """…and learn what they learn alone."""
    images, responses, _ = small_trainings.recording()
    data = images, responses
    points = [({"l2": 0.1}, {}), ({"l2": 0.5}, {}), ({"l2": 0.1}, {"learning_rate": 0.01})]
    points += [({"l2": 0.1}, {"epochs_training": 5})]
    together = [learned(network(**shape), data, **numbers) for shape, numbers in points]
    assert len(compilations) == 1
    for (shape, numbers), arrays in zip(points, together, strict=True):
        programs._programs.clear()
        for a, b in zip(arrays, learned(network(**shape), data, **numbers), strict=True):
            np.testing.assert_array_equal(a, b)
    for other in together[1:]:
        assert any(np.any(a != b) for a, b in zip(together[0], other, strict=True))


def test_what_changes_the_program_is_compiled_anew(compilations):
    images, responses, mask = small_trainings.recording()
    base = network(0.1)
    learned(base, (images, responses))
    changes = [
        (network(0.0), (images, responses), {}),
        (network(0.1, hidden=4), (images, responses), {}),
        (network(0.1, dropout=0.5), (images, responses), {}),
        (base, (images + 1, responses), {}),
        (base, (images, responses + 1), {}),
        (base, (images, responses), {"batch_size": 8}),
        (base, (images, responses), {"poisson_unit_norm": np.full(NEURONS, 2.0)}),
        (base, (images, responses), {"early_stop_mode": 2, "early_stop": 2}),
    ]
    for number, (description, data, options) in enumerate(changes):
        learned(description, data, **options)
        assert len(compilations) == number + 2
    learned(base, (images, responses))
    assert len(compilations) == len(changes) + (1 if len(changes) < programs.KEPT else 2)


def test_who_trains_other_variables_gets_another_program(compilations):
    """…or summaries of other rows, or another correlation."""
    images, responses, _ = small_trainings.recording()
    rows, numbers = np.arange(40), {"epochs_training": 1, "batch_size": BATCH}
    numbers["epochs_summary"] = 1

    def train(correlation=None, test_rows=range(40, 50), skipped=(), epochs_summary=1):
        model = NDN(network(0.1), tf_seed=3)
        model.log_correlation = correlation
        model.train(
            images,
            responses,
            rows,
            test_rows,
            fit_variables=model.fit_variables(layers_to_skip=list(skipped)),
            opt_params=numbers | {"epochs_summary": epochs_summary},
        )
        return model

    train()
    changes = [
        {"skipped": [0]},
        {"skipped": [1]},
        {"test_rows": range(40, 51)},
        {"correlation": "zero-NaNs"},
        {"epochs_summary": 2},
    ]
    for number, change in enumerate(changes):
        train(**change)
        assert len(compilations) == number + 2


def test_the_program_that_was_used_longest_ago_goes_first(compilations, monkeypatch):
    class Fake:
        def __init__(self, name):
            self.name = name

        def compile(self):
            return self.name

    monkeypatch.setattr(programs, "KEPT", 2)
    for name in "abac":
        assert programs.compiled(Fake(name), name, 1) == name
    assert list(programs._programs) == ["a", "c"]


def test_programs_that_hold_much_data_are_not_kept_for_ever(compilations, monkeypatch):
    images, responses, _ = small_trainings.recording()
    monkeypatch.setattr(programs, "KEPT_BYTES", images.nbytes)
    for shift in (0, 1, 2):
        learned(network(0.1), (images + shift, responses))
        assert len(programs._programs) == 1


def test_functions_of_others_are_compiled_each_time(compilations):
    """A function may depend on what its arguments do not show."""
    images, responses, _ = small_trainings.recording()
    options = dict(epochs=2, batch_size=BATCH, loss=poisson(), initialize=start)
    for _ in range(2):
        list(fit(ndn("dense"), Data(images, responses), **options))
    assert len(compilations) == 2


def test_strengths_may_differ_between_members():
    """Three strengths in one call equal three models with these strengths."""
    images, responses, _ = small_trainings.recording()
    data = Data(images, responses)
    options = dict(
        epochs=4, batch_size=BATCH, loss=poisson(), initialize=start, optimizer=Adam(0.01), group=3
    )
    strengths = [0.1, 0.7, 2.0]
    together = list(
        fit(ndn("dense", l2=1.0), data, [5, 5, 5], per_member={"layer1/l2": strengths}, **options)
    )
    for strength, result in zip(strengths, together, strict=True):
        (alone,) = fit(ndn("dense", l2=strength), data, [5], **options)
        assert same_bits(result, alone)
    assert not same_bits(*together[:2])
