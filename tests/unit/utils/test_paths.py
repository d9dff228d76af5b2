from pathlib import Path

import pytest

from utils import paths

CHECKOUT = Path(__file__).parents[3]


@pytest.fixture
def plain(monkeypatch):
    """No variable is set, as for a user."""
    monkeypatch.delenv("BENCH_DATA", raising=False)
    monkeypatch.delenv("BENCH_RESULTS", raising=False)


def test_by_default_everything_is_in_the_checkout(plain):
    assert paths.ROOT == CHECKOUT
    assert paths.data_dir() == CHECKOUT / "Data"
    assert paths.results_dir() == CHECKOUT / "training_data"
    assert paths.figures_dir() == CHECKOUT / "playgrounds" / "figures"
    assert paths.experiment_file("demo", "first_grid").is_file()


def test_the_folders_follow_the_variables_of_the_moment(plain, monkeypatch, tmp_path):
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "d"))
    assert paths.region_dir(2) == tmp_path / "d" / "region2"
    assert paths.manifest_file() == tmp_path / "d" / "manifest.json"
    assert paths.results_dir() == CHECKOUT / "training_data"
    monkeypatch.setenv("BENCH_RESULTS", str(tmp_path / "r"))
    assert paths.ledger_file() == tmp_path / "r" / "experiments.txt"
    assert paths.SHARED == tmp_path / "r" / "shared"
    assert paths.figures_dir() == tmp_path / "r" / "figures"


def test_an_empty_variable_counts_as_unset(plain, monkeypatch):
    monkeypatch.setenv("BENCH_DATA", "")
    assert paths.data_dir() == CHECKOUT / "Data"


def test_a_relative_variable_means_the_working_folder(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BENCH_RESULTS", "here")
    assert paths.results_dir() == tmp_path / "here"


def test_the_layout_is_the_documented_one(bench_folders):
    below = bench_folders.results
    place = ("experiments_3", "bs4_exp3", 7, "name_5000", 2)
    assert paths.log_dir(*place) == below / "logs/experiments_3/bs4_exp3x7/name_5000__2"
    assert paths.model_path(*place) == below / "models/experiments_3/bs4_exp3x7/name_5000__2.ndnmod"
    assert paths.run_folder("bl1", "hand-0a1b2c") == "bl1xhand-0a1b2c"
    assert paths.logs_root() == below / "logs"
    assert paths.models_root() == below / "models"
    assert paths.job_log_dir("g", "e") == below / "job_logs/g/e"
    assert paths.jobs_dir("g", "e") == below / "job_logs/g/e/.jobs"


def test_a_name_that_is_not_there_is_an_error():
    with pytest.raises(AttributeError, match="SHARD"):
        _ = paths.SHARD
