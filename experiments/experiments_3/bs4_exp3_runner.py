"""Grid of bs4_exp3: a single run."""

from utils import grid, runners

RUNS = grid.one("experiments_3", "bs4_exp3")

if __name__ == "__main__":
    runners.main(RUNS)
