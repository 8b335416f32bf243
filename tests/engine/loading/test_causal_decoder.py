"""The causal LTX-2 decoder in a 720p stream: no seams, checkpoints made with it, refusals."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    AutoencoderKLLTX2Video,
    FlowMatchEulerDiscreteScheduler,
    SanaVideoPipeline,
    SanaVideoTransformer3DModel,
)

from sana_stream.engine.engine import Engine
from sana_stream.engine.loading.decoder import check_decoder, locate_decoder
from sana_stream.engine.loading.inspect import estimate_memory, inspect_model
from sana_stream.engine.loading.locate import HubModel
from sana_stream.engine.performance.cuda_graphs import capture_graphs
from sana_stream.engine.performance.random_model import CAUSAL_LTX_2, LTX_2, WAN_2_1
from sana_stream.engine.sampling.decode import to_pixels
from sana_stream.engine.snapshot import snapshot as snapshots
from sana_stream.errors import CheckpointError, ConfigError, SnapshotError
from sana_stream.models.vae.causal_ltx2 import CausalLTX2Decoder, CausalLTX2VAE
from sana_stream.models.vae.ltx2 import LTX2VAE

from ... import held_run
from ...command import environment, run, spawn
from ...interruptions import wait_for_checkpoint
from ...tiny_model import CAPTION_CHANNELS, tiny_text_encoder, tiny_tokenizer
from ..fake_graph_capture import TapeRecorder
from ..session.test_session import same, take

CHANNELS = 128
SIZES: dict[str, Any] = {
    "latent_channels": CHANNELS,
    "block_out_channels": (16, 16, 16, 16),
    "decoder_block_out_channels": (8, 16, 32),
    "layers_per_block": (1, 1, 1, 1, 1),
    "decoder_layers_per_block": (1, 1, 1, 1),
    "spatial_compression_ratio": 32,
    "temporal_compression_ratio": 8,
    "scaling_factor": 1.5,
}
PRESET = {"name": "small 720p", "height": 64, "width": 96, "block_frames": 2,
          "max_text_tokens": 12}  # fmt: skip


def ltx2(seed: int, causal: bool) -> Any:
    torch.manual_seed(seed)
    vae: Any = AutoencoderKLLTX2Video(**SIZES, decoder_causal=causal).eval()
    statistics = torch.Generator().manual_seed(7)  # the same in all
    vae.latents_mean.normal_(generator=statistics)
    vae.latents_std.uniform_(0.5, 2, generator=statistics)
    return vae


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model in the 720p layout, and two causal VAEs of its latents."""
    place = tmp_path_factory.mktemp("720p")
    torch.manual_seed(0)
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
    )
    scheduler: Any = FlowMatchEulerDiscreteScheduler(shift=8.0)
    pipeline: Any = SanaVideoPipeline(
        tiny_tokenizer(), tiny_text_encoder(), ltx2(1, False), transformer, scheduler
    )
    pipeline.save_pretrained(place / "model")
    (place / "model/stream.json").write_text(json.dumps(PRESET))
    for name, seed in (("causal", 2), ("other", 3)):
        ltx2(seed, True).save_pretrained(place / name)
        config = place / name / "config.json"
        published = json.loads(config.read_text())
        published["_class_name"] = "AutoencoderKLCausalLTX2Video"
        config.write_text(json.dumps(published | {"decoder_upsample_type": None}))
    return place


def load(place: Path, decoder: str | None = None) -> Engine:
    return Engine.load(place / "model", "cpu", "float32", decoder=decoder)


@pytest.fixture(scope="module")
def causal(place: Path) -> Engine:
    return load(place, f"causal={place / 'causal'}")


@pytest.fixture(scope="module")
def own(place: Path) -> Engine:
    return load(place)


