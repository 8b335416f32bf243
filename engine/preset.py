"""What a checkpoint wants to be run with: sizes, steps, block length, memory, texts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from ..models.checkpoint import read_json
from ..models.errors import CheckpointError
from .instructions import IMAGE_INSTRUCTION

PRESET_FILE = "stream.json"


@dataclass(frozen=True, slots=True)
class Preset:
    """Defaults of a checkpoint; every one can be overridden by a session."""

    name: str
    fps: int = 16
    height: int = 480  # pixels
    width: int = 832
    block_frames: int = 10  # latent frames a block
    timesteps: tuple[float, ...] = (1000, 960, 889, 727)
    guidance: float = 1.0  # 1.0: none
    negative_prompt: str = ""
    memory: str = "cumulative"
    instruction: tuple[str, ...] = ()  # lines that stand before the prompt
    motion_score: str = ""  # what the command line appends to each prompt
    max_text_tokens: int = 300
    trained_latent_frames: int | None = None  # how long a stream was in training


LONGSANA = Preset(
    "LongSANA 2B 480p",
    instruction=IMAGE_INSTRUCTION,
    motion_score=" motion score: 10.",
    trained_latent_frames=261,
)
UNKNOWN = Preset("unknown")

# A part of the folder's or the hub's name, in small letters, and what it stands for.
PUBLISHED: Mapping[str, Preset] = {"longlive": LONGSANA, "longsana": LONGSANA}


def preset_of(folder: Path, name: str) -> Preset:
    """The preset of a model folder.

    A `stream.json` in the folder says it itself; else the name decides; an unknown name gets
    `UNKNOWN`: cumulative memory, 10 latent frames a block, four steps.

    Raises:
        CheckpointError: `stream.json` has a key that is not one of `Preset`'s fields.
    """
    file = folder / PRESET_FILE
    if file.exists():
        return _from_dict(read_json(file), file)
    for part, preset in PUBLISHED.items():
        if part in name.lower():
            return preset
    return replace(UNKNOWN, name=name)


def _from_dict(values: Mapping[str, Any], file: Path) -> Preset:
    known = {field.name for field in fields(Preset)}
    if unknown := sorted(values.keys() - known):
        raise CheckpointError(
            f"{file} has unknown keys {', '.join(unknown)}; allowed are {', '.join(sorted(known))}"
        )
    settings = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    return Preset(**{"name": file.parent.name} | settings)
