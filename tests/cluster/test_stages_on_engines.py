"""Stages on real engines: what waits for what, what is skipped, and what comes of it in the end."""

import re

from cluster_toys import CPU, begun, engine_logs, infos, listed, put_toys, sent, wait_for

SCORES = '''"""scores: adds up what the toys that it needs have scored."""
from utils import experiment, registry

DATA = []


def train(run, factor: int = 1):
    found = [info for place in run.needed for info in registry.repetitions(*place)]
    done = [info for info in found if info["state"] == "done"]
    run.name = "scores"
    for repetition in run.repetitions(1):
        total = factor * sum(next(iter(info["scores"].values())) for info in done)
        repetition.finish(total=total, counted=len(done))


if __name__ == "__main__":
    experiment.main(train)
'''
RUNNER = '''"""Toys, what each of them scores, and all of it."""
from utils import grid, runners

TOYS = grid.zipped("toys", "toy", number=[10, 20], fail=[-1, 0])
EACH = grid.stage([grid.Run("toys", "scores", run.run) for run in TOYS], TOYS)
ALL = grid.stage(grid.one("toys", "figure", script="toys/scores.py"), EACH)

if __name__ == "__main__":
    runners.main(ALL + EACH + TOYS)
'''


def put_stages(checkout):
    (checkout.group / "scores.py").write_text(SCORES)
    (checkout.group / "toy_runner.py").write_text(RUNNER)
    put_toys(checkout)


def total(checkout, exp, run):
    (found,) = [info["scores"] for info in infos(checkout, exp) if info["run"] == run]
    return found


def test_stages_with_a_run_that_fails(engine, ordinary_checkout):
    put_stages(ordinary_checkout)
    jobs = sent(ordinary_checkout.run(CPU[engine.name]))
    assert len(jobs) == 3
    wait_for(ordinary_checkout, {0: "done", 1: "failed"})
    wait_for(ordinary_checkout, {0: "done", 1: "skipped"}, "scores")
    wait_for(ordinary_checkout, {0: "skipped"}, "figure")
    shown = ordinary_checkout.runs("list").stdout
    assert "toys/toy:1 is failed" in shown, shown
    assert "toys/scores:1 is skipped" in shown, shown
    assert re.search(
        r"needs +toys/scores:0-1\n", ordinary_checkout.runs("show", "toys/figure:0").stdout
    )
    (first,) = [info["scores"]["score"] for info in infos(ordinary_checkout) if info["run"] == 0]
    assert total(ordinary_checkout, "scores", 0) == {"total": first, "counted": 1}
    refused = ordinary_checkout.run(CPU[engine.name])
    assert refused.returncode == 2
    assert "--resume" in refused.stderr
    (ordinary_checkout.root / "mended").touch()
    assert len(sent(ordinary_checkout.run(CPU[engine.name], "--resume"))) == 3
    wait_for(ordinary_checkout, {0: "done", 1: "done"})
    wait_for(ordinary_checkout, {0: "done", 1: "done"}, "scores")
    wait_for(ordinary_checkout, {0: "done"}, "figure")
    assert sorted(begun(ordinary_checkout)) == [10, 20, 20], "what was done stays"
    scores = [info["scores"]["score"] for info in infos(ordinary_checkout)]
    assert total(ordinary_checkout, "figure", 0) == {"total": sum(scores), "counted": 2}
    for exp in ("toy", "scores", "figure"):
        assert engine_logs(ordinary_checkout, exp) == ""
        assert set(listed(ordinary_checkout, exp).values()) == {"done"}


def test_stages_that_may_miss_runs(engine, own_checkout):
    put_stages(own_checkout)
    sent(own_checkout.run(CPU[engine.name], "--allow-missing"))
    wait_for(own_checkout, {0: "done"}, "figure")
    assert own_checkout.states() == {0: "done", 1: "failed"}
    assert own_checkout.states("scores") == {0: "done", 1: "done"}
    (score,) = [info["scores"]["score"] for info in infos(own_checkout) if info["state"] == "done"]
    assert total(own_checkout, "scores", 1) == {"total": 0, "counted": 0}
    assert total(own_checkout, "figure", 0) == {"total": score, "counted": 2}
