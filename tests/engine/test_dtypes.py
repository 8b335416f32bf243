"""The dtypes a model runs in, and devices that have no float64."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from sana_stream.engine.engine import Engine
from sana_stream.engine.sampling.samplers import SAMPLERS, solve
from sana_stream.engine.sampling.schedule import flow_timesteps
from sana_stream.models.attention import AttentionState
from sana_stream.models.config import TransformerConfig
from sana_stream.models.memory_policy import Past
from sana_stream.models.rope import shift_in_time
from sana_stream.models.text_kv import TextKV
from sana_stream.models.transformer import SanaVideoTransformer
from sana_stream.models.vae.config import WanVAEConfig
from sana_stream.models.vae.wan import WanVAE


@pytest.mark.parametrize(("dtype", "error"), [("float16", 5e-3), ("bfloat16", 4e-2)])
def test_dtypes_give_nearly_the_same_block(
    tiny_folder: Path, tiny_engine: Engine, dtype: str, error: float
):
    expected = next(tiny_engine.session("a red boat")).latents
    engine = Engine.load(tiny_folder, "cpu", dtype)
    latents = next(engine.session("a red boat")).latents
    assert 1e-6 < (latents - expected).norm() / expected.norm() < error


def test_text_encoder_never_runs_in_float16(tiny_folder: Path):
    assert Engine.load(tiny_folder, "cpu", "float16").text_encoder.dtype == torch.float32
    assert Engine.load(tiny_folder, "cpu", "bfloat16").text_encoder.dtype == torch.bfloat16


class NoFloat64(TorchDispatchMode):
    """Simulates a device without float64 (Apple's MPS) by the meta device."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor) and leaf.device.type == "meta":
                assert leaf.dtype != torch.float64, f"{func} made float64"
        return result


@torch.no_grad()
def test_no_float64_is_moved_to_the_device(tiny_engine: Engine):
    config = tiny_engine.transformer.config
    assert isinstance(config, TransformerConfig)
    with torch.device("meta"):
        model = SanaVideoTransformer(config)
        vae = WanVAE(WanVAEConfig((0.0,) * 4, (1.0,) * 4, base_dim=4, z_dim=4, num_res_blocks=1))
        sums = AttentionState(torch.empty(2, 1, 2, 14, 14), torch.empty(2, 1, 2, 14))
        past = Past(sums, torch.empty(2, 1, 6, 28))
        keys = (torch.empty(1, 2, 12, 14),) * 2
        text = TextKV(keys, keys, torch.empty(1, 1, 1, 12))
        noise = torch.empty(1, 4, 3, 4, 6)

    def velocity(latents: Tensor, timestep: float) -> Tensor:
        times = torch.full((1,), timestep, device="meta")
        return model.denoise(latents, times, text, past, 10**7)

    with NoFloat64():
        for solver, sample in SAMPLERS.items():
            solve(sample(lambda step: noise, flow_timesteps(solver, 2, 8.0)), velocity)
        model.commit(noise, text, past, 10**7)
        shift_in_time(sums.S, 12345)
        pictures, _ = vae.decode(noise)
        vae.encode(pictures)
