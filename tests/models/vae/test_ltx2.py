"""The 720p LTX-2 VAE: equality with diffusers, seams of streamed chunks, and streams."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    AutoencoderKLLTX2Video,
    DPMSolverMultistepScheduler,
    SanaVideoPipeline,
    SanaVideoTransformer3DModel,
)

from sana_stream.engine.engine import Engine
from sana_stream.engine.loading.inspect import estimate_memory, inspect_model
from sana_stream.engine.loading.memory_estimate import decode_bytes
from sana_stream.engine.noise import counter_noise
from sana_stream.errors import ConfigError
from sana_stream.models.vae.ltx2 import LTX2VAE
from sana_stream.models.vae.ltx2_config import OVERLAP, LTX2VAEConfig
from sana_stream.models.vae.ltx2_tiles import decode_tiles
from sana_stream.models.vae.registry import build_vae, read_vae_config

from ...tiny_model import CAPTION_CHANNELS, tiny_text_encoder, tiny_tokenizer
from .ltx2_pairs import CHANNELS, FORMS, LTX_2, denormalized, error, normalized, other_pair

LTX = {"_class_name": "AutoencoderKLLTX2Video"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small random model in the 720p layout."""
    torch.manual_seed(1)
    folder = tmp_path_factory.mktemp("720p")
    vae: Any = AutoencoderKLLTX2Video(
        latent_channels=CHANNELS,
        block_out_channels=(8, 8, 8, 8),
        decoder_block_out_channels=(8, 16, 32),
        layers_per_block=(1, 1, 1, 1, 1),
        decoder_layers_per_block=(1, 1, 1, 1),
        decoder_causal=False,
        spatial_compression_ratio=32,
        temporal_compression_ratio=8,
    )
    vae.latents_mean.normal_()
    vae.latents_std.uniform_(0.5, 2)
    transformer: Any = SanaVideoTransformer3DModel(
        in_channels=CHANNELS,
        out_channels=CHANNELS,
        num_attention_heads=2,
        attention_head_dim=14,
        num_layers=1,
        num_cross_attention_heads=2,
        cross_attention_head_dim=14,
        cross_attention_dim=28,
        caption_channels=CAPTION_CHANNELS,
        mlp_ratio=2.0,
        patch_size=(1, 1, 1),
        sample_size=22,
    )
    scheduler: Any = DPMSolverMultistepScheduler(
        flow_shift=8.0, use_flow_sigmas=True, prediction_type="flow_prediction"
    )
    pipeline: Any = SanaVideoPipeline(
        tiny_tokenizer(), tiny_text_encoder(), vae, transformer, scheduler
    )
    pipeline.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def engine(folder: Path) -> Engine:
    return Engine.load(folder, "cpu", "float32")


def test_720p_checkpoint_is_recognized(engine: Engine):
    preset, config = engine.preset, engine.vae.config
    assert (preset.name, preset.height, preset.width) == ("SANA-Video 2B 720p", 704, 1280)
    assert (config.z_dim, config.temporal_factor, config.spatial_factor) == (CHANNELS, 8, 32)


def test_first_block_equals_diffusers_clip(folder: Path, engine: Engine):
    pipeline: Any = SanaVideoPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    noise = counter_noise(3)(0, 0, engine.latent_shape(3, 64, 96))
    settings: dict[str, Any] = {
        "prompt": "a red boat",
        "negative_prompt": "night",
        "num_inference_steps": 4,
        "guidance_scale": 3.0,
        "height": 64,
        "width": 96,
        "frames": 17,
        "use_resolution_binning": False,
    }
    expected = pipeline(**settings, latents=noise.clone(), output_type="np").frames[0]
    session = engine.session(
        "a red boat",
        seed=3,
        height=64,
        width=96,
        block_frames=2,
        steps=4,
        guidance=3.0,
        negative_prompt="night",
    )
    block = next(session)
    assert block.frames.shape == (17, 64, 96, 3)
    assert abs(block.frames / 255 - expected).max() < 0.01
    later = next(session)
    assert (later.start, later.frames.shape) == (17, (16, 64, 96, 3))


