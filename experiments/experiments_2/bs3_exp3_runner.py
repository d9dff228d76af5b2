"""Grid of bs3_exp3: size of the hidden layer, number of filters."""

from utils import grid, runners

RUNS = grid.product(
    "experiments_2",
    "bs3_exp3",
    hidden=[0.05, 0.1, 0.2, 0.3, 0.4],
    filters=[4, 9, 15, 20, 30],
)

if __name__ == "__main__":
    runners.main(RUNS)
