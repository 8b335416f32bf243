"""An exported folder has the published layout, readable by diffusers and the engine."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sana_stream import Engine
from sana_stream.engine.loading.vocabulary import Vocabulary
from sana_stream.models.vae.wan import WanVAE
from storybook.topics import topics
from training import autoencoder
from training.export import export
from training.networks import Networks


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    out = tmp_path_factory.mktemp("pocket")
    weights = {k: v + 0.02 * torch.randn_like(v) for k, v in Networks().named_parameters()}
    export(out, WanVAE(autoencoder.CONFIG).state_dict(), weights, trained_blocks=3)
    return out


def test_exported_vae_equals_diffusers(folder: Path) -> None:
    from diffusers import AutoencoderKLWan, SanaVideoTransformer3DModel

    engine = Engine.load(folder, device="cpu", dtype="float32")
    torch.manual_seed(1)
    vae = AutoencoderKLWan.from_pretrained(folder / "vae").float()
    frames = torch.rand(1, 3, 5, 64, 96) * 2 - 1
    mean = vae.encode(frames).latent_dist.mode()  # type: ignore[union-attr]
    shift, scale = (
        torch.tensor(values).view(1, -1, 1, 1, 1)
        for values in (vae.config.latents_mean, vae.config.latents_std)  # type: ignore[attr-defined]
    )
    latents, _ = engine.vae.encode(frames)
    torch.testing.assert_close(latents, (mean - shift) / scale, rtol=1e-3, atol=1e-3)

    transformer = SanaVideoTransformer3DModel.from_pretrained(folder / "transformer").float()
    assert sum(p.numel() for p in transformer.parameters()) == sum(
        p.numel() for p in engine.transformer.parameters()
    )


def test_engine_streams_exported_model(folder: Path) -> None:
    engine = Engine.load(folder, device="cpu")
    session = engine.session("a red boat at sea", height=32, width=64)
    assert [next(session).frames.shape for _ in range(2)] == [(17, 32, 64, 3), (16, 32, 64, 3)]
    assert engine.preset.name == "pocket"


def test_exported_vocabulary_reports_unknown_words(folder: Path) -> None:
    vocabulary = Vocabulary.read(folder)
    assert vocabulary is not None
    assert vocabulary.unknown("a zorblax boat") == ["zorblax"]


def test_exported_topics_have_every_phrase(folder: Path) -> None:
    vocabulary = Vocabulary.read(folder)
    assert vocabulary is not None
    found = vocabulary.by_topic
    assert {topic: found[topic] for topic in topics()} == topics()
    assert {"balloon", "boat"} <= set(found["subjects"])
    assert {"dawn", "night"} <= set(found["time of day"])


def test_exported_folder_is_small(folder: Path) -> None:
    sizes = [file.stat().st_size for file in folder.rglob("*") if file.is_file()]
    assert max(sizes) < 16 * 2**20
    assert sum(sizes) < 25 * 2**20