@torch.no_grad()
def test_chunks_differ_from_whole_decode_at_their_ends_only(engine: Engine):
    """Measure the error at a seam for unrelated latents, the worst case.

    Frames before it are those of a clip that ends there, as the decoder has no later context.
    Frames after it are exact.
    """
    latents = torch.randn(1, CHANNELS, 25, 2, 2, generator=torch.Generator().manual_seed(0))
    vae = engine.vae
    whole, _ = vae.decode(latents, clamp=False)
    chunks, cache = [], None
    for chunk in latents.split((13, 12), dim=2):
        frames, cache = vae.decode(chunk, cache, clamp=False)
        chunks.append(frames)
    streamed = torch.cat(chunks, dim=2)
    assert streamed.shape == whole.shape
    error = (streamed - whole).abs().amax(dim=(0, 1, 3, 4)) / whole.abs().amax()
    seam = 1 + 12 * 8  # first frame of the second chunk
    assert error[: seam - 56].max() < 1e-5
    assert error[seam - 8 : seam].max() > 0.1
    assert error[seam:].max() < 1e-3
    assert error[seam + 48 :].max() < 1e-5


@torch.no_grad()
def test_chunk_start_is_close_to_whole_decode_at_published_depth():
    """Measure errors of unrelated latents, relative to the deviation of the frames."""
    torch.manual_seed(1)
    deep = LTX_2 | {"decoder_layers_per_block": (5, 5, 5, 5), "decoder_causal": False}
    vae = LTX2VAE(LTX2VAEConfig.from_dict(deep)).eval()
    latents = torch.randn(1, CHANNELS, 22, 2, 2, generator=torch.Generator().manual_seed(0))
    whole, _ = vae.decode(latents, clamp=False)
    before, cache = vae.decode(latents[:, :, :11], clamp=False)
    after, _ = vae.decode(latents[:, :, 11:], cache, clamp=False)
    error = (torch.cat((before, after), dim=2) - whole).square().mean(dim=(0, 1, 3, 4)).sqrt()
    error, seam = error / whole.std(), 81
    assert error[seam : seam + 8].mean() < 0.08
    assert error[seam + 16 :].max() < 0.04
    assert error[: seam - 48].max() < 0.08


@torch.no_grad()
def test_larger_overlap_reduces_error(engine: Engine, monkeypatch: pytest.MonkeyPatch):
    latents = torch.randn(1, CHANNELS, 16, 2, 2, generator=torch.Generator().manual_seed(0))
    whole, _ = engine.vae.decode(latents, clamp=False)

    def error_after_the_seam(overlap: int) -> float:
        monkeypatch.setattr("sana_stream.models.vae.ltx2.OVERLAP", overlap)
        _, cache = engine.vae.decode(latents[:, :, :8])
        frames, _ = engine.vae.decode(latents[:, :, 8:], cache, clamp=False)
        return float((frames - whole[:, :, -64:]).norm() / whole[:, :, -64:].norm())

    errors = [error_after_the_seam(overlap) for overlap in (1, 2, OVERLAP)]
    assert errors[0] > errors[1] >= errors[2]


@torch.no_grad()
def test_encoding_chunks_equals_encoding_whole(engine: Engine):
    t, y, x = torch.meshgrid(torch.arange(49), torch.arange(64), torch.arange(64), indexing="ij")
    frames = torch.stack([torch.sin(0.1 * t + 0.1 * x + c) for c in range(3)])[None] + 0 * y
    whole, _ = engine.vae.encode(frames)
    first, cache = engine.vae.encode(frames[:, :, :25])
    second, _ = engine.vae.encode(frames[:, :, 25:], cache)
    both = torch.cat((first, second), dim=2)
    assert both.shape == whole.shape == (1, CHANNELS, 7, 2, 2)
    assert error(both, whole) < 1e-5


