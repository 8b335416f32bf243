"""From a model's name to its files."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from sana_stream._text import safe_text

from ..models.errors import CheckpointError, ConfigError
from ..models.transformer_file import OTHER_SUFFIXES, is_weights_file, read_transformer_config
from ..models.weight_format import weight_format
from ..models.weights import read_json
from .hub import HubModel

EMBEDDED = "pocket"
INDEX = "model_index.json"
# Where a single file's VAE and text encoder are published, by latent channels.
PUBLISHED_PARTS = {
    16: "Efficient-Large-Model/SANA-Video_2B_480p_diffusers",
    128: "Efficient-Large-Model/SANA-Video_2B_720p_diffusers",
}


def locate_model(model: str | Path) -> Path:
    """The folder or the file of a model.

    Args:
        model: "pocket" (embedded), a folder in the diffusers layout, a .pth, .pt or .safetensors
            file, or a hub id `owner/name[/file][@revision]`.

    Raises:
        ConfigError: no such model, or the hub does not give it.
        CheckpointError: a folder that is not in the diffusers layout.
    """
    return _checked(_find(model, parts_only=False))


def locate_parts(model: Path, parts: str | Path | None) -> Path:
    """The folder with a located model's VAE, text encoder and tokenizer.

    Args:
        model: what `locate_model` returned.
        parts: a folder or hub id to take them from. `None`: the model's own folder; for a single
            file, the published model with as many latent channels.

    Raises:
        ConfigError, CheckpointError: as `locate_model`.
    """
    if parts is None and model.is_dir():
        return model
    if parts is None:
        channels = read_transformer_config(model).in_channels
        if channels not in PUBLISHED_PARTS:
            raise ConfigError(
                f"{model} holds a transformer of {channels} latent channels alone;"
                " give --parts FOLDER with its vae/, text_encoder/ and tokenizer/"
            )
        parts = PUBLISHED_PARTS[channels]
    folder = _checked(_find(parts, parts_only=True))
    if not folder.is_dir():
        raise ConfigError(f"parts {parts}: give a folder or a hub id in the diffusers layout")
    return folder


def _find(model: str | Path, *, parts_only: bool) -> Path:
    if model == EMBEDDED:
        return Path(str(files("sana_stream.models"))) / EMBEDDED
    path = existing_path(model)
    if path is not None:
        return path
    hub = HubModel.parse(str(model))
    if hub is not None and _is_typed_wrong(str(model), hub):
        raise ConfigError(
            f"{safe_text(model)} is not there, and {Path(hub.repo).parent} is a folder here; check"
            f" the path, or write hf://{hub.repo} for the hub"
        )
    if hub is None:
        raise ConfigError(
            f"model {safe_text(repr(str(model)[:300]))} is not known;"
            f" use {EMBEDDED!r} (embedded), the path of a folder"
            " in the diffusers layout or of a .pth file, or a hub id such as"
            f" {PUBLISHED_PARTS[16]}"
        )
    return hub.fetch(parts_only=parts_only)


def _is_typed_wrong(model: str, hub: HubModel) -> bool:
    """Whether a name is meant for this machine: its first part is a folder here."""
    known = "://" in model or model in PUBLISHED_PARTS.values()
    return not known and Path(hub.repo).parent.is_dir()


def existing_path(model: str | Path) -> Path | None:
    """The path of something that is there; `None` where nothing is, or nothing can be."""
    try:
        path = Path(model).expanduser()
        return path if path.exists() else None
    except (OSError, RuntimeError, ValueError):  # too long, no such user, a name that cannot be
        return None


def _checked(path: Path) -> Path:
    if path.is_dir():
        if not (path / INDEX).exists():
            raise CheckpointError(
                f"{safe_text(path)} has no {INDEX}; give a folder in the diffusers layout"
            )
        read_json(path / INDEX)
    elif not is_weights_file(path):
        raise CheckpointError(
            f"{safe_text(path)} is not a checkpoint; give .pth, .pt or .safetensors"
        )
    else:
        _check_content(path)
    return path


def _check_content(path: Path) -> None:
    """Refuse another format by its name, before anything else is looked for."""
    try:
        weight_format(path)
    except CheckpointError as error:
        if path.suffix in OTHER_SUFFIXES:  # names of many things
            raise CheckpointError(f"{error}; give .pth, .pt or .safetensors") from None
        raise
