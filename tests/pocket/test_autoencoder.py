"""Training of the autoencoder: loss, closed-form latents, and the decoder."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from storybook.world import HEIGHT, WIDTH
from training import autoencoder
from training.autoencoder import SUBJECT, Batch, Pool, reconstruction_loss
from training.components import shortened


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    return autoencoder.begin(clips=12)


@pytest.fixture(scope="module")
def batch() -> Batch:
    return Pool(7, "cpu", size=2).batch(2, 17, (HEIGHT, WIDTH))


def test_loss_weights_errors_on_the_subject() -> None:
    frames = torch.zeros(1, 3, 2, 8, 8)
    decoded = frames.clone()
    decoded[..., 4, 4] = 0.1
    mask = torch.zeros(1, 1, 2, 8, 8)
    elsewhere = reconstruction_loss(decoded, Batch(frames, mask))
    mask[..., 4, 4] = 1
    inside = reconstruction_loss(decoded, Batch(frames, mask))
    pixel = (0.1 + autoencoder.SQUARES * 0.01) / 64  # grey: no chroma
    assert float(inside - elsewhere) == pytest.approx(SUBJECT * pixel, rel=1e-3)


def test_loss_of_hue_error_exceeds_brightness_error() -> None:
    frames = torch.zeros(1, 3, 2, 8, 8)
    batch = Batch(frames, torch.zeros(1, 1, 2, 8, 8))
    grey = torch.full_like(frames, 0.1)
    hue = grey * torch.tensor([1.0, -1.0, 1.0]).view(1, 3, 1, 1, 1)
    assert reconstruction_loss(hue, batch) > 1.1 * reconstruction_loss(grey, batch)


def test_batch_has_frames_and_matching_mask() -> None:
    batch = Pool(0, "cpu", size=2).batch(2, 5, (64, 80))
    assert batch.frames.shape == (2, 3, 5, 64, 80)
    assert batch.mask.shape == (2, 1, 5, 64, 80)
    assert batch.frames.min() >= -1
    assert batch.frames.max() <= 1
    assert batch.mask.max() == 1  # six crops in ten are centred on the subject


def test_latents_are_principal_components(weights: dict[str, Tensor], batch: Batch) -> None:
    """Closed-form latents are even, uncorrelated, and sufficient to reconstruct the frames."""
    with torch.no_grad():
        z, _ = autoencoder.build(weights, dtype=torch.float32).encode(batch.frames)
    later = z[:, :, 1:].movedim(1, -1).flatten(0, -2)
    assert float(later.std(0).mean()) == pytest.approx(1, abs=0.35)
    correlations = torch.corrcoef(later.T) - torch.eye(z.shape[1])
    assert correlations.abs().mean() < 0.15
    assert _decibels(_best_linear(z, batch.frames), batch.frames) > 27


def test_shortened_encoder_equals_full_encoder(weights: dict[str, Tensor], batch: Batch) -> None:
    vae = autoencoder.build(weights, dtype=torch.float32)
    whole, _ = vae.encode(batch.frames)
    short, _ = shortened(vae).encode(batch.frames)
    torch.testing.assert_close(short, whole)
    first, past = vae.encode(batch.frames[:, :, :9])
    rest, _ = vae.encode(batch.frames[:, :, 9:], past)
    torch.testing.assert_close(torch.cat((first, rest), 2), whole, rtol=1e-4, atol=1e-4)


def test_encoder_moves_frames_to_its_device(weights: dict[str, Tensor]) -> None:
    frames = torch.zeros(1, 3, 5, 64, 96)
    latents, _ = autoencoder.encoder(weights, "meta")(frames)
    assert latents.device.type == "meta"
    assert latents.shape == (1, autoencoder.CHANNELS, 2, 2, 3)


def test_training_changes_decoder_only_and_resumes(
    tmp_path: Path, weights: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(autoencoder, "CLIPS", 2)
    torch.save(weights, tmp_path / "encoder.pt")
    autoencoder.train(tmp_path, minutes=0.001)
    state = torch.load(tmp_path / "autoencoder.pt", weights_only=False)
    assert state["steps"] == 1  # the budget is spent after one
    trained = autoencoder.trained_weights(tmp_path)
    changed = {name for name in trained if not torch.equal(trained[name], weights[name])}
    assert changed
    assert all(name.startswith("decoder.") for name in changed)

    autoencoder.train(tmp_path, minutes=0.001)  # again: nothing left to do
    assert torch.load(tmp_path / "autoencoder.pt", weights_only=False)["steps"] == 1


def _best_linear(z: Tensor, frames: Tensor) -> Tensor:
    """Reconstruct the later frames from their latents by the best linear map."""
    rows = z[:, :, 1:].movedim(1, -1).flatten(0, -2)
    rows = torch.cat((rows, torch.ones(len(rows), 1)), 1)
    cells = _cells(frames)
    return _unfold(rows @ torch.linalg.lstsq(rows, cells).solution, frames)


def _cells(frames: Tensor) -> Tensor:
    b, _, t, h, w = frames[:, :, 1:].shape
    cells = frames[:, :, 1:].reshape(b, 3, t // 4, 4, h // 32, 32, w // 32, 32)
    return cells.permute(0, 2, 4, 6, 1, 3, 5, 7).flatten(4).flatten(0, 3)


def _unfold(cells: Tensor, frames: Tensor) -> Tensor:
    b, _, t, h, w = frames[:, :, 1:].shape
    cells = cells.view(b, t // 4, h // 32, w // 32, 3, 4, 32, 32)
    later = cells.permute(0, 4, 1, 5, 2, 6, 3, 7).reshape(b, 3, t, h, w)
    return torch.cat((frames[:, :, :1], later), 2)


def _decibels(decoded: Tensor, truth: Tensor) -> float:
    error = F.mse_loss(decoded[:, :, 1:], truth[:, :, 1:]) / 4
    return float(-10 * error.log10())
