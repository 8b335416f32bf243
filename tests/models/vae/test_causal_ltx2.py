"""The causal LTX-2 VAE in pieces of any length against diffusers' whole decode and encode."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sana_stream.errors import ConfigError
from sana_stream.models.vae.causal_ltx2 import CausalLTX2Decoder, CausalLTX2VAE
from sana_stream.models.vae.ltx2_config import CausalLTX2Config, LTX2VAEConfig
from sana_stream.models.vae.registry import build_decoder, read_vae_config
from sana_stream.models.vae.streaming import VAECache

from .ltx2_pairs import CHANNELS, FORMS, LTX_2, causal_pair, denormalized, error, normalized

Call = Any  # a method that takes a piece and a cache


def make_latents(frames: int, height: int = 2, width: int = 3) -> Tensor:
    shape = (1, CHANNELS, frames, height, width)
    return torch.randn(shape, generator=torch.Generator().manual_seed(frames))


def make_frames(vae: CausalLTX2VAE, latent_frames: int) -> Tensor:
    n, side = vae.config.temporal_factor, vae.config.spatial_factor
    shape = (1, 3, 1 + (latent_frames - 1) * n, 2 * side, 3 * side)
    return torch.rand(shape, generator=torch.Generator().manual_seed(latent_frames)) * 2 - 1


@torch.no_grad()
def in_pieces(call: Call, x: Tensor, sizes: list[int]) -> tuple[Tensor, list[VAECache]]:
    cache, made, caches = None, [], []
    for piece in x.split(sizes, dim=2):
        y, cache = call(piece, cache)
        made.append(y)
        caches.append(cache)
    return torch.cat(made, dim=2), caches


def frame_counts(vae: CausalLTX2VAE, sizes: list[int]) -> list[int]:
    """Frames of pieces of a number of latent frames."""
    n = vae.config.temporal_factor
    return [1 + (sizes[0] - 1) * n, *(size * n for size in sizes[1:])]


@settings(max_examples=20, deadline=None)
@given(
    form=st.sampled_from([*FORMS]),
    sizes=st.lists(st.integers(1, 3), min_size=1, max_size=4),
)
@torch.no_grad()
def test_decoding_pieces_equals_the_whole_causal_decode_of_diffusers(form: str, sizes: list[int]):
    oracle, vae = causal_pair(form)
    latents = make_latents(sum(sizes))
    wanted = oracle.decode(denormalized(oracle, latents), return_dict=False)[0]
    got, _ = in_pieces(lambda z, cache: vae.decode(z, cache, clamp=False), latents, sizes)
    assert error(got, wanted) < 1e-5


@pytest.mark.parametrize("form", [*FORMS])
@pytest.mark.parametrize("sizes", [[1] * 6, [2] * 3, [6]], ids=["ones", "twos", "whole"])
@torch.no_grad()
def test_decoding_equal_pieces_equals_diffusers(form: str, sizes: list[int]):
    oracle, vae = causal_pair(form)
    latents = make_latents(6)
    wanted = oracle.decode(denormalized(oracle, latents), return_dict=False)[0]
    got, caches = in_pieces(lambda z, cache: vae.decode(z, cache, clamp=False), latents, sizes)
    assert got.shape[2] == 1 + 5 * vae.config.temporal_factor
    assert error(got, wanted) < 1e-5
    assert len({tuple(tail.shape for tail in cache.tails) for cache in caches}) == 1


@settings(max_examples=10, deadline=None)
@given(
    form=st.sampled_from([*FORMS]),
    sizes=st.lists(st.integers(1, 2), min_size=1, max_size=3),
)
@torch.no_grad()
def test_encoding_pieces_equals_the_whole_encode_of_diffusers(form: str, sizes: list[int]):
    oracle, vae = causal_pair(form)
    frames = make_frames(vae, sum(sizes))
    wanted = normalized(oracle, oracle.encode(frames, return_dict=False)[0].mode())
    got, caches = in_pieces(vae.encode, frames, frame_counts(vae, sizes))
    assert error(got, wanted) < 1e-5
    assert len({tuple(tail.shape for tail in cache.tails) for cache in caches}) == 1


@pytest.mark.parametrize("form", [*FORMS])
def test_older_caches_stay_valid(form: str):
    _, vae = causal_pair(form)
    latents = make_latents(4)
    frames, [start, _] = in_pieces(vae.decode, latents, [2, 2])
    before = [tail.clone() for tail in start.tails]
    with torch.no_grad():
        vae.decode(make_latents(3), start)
        again, _ = vae.decode(latents[:, :, 2:], start)
    assert torch.equal(again, frames[:, :, 1 + vae.config.temporal_factor :])
    assert all(map(torch.equal, before, start.tails))
    held = {tail.untyped_storage().data_ptr(): tail for tail in start.tails}
    assert sum(tail.untyped_storage().nbytes() for tail in held.values()) == start.nbytes


@pytest.mark.parametrize("form", [*FORMS])
def test_cache_depends_on_the_stated_number_of_latent_frames(form: str):
    """No older frame matters, and the count is at most one too many."""
    _, vae = causal_pair(form)
    context = vae.config.decoder_context
    shared = make_latents(context, 2, 2)

    def tails_after(seed: int, frames: int) -> tuple[Tensor, ...]:
        start = torch.randn((1, CHANNELS, 2, 2, 2), generator=torch.Generator().manual_seed(seed))
        _, [_, cache] = in_pieces(
            vae.decode, torch.cat((start, shared[:, :, -frames:]), dim=2), [2, frames]
        )
        return cache.tails

    assert all(map(torch.equal, tails_after(1, context), tails_after(2, context)))
    assert not all(map(torch.equal, tails_after(1, context - 2), tails_after(2, context - 2)))


@torch.no_grad()
def test_decoder_alone_equals_the_vae():
    _, vae = causal_pair("2")
    decoder = build_decoder(vae.config)
    assert type(decoder) is CausalLTX2Decoder
    assert not any(name.startswith("inner.encoder") for name in decoder.state_dict())
    weights = vae.inner.state_dict()
    kept = {n: w for n, w in weights.items() if not n.startswith("encoder.")}
    decoder.inner.load_state_dict(kept, strict=True)
    latents = make_latents(3)
    assert torch.equal(decoder.decode(latents)[0], vae.decode(latents)[0])


@torch.no_grad()
def test_bfloat16_decoder_is_close_and_statistics_stay_exact():
    _, vae = causal_pair("2")
    half = CausalLTX2VAE(vae.config)
    half.inner.load_state_dict(vae.inner.state_dict())
    half.set_dtype(torch.bfloat16)
    latents = make_latents(4)
    wanted, _ = in_pieces(vae.decode, latents, [1, 3])
    got, caches = in_pieces(half.decode, latents, [1, 3])
    assert got.dtype == torch.float32
    assert {tail.dtype for tail in caches[-1].tails} == {torch.bfloat16}
    assert (got - wanted).norm() / wanted.norm() < 0.03
    assert torch.equal(half.inner.latents_std, vae.inner.latents_std)
    frames = make_frames(vae, 2)
    assert torch.equal(half.encode(frames)[0], vae.encode(frames)[0])


@torch.no_grad()
def test_cache_of_the_published_shape_takes_568_mib():
    """Meta tensors at 704x1280 in bfloat16, as the guide states."""
    with torch.device("meta"):
        decoder = build_decoder(CausalLTX2Config.from_dict({})).to(torch.bfloat16)
        _, cache = decoder.decode(torch.empty(1, 128, 1, 22, 40))
    assert len(cache.tails) == 45
    assert round(cache.nbytes / 2**20) == 568


def test_cache_of_another_stream_raises():
    _, vae = causal_pair("2")
    _, [cache] = in_pieces(vae.decode, make_latents(1, 2, 3), [1])
    with pytest.raises(ConfigError, match="cache belongs to a stream"):
        vae.decode(make_latents(1, 3, 2), cache)
    with pytest.raises(ConfigError, match="cache belongs to a stream"):
        vae.encode(make_frames(vae, 2)[:, :, 1:], cache)


def test_grid_without_room_for_reflected_padding_raises():
    _, vae = causal_pair("2")
    with pytest.raises(ConfigError, match="give a size of 64x64 or more"):
        vae.decode(make_latents(1, 1, 3))


def config(**values: object) -> dict[str, Any]:
    return {"_class_name": "AutoencoderKLLTX2Video"} | LTX_2 | values


@pytest.mark.parametrize("name", ["AutoencoderKLLTX2Video", "AutoencoderKLCausalLTX2Video"])
def test_kind_follows_from_decoder_causal(name: str):
    for causal, kind in (
        (True, CausalLTX2Config),
        (None, CausalLTX2Config),
        (False, LTX2VAEConfig),
    ):
        assert type(read_vae_config(config(_class_name=name, decoder_causal=causal))) is kind
    published = {"decoder_upsample_type": None, "gradient_checkpointing": True}
    assert type(read_vae_config(config(**published))) is CausalLTX2Config


def test_upsample_types_of_both_classes_are_read_in_their_own_order():
    form = FORMS["2.3"]
    kinds = form["upsample_type"]
    other = {k: v for k, v in form.items() if k != "upsample_type"}
    wanted = CausalLTX2Config.from_dict(form).layout
    theirs = CausalLTX2Config.from_dict(other | {"decoder_upsample_type": kinds[::-1]})
    assert theirs.layout == wanted
    with pytest.raises(ConfigError, match="contradict"):
        CausalLTX2Config.from_dict(form | {"decoder_upsample_type": kinds})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"timestep_conditioning": True}, "x has timestep_conditioning true; only false works"),
        ({"patch_size_t": 2}, "x has patch_size_t 2; only 1 works"),
        ({"encoder_causal": False}, "x has encoder_causal false; only true works"),
        ({"in_channels": 4}, "x has in_channels 4; only 3 works"),
        (
            {"decoder_inject_noise": [False, True, False, False]},
            r"x has decoder_inject_noise \[false, true, false, false\]; only false works",
        ),
        ({"decoder_spatial_padding_mode": "odd"}, "padding_mode odd; allowed are zeros, reflect"),
        ({"down_block_types": ["Odd"] * 4}, "down_block_types Odd; allowed are LTX2VideoDown"),
        ({"downsample_type": ["conv"] * 4}, "downsample_type conv; allowed are spatial, temporal"),
        ({"upsample_factor": [2, 2]}, "upsample_factor of 2 values; the other keys ask for 3"),
        ({"layers_per_block": [1, 1]}, "layers_per_block of 2 values; the other keys ask for 5"),
        ({"upsample_factor": [2, 2, 4]}, "block_out_channels 16 after 8; upsample_factor 2"),
        ({"block_out_channels": [8, 9, 16, 16]}, "block_out_channels 9 after 8; downsample_type"),
        ({"spatial_compression_ratio": 64}, "spatial_compression_ratio of 64; downsample_type"),
        ({"upsample_type": ["spatial"] * 3}, "upsample_type of 1 frames; downsample_type asks for"),
        ({"colour": 1}, "x has unknown keys colour"),
    ],
)  # fmt: skip
def test_unsupported_settings_are_refused_by_key_and_value(values: dict[str, Any], message: str):
    for causal in (True, False):
        with pytest.raises(ConfigError, match=message) as caught:
            read_vae_config(config(decoder_causal=causal) | values, "x")
        assert "\n" not in str(caught.value)


def lists(values: list[Any], most: int = 3) -> st.SearchStrategy[list[Any]]:
    return st.lists(st.sampled_from(values), min_size=1, max_size=most)


@settings(max_examples=150)
@given(
    values=st.fixed_dictionaries(
        {
            "latent_channels": st.sampled_from([4, 8]),
            "patch_size": st.sampled_from([1, 2]),
            "block_out_channels": lists([4, 8, 12]),
            "layers_per_block": lists([1], 4),
            "downsample_type": lists(["spatial", "temporal", "spatiotemporal"]),
            "decoder_block_out_channels": lists([4, 8, 16]),
            "decoder_layers_per_block": lists([1], 4),
        },
        optional={
            "spatio_temporal_scaling": lists([True, False]),
            "decoder_spatio_temporal_scaling": lists([True, False]),
            "upsample_type": lists(["spatial", "temporal", "spatiotemporal"]),
            "upsample_residual": st.booleans(),
            "upsample_factor": lists([1, 2, 3, 4]),
        },
    ),
    levels=st.integers(1, 3),
)
def test_every_accepted_configuration_decodes_and_encodes(values: dict[str, Any], levels: int):
    """What is not refused has the stated shapes."""
    for key, value in values.items():
        if isinstance(value, list) and levels > 1:  # lists that fit each other more often
            more = key.endswith("layers_per_block")
            values[key] = (value * (levels + 1))[: levels + more]
    try:
        accepted = CausalLTX2Config.from_dict(values)
    except ConfigError:
        return
    n, side = accepted.temporal_factor, accepted.spatial_factor
    with torch.device("meta"), torch.no_grad():
        vae = CausalLTX2VAE(accepted)
        latents, _ = vae.encode(torch.empty(1, 3, 1 + 2 * n, 2 * side, 2 * side))
        assert latents.shape == (1, accepted.z_dim, 3, 2, 2)
        frames, cache = vae.decode(latents)
        assert frames.shape == (1, 3, 1 + 2 * n, 2 * side, 2 * side)
        more_frames, _ = vae.decode(latents, cache)
    assert more_frames.shape[2] == 3 * n
