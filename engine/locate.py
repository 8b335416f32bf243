"""From a model's name to its folder."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from ..models.errors import CheckpointError, ConfigError

EMBEDDED = "pocket"


def locate_model(model: str | Path) -> Path:
    """The folder of a model: the embedded one by its name, or a folder that is there.

    Raises:
        ConfigError: no such model.
        CheckpointError: a folder that is not in the diffusers layout.
    """
    if model == EMBEDDED:
        return Path(str(files("sana_stream.models"))) / EMBEDDED
    folder = Path(model).expanduser()
    if not folder.is_dir():
        raise ConfigError(
            f"model {str(model)!r} is not known; use {EMBEDDED!r} (embedded)"
            " or the path of a folder in the diffusers layout"
        )
    if not (folder / "model_index.json").exists():
        raise CheckpointError(
            f"{folder} has no model_index.json; give a folder in the diffusers layout"
        )
    return folder
