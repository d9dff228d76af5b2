"""`runs log --follow` when a run is started again meanwhile."""

import os

from utils import job_node, jobs, paths


def test_the_log_of_another_attempt_is_printed_from_its_beginning(
    bench_folders, monkeypatch, capsys
):
    jobs_dir = paths.jobs_dir("demo", "grid")
    job_node.claim(jobs_dir, 0, 0, 1, {"token": "aa", "task": 0})
    job_node.record(jobs_dir, 0, 0, 1, "failed", {"reason": "no"})
    log = jobs_dir.parent / "o_0.log"
    log.write_text("first attempt\nthat failed\n")
    looks = []

    def under_way(known, state):
        looks.append(state)
        if len(looks) == 2:
            os.replace(log, log.with_name("o_0.try1.log"))
            log.write_text("other attempt\nthat is longer than the first\n")
        return len(looks) < 3

    monkeypatch.setattr(jobs, "_under_way", under_way)
    monkeypatch.setattr(jobs, "FOLLOW_S", 0.0)
    assert jobs.follow(["log", "demo/grid:0", "--follow"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said == [
        "first attempt",
        "that failed",
        "other attempt",
        "that is longer than the first",
    ]
