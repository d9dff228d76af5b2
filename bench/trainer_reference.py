"""What all programs train: the recording, two networks, their start values and costs, in NumPy.

961 pixels, then either nine difference-of-Gaussians filters or four 7 x 7 kernels at 64 positions
(stride 4), 20 hidden units (behind the convolution factorised into features and a mask in space),
103 neurons; softplus, Poisson loss, batches of 16 out of 1800 images, so that the last one of an
epoch has 8.
"""

import functools

import numpy as np

SIDE, HIDDEN, NEURONS = 31, 20, 103
FILTERS = 9
KERNELS, KERNEL_SIDE, STRIDE = 4, 7, 4
GRID = -(-SIDE // STRIDE)
ROWS, VALIDATION_ROWS, BATCH = 1800, 50, 16
LEARNING_RATE, EPSILON, LOG_GUARD = 1e-3, 1e-8, 1e-6


@functools.cache
def recording(rows=ROWS):
    """Images [rows + 50, 961] and responses [rows + 50, 103]; the last 50 are for validation."""
    random = np.random.default_rng(7)
    images = random.standard_normal((rows + VALIDATION_ROWS, SIDE, SIDE))
    for axis in (1, 2):  # neighbouring pixels alike, as in a photograph
        for _ in range(3):
            images = images + np.roll(images, 1, axis)
    images = ((images - images.mean()) / images.std()).reshape(len(images), -1)
    drive = dog_forward(dog_start(99), images, last=False)
    rates = np.logaddexp(0, (drive - drive.mean(0)) / drive.std(0) - 1)
    return images.astype("float32"), random.poisson(rates).astype("float32")


def train_rows(rows=ROWS):
    """Images and responses without the rows for validation."""
    return tuple(array[:rows] for array in recording(rows))


def dense_start(random, sizes):
    """Weights and biases of dense layers."""
    values = []
    for n_in, n_out in zip(sizes[:-1], sizes[1:], strict=True):
        values += [0.1 * random.standard_normal((n_in, n_out)), 0.1 * random.standard_normal(n_out)]
    return values


def dog_start(seed):
    """Weights and biases of the three layers, in the order in which a Keras model lists them."""
    random = np.random.default_rng(seed)
    low = np.array([0, 1, 2, 2, 0, 1, 2, 2])[:, None]
    high = np.array([10, 25, 29, 29, 10, 25, 29, 29])[:, None]
    gaussians = low + (high - low) * random.random((8, FILTERS))
    values = [gaussians, 0.1 * random.standard_normal(FILTERS)]
    values += dense_start(random, [FILTERS, HIDDEN, NEURONS])
    return [value.astype("float32") for value in values]


def conv_start(seed):
    """The same for the convolutional network; features and mask are one array [4 + 64, 20]."""
    random = np.random.default_rng(seed)
    values = dense_start(random, [KERNEL_SIDE**2, KERNELS])
    values += dense_start(random, [KERNELS + GRID**2, HIDDEN])
    values += dense_start(random, [HIDDEN, NEURONS])
    return [value.astype("float32") for value in values]


def in_layers(values):
    """Arrays in double precision without axes of length one in front."""
    return [np.asarray(value, "float64").reshape(np.shape(value)[-2:]) for value in values]


def dog_forward(values, images, last=True):
    """Responses that the network with these values predicts; the reference."""
    gaussians, bias, w2, b2, w3, b3 = in_layers(values)
    pixel = np.arange(SIDE)
    y, x = np.meshgrid(pixel, pixel, indexing="ij")
    kernels = np.zeros((SIDE * SIDE, gaussians.shape[1]))
    for k, (a1, s1, mx, my, a2, s2, _, _) in enumerate(gaussians.T):
        mx, my = np.clip(mx, 2, SIDE - 2), np.clip(my, 2, SIDE - 2)
        s1, s2 = np.clip(s1, 1, 25), np.clip(s2, 1, 25)
        distance = (x - mx) ** 2 + (y - my) ** 2
        for amplitude, variance, sign in ((a1, s1, 1), (a2, s1 + s2, -1)):
            weight = sign * max(amplitude, np.finfo("float32").eps) / (2 * np.pi * variance)
            kernels[:, k] += (weight * np.exp(-distance / (2 * variance))).ravel()
    hidden = np.logaddexp(0, (images @ kernels + bias) @ w2 + b2)
    prediction = hidden @ w3 + b3
    return np.logaddexp(0, prediction) if last else prediction


def conv_forward(values, images):
    """The same for the convolutional network, one position after the other."""
    kernels, bias, factors, b2, w3, b3 = values[0], *in_layers(values[1:])
    kernels = np.asarray(kernels, "float64").reshape(KERNEL_SIDE, KERNEL_SIDE, -1)
    features, mask = factors[: kernels.shape[-1]], factors[kernels.shape[-1] :]
    before = ((GRID - 1) * STRIDE + KERNEL_SIDE - SIDE) // 2
    padded = np.zeros((len(images), *(2 * [SIDE + KERNEL_SIDE])))
    padded[:, before : before + SIDE, before : before + SIDE] = images.reshape(-1, SIDE, SIDE)
    hidden = np.zeros((len(images), features.shape[1])) + b2
    for position in range(GRID**2):
        row, column = (STRIDE * index for index in divmod(position, GRID))
        window = padded[:, row : row + KERNEL_SIDE, column : column + KERNEL_SIDE]
        activity = np.logaddexp(0, np.einsum("nij,ijk->nk", window, kernels) + bias)
        hidden += activity @ features * mask[position]
    return np.logaddexp(0, np.logaddexp(0, hidden) @ w3 + b3)


def cost_of(forward, values, images, responses):
    """Poisson cost over all rows, as every program minimises it."""
    prediction = forward(values, images)
    loss = prediction - responses * np.log(prediction + LOG_GUARD)
    return float((loss / responses.mean(0)).sum(1).mean())


def dog_cost(values):
    return cost_of(dog_forward, values, *train_rows())


def conv_cost(values):
    return cost_of(conv_forward, values, *train_rows())
