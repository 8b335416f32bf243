"""The TAEHV decoder in a stream: its frames, checkpoints made with it, refusals."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from sana_stream.engine.engine import Engine
from sana_stream.engine.loading.decoder import check_decoder, locate_decoder
from sana_stream.engine.loading.inspect import estimate_memory, inspect_model
from sana_stream.engine.loading.locate import HubModel
from sana_stream.engine.performance.cuda_graphs import capture_graphs
from sana_stream.engine.performance.random_model import LTX_2, WAN_2_1
from sana_stream.engine.sampling.decode import to_pixels
from sana_stream.errors import CheckpointError, ConfigError, SnapshotError
from sana_stream.models.vae.taehv import TAEHVConfig, TAEHVDecoder
from sana_stream.models.weights.load import load_taehv

from ...tiny_model import save_tiny_model
from ..fake_graph_capture import TapeRecorder
from ..session.test_session import same, take

CPU = torch.device("cpu")


def published(seed: int) -> dict[str, torch.Tensor]:
    """Random weights with the published names, including an encoder's."""
    torch.manual_seed(seed)
    named = TAEHVDecoder().state_dict().items()
    weights = {name.replace(".layer.", "."): tensor for name, tensor in named}
    return weights | {"encoder.0.weight": torch.zeros(3)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model with the latent channels of Wan 2.1, and two decoder files."""
    place = save_tiny_model(tmp_path_factory.mktemp("wan"), channels=16)
    save_file(published(0), place / "taew2_1.safetensors")
    torch.save(published(1), place / "other.pth")
    return place


def load(folder: Path, decoder: str | None) -> Engine:
    return Engine.load(folder, "cpu", "float32", decoder=decoder)


@pytest.fixture(scope="module")
def small(folder: Path) -> Engine:
    return load(folder, f"tiny={folder / 'taew2_1.safetensors'}")


@pytest.fixture(scope="module")
def full(folder: Path) -> Engine:
    return load(folder, None)


@torch.no_grad()
def test_decoder_changes_frames_and_not_latents(small: Engine, full: Engine, folder: Path):
    blocks, before = (take(engine.session("a red boat"), 3) for engine in (small, full))
    assert all(torch.equal(a.latents, b.latents) for a, b in zip(blocks, before, strict=True))
    own = load_taehv(folder / "taew2_1.safetensors", torch.float32, CPU)
    whole, _ = own.decode(torch.cat([block.latents for block in blocks], dim=2))
    shown = np.concatenate([block.frames for block in blocks]).astype(int)
    assert shown.shape == (25, 32, 48, 3)
    assert np.abs(shown - to_pixels(whole).numpy()).max() <= 1
    assert np.abs(shown - np.concatenate([block.frames for block in before])).max() > 1


def test_checkpoint_resumes_bit_for_bit(small: Engine, tmp_path: Path):
    session = small.session("a red boat")
    take(session, 6)
    session.save(tmp_path / "boat.ckpt")
    now = session.snapshot()
    straight = take(session, 2)
    resumed = small.resume(tmp_path / "boat.ckpt")
    kept = resumed.snapshot().cache
    assert kept is not None
    assert now.cache is not None
    assert all(map(torch.equal, kept.tails, now.cache.tails))
    assert same(take(resumed, 2), straight)
    without = replace(now, cache=None)  # as a large cache is not stored in a file
    assert same(take(small.session_from(without), 2), straight)


def test_resume_with_another_decoder_is_refused(
    small: Engine, full: Engine, folder: Path, tmp_path: Path
):
    other = load(folder, f"tiny={folder / 'other.pth'}")
    paths = {}
    for name, engine in {"small": small, "full": full}.items():
        session = engine.session("a red boat")
        take(session, 1)
        session.save(paths.setdefault(name, tmp_path / f"{name}.ckpt"))
    with pytest.raises(SnapshotError, match=r"\(tiny with the tiny decoder\).*loaded \(tiny\)"):
        full.resume(paths["small"])
    with pytest.raises(SnapshotError, match=r"\(tiny\).*loaded \(tiny with the tiny decoder\)"):
        small.resume(paths["full"])
    with pytest.raises(SnapshotError, match="another model"):
        other.resume(paths["small"])


def test_decoder_context_equals_its_configuration():
    torch.manual_seed(2)
    decoder = TAEHVDecoder().eval()
    context = decoder.config.decoder_context
    tail = torch.randn(1, 16, context, 2, 2)

    @torch.no_grad()
    def cache_after(prefix: torch.Tensor, frames: int) -> list[torch.Tensor]:
        _, start = decoder.decode(prefix)
        return list(decoder.decode(tail[:, :, -frames:], start)[1].tails)

    one, other = torch.randn(2, 1, 16, 2, 2, 2).unbind()
    assert all(map(torch.equal, cache_after(one, context), cache_after(other, context)))
    shorter = cache_after(one, context - 1), cache_after(other, context - 1)
    assert not all(map(torch.equal, *shorter))


def test_recorded_calls_decode_the_same_frames(small: Engine, folder: Path):
    engine, tape = load(folder, f"tiny={folder / 'taew2_1.safetensors'}"), TapeRecorder()
    capture_graphs(engine, recorder=tape)
    before = tape.repeated
    blocks, plain = (take(e.session("a red boat"), 3) for e in (engine, small))
    for a, b in zip(blocks, plain, strict=True):  # prompts are padded for recorded calls
        assert np.abs(a.frames.astype(int) - b.frames).max() <= 1
    assert tape.repeated - before == 3 * 4 + 2 + 2


def test_decoder_memory_is_estimated(folder: Path, small: Engine):
    info = inspect_model(folder, decoder=f"tiny={folder / 'taew2_1.safetensors'}")
    assert [part.name for part in info.parts][-1] == "decoder"
    counted = estimate_memory(info, "cpu", "float32")
    assert counted is not None
    weights = [*small.vae.parameters(), *small.decoder.parameters()]
    assert counted.memory.vae == 4 * sum(weight.numel() for weight in weights)
    session = small.session("a red boat")
    take(session, 2)
    pending = session.snapshot().uncommitted
    assert pending is not None
    assert counted.memory.kept == session.snapshot().nbytes - pending.nbytes


@pytest.mark.parametrize(
    ("decoder", "message"),
    [
        (
            "tiny",
            'does not come with this program; give decoder="tiny=FILE", with TAEHV\'s taew2_1',
        ),
        ("tiny=", "does not come with this program"),
        ("taesd", "'taesd' is not known; leave it out, or give decoder=\"tiny=FILE\""),
        ("tiny=nowhere.pth", "nowhere.pth is no file; give"),
        ("tiny=owner/name", "owner/name is no file; give"),
        (f"tiny={__file__}", "is not a decoder's weights"),
    ],
)
def test_invalid_decoder_is_refused_with_the_allowed_form(decoder: str, message: str):
    with pytest.raises(ConfigError, match=message):
        locate_decoder(decoder)


def test_decoder_files_and_hub_ids_are_located(folder: Path, monkeypatch: pytest.MonkeyPatch):
    assert locate_decoder(f"tiny={folder / 'other.pth'}").files == (folder / "other.pth",)
    monkeypatch.setattr(HubModel, "fetch", lambda self: Path(f"/{self.repo}|{self.file}"))
    found = locate_decoder("tiny=owner/name/taew2_1.safetensors")
    assert found.files == (Path("/owner/name|taew2_1.safetensors"),)


def test_model_with_other_latents_is_refused(tiny_folder: Path, folder: Path):
    given = f"tiny={folder / 'taew2_1.safetensors'}"
    with pytest.raises(ConfigError, match=r"of 16 channels, .* tiny's VAE has 4 channels"):
        load(tiny_folder, given)
    with pytest.raises(ConfigError, match="x's VAE has 128 channels, 8 frames and 32x32"):
        check_decoder(TAEHVConfig(), LTX_2, "x")
    own = replace(WAN_2_1, dim_mult=(1, 2, 4), temperal_downsample=(True, True), in_channels=12,
                  out_channels=12, patch_size=2)  # fmt: skip
    with pytest.raises(ConfigError, match=r"of the Wan 2\.1 VAE, pocket has a VAE of its own"):
        check_decoder(TAEHVConfig(), own, "pocket")
    check_decoder(TAEHVConfig(), WAN_2_1, "x")


def test_file_without_decoder_weights_is_named(folder: Path, tmp_path: Path):
    save_file({"decoder.1.weight": torch.zeros(1)}, tmp_path / "odd.safetensors")
    with pytest.raises(CheckpointError, match=r"odd\.safetensors is not TAEHV's layout"):
        load(folder, f"tiny={tmp_path / 'odd.safetensors'}")
