"""A trainer in plain NumPy, one member at a time, in float64, to hold the compiled one against.

Gradients are complex-step derivatives (Squire & Trapp 1998), exact to rounding, so nothing of the
networks' derivatives is written twice.
"""

import numpy as np

STEP = 1e-30


def softplus(x):
    return np.log1p(np.exp(x))


def poisson_rows(y, p, norm):
    return -np.sum((y * np.log(p + 1e-6) - p) / norm, axis=1)


def gaussian_rows(y, p, norm):
    return np.sum((y - p) ** 2, axis=1)


def dense_network(parameters, x):
    first, first_bias, second, second_bias = parameters
    return softplus(softplus(x @ first + first_bias) @ second + second_bias)


def clip(value, low, high):
    """Clipped forward, straight-through backward: the imaginary part passes."""
    return np.clip(value.real, low, high) + 1j * np.imag(value)


def gaussian(alpha, variance, mu_x, mu_y, size):
    x, y = np.meshgrid(np.arange(size), np.arange(size))
    squares = (x.ravel()[:, None] - mu_x) ** 2 + (y.ravel()[:, None] - mu_y) ** 2
    return alpha / (2 * np.pi * variance) * np.exp(-squares / (2 * variance))


def dog_network(size, bounds):
    """DoG filters (linear) -> dense softplus; images are size x size pixels."""

    def forward(parameters, x):
        stored, bias, weights, output_bias = parameters
        (alpha_low, _), sigma, mu_x, mu_y = bounds
        top = np.finfo(float).max
        center, surround = (clip(stored[row], alpha_low, top) for row in (0, 4))
        inner, outer = (clip(stored[row], *sigma) for row in (1, 5))
        x_peak, y_peak = clip(stored[2], *mu_x), clip(stored[3], *mu_y)
        kernel = gaussian(center, inner, x_peak, y_peak, size)
        kernel = kernel - gaussian(surround, inner + outer, x_peak, y_peak, size)
        return softplus((x @ kernel + bias) @ weights + output_bias)

    return forward


def conv_network(size, width, stride):
    """Convolution (SAME, softplus) -> dense softplus; filters vary fastest."""
    out = -(-size // stride)
    total = max((out - 1) * stride + width - size, 0)
    before = total // 2

    def forward(parameters, x):
        kernel, bias, weights, output_bias = parameters
        images = np.zeros((len(x), size + total, size + total))
        images[:, before : before + size, before : before + size] = x.reshape(-1, size, size)
        maps = []
        for row in range(out):
            for column in range(out):
                top, left = row * stride, column * stride
                window = images[:, top : top + width, left : left + width].reshape(len(x), -1)
                maps.append(softplus(window @ kernel + bias))
        return softplus(np.concatenate(maps, axis=1) @ weights + output_bias)

    return forward


def gradients(cost, parameters):
    result = []
    for index, parameter in enumerate(parameters):
        gradient = np.zeros_like(parameter)
        for position in np.ndindex(parameter.shape):
            moved = [p.astype(complex) for p in parameters]
            moved[index][position] += 1j * STEP
            gradient[position] = cost(moved).imag / STEP
        result.append(gradient)
    return result


def train(forward, rows_cost, parameters, x, y, mask, order, *, epochs, batch, rate, penalty, norm):
    """Parameters after `epochs`, and the mean cost of each epoch.

    `order(epoch)` gives the rows; `penalty(parameters)` is added to the cost of each batch.
    """
    beta_1, beta_2, epsilon = 0.9, 0.999, 1e-8
    parameters = [np.array(p, float) for p in parameters]
    first = [np.zeros_like(p) for p in parameters]
    second = [np.zeros_like(p) for p in parameters]
    step, costs = 0, []
    for epoch in range(epochs):
        rows, seen = order(epoch), []
        for start in range(0, len(rows), batch):
            chosen = rows[start : start + batch]
            shown = np.ones_like(y[chosen]) if mask is None else mask[chosen]

            def data_cost(p, chosen=chosen, shown=shown):
                return np.mean(rows_cost(y[chosen] * shown, forward(p, x[chosen]) * shown, norm))

            seen.append(data_cost(parameters).real)
            gradient = gradients(lambda p, c=data_cost: c(p) + penalty(p), parameters)
            step += 1
            corrected = rate * np.sqrt(1 - beta_2**step) / (1 - beta_1**step)
            for i, g in enumerate(gradient):
                first[i] = beta_1 * first[i] + (1 - beta_1) * g
                second[i] = beta_2 * second[i] + (1 - beta_2) * g**2
                parameters[i] = parameters[i] - corrected * first[i] / (
                    np.sqrt(second[i]) + epsilon
                )
        costs.append(np.mean(seen))
    return parameters, costs


def stopping(costs, window, tolerance):
    """Epoch of the stop (None: never) and best epoch, as documented, in float32."""
    ring, best, best_epoch = np.zeros(window, np.float32), np.inf, -1
    for epoch, cost in enumerate(np.asarray(costs, np.float32)):
        before = ring.mean()
        ring[epoch % window] = cost
        if cost < best:
            best, best_epoch = cost, epoch
        if epoch > window and before - ring.mean() - np.float32(tolerance) < 0:
            return epoch, best_epoch
    return None, best_epoch
