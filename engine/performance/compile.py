"""Compilation of the networks with torch.compile; results differ by rounding only."""

from __future__ import annotations

import logging
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor
from torch._dynamo.exc import FailOnRecompileLimitHit, TorchDynamoException

from sana_stream.engine.loading.model import LoadedModel
from sana_stream.errors import ConfigError
from sana_stream.models.memory_policy import Past, StateUpdate
from sana_stream.models.registry import VideoTransformer
from sana_stream.models.rope import RotaryEmbedding
from sana_stream.models.text_kv import TextKV
from sana_stream.models.transformer_block import NextNorm, TransformerBlock

logger = logging.getLogger(__name__)

MAX_UNCOMPILED = 64  # shapes that are remembered


def compile_networks(model: LoadedModel, backend: str = "inductor") -> None:
    """Compile a model's networks when they first run.

    The transformer is compiled layer by layer: all layers share the compiled code of a stream's two
    block shapes, so compiling takes as long as for one layer. Prompts keep their padding, so that
    each length has the same shape. What cannot be compiled runs uncompiled, with one warning. On
    CUDA the decoder is compiled too; on the CPU its convolutions already run in oneDNN.

    Args:
        model: changed in place; running sessions are not disturbed.
        backend: a backend of torch.compile.

    Raises:
        ConfigError: the machine has no compiler that torch can use.
    """
    _check_compiler(model.device, backend)
    uncompiled = Uncompiled()
    for layer in model.transformer.layers:
        # an attribute of the module, found before its class's method
        layer.forward = CompiledBlock(layer, backend, uncompiled)  # type: ignore[method-assign]
    model.transformer_calls = PaddedTransformer(model.transformer)
    if model.device.type == "cuda":
        model.decoder.decoder.compile(backend=backend, dynamic=False)


class PaddedTransformer:
    """The transformer's calls with prompts that keep their padding, so that all have one shape."""

    def __init__(self, model: VideoTransformer) -> None:
        self._model = model

    def prepare_text(self, embeds: Tensor, mask: Tensor) -> TextKV:
        """As `SanaVideoTransformer`'s method."""
        return self._model.prepare_text(embeds, mask, keep_padding=True)

    def denoise(
        self,
        latents: Tensor,
        timestep: Tensor,
        text: TextKV,
        past: Past,
        start: int,
        rotation: Any = None,
    ) -> Tensor:
        """As `SanaVideoTransformer`'s method."""
        return self._model.denoise(latents, timestep, text, past, start, rotation)

    def commit(self, latents: Tensor, text: TextKV, past: Past, start: int) -> StateUpdate:
        """As `SanaVideoTransformer`'s method."""
        return self._model.commit(latents, text, past, start)


class Uncompiled:
    """Shapes that cannot be compiled, of which the first is logged; all layers share it."""

    def __init__(self) -> None:
        self._shapes: set[tuple[torch.Size, ...]] = set()

    def holds(self, shapes: tuple[torch.Size, ...]) -> bool:
        """Whether these shapes run uncompiled; with too many known ones all others do."""
        return shapes in self._shapes or len(self._shapes) >= MAX_UNCOMPILED

    def add(self, shapes: tuple[torch.Size, ...], error: Exception) -> None:
        """Run these shapes uncompiled from here on."""
        if not self._shapes:
            reason = " ".join(str(error).split()[:40])
            if isinstance(error, FailOnRecompileLimitHit):
                reason = "torch has compiled as many sizes as it keeps; start a new process for it"
            logger.warning("blocks of this size run uncompiled, which is slower: %s", reason)
        self._shapes.add(shapes)


class CompiledBlock:
    """The call of a transformer block, compiled; uncompiled where that fails."""

    def __init__(self, block: TransformerBlock, backend: str, uncompiled: Uncompiled) -> None:
        self._plain: Callable[..., Any] = block.forward
        self._compiled = torch.compile(self._plain, backend=backend, fullgraph=True, dynamic=False)
        self._uncompiled = uncompiled

    def __call__(
        self,
        x: Tensor,
        modulation: Tensor,
        rotation: RotaryEmbedding,
        text: tuple[Tensor, Tensor, Tensor | None],
        *rest: Any,
    ) -> Any:
        shapes = x.shape, text[0].shape
        if self._uncompiled.holds(shapes):
            return self._plain(x, modulation, rotation, text, *rest)

        # one form for a timestep of all frames and for one of each
        def each_frame(table: Tensor) -> Tensor:
            return table.expand(-1, x.shape[1], -1, -1).contiguous()

        others = (
            each._replace(table=each_frame(each.table)) if isinstance(each, NextNorm) else each
            for each in rest
        )
        try:
            return self._compiled(x, each_frame(modulation), rotation, text, *others)
        except (FailOnRecompileLimitHit, TorchDynamoException) as error:
            self._uncompiled.add(shapes, error)
            return self._plain(x, modulation, rotation, text, *rest)


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
        if find_spec("triton") is None:
            raise ConfigError("compiling for CUDA needs triton: pip install triton")
    else:
        raise ConfigError(f"compiling for {device.type} is not supported; leave compile out")