@torch.no_grad()
def whole_decode(latents: torch.Tensor) -> np.ndarray:
    """Pixels of diffusers' whole causal decode."""
    vae = ltx2(2, True)
    mean, std = (v.view(-1, 1, 1, 1) for v in (vae.latents_mean, vae.latents_std))
    frames = vae.decode(latents * std / vae.config.scaling_factor + mean, return_dict=False)[0]
    return to_pixels(frames).numpy().astype(int)


def test_stream_has_no_seams(causal: Engine, own: Engine):
    assert isinstance(causal.vae, LTX2VAE)
    assert type(causal.decoder) is CausalLTX2Decoder
    blocks, before = (take(engine.session("a red boat"), 4) for engine in (causal, own))
    assert all(torch.equal(a.latents, b.latents) for a, b in zip(blocks, before, strict=True))
    shown = np.concatenate([block.frames for block in blocks])
    wanted = whole_decode(torch.cat([block.latents for block in blocks], dim=2))
    assert shown.shape == (65, 64, 96, 3)
    assert np.abs(shown - wanted).max() <= 1
    assert np.ptp(wanted) > 100


def test_model_with_a_causal_vae_has_no_seams(place: Path, tmp_path: Path):
    folder = tmp_path / "model"
    shutil.copytree(place / "model", folder)
    shutil.rmtree(folder / "vae")
    shutil.copytree(place / "causal", folder / "vae")
    engine = Engine.load(folder, "cpu", "float32")
    assert type(engine.decoder) is CausalLTX2VAE
    assert engine.decoder is engine.vae
    image = (torch.rand(64, 96, 3) * 255).to(torch.uint8).numpy()
    blocks = take(engine.session("a red boat", image=image), 3)
    shown = np.concatenate([block.frames for block in blocks])
    wanted = whole_decode(torch.cat([block.latents for block in blocks], dim=2))
    assert np.abs(shown - wanted).max() <= 1


@pytest.mark.parametrize("limit", [snapshots.CACHE_LIMIT, 0], ids=["with cache", "without cache"])
def test_checkpoint_resumes_bit_for_bit(
    causal: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int
):
    """Without the cache, which is left out at the published size, recent latents rebuild it."""
    monkeypatch.setattr(snapshots, "CACHE_LIMIT", limit)
    session = causal.session("a red boat")
    take(session, 12)
    session.save(tmp_path / "boat.ckpt")
    straight = take(session, 2)
    resumed = causal.resume(tmp_path / "boat.ckpt")
    assert (resumed.snapshot().cache is None) == (limit == 0)
    assert same(take(resumed, 2), straight)


def test_resume_with_another_decoder_is_refused(
    causal: Engine, own: Engine, place: Path, tmp_path: Path
):
    for name, engine in {"causal": causal, "own": own}.items():
        session = engine.session("a red boat")
        take(session, 1)
        session.save(tmp_path / f"{name}.ckpt")
    with pytest.raises(SnapshotError, match=r"\(small 720p with the causal decoder\).*\(small 720"):
        own.resume(tmp_path / "causal.ckpt")
    with pytest.raises(SnapshotError, match=r"loaded \(small 720p with the causal decoder\)"):
        causal.resume(tmp_path / "own.ckpt")
    with pytest.raises(SnapshotError, match="another model"):
        load(place, f"causal={place / 'other'}").resume(tmp_path / "causal.ckpt")


def test_file_of_weights_and_model_folder_are_taken(place: Path, causal: Engine, tmp_path: Path):
    shutil.copytree(place / "causal", tmp_path / "m/vae")
    wanted = dict(causal.decoder.named_parameters())
    for given in (place / "causal/diffusion_pytorch_model.safetensors", tmp_path / "m"):
        decoder = locate_decoder(f"causal={given}").load(torch.float32, torch.device("cpu"))
        named = dict(decoder.named_parameters())
        assert named.keys() == wanted.keys()
        assert all(torch.equal(named[name], wanted[name]) for name in named)


