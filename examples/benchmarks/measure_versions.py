"""Print what a measurement depends on: versions, the card, and which modules are missing.

python examples/benchmarks/measure_versions.py
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from measuring.package import MODULES, ON_GPU, PACKAGE, ROOT, is_missing, replaced
from measuring.records import emit, emit_error

GIB = 1 << 30
OLDEST = (3, 11)
# wheels for its Python, made elsewhere and put on its PYTHONPATH
WHEELS = "pip install --target FOLDER --only-binary=:all: --python-version {} {}"


def output_of(*command: str) -> str:
    """Standard output of a program, on one line."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True, cwd=ROOT)
    return ", ".join(done.stdout.split("\n")).strip(", ")


def driver() -> str:
    """Version of the NVIDIA driver."""
    try:
        return output_of("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")
    except (OSError, subprocess.SubprocessError):
        return Path("/proc/driver/nvidia/version").read_text("utf-8").splitlines()[0]


def card() -> str:
    """The card, its capability, multiprocessors and memory."""
    import torch

    facts = torch.cuda.get_device_properties(0)
    free, total = torch.cuda.mem_get_info()
    return (
        f"{facts.name}, capability {facts.major}.{facts.minor}, {facts.multi_processor_count}"
        f" multiprocessors, {free / GIB:.1f} of {total / GIB:.1f} GiB free"
    )


def cuda() -> str:
    """Versions of CUDA and cuDNN, and where TF32 is allowed."""
    import torch

    tf32 = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    return (
        f"{torch.version.cuda}, cuDNN {torch.backends.cudnn.version()},"
        f" TF32 in products {tf32[0]}, in convolutions {tf32[1]}"
    )


def package() -> str:
    """The folder and the commit that are measured."""
    place = Path(str(import_module(PACKAGE).__file__))
    if place.resolve() != ROOT / "engine" / "public" / "__init__.py":
        return f"{place.parent}, installed"
    try:
        commit = output_of("git", "describe", "--always", "--dirty")
    except (OSError, subprocess.SubprocessError):
        commit = "unknown"
    return f"this checkout, commit {commit}"


def installed(name: str) -> str:
    """Version of an installed distribution."""
    try:
        return version(name)
    except PackageNotFoundError:
        return str(getattr(import_module(name), "__version__", "of unknown version"))


def processor() -> str:
    """The host's processor."""
    return f"{platform.machine()}, {os.cpu_count()} cores, {platform.platform(terse=True)}"


def fact(name: str, of: Callable[[], str]) -> None:
    try:
        emit("versions", name, value=of())
    except Exception as error:
        emit_error("versions", name, error)


def cuda_is_available() -> bool:
    """Whether torch has a CUDA device; prints why torch cannot be imported."""
    try:
        import torch
    except Exception as error:
        emit_error("versions", "torch", error)
        return False
    return torch.cuda.is_available()


def missing_modules(on_gpu: bool) -> None:
    """Print what cannot be measured here, and how that is changed."""
    wanted = [name for name in MODULES if on_gpu or name not in ON_GPU]
    absent = [name for name in wanted if is_missing(name)]
    for name in absent:
        emit("versions", f"missing: {name}", value=MODULES[name])
    for name in replaced:
        emit("versions", f"missing: {name}", value="replaced by a stand-in; --model needs it")
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    names = [{"PIL": "pillow"}.get(name, name) for name in (*absent, *replaced)]
    if names:
        emit("versions", "to install them", value=f"pip install {' '.join(names)}")
        emit("versions", "without a network", value=WHEELS.format(here, " ".join(names)))


def main(argv: list[str] | None = None) -> None:
    emit("versions", "Python", value=f"{platform.python_version()}, {sys.executable}")
    if sys.version_info < OLDEST:
        emit("versions", "package", error="it needs Python 3.11 or newer; the probe runs")
    fact("package", package)
    fact("host", processor)
    for name in ("torch", "triton", "torchao"):
        if not is_missing(name):
            fact(name, lambda name=name: installed(name))
    on_gpu = cuda_is_available()
    missing_modules(on_gpu)
    if on_gpu:
        fact("driver", driver)
        fact("CUDA", cuda)
        fact("card", card)
    else:
        emit("versions", "card", value="no CUDA device: everything runs on the CPU")


if __name__ == "__main__":
    main()
