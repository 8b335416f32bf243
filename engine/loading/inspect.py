"""What a checkpoint is and what it will take, from its files' headers: no weights are read."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from sana_stream._files import require_regular_file
from sana_stream._text import safe_text
from sana_stream.engine.device import resolve_device, resolve_dtype
from sana_stream.errors import CheckpointError, SanaStreamError
from sana_stream.models.config import TransformerConfig
from sana_stream.models.memory_policy import parse_memory_policy
from sana_stream.models.state import stream_state_bytes
from sana_stream.models.text_encoder import check_text_files
from sana_stream.models.vae.registry import VideoDecoderConfig, VideoVAEConfig, build_decoder
from sana_stream.models.vae.taehv import TAEHVConfig
from sana_stream.models.weights.files import read_json, weight_files
from sana_stream.models.weights.headers import WeightSummary
from sana_stream.models.weights.load import (
    check_transformer_files,
    check_vae_files,
    read_transformer_config,
    read_vae_file,
)
from sana_stream.models.weights.text_encoder_files import text_weight_files

from .decoder import check_decoder, locate_decoder
from .describe import check_parts
from .locate import resolve_components, resolve_model
from .memory_estimate import (
    MemoryBreakdown,
    decode_bytes,
    denoise_bytes,
    free_bytes,
    max_decode_frames,
)
from .presets import GENERIC, Preset, check_size, preset_for
from .vocabulary import Vocabulary

MENTIONED = 10  # licence files that are named
FRONT_MATTER = 1 << 16  # bytes of a README that are read


@dataclass(frozen=True, slots=True)
class PartInfo:
    """One part of a model: where it is and how large."""

    name: str
    kind: str  # the class that its configuration names
    weights: WeightSummary


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A checkpoint before it is loaded."""

    source: Path
    preset: Preset
    transformer: TransformerConfig
    parts: tuple[PartInfo, ...]
    licence: str | None
    problems: tuple[str, ...]  # why it will not run here; none where it will
    vae: VideoVAEConfig | None  # None where it is an obstacle
    decoder: VideoDecoderConfig | None  # the VAE's, or the small one that is asked for
    size_multiple: tuple[int, int] | None  # pixels down and across
    trained_seconds: float | None
    vocabulary: Vocabulary | None  # where the model knows some words only


@dataclass(frozen=True, slots=True)
class MemoryEstimate:
    """What a stream of a size will take on a device."""

    device: torch.device
    dtype: torch.dtype
    height: int
    width: int
    decode_frames: int  # latent frames decoded at once
    memory: MemoryBreakdown
    free: int  # bytes the device has left now


def inspect_model(
    model: str | Path, parts: str | Path | None = None, decoder: str | None = None
) -> ModelInfo:
    """Read a checkpoint's configuration files and the headers of its weights.

    Arguments as for `Engine.load`.

    Raises:
        ConfigError: no such model, or a decoder that does not fit it.
        CheckpointError: the transformer's files are missing or damaged. What is wrong with the
            other parts is told in `obstacles`.
    """
    source = resolve_model(model)
    config = read_transformer_config(source)
    check_transformer_files(source, config)
    obstacles: list[str] = []
    try:
        preset = preset_for(source, str(model))
    except CheckpointError as error:
        preset = replace(GENERIC, name=safe_text(model))
        obstacles.append(str(error))
    found = [PartInfo("transformer", _class(source / "transformer"), _transformer_weights(source))]
    vae, folder = None, source
    try:
        folder = resolve_components(source, parts)
        vae = read_vae_file(folder)
        check_vae_files(folder, vae)  # says where diffusers is missing, too
        check_parts(config, vae, folder)
        if all((folder / part).is_dir() for part in ("tokenizer", "text_encoder")):
            check_text_files(folder)
    except SanaStreamError as error:
        obstacles.append(str(error))
    for name in ("vae", "text_encoder"):
        try:
            found.append(_part(folder / name))
        except SanaStreamError as error:
            obstacles.append(str(error))
    painter = vae
    if decoder is not None and vae is not None:
        check_decoder(vae, preset.name)
        file = locate_decoder(decoder)
        found.append(PartInfo("decoder", f"small, from {file.name}", WeightSummary.of([file])))
        painter = TAEHVConfig()
    if not (folder / "tokenizer").is_dir():
        obstacles.append(f"{folder} has no tokenizer/")
    multiple = trained = None
    if vae is not None:
        multiple = (
            config.patch_size[1] * vae.spatial_factor,
            config.patch_size[2] * vae.spatial_factor,
        )
        if preset.trained_latent_frames is not None:
            trained = (1 + (preset.trained_latent_frames - 1) * vae.temporal_factor) / preset.fps
    return ModelInfo(
        source=source,
        preset=preset,
        transformer=config,
        parts=tuple(found),
        licence=find_licence(source if source.is_dir() else folder),
        problems=tuple(dict.fromkeys(obstacles)),
        vae=vae,
        decoder=painter,
        size_multiple=multiple,
        trained_seconds=trained,
        vocabulary=_vocabulary(folder),
    )


