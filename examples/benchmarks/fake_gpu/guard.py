"""The device guard that a CPU build of torch lacks for tensors on a fake CUDA device."""

from __future__ import annotations

import ctypes
import functools
import shutil
import subprocess
import tempfile
from pathlib import Path

import torch

SOURCE = """
#include <c10/core/impl/DeviceGuardImplInterface.h>
using c10::DeviceType;
static c10::impl::DeviceGuardImplRegistrar registrar(
    DeviceType::CUDA, new c10::impl::NoOpDeviceGuardImpl<DeviceType::CUDA>());
"""
COMPILER = "g++"


def missing() -> str | None:
    """Why there can be no guard on this machine; `None` if there can be one."""
    if torch.version.cuda is None and shutil.which(COMPILER) is None:
        return f"the fake CUDA device needs {COMPILER}, to compile a device guard"
    return None


@functools.cache
def load_guard() -> None:
    """Compile the guard and load it into this process, where it stays.

    Without one torch cannot slice a fake CUDA tensor. A CUDA build of torch has its own.

    Raises:
        RuntimeError: the compiler fails.
    """
    if torch.version.cuda is not None:
        torch._C._ensureCUDADeviceGuardSet()
        return
    root = Path(torch.__file__).parent
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder, "guard.cpp"), Path(folder, "guard.so")
        source.write_text(SOURCE, encoding="utf-8")
        flags = ["-shared", "-fPIC", "-std=c++17", f"-I{root / 'include'}", f"-L{root / 'lib'}"]
        command = [COMPILER, *flags, str(source), "-o", str(library), "-lc10"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{COMPILER} cannot compile the device guard:\n{done.stderr}")
        ctypes.CDLL(str(library))
