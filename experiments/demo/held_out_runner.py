"""Three stages: first_grid is trained, its models are tested on held-out images, and drawn."""

from utils import grid, runners

TRAININGS = grid.product("demo", "first_grid", filters=[4, 9], hidden=[0.1, 0.2])
TESTS = grid.stage([grid.Run("demo", "held_out", run.run) for run in TRAININGS], TRAININGS)
FIGURE = grid.stage(grid.one("demo", "held_out_figure"), TESTS)
RUNS = TRAININGS + TESTS + FIGURE

if __name__ == "__main__":
    runners.main(RUNS)