def _vocabulary(folder: Path) -> Vocabulary | None:
    try:
        return Vocabulary.read(folder)
    except CheckpointError:  # told as an obstacle
        return None


def estimate_memory(
    info: ModelInfo,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
    height: int | None = None,
    width: int | None = None,
) -> MemoryEstimate | None:
    """The memory a stream will take, counted from the shapes; `None` where it cannot run.

    Raises:
        ConfigError: an unknown device or dtype, or a size that does not fit the model.
    """
    chosen = resolve_device(device)
    kind = resolve_dtype(dtype, chosen)
    if info.problems or not (info.vae and info.decoder) or info.size_multiple is None:
        return None
    preset, config, decoder = info.preset, info.transformer, info.decoder
    height = preset.height if height is None else height
    width = preset.width if width is None else width
    check_size(height, width, info.size_multiple)
    grid = height // info.size_multiple[0], width // info.size_multiple[1]
    frames, side = preset.block_frames + 1, info.vae.spatial_factor
    latents = (1, config.in_channels, frames, height // side, width // side)
    weights = {part.name: part.weights.parameters * kind.itemsize for part in info.parts}
    free = free_bytes(chosen)
    rest = free - sum(weights.values())
    pieces = max_decode_frames(decoder, kind, latents, rest)
    decode, cache = decode_bytes(decoder, kind, (*latents[:2], pieces, *latents[3:]))
    states = 1 if preset.guidance == 1 else 2
    state = stream_state_bytes(config, parse_memory_policy(preset.memory), grid, kind.itemsize)
    plan = MemoryBreakdown(
        transformer=weights["transformer"],
        vae=weights["vae"] + _small_decoder_weights(info) * kind.itemsize,
        text_encoder=weights["text_encoder"],
        kept=states * state + cache,
        denoise=denoise_bytes(config, kind, latents),
        decode=decode,
    )
    return MemoryEstimate(chosen, kind, height, width, pieces, plan, free)


def _small_decoder_weights(info: ModelInfo) -> int:
    """How many weights of the small decoder's file are loaded: those of its decoding half."""
    if info.decoder is None or info.decoder is info.vae:
        return 0
    with torch.device("meta"):
        return sum(weight.numel() for weight in build_decoder(info.decoder).parameters())


def find_licence(folder: Path) -> str | None:
    """The licence file of a folder, or what the front matter of its README names."""
    files = sorted(safe_text(file.name, 60) for file in folder.glob("LICENSE*"))[:MENTIONED]
    text = _beginning(folder / "README.md")
    front = text.split("---", 2)[1] if text.startswith("---") and text.count("---") > 1 else ""
    names = dict(re.findall(r"^(license|license_name):[ \t]*(\S[^\n]*)$", front, re.MULTILINE))
    named = names.get("license_name") or names.get("license")
    told = [part for part in (named and safe_text(named, 80), *files) if part]
    return ", ".join(told) or None


def _beginning(path: Path) -> str:
    """The first lines of a text, where it is one."""
    try:
        require_regular_file(path)
        with path.open("rb") as file:
            return file.read(FRONT_MATTER).decode(errors="replace")
    except (OSError, ValueError):
        return ""


def _part(folder: Path) -> PartInfo:
    if folder.name != "vae":  # transformers' names
        files = text_weight_files(folder)
    else:
        files = weight_files(folder)
    return PartInfo(folder.name, _class(folder), WeightSummary.of(files))


def _transformer_weights(source: Path) -> WeightSummary:
    return WeightSummary.of(weight_files(source / "transformer") if source.is_dir() else [source])


def _class(folder: Path) -> str:
    path = folder / "config.json"
    if not path.exists():
        return "original layout" if folder.name == "transformer" else "unknown"
    config = read_json(path)
    listed = config.get("architectures")
    first = listed[0] if isinstance(listed, list) and listed else "unknown"
    return safe_text(config.get("_class_name") or first, 80)
