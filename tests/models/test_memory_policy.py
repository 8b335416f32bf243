"""Memory policies and block roll-out against recomputation from all earlier blocks."""

from __future__ import annotations

import pytest
import torch
from einops import rearrange

from sana_stream.errors import ConfigError
from sana_stream.models.attention import AttentionState
from sana_stream.models.memory_policy import BlockMemory, StateUpdate, parse_memory_policy
from sana_stream.models.rope import apply_rotary_emb, shift_in_time
from sana_stream.models.state import StreamState, stream_state_bytes
from sana_stream.models.transformer import OUTPUT_NORM_EPS
from sana_stream.models.transformer_block import modulate

from .test_transformer import TOLERANCE, build, inputs, relative_error

SHAPE = (2, 1, 3, 14)  # layers, batch, heads, head width


def block(index: int, start: int, frames: int) -> StateUpdate:
    generator = torch.Generator().manual_seed(index)
    S = torch.randn(*SHAPE, SHAPE[-1], generator=generator)
    z = torch.rand(SHAPE, generator=generator)
    return StateUpdate(AttentionState(S, z), torch.zeros(2, 1, 4, 42), start, frames)


def stream(count: int, frames: int = 3) -> list[StateUpdate]:
    return [block(i, max(0, i * frames + (i > 0)), frames + (i == 0)) for i in range(count)]


def fill(policy: str, blocks: list[StateUpdate]) -> BlockMemory:
    zeros = AttentionState(torch.zeros(*SHAPE, SHAPE[-1]), torch.zeros(SHAPE))
    memory = BlockMemory.empty(parse_memory_policy(policy), zeros)
    for each in blocks:
        memory = memory.add(each)
    return memory


def total(blocks: list[AttentionState]) -> AttentionState:
    return AttentionState(
        torch.stack([b.S for b in blocks]).sum(0), torch.stack([b.z for b in blocks]).sum(0)
    )


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 9])
def test_window_view_is_sum_of_last_blocks(count: int):
    blocks = stream(count)
    empty = [fill("cumulative", []).view()]
    expected = total(empty + [b.sums for b in blocks[-3:]])
    torch.testing.assert_close(fill("window=3", blocks).view(), expected)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 12])
def test_sink_is_shifted_to_before_the_window(count: int):
    blocks = stream(count)
    sinks, recent = blocks[:2], blocks[2:][-3:]
    sink_frames = sum(b.frames for b in sinks)
    move = recent[0].start - sink_frames if recent else 0
    moved = [AttentionState(shift_in_time(b.sums.S, move), b.sums.z) for b in sinks]
    expected = total(moved + [b.sums for b in recent])
    view = fill("window=3,sink=2", blocks).view()
    torch.testing.assert_close(view, expected, rtol=1e-4, atol=1e-4)


def test_decay_view_weights_blocks_by_age():
    blocks = stream(6)
    expected = total([AttentionState(b.sums.S * 0.6 ** (5 - i), b.sums.z * 0.6 ** (5 - i))
                      for i, b in enumerate(blocks)])  # fmt: skip
    torch.testing.assert_close(fill("decay=0.6", blocks).view(), expected)


@pytest.mark.parametrize("policy", ["cumulative", "window=2", "window=2,sink=1", "decay=0.5"])
def test_memory_has_constant_size_and_is_immutable(policy: str):
    blocks = stream(5)
    memories = [fill(policy, blocks[:i]) for i in range(6)]
    assert len({memory.nbytes for memory in memories}) == 1
    before = [view.clone() for view in memories[3].view()]
    memories[3].add(blocks[3]).add(blocks[4])
    assert all(map(torch.equal, before, memories[3].view()))


@pytest.mark.parametrize("text", ["window=2,sink=1", "window=7", "decay=0.25", "cumulative"])
def test_memory_policy_round_trips_through_text(text: str):
    assert str(parse_memory_policy(text)) == text


@pytest.mark.parametrize(
    "text", ["", "window", "window=0", "window=-1", "decay=0", "decay=1", "decay=1.5", "sink=1"]
)
def test_parse_memory_policy_unknown_raises(text: str):
    with pytest.raises(ConfigError, match="use cumulative, window=W"):
        parse_memory_policy(text)


