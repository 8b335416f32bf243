"""Facts about a checkpoint from its configuration files and weight headers; no weights are read."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import torch

from sana_stream._arguments import ARGUMENTS
from sana_stream._files import require_regular_file
from sana_stream._text import safe_text
from sana_stream.engine.device import is_single_threaded, resolve_device, resolve_dtype
from sana_stream.errors import CheckpointError, ConfigError, SanaStreamError
from sana_stream.models.lora.settings import check_scale
from sana_stream.models.memory_policy import parse_memory_policy
from sana_stream.models.registry import VideoTransformerConfig
from sana_stream.models.state import stream_state_bytes
from sana_stream.models.text_encoder import check_text_files
from sana_stream.models.vae.ltx2_config import LTX2VAEConfig
from sana_stream.models.vae.registry import (
    VideoDecoderConfig,
    VideoVAEConfig,
    build_separate_decoder,
)
from sana_stream.models.weights.files import read_json, weight_files
from sana_stream.models.weights.headers import WeightSummary
from sana_stream.models.weights.load import (
    check_transformer_files,
    check_vae_files,
    read_transformer_config,
    read_vae_file,
)
from sana_stream.models.weights.text_encoder_files import text_weight_files

from .compatibility import check_loras, check_parts
from .decoder import LocatedDecoder, resolve_decoder, resolve_decoder_dtype
from .hybrid_presets import choose_preset
from .locate import INDEX, resolve_components, resolve_model
from .memory_estimate import (
    MemoryBreakdown,
    block_decode_bytes,
    default_decode_frames,
    denoise_bytes,
    free_bytes,
    max_decode_frames,
)
from .presets import GENERIC, Preset, check_size, preset_note
from .size_limits import check_least_size
from .vocabulary import Vocabulary

MOST_LORAS = 1000
MENTIONED = 10  # licence files that are named
FRONT_MATTER = 1 << 16  # bytes of a README that are read
ORIGINAL, UNKNOWN = "original layout", "unknown"  # in place of a class
_UNNAMED = (ORIGINAL, UNKNOWN)

LoraFiles = tuple[tuple[Path, float], ...]


@dataclass(frozen=True, slots=True)
class PartInfo:
    """One part of a model."""

    name: str
    kind: str  # the class that its configuration names
    weights: WeightSummary


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A checkpoint before its weights are loaded.

    `LoadedModel.load` takes it, so that files are located and configurations are read once.
    """

    source: Path  # the model's folder or file
    components: Path  # the folder with its VAE, text encoder and tokenizer
    preset: Preset
    transformer: VideoTransformerConfig
    vae: VideoVAEConfig | None  # None where it cannot be read
    other_decoder: LocatedDecoder | None  # that decodes in place of the VAE, where one was given
    loras: LoraFiles
    parts: tuple[PartInfo, ...]
    licence: str | None
    vocabulary: Vocabulary | None  # where the model knows only some words
    notes: tuple[str, ...]  # what its configuration says and its weights do not
    errors: tuple[SanaStreamError, ...]  # why it cannot be loaded; empty where it can

    @property
    def problems(self) -> tuple[str, ...]:
        """The messages of `errors`, each once."""
        return tuple(dict.fromkeys(map(str, self.errors)))

    def require_loadable(self) -> Self:
        """The same record.

        Raises:
            ConfigError, CheckpointError: the first of `errors`.
        """
        if self.errors:
            raise self.errors[0]
        return self

    @property
    def decoder(self) -> VideoDecoderConfig:
        """The configuration of what decodes latents: the VAE, or the decoder that was given.

        Raises:
            ConfigError, CheckpointError: the first of `errors`, where there is no VAE.
        """
        vae = self._vae
        return vae if self.other_decoder is None else self.other_decoder.config

    @property
    def temporal_factor(self) -> int:
        """Frames a latent frame; raises as `decoder`."""
        return self._vae.temporal_factor

    @property
    def size_multiple(self) -> tuple[int, int]:
        """The pixels, down and across, of which a stream's size is a multiple; as `decoder`."""
        _, down, across = self.transformer.patch_size
        factor = self._vae.spatial_factor
        return down * factor, across * factor

    @property
    def trained_seconds(self) -> float | None:
        """How long a stream was in training, in seconds, where that is known."""
        frames = self.preset.trained_latent_frames
        if frames is None or self.vae is None:
            return None
        return (1 + (frames - 1) * self.vae.temporal_factor) / self.preset.fps

    @property
    def _vae(self) -> VideoVAEConfig:
        if self.vae is None:
            raise self.errors[0]
        return self.vae


