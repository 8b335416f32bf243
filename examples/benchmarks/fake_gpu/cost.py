"""A cost model of one GPU: counted bytes and operations at assumed rates.

The rates are of an H100, most of them from published measurements of similar kernels; none was
measured with this program.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch

from .trace import Operation, TensorForm

TERA = 1e12
LAUNCH = 2.5e-6  # seconds, the least that a kernel takes
PASS = 2.8 * TERA  # bytes a second of an elementwise pass, read and written
MIXED_PASS = 0.8 * TERA  # of one that reads one layout and writes another
BIAS_PASS = 1.4 * TERA  # of cuDNN's convolutions: a kernel of its own, not vectorised
DEPTHWISE_PASS = 0.6 * PASS
UPSAMPLING_PASS = 0.33 * TERA  # nearest, channels-last
PRODUCT = 680 * TERA  # operations a second in bfloat16
FP8_PRODUCT = 1100 * TERA  # with scales of rows
FLOAT32_PRODUCT = 45 * TERA  # without tensor cores
MULTIPROCESSORS, TILE = 132, 128  # float32 products of fewer tiles leave some without work
ATTENTION = 250 * TERA
CONVOLUTION = {96: 330 * TERA, 192: 480 * TERA, 384: 600 * TERA}  # by output channels
WIDE_CONVOLUTION = 600 * TERA
NARROW_CONVOLUTION = 30 * TERA  # 3 or 16 output channels, and float32

PRODUCTS = ("mm", "bmm", "addmm", "baddbmm", "_scaled_mm")
FREE = ("empty", "empty_like", "empty_strided", "new_empty", "detach", "alias", "lift_fresh")
MIXING = ("add", "mul", "clone", "_to_copy", "copy_", "native_layer_norm")
LARGE = 1_000_000  # elements


@dataclass(frozen=True)
class Cost:
    """Cost of operations: bytes and operations are counted, seconds assumed."""

    launches: int = 0
    bytes: int = 0
    flop: int = 0
    seconds: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.launches + other.launches,
            self.bytes + other.bytes,
            self.flop + other.flop,
            self.seconds + other.seconds,
        )


def cost_of(operation: Operation) -> Cost:
    """The cost of one operation; nothing for views and for what the device does not compute."""
    on_device = "cuda" in operation.devices and operation.outputs
    if not on_device or operation.view or operation.name in FREE:
        return Cost()
    size = operation.read + operation.written
    flop, seconds = 0, size / PASS
    if operation.name in PRODUCTS:
        flop, seconds = _product(operation)
    elif operation.name in KERNELS:
        flop = KERNELS[operation.name](operation)
        seconds = max(seconds, flop / PRODUCT)
    elif operation.name == "convolution":
        flop, seconds, size = _convolution(operation)
    elif operation.name == "scaled_dot_product_attention":
        query, key = operation.inputs[:2]
        flop = 4 * math.prod(query.shape) * key.shape[2]
        seconds = max(seconds, flop / ATTENTION)
    elif operation.name.startswith(("upsample_nearest", "_upsample_nearest")):
        seconds = size / UPSAMPLING_PASS
    elif operation.name in MIXING and _mixes_layouts(operation):
        seconds = size / MIXED_PASS
    return Cost(1, size, flop, max(seconds, LAUNCH))


def total(operations: Iterable[Operation]) -> Cost:
    """The cost of operations one after the other."""
    return sum(map(cost_of, operations), Cost())


def _product(operation: Operation) -> tuple[int, float]:
    scaled = operation.name == "_scaled_mm"  # its first inputs are the matrices
    a, b = operation.inputs[:2] if scaled else operation.inputs[-2:]
    columns = b.shape[-1]
    flop = 2 * math.prod(a.shape) * columns
    rate = FP8_PRODUCT if scaled else PRODUCT
    if a.dtype == torch.float32:
        rate = FLOAT32_PRODUCT
        if len(a.shape) == 3 and columns > 1:
            tiles = a.shape[0] * math.ceil(a.shape[-2] / TILE) * math.ceil(columns / TILE)
            rate *= min(1, tiles / MULTIPROCESSORS)
        elif columns == 1:
            rate = math.inf  # its bytes decide
    return flop, max((operation.read + operation.written) / PASS, flop / rate)


def _temporal_conv(operation: Operation) -> int:
    batch, frames, tokens, width = operation.inputs[0].shape
    return 2 * batch * (3 * frames - 1) * tokens * width**2  # the frame after the last is zero


def _linear_attention(operation: Operation) -> int:
    """Of the products with the sums S and z; those of norms and rotation are not counted."""
    batch, tokens, width = operation.inputs[0].shape
    head_dim = operation.inputs[-2].shape[-1]  # of the earlier blocks' S
    return 2 * batch * tokens * width * (2 * head_dim + 1)


def _gated_depthwise(operation: Operation) -> int:
    """Of the convolution alone: nine products a channel. Their bytes take longer."""
    return 2 * 9 * math.prod(operation.inputs[0].shape)


# products inside of fused kernels
KERNELS = {
    "temporal_conv": _temporal_conv,
    "linear_attention": _linear_attention,
    "gated_depthwise": _gated_depthwise,
}


def _convolution(operation: Operation) -> tuple[int, float, int]:
    weight, bias = operation.inputs[1], operation.inputs[2:]
    channels = weight.shape[0]
    size = operation.read + operation.written
    flop = 2 * math.prod(operation.outputs[0].shape) * math.prod(weight.shape[1:])
    if len(weight.shape) == 4 and weight.shape[1] == 1:
        seconds = size / DEPTHWISE_PASS
    else:
        rate = CONVOLUTION.get(channels, WIDE_CONVOLUTION)
        if weight.dtype == torch.float32 or channels <= 16:
            rate = NARROW_CONVOLUTION
        seconds = max(size / PASS, flop / rate)
    if bias:
        seconds += 2 * operation.written / BIAS_PASS
        size += 2 * operation.written
    return flop, seconds, size


def _mixes_layouts(operation: Operation) -> bool:
    out = operation.outputs[0]
    large = [form for form in (*operation.inputs, out) if _elements(form) == _elements(out) > LARGE]
    return len({_densest_axis(form) for form in large}) > 1


def _elements(form: TensorForm) -> int:
    return math.prod(form.shape)


def _densest_axis(form: TensorForm) -> int:
    """The place of the densest axis, counted from the last, of axes with more than one element."""
    axes = [n for n, size in enumerate(form.shape) if size > 1]
    return min(axes, key=lambda n: form.stride[n]) - len(form.shape)
