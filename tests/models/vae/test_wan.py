"""The streaming Wan VAE against diffusers' AutoencoderKLWan, whole and in chunks."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sana_stream.errors import ConfigError
from sana_stream.models.vae.config import WanVAEConfig
from sana_stream.models.vae.streaming import VAECache
from sana_stream.models.vae.wan import WanVAE

MEAN = [0.1, -0.2, 0.3, 0.0]
STD = [1.5, 0.8, 1.0, 2.0]
COMMON: dict[str, Any] = {"base_dim": 8, "z_dim": 4, "latents_mean": MEAN, "latents_std": STD}
WAN21: dict[str, Any] = COMMON | {"dim_mult": [1, 2, 4, 4], "num_res_blocks": 2}
PATCHED: dict[str, Any] = COMMON | {
    "dim_mult": [1, 2, 4],
    "num_res_blocks": 1,
    "temperal_downsample": [True, True],
    "decoder_base_dim": 16,
    "patch_size": 2,
    "in_channels": 12,
    "out_channels": 12,
}
FORMS = {"wan21": WAN21, "patched": PATCHED}
Pair = tuple[AutoencoderKLWan, WanVAE]


def make_pair(form: dict[str, Any]) -> Pair:
    """Create diffusers' autoencoder with random weights, and ours with the same weights."""
    torch.manual_seed(0)
    oracle = AutoencoderKLWan(**form).eval()
    for name, parameter in oracle.named_parameters():
        if name.endswith("gamma"):
            torch.nn.init.uniform_(parameter, 0.5, 1.5)
    vae = WanVAE(WanVAEConfig.from_dict(json.loads(oracle.to_json_string())))
    vae.load_state_dict(oracle.state_dict(), strict=True)
    return oracle, vae.eval()


@pytest.fixture(scope="module", params=FORMS)
def pair(request: pytest.FixtureRequest) -> Pair:
    return make_pair(FORMS[request.param])


@pytest.fixture(scope="module")
def vae() -> WanVAE:
    return make_pair(PATCHED)[1]


def per_channel(values: list[float]) -> Tensor:
    return torch.tensor(values).view(-1, 1, 1, 1)


