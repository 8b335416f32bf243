"""Reading of Wan VAE configurations."""

from __future__ import annotations

from typing import Any

import pytest

from sana_stream.errors import ConfigError
from sana_stream.models.vae.config import WanVAEConfig

CONFIG: dict[str, Any] = {
    "base_dim": 8,
    "decoder_base_dim": 16,
    "z_dim": 4,
    "dim_mult": [1, 2, 4],
    "num_res_blocks": 1,
    "temperal_downsample": [True, True],
    "latents_mean": [0.1, -0.2, 0.3, 0.0],
    "latents_std": [1.5, 0.8, 1.0, 2.0],
    "patch_size": 2,
    "in_channels": 12,
    "out_channels": 12,
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"is_residual": True}, "is_residual"),
        ({"attn_scales": [0.5]}, "attn_scales"),
        ({"colour": 1}, "unknown keys colour"),
        ({"latents_mean": [0.0]}, "latents_mean of 1 numbers; z_dim asks for 4"),
        ({"patch_size": None}, "in_channels of 12; patch_size asks for 3"),
        ({"temperal_downsample": [True]}, "temperal_downsample of 1 values; dim_mult asks for 2"),
        ({"scale_factor_spatial": 16}, "scale_factor_spatial of 16"),
        ({"latents_std": None}, "lacks latents_std"),
    ],
)
def test_unsupported_config_raises(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        WanVAEConfig.from_dict(CONFIG | change)


def test_config_ignores_keys_added_by_diffusers() -> None:
    config = WanVAEConfig.from_dict(CONFIG | {"_class_name": "AutoencoderKLWan"})
    assert (config.temporal_factor, config.spatial_factor, config.decoder_dim) == (4, 8, 16)
    assert hash(config) == hash(WanVAEConfig.from_dict(CONFIG))
