"""Probe of the Wan decoder's convolutions at 832x480: levels, pieces and ways to compute them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from measuring.records import emit_error
from measuring.timing import Bench, Work

LAST, LAST_3D = torch.channels_last, torch.channels_last_3d


@dataclass(frozen=True, slots=True)
class Level:
    """The convolutions of a level; `frames` of a latent frame."""

    inputs: int
    outputs: int
    frames: int
    height: int
    width: int

    def small(self) -> Level:
        """A level that any machine can compute."""
        side = self.height // 32, self.width // 32
        return Level(-(-self.inputs // 16), -(-self.outputs // 16), self.frames, *side)


LEVELS = (
    Level(96, 96, 4, 480, 832),
    Level(192, 192, 4, 240, 416),
    Level(384, 384, 2, 120, 208),
    Level(384, 384, 1, 60, 104),
    Level(96, 3, 4, 480, 832),
)
PIECES = (1, 2, 5)  # latent frames decoded at a time


def probe_convolutions(bench: Bench) -> None:
    """Measure every form of every level, the pieces of one latent frame first."""
    for piece in PIECES[:1] if bench.small else PIECES:
        for level in LEVELS:
            _level(bench, level.small() if bench.small else level, piece)
            if bench.gpu:
                torch.cuda.empty_cache()


def _level(bench: Bench, level: Level, piece: int) -> None:
    frames = piece * level.frames
    size = f"{level.inputs} -> {level.outputs}, {frames} x {level.height} x {level.width}"
    flop = 2 * 27 * level.inputs * level.outputs * frames * level.height * level.width
    try:
        for form, work in _forms(bench, level, frames):
            bench.row("convolutions", f"{size}, {form}", work, flop)
        if piece == 1:
            x = _input(bench, level, frames)
            name = f"{size}, RMSNorm and SiLU, eager"
            bench.row("convolutions", name, lambda: _norm(x), moved=2 * 2 * x.numel())
    except RuntimeError as error:  # no memory for the tensors of a form
        emit_error("convolutions", size, error)


def _forms(bench: Bench, level: Level, frames: int) -> Iterator[tuple[str, Work]]:
    """Ways to compute a 3x3x3 convolution; the tensors of one are freed before the next."""
    inputs, outputs = level.inputs, level.outputs
    x, bias = _input(bench, level, frames), bench.tensor(outputs)
    weight = bench.tensor(outputs, inputs, 3, 3, 3).contiguous(memory_format=LAST_3D)

    def conv(x: Tensor, bias: Tensor | None = None) -> Tensor:
        return F.conv3d(x, weight, bias, padding=(0, 1, 1))

    yield "conv3d", lambda: conv(x)
    yield "conv3d, bias", lambda: conv(x, bias)
    yield "conv3d, channels-first input", partial(conv, x.contiguous())
    planes = [w.contiguous(memory_format=LAST) for w in weight.unbind(2)]
    stack = x[0].transpose(0, 1)  # (T, C, H, W), channels last

    def three() -> Tensor:
        before, here, after = (
            F.conv2d(stack[i : i + frames], planes[i], padding=1) for i in range(3)
        )
        return before + here + after

    yield "three conv2d, added", three
    shape = frames, 3 * inputs, level.height, level.width
    wide = bench.tensor(*shape).contiguous(memory_format=LAST)
    flat = bench.tensor(outputs, 3 * inputs, 3, 3).contiguous(memory_format=LAST)

    def side_by_side() -> Tensor:
        return F.conv2d(wide, flat, padding=1)

    yield "conv2d, three frames in the channels", side_by_side
    if frames == level.frames:  # cuDNN takes seconds to choose
        yield "conv3d, cudnn.benchmark", _timed_by_cudnn(lambda: conv(x))
        yield "conv2d, three frames, cudnn.benchmark", _timed_by_cudnn(side_by_side)


def _input(bench: Bench, level: Level, frames: int) -> Tensor:
    shape = 1, level.inputs, frames + 2, level.height, level.width
    return bench.tensor(*shape).contiguous(memory_format=LAST_3D)


def _timed_by_cudnn(work: Work) -> Work:
    """The work with cuDNN's fastest kernel, which it finds by a stopwatch in the first call."""

    def timed() -> Tensor:
        torch.backends.cudnn.benchmark = True
        try:
            return work()
        finally:
            torch.backends.cudnn.benchmark = False

    return timed


def _norm(x: Tensor) -> Tensor:
    exact = x.float()
    scale = exact.square().mean(1, keepdim=True).clamp_min(1e-24).rsqrt()
    return F.silu((exact * scale).to(x.dtype))
