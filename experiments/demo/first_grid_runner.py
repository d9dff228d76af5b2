"""Grid of first_grid: number of filters, size of the hidden layer."""

from utils import grid, runners

RUNS = grid.product("demo", "first_grid", filters=[4, 9], hidden=[0.1, 0.2])

if __name__ == "__main__":
    runners.main(RUNS)
