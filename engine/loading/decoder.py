"""Decoders that can replace a model's own VAE: locating their files, and checks that they fit.

`tiny=FILE` is TAEHV, a small approximate decoder of Wan 2.1 latents. `causal=FOLDER` is an LTX-2
VAE with a causal decoder, for 720p models whose own VAE has seams between blocks.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from sana_stream._arguments import ARGUMENTS, shown
from sana_stream._text import safe_text
from sana_stream.engine.device import resolve_dtype
from sana_stream.errors import CheckpointError, ConfigError
from sana_stream.models.vae.causal_ltx2 import CausalLTX2Decoder
from sana_stream.models.vae.config import WanVAEConfig
from sana_stream.models.vae.ltx2_config import CausalLTX2Config
from sana_stream.models.vae.registry import (
    SeparateDecoder,
    SeparateDecoderConfig,
    VideoDecoderConfig,
    VideoVAE,
    VideoVAEConfig,
    read_vae_config,
)
from sana_stream.models.vae.taehv import TAEHVConfig
from sana_stream.models.vae.wan import WanVAE
from sana_stream.models.weights.files import read_json, weight_files
from sana_stream.models.weights.load import (
    check_decoder_files,
    is_weights_file,
    load_causal_decoder,
    load_taehv,
)

from .locate import HubModel, existing_path

TINY = "tiny"
CAUSAL = "causal"
_CONFIG = "config.json"
_GIVE_TINY = (
    f'give decoder="{TINY}=FILE", with TAEHV\'s taew2_1.pth (github.com/madebyollin/taehv), or the'
    " hub id of a file, such as Kijai/WanVideo_comfy/taew2_1.safetensors"
)
_GIVE_CAUSAL = (
    f'give decoder="{CAUSAL}=FOLDER", with the config.json and the weights of a causal LTX-2 VAE,'
    f" or a hub id, such as Efficient-Large-Model/SANA-WM_streaming/ltx2_causal_vae"
)
_ROUNDING = 2**-7  # what bfloat16 may change in a value, twice over


@dataclass(frozen=True, slots=True)
class LocatedDecoder:
    """A decoder's files and configuration, before its weights are read."""

    kind: str
    config: SeparateDecoderConfig
    files: tuple[Path, ...]  # of its weights

    @property
    def summary(self) -> str:
        """What it is and where it comes from."""
        if self.kind == TINY:
            return f"small, from {self.files[0].name}"
        return f"causal LTX-2, from {self.files[0].parent.name or self.files[0]}"

    def load(self, dtype: torch.dtype, device: torch.device) -> SeparateDecoder:
        """Load its weights.

        Raises:
            CheckpointError: a file is missing, truncated, or not of this layout.
        """
        if isinstance(self.config, TAEHVConfig):
            return load_taehv(self.files[0], dtype, device)
        return load_causal_decoder(self.files, self.config, dtype, device)


def resolve_decoder(decoder: str, vae: VideoVAEConfig, model: str) -> LocatedDecoder:
    """Find the files of a decoder, and check that it fits a model.

    Args:
        decoder: as for `locate_decoder`.
        vae, model: as for `check_decoder`.

    Raises:
        ConfigError, CheckpointError: as `locate_decoder` and `check_decoder`.
    """
    if decoder_kind(decoder) == TINY:  # before a file is downloaded
        check_decoder(TAEHVConfig(), vae, model)
    located = locate_decoder(decoder)
    check_decoder(located.config, vae, model)
    return located


def decoder_kind(decoder: str) -> str:
    """The part of the option before its file.

    Raises:
        ConfigError: not text.
    """
    return ARGUMENTS.word("decoder", decoder).partition("=")[0]


def locate_decoder(decoder: str) -> LocatedDecoder:
    """Find the files of a decoder.

    Args:
        decoder: "tiny=FILE", a .pth, .pt or .safetensors file in TAEHV's layout for Wan 2.1, or
            "causal=FOLDER", a folder with a causal LTX-2 VAE, or a file of its weights with its
            config.json in the same folder; a hub id in place of a path,
            "owner/name/file[@revision]" or "owner/name/folder[@revision]".

    Raises:
        ConfigError: anything else, no such file, or a VAE that is not causal.
        CheckpointError: the files of a causal VAE are missing or damaged.
    """
    kind, place = decoder_kind(decoder), decoder.partition("=")[2]
    if kind == TINY:
        return LocatedDecoder(TINY, TAEHVConfig(), (_tiny_file(place),))
    if kind == CAUSAL:
        return _causal_decoder(place)
    raise ConfigError(
        f"decoder {shown(decoder)} is not known; leave it out, or {_GIVE_TINY}; or {_GIVE_CAUSAL}"
    )


