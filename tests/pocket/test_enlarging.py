"""An autoencoder that begins with a smaller model's shows the same pictures, twice as large."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from sana_stream.models.vae.wan import WanVAE
from training.autoencoder import CONFIG
from training.components import Components
from training.enlarging import SmallerModel

SMALL = replace(
    CONFIG,
    base_dim=6,
    decoder_base_dim=4,
    dim_mult=(1, 2, 2),
    patch_size=2,
    in_channels=12,
    out_channels=12,
)
LARGE = replace(
    SMALL,
    decoder_base_dim=4,
    dim_mult=(2, 2, 2),
    patch_size=4,
    in_channels=48,
    out_channels=48,
)


@pytest.fixture
def model() -> SmallerModel:
    torch.manual_seed(0)
    return SmallerModel(WanVAE(SMALL).eval())


def test_enlarged_decoder_repeats_the_pixels_of_the_smaller_one(model: SmallerModel) -> None:
    vae = WanVAE(LARGE)
    model.enlarge(vae)
    latents = torch.randn(2, CONFIG.z_dim, 3, 2, 3)
    with torch.no_grad():
        small, _ = model.vae.decode(latents)
        large, _ = vae.decode(latents)
    repeated = small.repeat_interleave(2, -1).repeat_interleave(2, -2)
    torch.testing.assert_close(large, repeated, rtol=1e-4, atol=1e-4)


def test_every_weight_of_an_enlarged_decoder_is_trained(model: SmallerModel) -> None:
    vae = WanVAE(LARGE)
    model.enlarge(vae)
    vae.decode(torch.randn(1, CONFIG.z_dim, 3, 2, 3), clamp=False)[0].square().sum().backward()
    added = vae.decoder.up_blocks[-1].resnets[-1].conv2.weight.grad  # type: ignore[union-attr]
    assert isinstance(added, torch.Tensor)
    assert (added[4:].flatten(1).abs().amax(1) > 0).all()


def test_rotated_latents_come_nearest_to_the_other_ones() -> None:
    torch.manual_seed(0)
    turn = torch.linalg.qr(torch.randn(5, 5))[0]
    given = torch.randn(400, 5) * torch.tensor([3.0, 2, 2, 1, 1]) + 1
    others = given @ turn.T + torch.tensor([1.0, 0, 0, -2, 0])
    components = Components(torch.empty(0), [], torch.eye(5), torch.zeros(5))
    rotated = components.like(given, others)
    torch.testing.assert_close(
        given @ rotated.mixing.T + rotated.bias, others, rtol=1e-3, atol=1e-3
    )
