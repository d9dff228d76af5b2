"""Which GPU a program uses. Nothing has to be picked: TensorFlow and JAX take one that they see.

The functions keep scripts of the original library running, and choose among several GPUs. The
choice is the variable CUDA_VISIBLE_DEVICES of this process; it counts for what is loaded later.
"""

import os
import sys

from NDN3 import quantities

VISIBLE = "CUDA_VISIBLE_DEVICES"


def setup_one_gpu(gpu_choice=None):
    """Use one GPU only.

    Parameters
    ----------
    gpu_choice : int, optional
        Its number, in the order of the bus; None leaves the choice to TensorFlow or JAX.

    Returns
    -------
    int or None
        `gpu_choice`.

    Raises
    ------
    ValueError
        If it is no number from 0, or TensorFlow or JAX is loaded already.
    """
    if gpu_choice is None:
        print("No GPU is picked: one that TensorFlow or JAX sees is used, otherwise the CPU.")
        return None
    number = quantities.whole(gpu_choice, "gpu_choice", 0)
    _set_visible(str(number))
    print(f"GPU {number} is used if it is there, otherwise the CPU.")
    return number


def setup_no_gpu():
    """Use the CPU only.

    Raises
    ------
    ValueError
        If TensorFlow or JAX is loaded already.
    """
    _set_visible("-1")


def assign_gpu(gpu_choice=None):
    """Use one GPU only: another name of `setup_one_gpu`.

    Parameters
    ----------
    gpu_choice : int, optional
        As in `setup_one_gpu`.

    Returns
    -------
    int or None
        `gpu_choice`.

    Raises
    ------
    ValueError
        As `setup_one_gpu`.
    """
    return setup_one_gpu(gpu_choice)


def _set_visible(devices):
    loaded = {"tensorflow", "jax"} & set(sys.modules)
    if loaded:
        raise ValueError(
            f"a GPU is chosen after {' and '.join(sorted(loaded))} was loaded; the choice counts "
            "only for what is loaded later. Choose before importing NDN3.NDN."
        )
    os.environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
    os.environ[VISIBLE] = devices
