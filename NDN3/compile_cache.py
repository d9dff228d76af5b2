"""Where compiled programs are kept, so that the same program is compiled once and not in each run.

TensorFlow and JAX read these settings when they are imported. A program from the cache is the one
that would have been compiled: it gives the same bits.
"""

import contextlib
import hashlib
import importlib.metadata
import os
import platform
import re
import sys
import tempfile
from pathlib import Path

TENSORFLOW_FLAGS = "TF_XLA_FLAGS"
TENSORFLOW_FOLDER = "--tf_xla_persistent_cache_directory="
JAX_FOLDER = "JAX_COMPILATION_CACHE_DIR"
# TensorFlow gives up compiling when it cannot write a program of some MB.
PROBE_BYTES = 8 * 2**20
MOST_BYTES = 2**30


def switch_on(environment=os.environ):
    """Keep compiled programs in a folder of the user's, unless the environment says otherwise.

    Call it before TensorFlow or JAX is imported. Where nothing can be written, nothing is kept.

    Parameters
    ----------
    environment : dict of str
        Variables of the process; settings that are there stay as they are.
    """
    try:
        kept = folder(environment)
        kept.mkdir(parents=True, exist_ok=True)
        prune(kept)
        with tempfile.TemporaryFile(dir=kept, buffering=0) as probe:
            probe.write(bytes(PROBE_BYTES))
    except (OSError, RuntimeError):  # full, read-only, or a user without a home
        return
    quoted = re.sub(r'(["\\])', r"\\\1", str(kept / "tensorflow"))  # a home may have blanks
    environment.setdefault(
        TENSORFLOW_FLAGS,
        f'{TENSORFLOW_FOLDER}"{quoted}" --tf_xla_persistent_cache_device_types=CPU,GPU',
    )
    environment.setdefault(JAX_FOLDER, str(kept / "jax"))


def folder(environment):
    """Folder of programs that were compiled by these versions for this kind of processor.

    A program may use instructions that another processor does not have, and machines of a cluster
    often share a home.
    """
    base = environment.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    versions = [f"python-{sys.version_info.major}.{sys.version_info.minor}"]
    for name in ("tensorflow", "jaxlib"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions.append(f"{name}-{importlib.metadata.version(name)}")
    digest = hashlib.sha256(processor().encode()).hexdigest()[:8]
    return Path(base) / "neuro-bench" / "programs" / "_".join([*versions, digest])


def processor():
    """What tells kinds of processors apart: model and instruction sets where the kernel tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.machine() + platform.processor()
    wanted = ("model name", "flags", "Features")
    return "\n".join(sorted({line for line in lines if line.startswith(wanted)}))


def prune(kept):
    """Remove the oldest programs when all together are larger than `MOST_BYTES`."""
    found = []
    for path in kept.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # another process prunes, too
            if path.is_file():
                found.append((path.stat().st_mtime, path.stat().st_size, path))
    size = sum(size for _, size, _ in found)
    for _, bytes_of_it, path in sorted(found):
        if size <= MOST_BYTES:
            return
        path.unlink(missing_ok=True)
        size -= bytes_of_it


def discard(environment=os.environ):
    """Remove what TensorFlow has kept: one of its files is damaged, and it does not say which.

    Parameters
    ----------
    environment : dict of str
    """
    quoted = re.search(f'{TENSORFLOW_FOLDER}"(.*)"', environment.get(TENSORFLOW_FLAGS, ""))
    if quoted:
        kept = Path(re.sub(r"\\(.)", r"\1", quoted[1]))
        for path in kept.glob("xla_compile_cache*.pb"):
            path.unlink(missing_ok=True)
