"""The engines and the toy checkouts of the tests, for benchmarks that send jobs."""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "tests" / "fixtures"))

import real_engines  # noqa: E402
from cluster_checkout import QUEUES, ClusterCheckout  # noqa: E402
from real_engines import Unavailable  # noqa: E402

__all__ = ["ENGINES", "ENVIRONMENTS", "QUEUES", "ClusterCheckout", "Unavailable"]

ENGINES = {"grid-engine": real_engines.GridEngine, "slurm": real_engines.Slurm}
ENVIRONMENTS = {"grid-engine": "qsub-cpu", "slurm": "slurm-cpu"}
