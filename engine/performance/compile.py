"""Compilation of the networks with torch.compile; results differ by rounding only."""

from __future__ import annotations

import torch

from sana_stream.engine.loading.model import LoadedModel
from sana_stream.errors import ConfigError


def compile_networks(model: LoadedModel, backend: str = "inductor") -> None:
    """Compile a model's networks when they first run.

    The transformer is compiled layer by layer: all layers share the compiled code of a stream's two
    block shapes, so compiling takes as long as for one layer. On CUDA the decoder is compiled too;
    on the CPU its convolutions already run in oneDNN.

    Args:
        model: changed in place; running sessions are not disturbed.
        backend: a backend of torch.compile.

    Raises:
        ConfigError: the machine has no compiler that torch can use.
    """
    _check_compiler(model.device, backend)
    for layer in model.transformer.layers:
        layer.compile(backend=backend, fullgraph=True, dynamic=False)
    if model.device.type == "cuda":
        model.decoder.decoder.compile(backend=backend, dynamic=False)


def _check_compiler(device: torch.device, backend: str) -> None:
    if backend != "inductor":
        return
    if device.type == "cpu":
        from torch._inductor.cpp_builder import get_cpp_compiler
        from torch._inductor.exc import InvalidCxxCompiler

        try:
            get_cpp_compiler()
        except InvalidCxxCompiler as error:
            raise ConfigError("compiling needs a C++ compiler: install g++ or clang") from error
    elif device.type == "cuda":
        from torch.utils._triton import has_triton

        if not has_triton():
            raise ConfigError("compiling for CUDA needs triton: pip install triton")
    else:
        raise ConfigError(f"compiling for {device.type} is not supported; leave compile out")