def test_memory_is_estimated(place: Path, causal: Engine):
    info = inspect_model(place / "model", decoder=f"causal={place / 'causal'}")
    assert info.parts[-1].kind == "causal LTX-2, from causal"
    counted = estimate_memory(info, "cpu", "float32")
    assert counted is not None
    weights = [*causal.vae.parameters(), *causal.decoder.parameters()]
    statistics = 2 * CHANNELS * 4  # counted with the files of the VAE
    assert counted.memory.vae == 4 * sum(w.numel() for w in weights) + statistics
    session = causal.session("a red boat")
    take(session, 2)
    pending = session.snapshot().uncommitted
    assert pending is not None
    assert counted.memory.kept == session.snapshot().nbytes - pending.nbytes


def test_recorded_calls_decode_the_same_frames(place: Path, causal: Engine):
    engine, tape = load(place, f"causal={place / 'causal'}"), TapeRecorder()
    capture_graphs(engine, recorder=tape)
    assert engine.decoder_calls is not engine.decoder
    blocks, plain = (take(e.session("a red boat"), 3) for e in (engine, causal))
    for a, b in zip(blocks, plain, strict=True):  # prompts are padded for recorded calls
        assert np.abs(a.frames.astype(int) - b.frames).max() <= 1


def test_running_out_of_memory_decodes_fewer_frames_at_a_time(
    place: Path, causal: Engine, monkeypatch: pytest.MonkeyPatch
):
    engine = load(place, f"causal={place / 'causal'}")
    decode, pieces = engine.decoder.decode, []

    def limited(latents: torch.Tensor, cache: Any = None) -> Any:
        pieces.append(latents.shape[2])
        if latents.shape[2] > 1:
            raise torch.OutOfMemoryError("no memory")
        return decode(latents, cache)

    monkeypatch.setattr(engine.decoder, "decode", limited)
    blocks, plain = (take(e.session("a red boat"), 2) for e in (engine, causal))
    assert max(pieces) > 1
    for a, b in zip(blocks, plain, strict=True):
        assert np.abs(a.frames.astype(int) - b.frames).max() <= 1


@pytest.fixture
def changed(place: Path, tmp_path: Path) -> Any:
    """Make a copy of the causal VAE with other settings, and give the option for it."""

    def change(**values: object) -> str:
        folder = tmp_path / "changed"
        shutil.copytree(place / "causal", folder)
        config = folder / "config.json"
        config.write_text(json.dumps(json.loads(config.read_text()) | values))
        return f"causal={folder}"

    return change


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"decoder_causal": False}, r"has decoder_causal false: it is not causal; give decoder="),
        ({"_class_name": "AutoencoderDC"}, "the VAE is of the class AutoencoderDC"),
        ({"timestep_conditioning": True}, "timestep_conditioning true; only false works"),
        ({"latent_channels": 64}, "has shape .* the configuration asks for"),
        ({"scaling_factor": 1.0}, "another scaling_factor than the model's VAE"),
    ],
)
def test_unsuitable_vae_is_refused(changed: Any, place: Path, values: Any, message: str):
    with pytest.raises((ConfigError, CheckpointError), match=message) as caught:
        load(place, changed(**values))
    assert "\n" not in str(caught.value)


def test_other_latents_are_refused(tiny_folder: Path, place: Path):
    given = f"causal={place / 'causal'}"
    with pytest.raises(ConfigError, match=r"causal decoder decodes latents of 128 .* 4 channels"):
        Engine.load(tiny_folder, "cpu", "float32", decoder=given)
    wide = replace(LTX_2, temporal_factor=4)
    with pytest.raises(ConfigError, match=r"8 frames and 32x32 .* 4 frames and 32x32 pixels each"):
        check_decoder(CAUSAL_LTX_2, wide, "x")
    wan = replace(WAN_2_1, z_dim=128, latents_mean=(0.0,) * 128, latents_std=(1.0,) * 128,
                  temperal_downsample=(True, True, True), patch_size=4, in_channels=48,
                  out_channels=48)  # fmt: skip
    with pytest.raises(ConfigError, match="of the LTX-2 VAE, x has a VAE of its own"):
        check_decoder(CAUSAL_LTX_2, wan, "x")
    check_decoder(CAUSAL_LTX_2, LTX_2, "x")
    check_decoder(CAUSAL_LTX_2, CAUSAL_LTX_2, "x")