@dataclass(frozen=True, slots=True)
class MemoryEstimate:
    """The memory that a stream of a size needs on a device."""

    device: torch.device
    dtype: torch.dtype
    height: int
    width: int
    decode_frames: int  # latent frames decoded at once
    memory: MemoryBreakdown
    free: int  # bytes of free memory on the device


def inspect_model(
    model: str | Path,
    parts: str | Path | None = None,
    decoder: str | None = None,
    loras: Iterable[tuple[str | Path, float]] = (),
) -> ModelInfo:
    """Read a checkpoint's configuration files and the headers of its weights.

    Args:
        model, parts, decoder, loras: as for `Engine.load`.

    Raises:
        ConfigError: no such model, a decoder that does not fit it, or a LoRA scale that is not a
            number.
        CheckpointError: the transformer's files are missing or damaged, or a LoRA file does not
            fit. Faults of the other parts are in `errors`.
    """
    chosen = tuple(named_loras(loras))
    source = resolve_model(model)
    config = read_transformer_config(source)
    check_transformer_files(source, config)
    errors: list[SanaStreamError] = []
    try:
        preset = choose_preset(source, str(model), config)
    except CheckpointError as error:
        preset = replace(GENERIC, name=safe_text(model))
        errors.append(error)
    notes = [] if (note := preset_note(source, str(model), preset)) is None else [note]
    weights = _transformer_weights(source)
    found = [PartInfo("transformer", _class(source / "transformer"), weights)]
    vae, folder = None, source
    try:
        folder = resolve_components(source, parts)
        vae = read_vae_file(folder)
    except SanaStreamError as error:
        errors.append(error)
    if vae is not None:
        errors += _misfits(config, vae, folder)
    for name in ("vae", "text_encoder", "tokenizer"):
        if not (folder / name).is_dir():
            missing = f"{safe_text(folder)} has no {name}/; a whole model folder has one"
            errors.append(CheckpointError(missing))
    for name in ("vae", "text_encoder"):
        try:
            found.append(_part(folder / name))
        except SanaStreamError as error:
            errors.append(error)
    other = None
    if decoder is not None and vae is not None:
        other = resolve_decoder(decoder, vae, preset.name)
        found.append(PartInfo("decoder", other.summary, WeightSummary.of(other.files)))
    check_loras(config, (lora for lora, _ in chosen))
    vocabulary = None
    try:
        vocabulary = Vocabulary.read(folder)
    except CheckpointError as error:
        errors.append(error)
    return ModelInfo(
        source=source,
        components=folder,
        preset=preset,
        transformer=config,
        vae=vae,
        other_decoder=other,
        loras=chosen,
        parts=tuple(found),
        licence=find_licence(source if source.is_dir() else folder),
        vocabulary=vocabulary,
        notes=(*notes, *index_notes(source, found)),
        errors=tuple(errors),
    )


def _misfits(
    config: VideoTransformerConfig, vae: VideoVAEConfig, folder: Path
) -> Iterator[SanaStreamError]:
    """Why the parts do not fit the transformer or their own configurations, the clearest first."""
    whole = all((folder / part).is_dir() for part in ("tokenizer", "text_encoder"))
    checks: list[Callable[[], object]] = [
        lambda: check_parts(config, vae, folder),
        lambda: check_vae_files(folder, vae),  # also reports where diffusers is missing
    ]
    if whole:
        checks.append(lambda: check_text_files(folder))
    for check in checks:
        try:
            check()
        except SanaStreamError as error:
            yield error


def index_notes(source: Path, parts: Iterable[PartInfo]) -> Iterator[str]:
    """A line for each class in `model_index.json` that is not the class in the part's folder."""
    if not source.is_dir():
        return
    index = read_json(source / INDEX)
    for part in parts:
        listed = index.get(part.name)
        named = listed[-1] if isinstance(listed, list) and listed else None
        if isinstance(named, str) and named != part.kind and part.kind not in _UNNAMED:
            yield (
                f"{INDEX} names {safe_text(named, 80)} for {part.name}/, its configuration"
                f" {part.kind}: the configuration decides"
            )


