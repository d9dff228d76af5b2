"""held_out_figure: the tests of held_out side by side, in one picture.

The last of three stages, see `held_out_runner.py`; writes `held_out.png` into its folder.
Asks which of the models of first_grid predicts best, and whether the seeds agree.
"""

import pandas as pd

from utils import analysis_metrics, analysis_style, experiment, registry

DATA = []
BAND = {"linewidth": 8, "solid_capstyle": "butt"}


def train(run):
    tests = pd.concat([registry.table(*tested) for tested in run.needed], ignore_index=True)
    tests = tests.query("state == 'done'")

    run.name = "held_out_figure"
    for repetition in run.repetitions(1):
        ax = draw(tests, ceiling=tests["ceiling"].mean())
        analysis_style.write(ax.figure, repetition.log_dir / "held_out.png")
        repetition.finish(best=tests.groupby("name")["correlation"].median().max())


def draw(tests, ceiling, ax=None):
    """A line for each run: the correlation of every model, their median, 10 to 90 % of them."""
    ax = analysis_style.new_axes((8.0, 2.5)) if ax is None else ax
    names = list(dict.fromkeys(tests["name"]))
    for place, (name, color) in enumerate(analysis_style.colors(names).items()):
        found = tests.loc[tests["name"] == name, "correlation"]
        low, median, high = analysis_metrics.percentiles(found.to_numpy())
        ax.plot([low, high], [place, place], color=color, alpha=0.25, **BAND)
        ax.plot(found, [place] * len(found), "o", color=color, markersize=4)
        ax.plot([median], [place], "|", color=color, markersize=18, markeredgewidth=2.5)
    ax.axvline(ceiling, color=analysis_style.GRAY, ls="--")
    ax.set_yticks(range(len(names)), [name.removeprefix("held_out_") for name in names])
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.set_xlabel("correlation with the responses to held-out images")
    title = f"dots: models · mark: median · band: 10–90 % · dashed: noise ceiling {ceiling:.2f}"
    ax.set_title(title, loc="left", fontsize=9, color=analysis_style.GRAY)
    return ax


if __name__ == "__main__":
    experiment.main(train)