def test_another_mean_of_latents_is_refused(place: Path, tmp_path: Path):
    vae = ltx2(2, True)
    vae.latents_mean.add_(0.5)
    vae.save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="another latents_mean than the model's VAE"):
        load(place, f"causal={tmp_path}")


@pytest.mark.parametrize(
    ("decoder", "message"),
    [
        ("causal", 'the causal decoder does not come with this program; give decoder="causal=F'),
        ("causal=", "does not come with this program"),
        ("causal=./nowhere", "nowhere does not exist; give decoder="),
        (f"causal={Path(__file__).parent}", "has no VAE; give decoder="),
        (f"causal={__file__}", "has no VAE; give decoder="),
        ("wide=x", r"'wide=x' is not known; .*decoder=\"tiny=FILE\".*decoder=\"causal=FOLDER\""),
    ],
)
def test_invalid_decoder_is_refused_with_the_allowed_form(decoder: str, message: str):
    with pytest.raises(ConfigError, match=message) as caught:
        locate_decoder(decoder)
    assert "\n" not in str(caught.value)


def test_hub_ids_name_a_repository_a_folder_or_a_file(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    asked: list[tuple[str, str | None, list[str]]] = []

    def fetched(repo: str, revision: str | None, allow_patterns: list[str]) -> str:
        asked.append((repo, revision, allow_patterns))
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", fetched)
    shutil.copytree(place / "causal", tmp_path / "wm/vae_0516")
    file = "wm/vae_0516/diffusion_pytorch_model.safetensors"
    for given in ("owner/name/wm/vae_0516@v1", f"hf://owner/name/{file}"):
        assert locate_decoder(f"causal={given}").files == (tmp_path / file,)
    shutil.copytree(place / "causal", tmp_path / "vae")
    locate_decoder("causal=owner/name")
    within = "wm/vae_0516/"
    config, weights = "config.json", "diffusion_pytorch_model"
    assert asked == [
        ("owner/name", "v1", [within + config, f"{within}{weights}*"]),
        ("owner/name", None, [within + config, f"{within}{weights}.safetensors"]),
        ("owner/name", None, [config, f"{weights}*", "vae/*"]),
    ]
    with pytest.raises(ConfigError, match="owner/name has no missing"):
        locate_decoder("causal=owner/name/missing")
    assert HubModel.parse_folder("owner/name/../../etc") is None
    assert HubModel.parse_folder("owner") is None


def start_without_cache(*words: str) -> subprocess.Popen[bytes]:
    """Start `sana-stream` without caches in checkpoints; it stops before block 5."""
    script = (
        "import runpy, sys; from sana_stream.engine.snapshot import snapshot;"
        f"snapshot.CACHE_LIMIT = 0; runpy.run_path({held_run.__file__!r}, run_name='__main__')"
    )
    return spawn([sys.executable, "-c", script, "5", "release", *words], env=environment())


def test_killed_run_is_resumed_from_a_checkpoint_without_the_cache(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(snapshots, "CACHE_LIMIT", 0)
    words = (
        *("--model", str(place / "model"), "--decoder", f"causal={place / 'causal'}"),
        *("--prompt", "a red boat", "--frames", "200", "--device", "cpu", "--quiet"),
    )
    assert run(*words, "--out", "whole.mp4") == 0
    child = start_without_cache(*words, "--out", "a.mp4", "--checkpoint-every", "0.001s")
    wait_for_checkpoint(Path("a.ckpt"), child.pid)
    child.kill()
    assert child.wait() == -signal.SIGKILL
    assert run("resume", "a.mp4", "--quiet") == 0
    assert Path("a.mp4").read_bytes() == Path("whole.mp4").read_bytes()
