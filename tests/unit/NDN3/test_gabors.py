"""Gabor filters: the formula pixel by pixel, unit norm, what they respond to, wrong arguments."""

import math

import numpy as np
import pytest

from NDN3.gabors import gabor_array, gabor_sized, get_gabor


def in_loops(width, height, orientation, frequency, phase, sigma, aspect, center):
    pixels = [[0.0] * width for _ in range(height)]
    for row in range(height):
        for column in range(width):
            x, y = column - center[0], row - center[1]
            u = x * math.cos(orientation) + y * math.sin(orientation)
            v = -x * math.sin(orientation) + y * math.cos(orientation)
            envelope = math.exp(-(u * u + aspect * aspect * v * v) / (2 * sigma * sigma))
            pixels[row][column] = envelope * math.cos(2 * math.pi * frequency * u + phase)
    norm = math.sqrt(sum(value * value for row in pixels for value in row))
    return np.array(pixels) / norm


@pytest.mark.parametrize("orientation", [0.0, 0.6, math.pi / 2, -2.0])
def test_formula(orientation):
    options = {"frequency": 0.13, "phase": 0.4, "sigma": 2.5, "aspect": 0.5, "center": (3.2, 7)}
    found = get_gabor((11, 13), orientation, **options)
    assert found.shape == (13, 11)
    np.testing.assert_allclose(found, in_loops(11, 13, orientation, **options), atol=1e-14)


def test_defaults_are_the_middle_and_a_sixth_of_the_smaller_side():
    expected = in_loops(12, 9, 0.3, 0.2, 0.0, 1.5, 1.0, (5.5, 4.0))
    np.testing.assert_allclose(get_gabor((12, 9), 0.3, 0.2), expected, atol=1e-14)


def test_stripes_of_orientation_zero_are_upright():
    found = gabor_sized(16, 0.0)
    changes_across = np.abs(np.diff(found, axis=1)).sum()
    assert changes_across > 1.5 * np.abs(np.diff(found, axis=0)).sum()
    np.testing.assert_allclose(gabor_sized(16, math.pi / 2), found.T, atol=1e-14)


def test_a_quarter_of_a_right_angle_turns_clockwise_on_the_screen():
    # u grows to the lower right, so the stripe through the center runs to the upper right
    found = gabor_sized(15, math.pi / 4)
    assert found[7 - 2, 7 + 2] > 0.5 * found[7, 7]
    assert found[7 + 2, 7 + 2] < 0


def test_sized_ones_have_two_cycles_and_hardly_any_envelope_at_the_border():
    found = gabor_sized(24, 0.0, phase=-math.pi / 2)
    np.testing.assert_allclose(
        found, in_loops(24, 24, 0.0, 2 / 24, -math.pi / 2, 4.0, 1.0, (11.5, 11.5)), atol=1e-14
    )
    assert np.abs(found[:, 0]).max() < 0.02 * np.abs(found).max()
    np.testing.assert_allclose(np.linalg.norm(found), 1)


def test_array_has_the_phase_fastest_and_the_frequency_slowest():
    found = gabor_array((9, 7), 3, frequencies=[0.1, 0.2], phases=[0.0, 1.0], sigma=2.0)
    assert found.shape == (7, 9, 1, 12)
    np.testing.assert_allclose(np.linalg.norm(found, axis=(0, 1)), 1)
    expected = get_gabor((9, 7), 2 * math.pi / 3, 0.2, 1.0, sigma=2.0)
    np.testing.assert_array_equal(found[..., 0, 6 + 2 * 2 + 1], expected)


def test_two_cycles_of_an_array_fit_into_the_smaller_side():
    found = gabor_array((12, 8), 2, phases=[0.0])
    np.testing.assert_array_equal(found[..., 0, 1], get_gabor((12, 8), math.pi / 2, 2 / 8))


def test_a_quadrature_pair_sees_a_grating_in_any_phase():
    pair = gabor_array(31, 1).reshape(31 * 31, -1)
    x = np.arange(31) - 15
    energies = [
        np.sum((np.tile(np.cos(2 * np.pi * 2 / 31 * x + phase), 31) @ pair) ** 2)
        for phase in np.linspace(0, 2 * np.pi, 7)
    ]
    assert max(energies) / min(energies) < 1.1


@pytest.mark.parametrize(
    ("call", "part"),
    [
        (lambda: get_gabor(0, 0, 0.1), "size of a Gabor filter"),
        (lambda: get_gabor((3, 3, 3), 0, 0.1), "width and height"),
        (lambda: get_gabor(9, math.nan, 0.1), "orientation"),
        (lambda: get_gabor(9, 0, 0.6), "frequency"),
        (lambda: get_gabor(9, 0, -0.1), "frequency"),
        (lambda: get_gabor(9, 0, 0.1, phase="odd"), "phase"),
        (lambda: get_gabor(9, 0, 0.1, sigma=0), "sigma"),
        (lambda: get_gabor(9, 0, 0.1, aspect=-1), "aspect"),
        (lambda: get_gabor(9, 0, 0.1, center=4), "center"),
        (lambda: get_gabor(9, 0, 0, phase=math.pi / 2), "zero at every pixel"),
        (lambda: get_gabor(9, 0, 0.1, sigma=0.1, center=(400, 4)), "zero at every pixel"),
        (lambda: gabor_sized(3, 0), "size of a Gabor filter"),
        (lambda: gabor_array(9, 0), "n_orientations"),
        (lambda: gabor_array(9, 2, frequencies=[]), "frequencies"),
        (lambda: gabor_array(9, 2, phases=0.0), "phases"),
    ],
)
def test_wrong_arguments(call, part):
    with pytest.raises(ValueError, match=part):
        call()
