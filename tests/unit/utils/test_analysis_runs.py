"""Tables over repetitions, checked against hand-worked numbers."""

import io

import numpy as np
import pandas as pd
import pytest

from utils import analysis_runs, paths


def repetitions(scores, states=None, run=0, **arguments):
    states = states or ["done"] * len(scores)
    return pd.DataFrame(
        [
            {"exp_folder": "demo", "exp": "grid", "run": run, "repetition": i, "state": state,
             **arguments, "correlation": score, "model_path": f"{run}/{i}"}
            for i, (score, state) in enumerate(zip(scores, states, strict=True))
        ]
    )  # fmt: skip


def test_summary_of_one_to_ten():
    table = analysis_runs.summary(repetitions(np.arange(1.0, 11)))
    assert list(table.columns) == [
        "exp_folder", "exp", "run", "median", "10th", "90th", "count", "diverged", "unfinished",
    ]  # fmt: skip
    (row,) = table.to_dict("records")
    assert row["median"] == pytest.approx(5.5)
    assert row["10th"] == pytest.approx(1.9)
    assert row["90th"] == pytest.approx(9.1)
    assert (row["count"], row["diverged"], row["unfinished"]) == (10, 0, 0)


def test_only_finished_repetitions_count_and_the_others_are_counted():
    runs = repetitions(
        [0.25, 9.0, np.nan, 0.75, np.nan, np.nan],
        ["done", "diverged", "diverged", "done", "running", "failed"],
    )
    (row,) = analysis_runs.summary(runs).to_dict("records")
    assert row["median"] == 0.5
    assert (row["count"], row["diverged"], row["unfinished"]) == (2, 2, 2)


def test_a_run_without_results_keeps_its_row():
    runs = pd.concat([repetitions([0.5]), repetitions([np.nan], ["failed"], run=1)])
    table = analysis_runs.summary(runs)
    assert table["run"].tolist() == [0, 1]
    assert table["count"].tolist() == [1, 0]
    assert table["median"].isna().tolist() == [False, True]
    started = repetitions([np.nan], ["running"]).drop(columns="correlation")
    assert analysis_runs.summary(started)["unfinished"].tolist() == [1]


def test_rows_by_arguments_runs_and_experiments():
    runs = pd.concat(
        [
            repetitions([0.5, 0.75], run=1, filters=10, layers="[1, 2]", l2=None),
            repetitions([0.25], run=0, filters=9, layers="[1]", l2=0.1),
            repetitions([0.125], run="hand-0a1b2c", filters=9, layers="[1]", l2=0.1),
        ]
    )
    by_filters = analysis_runs.summary(runs, by="filters")
    assert by_filters["filters"].tolist() == [9, 10]
    assert by_filters["count"].tolist() == [2, 2]
    assert analysis_runs.summary(runs, by=["l2", "layers"])["count"].sum() == 4
    assert analysis_runs.summary(runs)["run"].tolist() == [0, 1, "hand-0a1b2c"]
    by_experiment = analysis_runs.summary(runs, by=analysis_runs.EXPERIMENT)
    assert by_experiment["count"].tolist() == [4]
    assert by_experiment["median"].tolist() == [0.375]


def test_unknown_columns_are_named():
    with pytest.raises(ValueError, match="no column depth; it has exp_folder, exp, run"):
        analysis_runs.summary(repetitions([0.5]), by="depth")
    with pytest.raises(ValueError, match="no column likelihood"):
        analysis_runs.summary(repetitions([0.5]), score="likelihood")


def test_best_is_a_finished_one():
    runs = pd.concat(
        [
            repetitions([0.5, 0.625], run=0),
            repetitions([0.9, 0.75, np.nan], ["diverged", "done", "done"], run=1),
        ]
    )
    assert analysis_runs.best(runs)["model_path"] == "1/1"
    for nothing in (runs[runs["state"] == "diverged"], runs.iloc[:0]):
        with pytest.raises(ValueError, match="is finished with a score"):
            analysis_runs.best(nothing)


def test_export(bench_folders):
    table = pd.DataFrame({"model": ["a_b", "50 %"], "median": [0.12345, np.nan], "count": [10, 9]})
    csv, tex = analysis_runs.export(table, "grid")
    assert {csv.parent, tex.parent} == {paths.figures_dir()}
    pd.testing.assert_frame_equal(pd.read_csv(io.StringIO(csv.read_text())), table)
    assert tex.read_text().splitlines() == [
        r"\begin{tabular}{lrr}",
        r"\toprule",
        r"model & median & count \\",
        r"\midrule",
        r"a\_b & 0.123 & 10 \\",
        r"50 \% & -- & 9 \\",
        r"\bottomrule",
        r"\end{tabular}",
    ]
    assert sorted(path.name for path in csv.parent.iterdir()) == ["grid.csv", "grid.tex"]
    with pytest.raises(ValueError, match="plain file name"):
        analysis_runs.export(table, "a/b")


def test_latex_escapes_every_sign():
    text = analysis_runs.latex(pd.DataFrame({"signs": [r"\&%$#_{}~^"]}))
    assert text.splitlines()[4] == (
        r"\textbackslash{}\&\%\$\#\_\{\}\textasciitilde{}\textasciicircum{} \\"
    )
