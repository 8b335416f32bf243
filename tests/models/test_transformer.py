"""The transformer against diffusers' on random weights, and against naive references."""

from __future__ import annotations

import pytest
import torch
from diffusers import SanaVideoTransformer3DModel

from sana_stream.models.config import TransformerConfig
from sana_stream.models.memory_policy import parse_memory_policy
from sana_stream.models.state import StreamState
from sana_stream.models.transformer import SanaVideoTransformer

TOLERANCE = 1e-4  # relative, float32: the effect of another order of summation
HEADS, HEAD_DIM = 3, 14  # 14 - 4*(14//6) = 6 channels for time, 4 each for row and column


def build(**changes: object) -> tuple[SanaVideoTransformer3DModel, SanaVideoTransformer]:
    settings: dict[str, object] = {
        "in_channels": 4,
        "out_channels": 4,
        "num_attention_heads": HEADS,
        "attention_head_dim": HEAD_DIM,
        "num_layers": 2,
        "num_cross_attention_heads": HEADS,
        "cross_attention_head_dim": HEAD_DIM,
        "cross_attention_dim": HEADS * HEAD_DIM,
        "caption_channels": 10,
        "mlp_ratio": 3.0,
    } | changes
    torch.manual_seed(0)
    oracle = SanaVideoTransformer3DModel(**settings).eval()  # type: ignore[arg-type]
    for parameter in oracle.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    ours = SanaVideoTransformer(TransformerConfig.from_dict(dict(oracle.config))).eval()
    ours.load_state_dict(oracle.state_dict())
    return oracle, ours


def inputs(model: SanaVideoTransformer, batch: int, frames: int, height: int, width: int):
    generator = torch.Generator().manual_seed(1)
    config = model.config
    latents = torch.randn(batch, config.in_channels, frames, height, width, generator=generator)
    embeds = torch.randn(batch, 9, config.caption_channels, generator=generator)
    mask = torch.ones(batch, 9, dtype=torch.int64)
    mask[0, 5:] = 0
    return latents, embeds, mask


def empty(
    model: SanaVideoTransformer, latents: torch.Tensor, memory: str = "cumulative"
) -> StreamState:
    grid = model.grid(latents.shape[-2], latents.shape[-1])
    return StreamState.empty(
        model.config, parse_memory_policy(memory), grid, batch=latents.shape[0]
    )


def relative_error(ours: torch.Tensor, reference: torch.Tensor) -> float:
    return float((ours - reference).norm() / reference.norm())


@pytest.mark.parametrize(
    ("batch", "frames", "height", "width"),
    [(1, 1, 4, 6), (1, 5, 6, 4), (2, 3, 2, 10), (1, 11, 8, 6)],
    ids=lambda n: str(n),
)
@torch.no_grad()
def test_denoise_one_block_equals_diffusers(batch: int, frames: int, height: int, width: int):
    oracle, ours = build()
    latents, embeds, mask = inputs(ours, batch, frames, height, width)
    timestep = torch.tensor([960.0, 17.0][:batch])
    expected = oracle(latents, embeds, timestep, encoder_attention_mask=mask).sample
    text = ours.prepare_text(embeds, mask)
    velocity = ours.denoise(latents, timestep, text, empty(ours, latents).past(), 0)
    assert relative_error(velocity, expected) < TOLERANCE


@pytest.mark.parametrize("patch_size", [(1, 1, 1), (1, 2, 2), (1, 1, 2)], ids=str)
@torch.no_grad()
def test_denoise_with_timestep_per_frame_equals_diffusers(patch_size: tuple[int, int, int]):
    oracle, ours = build(patch_size=patch_size)
    latents, embeds, mask = inputs(ours, 1, 3, 4, 6)
    timestep = torch.tensor([[0.0, 889.0, 889.0]])
    tokens = ours.grid(4, 6)[0] * ours.grid(4, 6)[1]
    per_token = timestep.repeat_interleave(tokens, dim=1)  # diffusers takes one per token
    expected = oracle(latents, embeds, per_token, encoder_attention_mask=mask).sample
    past = empty(ours, latents).past()
    velocity = ours.denoise(latents, timestep, ours.prepare_text(embeds, mask), past, 0)
    assert relative_error(velocity, expected) < TOLERANCE


@torch.no_grad()
def test_denoise_batch_equals_streams_at_their_positions():
    _, ours = build()
    latents, embeds, mask = inputs(ours, 2, 3, 4, 4)
    timestep = torch.tensor([727.0, 1000.0])
    starts = torch.tensor([0, 5000])
    text = ours.prepare_text(embeds, mask)
    together = ours.denoise(latents, timestep, text, empty(ours, latents).past(), starts)
    for i, start in enumerate(starts.tolist()):
        one = slice(i, i + 1)
        text = ours.prepare_text(embeds[one], mask[one])
        past = empty(ours, latents[one]).past()
        alone = ours.denoise(latents[one], timestep[one], text, past, start)
        assert relative_error(together[one], alone) < TOLERANCE


@pytest.mark.parametrize(("batch", "frames"), [(1, 3), (2, 1), (2, 4)])
def test_state_of_the_last_layer_equals_that_of_the_whole_layer(batch: int, frames: int):
    """With a timestep for all frames and with one for each."""
    model = build()[1]
    latents, embeds, mask = inputs(model, batch, frames, 4, 6)
    text, layer = model.prepare_text(embeds, mask), model.layers[-1]
    past = empty(model, latents).past()
    with torch.no_grad():
        x = model.embed_patches(latents)
        for times in (torch.zeros(batch, 1), torch.rand(batch, frames)):
            modulation, _ = model.time_embed(times)
            own_text = text.keys[-1], text.values[-1], text.bias
            given = (
                x,
                modulation,
                model.rotation(latents, 3),
                own_text,
                past.layer(1),
                model.grid(4, 6),
            )
            norm = layer.next_norm(modulation)
            _, _, sums, conv_state = layer(*given, [layer.norm(x, norm)], norm)
            own_sums, own_state = layer.state(*given, [layer.norm(x, norm)])
            for own, whole in zip((*own_sums, own_state), (*sums, conv_state), strict=True):
                assert relative_error(own, whole) < TOLERANCE