@pytest.mark.parametrize("form", [*FORMS])
@torch.no_grad()
def test_decode_and_encode_equal_diffusers(form: str):
    """With the latents' statistics and the scaling factor."""
    oracle, vae = other_pair(form)
    latents = torch.randn(2, CHANNELS, 4, 2, 3, generator=torch.Generator().manual_seed(0))
    wanted = oracle.decode(denormalized(oracle, latents), return_dict=False)[0]
    assert error(vae.decode(latents, clamp=False)[0], wanted) < 1e-5
    n, side = vae.config.temporal_factor, vae.config.spatial_factor
    frames = torch.rand(1, 3, 1 + 2 * n, 2 * side, 3 * side) * 2 - 1
    moments = oracle.encode(frames, return_dict=False)[0].mode()
    assert error(vae.encode(frames)[0], normalized(oracle, moments)) < 1e-5


@torch.no_grad()
def test_scaling_factor_divides_latents_and_round_trips():
    plain = dict(LTX_2, decoder_causal=False)
    one, two = (build_vae(read_vae_config(LTX | plain | {"scaling_factor": f})) for f in (1.0, 2.0))
    assert isinstance(one, LTX2VAE)
    assert isinstance(two, LTX2VAE)
    two.load_state_dict(one.state_dict())
    latents = torch.randn(1, CHANNELS, 2, 2, 2, generator=torch.Generator().manual_seed(0))
    assert error(two.decode(2 * latents)[0], one.decode(latents)[0]) < 1e-6
    frames = torch.rand(1, 3, 9, 64, 64)
    assert error(two.encode(frames)[0], 2 * one.encode(frames)[0]) < 1e-6


def test_names_of_weights_are_those_of_diffusers_in_their_order():
    """A checkpoint identifies its model by them."""
    oracle, vae = other_pair("2")
    wanted = [f"vae.inner.{name}" for name, _ in oracle.named_parameters()]
    assert [name for name, _ in vae.named_parameters("vae")] == wanted
    fields = ["z_dim", "temporal_factor", "spatial_factor", "decoder_dim", "settings"]
    assert list(asdict(vae.config)) == fields
    assert json.loads(vae.config.settings)["decoder_causal"] is False


def test_tiles_join_to_the_whole_where_they_agree():
    """Decoding pixel by pixel has no seams, so overlaps must not change anything."""
    latents = torch.randn(1, 3, 1, 18, 45)
    sizes = []

    def enlarge(tile: torch.Tensor) -> torch.Tensor:
        sizes.append(tuple(tile.shape[-2:]))
        return tile.repeat_interleave(32, 3).repeat_interleave(32, 4)

    joined = decode_tiles(enlarge, latents, 32)
    assert error(joined, enlarge(latents)) < 1e-6
    assert sizes[:4] == [(16, 16), (16, 16), (16, 16), (16, 3)]
    assert len(sizes) == 2 * 4 + 1


def test_tiles_fade_linearly():
    latents = torch.zeros(1, 1, 1, 2, 30)
    numbers = iter((0.0, 1.0))

    def decode(tile: torch.Tensor) -> torch.Tensor:
        frames = tile.repeat_interleave(32, 3).repeat_interleave(32, 4)
        return frames + next(numbers)

    row = decode_tiles(decode, latents, 32)[0, 0, 0, 0]
    assert torch.equal(row[:448], torch.zeros(448))
    assert torch.equal(row[512:], torch.ones(448))
    assert torch.allclose(row[448:512], torch.arange(64) / 64)


def test_stream_from_image_gives_blocks(engine: Engine):
    image = (torch.rand(70, 100, 3) * 255).to(torch.uint8).numpy()
    session = engine.session("a", height=64, width=96, block_frames=1, steps=1, image=image)
    assert [next(session).frames.shape[0] for _ in range(2)] == [9, 8]