def _tiny_file(place: str) -> Path:
    if not place:
        raise ConfigError(f"the {TINY} decoder does not come with this program; {_GIVE_TINY}")
    path = existing_path(ARGUMENTS.path("decoder", place))
    if path is not None and not path.is_dir():
        if not is_weights_file(path):
            raise ConfigError(f"{safe_text(path)} is not a decoder's weights; {_GIVE_TINY}")
        return path
    hub = HubModel.parse(place)
    if hub is None or not hub.file:
        raise ConfigError(f"{safe_text(place)} is no file; {_GIVE_TINY}")
    return hub.fetch()


def resolve_decoder_dtype(
    dtype: str | torch.dtype, device: torch.device, config: VideoDecoderConfig
) -> torch.dtype:
    """The decoder's dtype: as `resolve_dtype`, but "auto" is float16 on CUDA without bfloat16.

    The LTX-2 VAEs, which overflow in float16, and the transformer are in float32 there.
    """
    chosen = resolve_dtype(dtype, device)
    slow = dtype == "auto" and device.type == "cuda" and chosen == torch.float32
    return torch.float16 if slow and isinstance(config, WanVAEConfig | TAEHVConfig) else chosen


def _causal_decoder(place: str) -> LocatedDecoder:
    if not place:
        raise ConfigError(f"the {CAUSAL} decoder does not come with this program; {_GIVE_CAUSAL}")
    path = existing_path(ARGUMENTS.path("decoder", place)) or _fetched(place)
    if path.is_dir():
        folder = path if (path / _CONFIG).exists() else path / "vae"
        files = tuple(weight_files(folder)) if (folder / _CONFIG).exists() else ()
    else:
        folder, files = path.parent, (path,)
    if not files or not all(map(is_weights_file, files)):
        raise ConfigError(f"{safe_text(path)} has no VAE; {_GIVE_CAUSAL}")
    config = read_vae_config(read_json(folder / _CONFIG), folder / _CONFIG)
    if isinstance(config, WanVAEConfig):
        raise ConfigError(
            f"{safe_text(folder / _CONFIG)} is of a Wan VAE, not of LTX-2; {_GIVE_CAUSAL}"
        )
    if not isinstance(config, CausalLTX2Config):
        raise ConfigError(
            f"{safe_text(folder / _CONFIG)} has decoder_causal false: it is not causal;"
            f" {_GIVE_CAUSAL}"
        )
    check_decoder_files(files, config)
    return LocatedDecoder(CAUSAL, config, files)


def _fetched(place: str) -> Path:
    hub = HubModel.parse_folder(place)
    if hub is None:
        raise ConfigError(f"{safe_text(place)} does not exist; {_GIVE_CAUSAL}")
    return hub.fetch_vae()


def check_decoder(decoder: SeparateDecoderConfig, vae: VideoVAEConfig, model: str) -> None:
    """Check that a model's latents are those that a decoder was trained on.

    Args:
        decoder: the configuration of the decoder.
        vae: the configuration of the model's own VAE.
        model: its name, for the message.

    Raises:
        ConfigError: the latents are of another VAE; the message gives both shapes.
    """
    tiny = isinstance(decoder, TAEHVConfig)
    kind, family = (TINY, "Wan 2.1") if tiny else (CAUSAL, "LTX-2")
    wanted = (decoder.z_dim, decoder.temporal_factor, decoder.spatial_factor)
    given = (vae.z_dim, vae.temporal_factor, vae.spatial_factor)
    if given != wanted:
        raise ConfigError(
            f"the {kind} decoder decodes latents of {_latents(*wanted)}, {model}'s VAE has"
            f" {_latents(*given)}; leave decoder out"
        )
    wan = isinstance(vae, WanVAEConfig)
    if wan != tiny or (isinstance(vae, WanVAEConfig) and vae.patch != 1):
        raise ConfigError(
            f"the {kind} decoder decodes latents of the {family} VAE, {model} has a VAE of its own;"
            " leave decoder out"
        )


def check_statistics(decoder: SeparateDecoder, vae: VideoVAE) -> None:
    """Check that a causal decoder was trained on latents with the statistics of the model's VAE.

    Raises:
        CheckpointError: mean, deviation or scaling factor differ.
    """
    if not isinstance(decoder, CausalLTX2Decoder) or isinstance(vae, WanVAE):
        return
    own, other = decoder.inner, vae.inner
    pairs = {
        "latents_mean": (own.latents_mean, other.latents_mean),
        "latents_std": (own.latents_std, other.latents_std),
        "scaling_factor": tuple(
            torch.tensor(network.layout.scaling_factor) for network in (own, other)
        ),
    }
    for name, (given, wanted) in pairs.items():
        if not torch.allclose(given, wanted, rtol=_ROUNDING, atol=1e-4):
            raise CheckpointError(
                f"the {CAUSAL} decoder has another {name} than the model's VAE, so it decodes other"
                " latents; leave decoder out"
            )


def _latents(channels: int, frames: int, side: int) -> str:
    return f"{channels} channels, {frames} frames and {side}x{side} pixels each"
