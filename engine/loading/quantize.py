"""Quantization of weights to 8 or 4 bits: fp8 by the package itself, others with torchao."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from torch import nn

from sana_stream._arguments import shown
from sana_stream.errors import ConfigError
from sana_stream.models.attention import SelfAttention
from sana_stream.models.feedforward import FeedForward
from sana_stream.models.fp8 import Fp8Linear, can_quantize, product_error
from sana_stream.models.kernels.choose import choose_decoder_kernels
from sana_stream.models.text_encoder import silence_torchao
from sana_stream.models.transformer import SanaVideoTransformer

# The compute capability that each kind needs; None runs anywhere. int8 quantizes only the weights,
# which is closest to the model; fp8 and nvfp4 also multiply in that precision, which is fast.
CAPABILITY = {"int8": None, "fp8": (8, 9), "nvfp4": (10, 0)}
_DTYPES = {  # of the weights that can be quantized
    "int8": (torch.bfloat16, torch.float16, torch.float32),
    "fp8": (torch.bfloat16,),
    "nvfp4": (torch.bfloat16, torch.float32),
}
NVFP4_BLOCK = 16  # a weight's sides must be multiples of it
_HARDWARE = {
    "fp8": "an NVIDIA GPU of the Ada or Hopper generation or newer (compute capability 8.9)",
    "nvfp4": "an NVIDIA GPU of the Blackwell generation or newer (compute capability 10.0)",
}


def check_quantization(
    kind: str | None, device: torch.device, dtype: torch.dtype = torch.bfloat16
) -> None:
    """Check that this machine can quantize, before anything is loaded.

    Args:
        kind: "int8", "fp8", "nvfp4" or `None`.
        device: that the network runs on.
        dtype: of the weights that are quantized.

    Raises:
        ConfigError: an unknown kind, the hardware or torch is too old, torchao is missing, or the
            kind does not support the dtype.
    """
    if kind is None:
        return
    if not isinstance(kind, str) or kind not in CAPABILITY:
        raise ConfigError(f"quantization {shown(kind)} is not known; use {', '.join(CAPABILITY)}")
    needed = CAPABILITY[kind]
    if needed is not None:
        able = device.type == "cuda" and torch.cuda.get_device_capability(device) >= needed
        if not able:
            raise ConfigError(f"{kind} needs {_HARDWARE[kind]}; use int8, which runs anywhere")
    if dtype not in _DTYPES[kind]:
        given = str(dtype).removeprefix("torch.")
        raise ConfigError(f'{kind} does not support {given} weights; use dtype="bfloat16", or int8')
    if kind != "fp8":
        _torchao()
    elif reason := product_error(device):
        raise ConfigError(
            f"torch {torch.__version__} has no fp8 product with scales of rows for this GPU "
            f"({reason}); use a newer torch, or int8"
        )


def quantize_network(network: nn.Module, kind: str, full_precision: tuple[str, ...] = ()) -> None:
    """Quantize a network's linear layers in place.

    The 1x1 convolutions of SANA-Video's feed-forward are converted to linear layers first; in fp8
    so is its temporal convolution. On the CPU the products of fp8 are computed in float32.

    Args:
        kind: "int8" (weights only), "fp8" or "nvfp4" (weights, and inputs dynamically).
        full_precision: layers whose name has one of these parts are not quantized, nor, for
            fp8 and nvfp4, those whose sides are not multiples of 16.
    """
    for module in network.modules():
        if isinstance(module, SelfAttention):
            module.separate_projections()
        if isinstance(module, FeedForward):
            module.conv_inverted = _as_linear(module.conv_inverted)
            module.conv_point = _as_linear(module.conv_point)

    def chosen(module: nn.Module, name: str) -> bool:
        if not isinstance(module, nn.Linear) or any(part in name for part in full_precision):
            return False
        return kind != "nvfp4" or not any(side % NVFP4_BLOCK for side in module.weight.shape)

    if kind == "fp8":
        _quantize_fp8(network, full_precision)
    else:
        _torchao().quantize_(network, _config(kind), filter_fn=chosen)


def _quantize_fp8(network: nn.Module, full_precision: tuple[str, ...]) -> None:
    """Replace layers by `Fp8Linear`."""
    for name, module in list(network.named_modules()):
        for own, child in list(module.named_children()):
            full = f"{name}.{own}" if name else own
            if any(part in full for part in full_precision):
                continue
            weight, bias = None, getattr(child, "bias", None)
            if isinstance(child, nn.Linear):
                weight = child.weight
            elif isinstance(module, FeedForward) and own == "conv_temp":
                if isinstance(child, Fp8Linear):
                    continue
                weight = module.temporal_matrix()
            if weight is not None and can_quantize(weight):
                setattr(module, own, Fp8Linear(weight, bias))
    if isinstance(network, SanaVideoTransformer):
        network.set_kernels(network.fused)
        return
    for module in network.modules():
        if isinstance(module, Fp8Linear):
            module.fused = choose_decoder_kernels(module.weight.device, module.dtype)


def _as_linear(conv: nn.Conv2d | nn.Linear | Fp8Linear) -> nn.Linear | Fp8Linear:
    if not isinstance(conv, nn.Conv2d):
        return conv
    outputs, inputs = conv.weight.shape[:2]
    with torch.device("meta"):
        linear = nn.Linear(inputs, outputs, bias=conv.bias is not None)
    linear.weight = nn.Parameter(conv.weight.flatten(1), requires_grad=False)
    linear.bias = conv.bias  # type: ignore[assignment] - None where the convolution has none
    return linear


def _config(kind: str) -> Any:
    torchao = _torchao()
    if kind == "int8":
        return torchao.Int8WeightOnlyConfig()
    formats: Any = import_module("torchao.prototype.mx_formats")
    fused = find_spec("mslk") is not None  # torchao's fused kernel is in that package
    return formats.NVFP4DynamicActivationNVFP4WeightConfig(use_triton_kernel=fused)


def _torchao() -> Any:
    silence_torchao()
    try:
        return import_module("torchao.quantization")
    except ImportError as error:
        raise ConfigError("quantization needs torchao; pip install 'sana-stream[quant]'") from error