def test_decode_bytes_scales_with_frame_size(engine: Engine):
    small, _ = decode_bytes(engine.vae.config, torch.float32, (1, CHANNELS, 1, 2, 2))
    large, kept = decode_bytes(engine.vae.config, torch.float32, (1, CHANNELS, 1, 4, 4))
    assert 2 < large / small < 5
    assert kept == CHANNELS * 16 * 4  # one latent frame so far


FREE = "sana_stream.engine.loading.model.free_bytes"
WIDE: dict[str, Any] = {"height": 64, "width": 544, "block_frames": 1, "steps": 1}


def test_stream_begun_in_tiles_stays_so(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Where memory was low at the start: also once it is free, and in another process."""
    engine = Engine.load(folder, "cpu", "float32")
    with monkeypatch.context() as low:
        low.setattr(FREE, lambda device: 1 << 20)
        session = engine.session("a", **WIDE)
    first = next(session).frames
    assert first.shape == (9, 64, 544, 3)
    session.save(tmp_path / "a.ckpt")
    second = next(session).frames
    assert np.array_equal(next(engine.resume(tmp_path / "a.ckpt")).frames, second)
    other = engine.session("a", **WIDE)
    assert not np.array_equal(next(other).frames, first)
    changed = Engine.load(folder, "cpu", "bfloat16").resume(tmp_path / "a.ckpt")
    assert changed.snapshot().decode_tiles is None  # chosen anew by its memory


def test_block_without_memory_is_decoded_in_tiles(folder: Path, monkeypatch: pytest.MonkeyPatch):
    """And not by fewer frames, which would show seams."""
    engine = Engine.load(folder, "cpu", "float32")
    with monkeypatch.context() as low:
        low.setattr(FREE, lambda device: 1 << 20)
        tiled = engine.session("a", **WIDE)
    session = engine.session("a", **WIDE)

    decode = LTX2VAE.decode

    def decode_tiles_only(vae: LTX2VAE, *given: Any, tiles: bool = False) -> Any:
        if not tiles:
            raise torch.OutOfMemoryError("no memory")
        return decode(vae, *given, tiles=tiles)

    with monkeypatch.context() as full:
        full.setattr(LTX2VAE, "decode", decode_tiles_only)
        given = next(session).frames
    assert np.array_equal(given, next(tiled).frames)
    assert np.array_equal(next(session).frames, next(tiled).frames)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"_class_name": "AutoencoderKL"},
            "of the class AutoencoderKL; AutoencoderKLWan, AutoencoderKLLTX2Video and A",
        ),
        ({"_class_name": "AutoencoderDC"}, r"AutoencoderDC: diffusers .* video \(DC-AE-V\)"),
        (
            {"_class_name": "AutoencoderKLLTX2Video", "timestep_conditioning": True},
            "timestep_conditioning true",
        ),
        ({"_class_name": "AutoencoderKLLTX2Video", "patch_size_t": 2}, "patch_size_t 2"),
    ],
    ids=["other", "deep", "conditioned", "patched"],
)
def test_read_vae_config_of_unsupported_class_raises(values: dict[str, Any], message: str):
    with pytest.raises(ConfigError, match=message):
        read_vae_config(values)


def test_model_loads_without_diffusers_and_prints_nothing(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
):
    """The published configuration has keys that diffusers does not know and reports."""
    published = tmp_path / "published"
    shutil.copytree(folder, published)
    path = published / "vae/config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"decoder_upsample_type": None}))
    monkeypatch.setitem(sys.modules, "diffusers", None)
    info = inspect_model(published)
    assert info.problems == ()
    assert estimate_memory(info, "cpu", "float32", 64, 96) is not None
    engine = Engine.load(info, "cpu", "float32")
    next(engine.session("a", height=64, width=96, block_frames=1, steps=1))
    assert capfd.readouterr() == ("", "")
