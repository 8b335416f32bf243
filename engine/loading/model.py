"""The small decoder, asked for in place of a checkpoint's own: where it is, whether it fits."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from sana_stream._arguments import ARGUMENTS, shown
from sana_stream._text import safe_text
from sana_stream.errors import ConfigError
from sana_stream.models.memory_policy import Past, StateUpdate
from sana_stream.models.rope import RotaryEmbedding
from sana_stream.models.transformer import TextKV
from sana_stream.models.vae.config import WanVAEConfig
from sana_stream.models.vae.registry import VideoVAEConfig
from sana_stream.models.vae.taehv import TAEHVConfig, TAEHVDecoder, load_taehv
from sana_stream.models.vae.wan import VAECache
from sana_stream.models.weights.load import is_weights_file, read_vae_file

from .locate import HubModel, existing_path

if TYPE_CHECKING:
    from sana_stream.engine.engine import Engine


class TransformerCalls(Protocol):
    """`SanaVideoTransformer`'s calls, with its shapes and dtypes."""

    def prepare_text(self, embeds: Tensor, mask: Tensor) -> TextKV: ...

    def denoise(
        self,
        latents: Tensor,
        timestep: Tensor,
        text: TextKV,
        past: Past,
        start: int,
        rotation: RotaryEmbedding | None = None,
    ) -> Tensor: ...

    def commit(self, latents: Tensor, text: TextKV, past: Past, start: int) -> StateUpdate: ...


class DecoderCalls(Protocol):
    """A decoder's call, as `WanVAE.decode` describes it."""

    def decode(self, latents: Tensor, cache: VAECache | None = None) -> tuple[Tensor, VAECache]: ...


TINY = "tiny"
_GIVE = (
    f"give --decoder {TINY}=FILE, with TAEHV's taew2_1.pth (github.com/madebyollin/taehv), or the"
    " hub id of a file, such as Kijai/WanVideo_comfy/taew2_1.safetensors"
)


def locate_decoder(decoder: str) -> Path:
    """The file of the small decoder.

    Args:
        decoder: "tiny=FILE", a .pth, .pt or .safetensors file in TAEHV's layout for Wan 2.1, or
            "tiny=owner/name/file[@revision]" on the hub.

    Raises:
        ConfigError: anything else, or no such file.
    """
    kind, _, place = ARGUMENTS.word("decoder", decoder).partition("=")
    if kind != TINY:
        raise ConfigError(f"decoder {shown(decoder)} is not known; leave it out, or {_GIVE}")
    if not place:
        raise ConfigError(f"the {TINY} decoder does not come with this program; {_GIVE}")
    path = existing_path(ARGUMENTS.path("decoder", place))
    if path is not None and not path.is_dir():
        if not is_weights_file(path):
            raise ConfigError(f"{safe_text(path)} is not a decoder's weights; {_GIVE}")
        return path
    hub = HubModel.parse(place)
    if hub is None or not hub.file:
        raise ConfigError(f"{safe_text(place)} is no file; {_GIVE}")
    return hub.fetch()


def check_decoder(vae: VideoVAEConfig, model: str) -> None:
    """Refuse the small decoder for latents that it was not made for: those of another VAE.

    Raises:
        ConfigError: with the two kinds of latents.
    """
    tiny = TAEHVConfig()
    wanted = (tiny.z_dim, tiny.temporal_factor, tiny.spatial_factor)
    given = (vae.z_dim, vae.temporal_factor, vae.spatial_factor)
    if given != wanted:
        raise ConfigError(
            f"the {TINY} decoder paints latents of {_latents(*wanted)}, {model}'s VAE has"
            f" {_latents(*given)}; leave --decoder out"
        )
    if not isinstance(vae, WanVAEConfig) or vae.patch != 1:
        raise ConfigError(
            f"the {TINY} decoder paints latents of the Wan 2.1 VAE, {model} has a VAE of its own;"
            " leave --decoder out"
        )


def load_decoder(
    decoder: str | None, parts: Path, model: str, dtype: torch.dtype, device: torch.device
) -> TAEHVDecoder | None:
    """The small decoder with its weights, where one is asked for.

    Args:
        decoder: as for `locate_decoder`.
        parts: the folder with the model's `vae/`.
        model: its name, for the message.

    Raises:
        ConfigError: it cannot be found, or does not fit the model's latents.
        CheckpointError: the file is not in TAEHV's layout for Wan 2.1.
    """
    if decoder is None:
        return None
    check_decoder(read_vae_file(parts), model)
    return load_taehv(locate_decoder(decoder), dtype, device)


def model_name(engine: Engine) -> str:
    """What a stream's pictures are made with, for people."""
    small = engine.decoder is not engine.vae
    return f"{engine.preset.name} with the {TINY} decoder" if small else engine.preset.name


def _latents(channels: int, pictures: int, side: int) -> str:
    return f"{channels} channels, {pictures} pictures and {side}x{side} pixels each"
