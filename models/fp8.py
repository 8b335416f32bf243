"""fp8 matrix products with a scale for each row of the input and for each output of the weight.

A row is divided by its scale, so that its largest element is the largest number of float8_e4m3fn,
and rounded. CUDA multiplies two fp8 matrices on tensor cores and applies both scales to the
float32 sums. Elsewhere the same products are computed in float32: the values are exact there.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

FP8 = torch.float8_e4m3fn
LARGEST = 448.0  # of FP8
SMALLEST = 1e-12  # a row below it counts as one whose largest element is this
MULTIPLE = 16  # sides of a weight must be multiples of it


class Quantized(NamedTuple):
    """Rows of fp8 values that stand for `values * scale`."""

    values: Tensor  # (..., K), float8_e4m3fn
    scale: Tensor  # (..., 1), float32


Activation = Tensor | Quantized  # the input of a product


def quantize_rows(x: Tensor) -> Quantized:
    """Quantize x (..., K), each row with its own scale."""
    x = x.float()
    largest = x.abs().amax(-1, keepdim=True).clamp_min(SMALLEST)
    return Quantized((x * (LARGEST / largest)).to(FP8), largest / LARGEST)


def dequantize(x: Quantized) -> Tensor:
    """The float32 numbers that quantized rows stand for."""
    return x.values.float() * x.scale


def flatten(x: Activation, start: int, end: int) -> Activation:
    """`Tensor.flatten` of axes before the last one."""
    if isinstance(x, Tensor):
        return x.flatten(start, end)
    return Quantized(x.values.flatten(start, end), x.scale.flatten(start, end))


def chunk(x: Activation, parts: int) -> list[Activation]:
    """`Tensor.chunk` along the first axis."""
    if isinstance(x, Tensor):
        return list(x.chunk(parts))
    return list(map(Quantized, x.values.chunk(parts), x.scale.chunk(parts)))


def shape_of(x: Activation) -> torch.Size:
    """The shape of an activation."""
    return x.shape if isinstance(x, Tensor) else x.values.shape


def scaled_product(
    x: Quantized, weight: Quantized, bias: Tensor | None, dtype: torch.dtype
) -> Tensor:
    """Compute `x @ weight.T + bias` of quantized rows.

    Args:
        x: (..., K).
        weight: (N, K).
        bias: (N,).
        dtype: of the result; bfloat16 on CUDA.

    Returns:
        (..., N).
    """
    # CUDA wants rows of adjacent elements: no copy of what the kernels write
    rows, scale = x.values.flatten(0, -2).contiguous(), x.scale.reshape(-1, 1)
    columns = weight.scale.reshape(1, -1)
    if rows.device.type == "cuda":
        result = torch._scaled_mm(
            rows,
            weight.values.t(),
            scale,
            columns,
            bias=bias,
            out_dtype=dtype,
            use_fast_accum=True,
        )
    else:
        result = rows.float() @ weight.values.float().t() * scale * columns
        if bias is not None:
            result = result + bias
        result = result.to(dtype)
    return result.view(*x.values.shape[:-1], -1)


def product_error(device: torch.device) -> str | None:
    """Why a device cannot compute `scaled_product`; `None` if it can. Runs a small one."""
    try:
        ones = torch.ones(MULTIPLE + 1, MULTIPLE, device=device)  # any number of rows
        rows, weight = quantize_rows(ones), quantize_rows(ones[1:])
        bias = ones[0].to(torch.bfloat16)
        product = scaled_product(rows, weight, bias, torch.bfloat16).cpu()  # waits for it
    except (RuntimeError, AttributeError, TypeError, ValueError) as error:
        return str(error).partition("\n")[0] or type(error).__name__
    return None if (product == MULTIPLE + 1).all() else "it computes wrong products"


class Fp8Linear(nn.Module):
    """A linear layer of fp8 weights, whose input is quantized unless it is already.

    Args:
        weight: (N, K); both must be multiples of 16 on CUDA.
        bias: (N,).
    """

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        values, scale = quantize_rows(weight.detach().contiguous())
        self.fused = False  # whether the fused kernels quantize the input
        self.dtype = weight.dtype  # of results, and of inputs that are not quantized yet
        self.weight = nn.Parameter(values, requires_grad=False)
        self.scale = nn.Parameter(scale, requires_grad=False)
        self.bias = None if bias is None else nn.Parameter(bias.detach(), requires_grad=False)

    @property
    def matrix(self) -> Quantized:
        """The weight (N, K)."""
        return Quantized(self.weight, self.scale)

    def forward(self, x: Activation) -> Tensor:
        """Map x (..., K) to (..., N)."""
        if isinstance(x, Tensor):
            x = self.quantize(x)
        return scaled_product(x, self.matrix, self.bias, self.dtype)

    def quantize(self, x: Tensor) -> Quantized:
        """Quantize an input of this layer."""
        if self.fused:
            return Quantized(*torch.ops.sana_stream.quantize_rows(x))
        return quantize_rows(x)


def can_quantize(weight: Tensor) -> bool:
    """Whether fp8 products take a weight (N, K)."""
    return not any(side % MULTIPLE for side in weight.shape)


def input_dtype(layer: nn.Linear | Fp8Linear) -> torch.dtype:
    """The dtype of inputs that a layer takes."""
    return layer.dtype if isinstance(layer, Fp8Linear) else layer.weight.dtype