def test_stream_state_bytes_equals_state_size():
    _, model = build()
    for text in ("cumulative", "window=3,sink=1"):
        policy = parse_memory_policy(text)
        state = StreamState.empty(model.config, policy, (2, 3), torch.bfloat16)
        assert state.nbytes == stream_state_bytes(model.config, policy, (2, 3))
    published = type(model.config)()
    # 152.6 MiB at 480x832: 30x52 tokens a frame, float32 sums, bfloat16 conv states
    assert stream_state_bytes(
        published, parse_memory_policy("cumulative"), (30, 52)
    ) / 2**20 == pytest.approx(152.61, abs=0.01)


@pytest.mark.parametrize("policy", ["cumulative", "window=2"])
@torch.no_grad()
def test_rollout_equals_masked_pass_over_clip(policy: str):
    """The roll-out equals a block-masked pass over the whole clip, which is computed here."""
    _, model = build(num_layers=1)
    latents, embeds, mask = inputs(model, 1, 10, 4, 4)
    text, timestep = model.prepare_text(embeds, mask), torch.tensor([0.0])
    cuts = [(0, 4), (4, 7), (7, 10)]
    state = StreamState.empty(model.config, parse_memory_policy(policy), (2, 2))
    outputs = []
    for low, high in cuts:
        chunk = latents[:, :, low:high]
        outputs.append(model.denoise(chunk, timestep, text, state.past(), low))
        state = state.add(model.commit(chunk, text, state.past(), low))
    expected = masked_pass(model, latents, timestep, text, cuts)
    assert relative_error(torch.cat(outputs, dim=2), expected) < TOLERANCE


def masked_pass(model, latents, timestep, text, cuts):
    """Run one layer over the whole clip, with attention and convolution masked by block."""
    layer = model.layers[0]
    x = rearrange(model.patch_embedding(latents), "b d t h w -> b t (h w) d")
    frames, tokens = x.shape[1:3]
    modulation, embedded = model.time_embed(timestep.reshape(1, 1))
    shift, scale, gate, ff_shift, ff_scale, ff_gate = (
        (layer.scale_shift_table + modulation).unsqueeze(2).unbind(3)
    )
    owner = torch.zeros(frames, dtype=torch.int64)
    for i, (low, high) in enumerate(cuts):
        owner[low:high] = i
    token_owner = owner.repeat_interleave(tokens)
    visible = (token_owner[:, None] >= token_owner[None]).float()  # query sees key

    a = modulate(x, shift, scale, layer.eps).flatten(1, 2)
    q, k, v = layer.attn1.features(a)
    rotation = model.rotation(latents, 0)
    scores = (
        torch.einsum(
            "bnhd,bmhd->bhnm", apply_rotary_emb(q, rotation), apply_rotary_emb(k, rotation)
        )
        * visible
    )
    weights = torch.einsum("bnhd,bmhd->bhnm", q, k) * visible
    out = torch.einsum("bhnm,bmhd->bnhd", scores, v)
    out = out / weights.sum(-1).transpose(1, 2).unsqueeze(-1)
    x = x + gate * layer.attn1.to_out[0](out.flatten(2)).unflatten(1, (frames, -1))
    cross = layer.attn2(x.flatten(1, 2), text.layer(0))
    x = x + cross.unflatten(1, (frames, -1))

    spatial = layer.ff.spatial_conv(modulate(x, ff_shift, ff_scale, layer.eps), 2, 2)
    left, here, right = layer.ff.conv_temp.weight.squeeze(-1).unbind(-1)
    mixed = spatial + spatial @ here.T
    mixed[:, 1:] += spatial[:, :-1] @ left.T
    same_block = (owner[1:] == owner[:-1]).float()[None, :, None, None]
    mixed[:, :-1] += same_block * (spatial[:, 1:] @ right.T)
    x = x + ff_gate * mixed
    shift, scale = (model.scale_shift_table + embedded.unsqueeze(2)).unsqueeze(3).unbind(2)
    x = model.proj_out(modulate(x, shift, scale, OUTPUT_NORM_EPS))
    return model._unpatch(x, latents.shape[-2:])