def named_loras(loras: object) -> Iterator[tuple[Path, float]]:
    """LoRA files with their scales, checked.

    Raises:
        ConfigError: not pairs of a path and a finite number.
    """
    wanted = "a list of pairs (file, scale)"
    for given in ARGUMENTS.items("loras", loras, wanted, MOST_LORAS):
        pair = ARGUMENTS.items("loras", given, wanted, 2)
        if len(pair) != 2:
            raise ConfigError(f"loras: give {wanted}")
        file, scale = pair
        path = ARGUMENTS.path("loras", file)
        yield path, check_scale(scale, path)


def estimate_memory(
    info: ModelInfo,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
    height: int | None = None,
    width: int | None = None,
) -> MemoryEstimate | None:
    """Estimate the memory of a stream from its shapes; `None` where the model cannot be loaded.

    Args:
        info: what `inspect_model` returned.
        device, dtype: as for `Engine.load`.
        height, width: pixels; default: the preset's.

    Raises:
        ConfigError: an unknown device or dtype, or a size that does not fit the model.
    """
    chosen = resolve_device(device)
    kind = resolve_dtype(dtype, chosen)
    if info.errors or info.vae is None:
        return None
    preset, config, decoder = info.preset, info.transformer, info.decoder
    height = preset.height if height is None else height
    width = preset.width if width is None else width
    check_size(height, width, info.size_multiple)
    check_least_size(height, width, decoder)
    grid = height // info.size_multiple[0], width // info.size_multiple[1]
    frames, side = preset.block_frames + 1, info.vae.spatial_factor
    latents = (1, config.in_channels, frames, height // side, width // side)
    weights = {part.name: part.weights.parameters * kind.itemsize for part in info.parts}
    free = free_bytes(chosen)
    rest = free - sum(weights.values())
    decoder_kind = resolve_decoder_dtype(dtype, chosen, decoder)
    denoise = denoise_bytes(config, kind, latents)
    overlapped = not is_single_threaded(chosen)
    whole = isinstance(decoder, LTX2VAEConfig)  # it has seams between pieces
    pieces = max_decode_frames(
        *(decoder, decoder_kind, latents, rest),
        frames if whole else default_decode_frames(chosen, frames),
        lambda: denoise if overlapped else 0,
    )
    decode, cache = block_decode_bytes(decoder, decoder_kind, latents, pieces)
    states = 1 if preset.guidance == 1 else 2
    state = stream_state_bytes(config, parse_memory_policy(preset.memory), grid, kind.itemsize)
    plan = MemoryBreakdown(
        transformer=weights["transformer"],
        vae=weights["vae"] + _other_decoder_weights(info) * kind.itemsize,
        text_encoder=weights["text_encoder"],
        kept=states * state + cache,
        denoise=denoise,
        decode=decode,
        at_once=overlapped,
    )
    return MemoryEstimate(chosen, kind, height, width, pieces, plan, free)


def _other_decoder_weights(info: ModelInfo) -> int:
    """The number of weights that are loaded from the decoder's files: without its encoder."""
    if info.other_decoder is None:
        return 0
    with torch.device("meta"):
        network = build_separate_decoder(info.other_decoder.config)
    return sum(weight.numel() for weight in network.parameters())


def find_licence(folder: Path) -> str | None:
    """The licence that the README's front matter names, and the licence files of a folder."""
    files = sorted(safe_text(file.name, 60) for file in folder.glob("LICENSE*"))[:MENTIONED]
    text = _first_lines(folder / "README.md")
    front = text.split("---", 2)[1] if text.startswith("---") and text.count("---") > 1 else ""
    names = dict(re.findall(r"^(license|license_name):[ \t]*(\S[^\n]*)$", front, re.MULTILINE))
    named = names.get("license_name") or names.get("license")
    found = [part for part in (named and safe_text(named, 80), *files) if part]
    return ", ".join(found) or None


def _first_lines(path: Path) -> str:
    """The first lines of a text file; empty where it cannot be read."""
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
        return ORIGINAL if folder.name == "transformer" else UNKNOWN
    config = read_json(path)
    listed = config.get("architectures")
    first = listed[0] if isinstance(listed, list) and listed else UNKNOWN
    return safe_text(config.get("_class_name") or first, 80)
