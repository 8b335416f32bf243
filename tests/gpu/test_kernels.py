"""The fused kernels in sessions on a fake CUDA device: where they run, and the bytes they save."""

from __future__ import annotations

from collections import Counter
from importlib.util import find_spec
from math import prod

import pytest

from fake_gpu.cost import Cost, total
from fake_gpu.sessions import BlockTrace, published, trace_session
from sana_stream.models.kernels.choose import VARIABLE

from .test_layouts import LARGE, is_channels_last

LAYERS = 1
KERNELS = ("linear_attention", "gated_depthwise", "gated_sum", "sum_norm", "temporal_conv")
pytestmark = pytest.mark.skipif(
    find_spec("triton") is None, reason="triton is missing: pip install triton"
)


def transformer_calls(
    monkeypatch: pytest.MonkeyPatch, kernels: str
) -> tuple[Counter[str], Cost, Cost]:
    """Trace a block of the 2B model; return its operations, their cost, that of denoising alone."""
    monkeypatch.setenv(VARIABLE, kernels)
    trace = trace_session(published("2b-480p", LAYERS), blocks=2, decode_frames=1)
    block: BlockTrace = trace.steady
    operations = [o for o in block.of("commit", "denoise") if "cuda" in o.devices and not o.view]
    assert not [o for o in operations if len(o.devices) > 1 and o.name not in ("copy_", "_to_copy")]
    denoise = total(list(block.of("denoise")))
    return Counter(o.name for o in operations), total(operations), denoise


def test_kernels_replace_most_passes_over_memory(monkeypatch: pytest.MonkeyPatch):
    plain, plain_cost, plain_denoise = transformer_calls(monkeypatch, "off")
    fused, fused_cost, fused_denoise = transformer_calls(monkeypatch, "on")
    assert not [name for name in KERNELS if name in plain]
    # four calls of the layer, whose last gated sum also writes the norm that follows, the frames
    # mixed in two parts; and a commit, of whose last layer neither the second half nor other frames
    # than the last are needed
    assert [fused[name] for name in KERNELS] == [5, 9, 5, 9, 4]
    assert fused_cost.bytes < 0.4 * plain_cost.bytes
    assert fused.total() < 0.65 * plain.total()
    # what is inside of a kernel is counted too; the products with a frame of zeros are left out
    zeros = 4 * LAYERS * 2 * 1560 * 2240**2  # tokens of a frame, width
    assert fused_denoise.flop == plain_denoise.flop - zeros


def decoder_calls(monkeypatch: pytest.MonkeyPatch, kernels: str, name: str) -> BlockTrace:
    """Trace a block that is decoded in pieces of two latent frames."""
    monkeypatch.setenv(VARIABLE, kernels)
    return trace_session(published(name, LAYERS), blocks=1, decode_frames=2).steady


@pytest.mark.parametrize(("name", "share"), [("2b-480p", 0.5), ("2b-720p", 0.75)])
def test_kernels_replace_most_passes_of_a_decoder(
    name: str, share: float, monkeypatch: pytest.MonkeyPatch
):
    plain, fused = (decoder_calls(monkeypatch, kernels, name) for kernels in ("off", "on"))
    names = Counter(o.name for o in fused.of("decode"))
    assert names["norm_silu"] > 0
    assert not [o for o in plain.of("decode") if o.name in ("norm_silu", "bias_sum")]
    plain_bytes, fused_bytes = (
        sum(o.read + o.written for o in block.of("decode") if "cuda" in o.devices)
        for block in (plain, fused)
    )
    assert fused_bytes < share * plain_bytes
    assert fused.record.peak <= plain.record.peak
    large = [o for o in fused.of("decode") if o.name == "convolution"]
    forms = [o.inputs[0] for o in large if prod(o.inputs[0].shape) >= LARGE]
    assert forms
    assert all(map(is_channels_last, forms))
