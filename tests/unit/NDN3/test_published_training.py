"""Whole trainings of the original program, number by number."""

import numpy as np
import pytest

from NDN3.NDN import NDN
from NDN3.NDNutils import ffnetwork_params

SOURCE = np.random.RandomState(123)  # noqa: NPY002
X = SOURCE.standard_normal((50, 49))
Y = SOURCE.poisson(1.0, (50, 5))
TRAIN, TEST = np.arange(40), np.arange(40, 50)
OPTIONS = {"learning_rate": 0.01, "batch_size": 16, "epochs_training": 20, "epochs_summary": 5}


def hsm(**options):
    description = ffnetwork_params(
        **{
            "input_dims": [1, 7, 7],
            "layer_sizes": [3, 4, 5],
            "layer_types": ["diff_of_gaussians", "normal", "normal"],
            "act_funcs": ["lin", "softplus", "softplus"],
            "reg_list": {"l2": [None, None, 0.1]},
            "verbose": False,
            **options,
        }
    )
    description["bounds"] = [
        [(float(np.finfo(float).eps), 10), (1, 5), (2, 5), (2, 5)],
        *[None] * (len(description["layer_sizes"]) - 1),
    ]
    description["biases_initializers"] = ["trunc_normal"] * len(description["layer_sizes"])
    return description


def separable():
    description = hsm(
        layer_sizes=[2, 3, 5],
        layer_types=["conv", "sep", "normal"],
        act_funcs="softplus",
        conv_filter_widths=[3],
        shift_spacing=[2],
        reg_list={"d2x": [0.01], "l1": [None, 0.1], "l2": [None, None, 0.1]},
    )
    del description["bounds"]
    return description


@pytest.mark.parametrize(
    ("description", "expected"),
    [
        (
            hsm,
            {
                "test/cost": (5.18305, 5.14838, 5.24999, 5.29424, 5.28848),
                "test/reg_pen": (0.00903, 0.01365, 0.02482, 0.02513, 0.02255),
                "test/correlation/correlation": (0.03516, 0.02339, 0.03056, 0.01700, -0.00184),
                "train/cost": (5.63985, 5.32800, 5.19899, 5.13369, 4.98211),
                "prediction": (1.208402, 0.906298, 1.06815, 0.892704, 1.178454),
            },
        ),
        (
            separable,
            {
                "test/cost": (5.17642, 5.18542, 5.26453, 5.27113, 5.27212),
                "test/reg_pen": (0.62192, 0.38143, 0.35688, 0.33446, 0.32843),
                "prediction": (1.16373, 0.850826, 0.994766, 0.907491, 1.096211),
            },
        ),
    ],
)
def test_training_as_in_the_original_program(description, expected):
    model = NDN(description(), legacy=True)
    model.log_correlation = "zero-NaNs"
    everything = np.ones(Y.shape)
    ((_, _, result),) = NDN.fit_together([model], X, Y, TRAIN, TEST, everything, OPTIONS)
    found = {**result.history, "prediction": model.generate_prediction(X, [40])[0]}
    assert found["epoch"].tolist() == [0, 4, 9, 14, 19]
    for name, values in expected.items():
        tolerance = 5e-3 if "correlation" in name else 2e-3
        np.testing.assert_allclose(found[name], values, atol=tolerance, err_msg=name)