def make_latents(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def make_frames(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(2)) * 2 - 1


def error(got: Tensor, wanted: Tensor) -> float:
    assert got.shape == wanted.shape
    return ((got - wanted).norm() / wanted.norm()).item()


@torch.no_grad()
def decode_chunks(vae: WanVAE, latents: Tensor, sizes: list[int]) -> tuple[Tensor, list[VAECache]]:
    cache, decoded, caches = None, [], []
    for chunk in latents.split(sizes, dim=2):
        frames, cache = vae.decode(chunk, cache)
        decoded.append(frames)
        caches.append(cache)
    return torch.cat(decoded, dim=2), caches


@torch.no_grad()
def encode_chunks(vae: WanVAE, frames: Tensor, sizes: list[int]) -> tuple[Tensor, list[VAECache]]:
    cache, encoded, caches = None, [], []
    for chunk in frames.split(sizes, dim=2):
        latents, cache = vae.encode(chunk, cache)
        encoded.append(latents)
        caches.append(cache)
    return torch.cat(encoded, dim=2), caches


@pytest.mark.parametrize("shape", [(1, 4, 4, 2, 4), (2, 4, 3, 3, 5), (1, 4, 1, 1, 3)])
@torch.no_grad()
def test_decode_equals_diffusers(pair: Pair, shape: tuple[int, ...]) -> None:
    oracle, vae = pair
    latents = make_latents(*shape)
    wanted = oracle.decode(latents * per_channel(STD) + per_channel(MEAN), return_dict=False)[0]
    got, _ = vae.decode(latents)
    assert got.shape[2] == 1 + 4 * (shape[2] - 1)
    assert error(got, wanted) < 1e-5


@pytest.mark.parametrize("shape", [(1, 3, 13, 16, 32), (2, 3, 9, 24, 40), (1, 3, 1, 8, 24)])
@torch.no_grad()
def test_encode_equals_diffusers(pair: Pair, shape: tuple[int, ...]) -> None:
    oracle, vae = pair
    frames = make_frames(*shape)
    mode = oracle.encode(frames, return_dict=False)[0].mode()
    got, _ = vae.encode(frames)
    assert error(got, (mode - per_channel(MEAN)) / per_channel(STD)) < 1e-5


@settings(max_examples=15, deadline=None)
@given(sizes=st.lists(st.integers(1, 3), min_size=1, max_size=4), form=st.sampled_from([*FORMS]))
def test_decode_is_independent_of_splits(sizes: list[int], form: str) -> None:
    _, vae = make_pair(FORMS[form])
    latents = make_latents(1, 4, sum(sizes), 2, 3)
    whole, [cache] = decode_chunks(vae, latents, [sum(sizes)])
    chunks, caches = decode_chunks(vae, latents, sizes)
    assert error(chunks, whole) < 1e-5
    for got, wanted in zip(caches[-1].tails, cache.tails, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-5)


@settings(max_examples=15, deadline=None)
@given(sizes=st.lists(st.integers(1, 2), min_size=1, max_size=3), form=st.sampled_from([*FORMS]))
def test_encode_is_independent_of_splits(sizes: list[int], form: str) -> None:
    _, vae = make_pair(FORMS[form])
    counts = [1 + 4 * (sizes[0] - 1), *(4 * size for size in sizes[1:])]
    frames = make_frames(1, 3, sum(counts), 16, 24)
    whole, [cache] = encode_chunks(vae, frames, [sum(counts)])
    chunks, caches = encode_chunks(vae, frames, counts)
    assert error(chunks, whole) < 1e-5
    for got, wanted in zip(caches[-1].tails, cache.tails, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-5)


def test_cache_has_constant_size(pair: Pair) -> None:
    _, vae = pair
    _, caches = decode_chunks(vae, make_latents(1, 4, 6, 2, 3), [1, 1, 3, 1])
    assert len({cache.nbytes for cache in caches}) == 1
    _, caches = encode_chunks(vae, make_frames(1, 3, 17, 16, 24), [1, 4, 8, 4])
    assert len({cache.nbytes for cache in caches}) == 1


def test_cache_nbytes_equals_its_storage(pair: Pair) -> None:
    _, vae = pair
    _, [decoded] = decode_chunks(vae, make_latents(1, 4, 3, 2, 3), [3])
    _, [encoded] = encode_chunks(vae, make_frames(1, 3, 9, 16, 24), [9])
    for cache in (decoded, encoded):
        storages = {tail.untyped_storage().data_ptr(): tail for tail in cache.tails}
        assert sum(tail.untyped_storage().nbytes() for tail in storages.values()) == cache.nbytes


def test_decode_does_not_change_an_older_cache(pair: Pair) -> None:
    _, vae = pair
    latents = make_latents(1, 4, 4, 2, 3)
    frames, [start, _] = decode_chunks(vae, latents, [2, 2])
    before = [tail.clone() for tail in start.tails]
    with torch.no_grad():
        vae.decode(make_latents(1, 4, 3, 2, 3), start)
        again, _ = vae.decode(latents[:, :, 2:], start)
    assert torch.equal(again, frames[:, :, 5:])
    assert all(map(torch.equal, before, start.tails))


def use_channels_last(vae: WanVAE) -> None:
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    for parameter in vae.parameters():
        if parameter.ndim in formats:
            parameter.data = parameter.data.to(memory_format=formats[parameter.ndim])


def test_channels_last_weights_decode_equally() -> None:
    _, vae = make_pair(WAN21)
    latents = make_latents(2, 4, 3, 2, 3)
    wanted, _ = decode_chunks(vae, latents, [2, 1])
    use_channels_last(vae)
    got, _ = decode_chunks(vae, latents, [2, 1])
    assert error(got, wanted) < 1e-5


def test_bfloat16_decoder_with_float32_encoder_is_close(vae: WanVAE) -> None:
    _, half = make_pair(PATCHED)
    half.decoder.bfloat16()
    half.post_quant_conv.bfloat16()
    latents = make_latents(1, 4, 3, 3, 4)
    wanted, _ = decode_chunks(vae, latents, [1, 2])
    got, caches = decode_chunks(half, latents, [1, 2])
    assert got.dtype == torch.float32
    assert {tail.dtype for tail in caches[-1].tails} == {torch.bfloat16}
    assert error(got, wanted) < 0.03
    encoded, _ = encode_chunks(half, wanted, [9])
    assert torch.equal(encoded, encode_chunks(vae, wanted, [9])[0])


def test_decode_inverts_normalisation_of_encode() -> None:
    """Other statistics change latents accordingly, and the frames decoded from them are equal."""
    _, vae = make_pair(PATCHED)
    plain = WanVAE(
        WanVAEConfig.from_dict(PATCHED | {"latents_mean": [0] * 4, "latents_std": [1] * 4})
    )
    plain.load_state_dict(vae.state_dict())
    frames = make_frames(1, 3, 5, 16, 24)
    latents, raw = encode_chunks(vae, frames, [5])[0], encode_chunks(plain, frames, [5])[0]
    torch.testing.assert_close(latents, (raw - per_channel(MEAN)) / per_channel(STD))
    torch.testing.assert_close(vae.decode(latents)[0], plain.decode(raw)[0])


def test_gradients_equal_diffusers(pair: Pair) -> None:
    oracle, vae = pair
    latents = make_latents(1, 4, 2, 2, 3).requires_grad_()
    moments = latents * per_channel(STD) + per_channel(MEAN)
    oracle.zero_grad()
    vae.zero_grad()
    decoded = oracle.decode(moments, return_dict=False)[0]
    (wanted,) = torch.autograd.grad(decoded.square().mean(), latents)
    (got,) = torch.autograd.grad(vae.decode(latents)[0].square().mean(), latents)
    assert error(got, wanted) < 1e-4
    frames = make_frames(2, 3, 5, 16, 24)
    oracle.encode(frames, return_dict=False)[0].mode().square().mean().backward()
    raw = vae.encode(frames)[0] * per_channel(STD) + per_channel(MEAN)
    raw.square().mean().backward()
    expected = dict(oracle.encoder.named_parameters())
    for name, parameter in vae.encoder.named_parameters():
        gradient, reference = parameter.grad, expected[name].grad
        assert gradient is not None
        assert reference is not None
        torch.testing.assert_close(gradient, reference, rtol=1e-3, atol=1e-6)


def test_every_parameter_has_a_gradient_and_cache_has_no_graph() -> None:
    _, vae = make_pair(PATCHED)
    latents, encoder_cache = vae.encode(make_frames(1, 3, 9, 16, 24))
    frames, cache = vae.decode(latents, clamp=False)
    frames.square().mean().backward()
    for name, parameter in vae.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name
    assert not any(tail.requires_grad for tail in (*cache.tails, *encoder_cache.tails))


@torch.no_grad()
def test_decode_clamp_limits_values_only(vae: WanVAE) -> None:
    latents = 20 * make_latents(1, 4, 2, 2, 3)
    free, _ = vae.decode(latents, clamp=False)
    assert free.abs().max() > 1
    assert torch.equal(vae.decode(latents)[0], free.clamp(-1, 1))


@pytest.mark.parametrize("count", [2, 4, 6])
def test_encode_start_with_wrong_frame_count_raises(vae: WanVAE, count: int) -> None:
    with pytest.raises(ConfigError, match=rf"^{count} frames .* start of a stream; give 1, 5, 9"):
        vae.encode(make_frames(1, 3, count, 16, 16))


def test_encode_continuation_with_wrong_frame_count_raises(vae: WanVAE) -> None:
    _, [cache] = encode_chunks(vae, make_frames(1, 3, 1, 16, 16), [1])
    with pytest.raises(ConfigError, match=r"^5 frames .* with a cache; give 4, 8"):
        vae.encode(make_frames(1, 3, 5, 16, 16), cache)


@pytest.mark.parametrize("shape", [(1, 3, 1, 12, 16), (1, 4, 1, 16, 16), (3, 1, 16, 16)])
def test_encode_frames_of_wrong_shape_raises(vae: WanVAE, shape: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match=r"^frames "):
        vae.encode(make_frames(*shape))


@pytest.mark.parametrize("shape", [(1, 3, 1, 2, 2), (1, 4, 0, 2, 2), (4, 1, 2, 2)])
def test_decode_latents_of_wrong_shape_raises(vae: WanVAE, shape: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match=r"^latents "):
        vae.decode(make_latents(*shape))


def test_cache_of_another_stream_raises(vae: WanVAE) -> None:
    _, [cache] = decode_chunks(vae, make_latents(1, 4, 1, 2, 3), [1])
    with pytest.raises(ConfigError, match="cache belongs to a stream"):
        vae.decode(make_latents(1, 4, 1, 3, 2), cache)
    _, [other] = encode_chunks(vae, make_frames(1, 3, 1, 16, 24), [1])
    with pytest.raises(ConfigError, match="cache belongs to a stream"):
        vae.decode(make_latents(1, 4, 1, 2, 3), other)
