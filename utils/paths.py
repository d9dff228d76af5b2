"""Every path below the checkout, `Data/` and `training_data/`; no other module spells one.

`BENCH_DATA` and `BENCH_RESULTS` move the two folders elsewhere. They are read whenever a path is
asked for, so a test or a job that sets them never touches a user's results.
"""

from __future__ import annotations  # containers/runcmd reads this with the Python that a host has

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

SHARED: Path  # results that several runs share, by system; follows BENCH_RESULTS, see __getattr__


def __getattr__(name: str) -> Path:
    if name == "SHARED":
        return results_dir() / "shared"
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _folder(variable: str, default: str) -> Path:
    # an empty variable counts as unset: "BENCH_DATA= python …" must not mean the working folder
    value = os.environ.get(variable)
    return Path(value).expanduser().absolute() if value else ROOT / default


def data_dir() -> Path:
    """Folder of the recordings: `BENCH_DATA`, or `Data/` of the checkout."""
    return _folder("BENCH_DATA", "Data")


def results_dir() -> Path:
    """Folder of everything that runs leave behind: `BENCH_RESULTS`, or `training_data/`."""
    return _folder("BENCH_RESULTS", "training_data")


def region_dir(region: int) -> Path:
    """Folder of one recorded region of V1."""
    return data_dir() / f"region{region}"


def manifest_file() -> Path:
    """File with the checksum of every data file."""
    return data_dir() / "manifest.json"


def ledger_file() -> Path:
    """File with one line per finished run."""
    return results_dir() / "experiments.txt"


def experiments_dir() -> Path:
    """Folder of the experiment groups."""
    return ROOT / "experiments"


def experiment_file(exp_folder: str, exp: str) -> Path:
    """Script of an experiment, where it lies unless a grid names another one."""
    return experiments_dir() / exp_folder / f"{exp}.py"


def run_folder(exp: str, run: int | str) -> str:
    """Name of a run's folder, the same below the logs and the models."""
    return f"{exp}x{run}"


def logs_root() -> Path:
    """Folder of all summaries and `run.json` files."""
    return results_dir() / "logs"


def models_root() -> Path:
    """Folder of all saved models."""
    return results_dir() / "models"


def log_dir(exp_folder: str, exp: str, run: int | str, name: str, repetition: int) -> Path:
    """Folder of a repetition: its summaries, its checkpoint, its `run.json`."""
    return logs_root() / exp_folder / run_folder(exp, run) / f"{name}__{repetition}"


def model_path(exp_folder: str, exp: str, run: int | str, name: str, repetition: int) -> Path:
    """File of a repetition's trained model."""
    return models_root() / exp_folder / run_folder(exp, run) / f"{name}__{repetition}.ndnmod"


def job_log_dir(exp_folder: str, exp: str) -> Path:
    """Folder of what the runs of an experiment printed."""
    return results_dir() / "job_logs" / exp_folder / exp


def jobs_dir(exp_folder: str, exp: str) -> Path:
    """Folder of plans, submissions, claims and records of an experiment."""
    return job_log_dir(exp_folder, exp) / ".jobs"


def figures_dir() -> Path:
    """Folder of figures: beside the notebooks, or with the results when those were moved."""
    if os.environ.get("BENCH_RESULTS"):
        return results_dir() / "figures"
    return ROOT / "playgrounds" / "figures"
