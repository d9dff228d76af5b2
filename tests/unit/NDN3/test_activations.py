"""Activation functions whose derivative is written by hand."""

import numpy as np
import pytest
import tensorflow as tf

from NDN3 import activations

POINTS = np.array([-80.0, -20.0, -1.5, 0.0, 1e-3, 2.0, 20.0, 80.0])


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 2e-7), ("float64", 1e-15)])
def test_softplus_and_its_gradient(dtype, tolerance):
    x = tf.constant(POINTS, dtype)
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = activations.softplus(x)
    gradient = tape.gradient(value, x)
    np.testing.assert_allclose(value, np.logaddexp(0, POINTS), rtol=tolerance)
    expected = np.exp(-np.logaddexp(0, -POINTS))
    np.testing.assert_allclose(gradient, expected, rtol=3 * tolerance)


def test_softplus_inside_a_larger_function():
    """The chain rule goes through it: d softplus(x)² = 2 softplus(x) sigmoid(x)."""
    x = tf.constant(POINTS[2:6])
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = tf.reduce_sum(activations.softplus(x) ** 2)
    sigmoid = 1 / (1 + np.exp(-POINTS[2:6]))
    expected = 2 * np.logaddexp(0, POINTS[2:6]) * sigmoid
    np.testing.assert_allclose(tape.gradient(value, x), expected, rtol=1e-12)
