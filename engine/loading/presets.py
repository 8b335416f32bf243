"""Presets: the default settings of checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from sana_stream._arguments import ARGUMENTS
from sana_stream._text import safe_text
from sana_stream.engine.solvers import SOLVERS
from sana_stream.errors import CheckpointError, ConfigError
from sana_stream.models.config import Count
from sana_stream.models.memory_policy import parse_memory_policy
from sana_stream.models.schema import Schema, from_known_keys
from sana_stream.models.weights.files import read_json
from sana_stream.models.weights.load import is_original_layout

from .conventions import AUTHORS_50_STEPS, AUTHORS_LONGSANA, DIFFUSERS, Conventions, Origin
from .instructions import NEGATIVE_PROMPT
from .scheduler_config import read_scheduler, read_scheduler_file

LARGEST = 1_000_000  # pixels a side; memory is exhausted far below


def check_size(height: int, width: int, multiple: tuple[int, int]) -> None:
    """Check that a frame size is a multiple of the token size.

    Args:
        height, width: pixels.
        multiple: pixels of one token, down and across.

    Raises:
        ConfigError: names the nearest size that is possible.
    """
    height = ARGUMENTS.whole("height", height, most=LARGEST)
    width = ARGUMENTS.whole("width", width, most=LARGEST)
    down, across = multiple
    if height > 0 and width > 0 and height % down == 0 and width % across == 0:
        return
    nearest = f"{_nearest(width, across)}x{_nearest(height, down)}"
    rule = f"multiples of {down}" if down == across else f"multiples of {across}x{down}"
    raise ConfigError(
        f"size {width}x{height} does not fit this model; use {rule}, the nearest is {nearest}"
    )


def _nearest(value: int, multiple: int) -> int:
    return max(1, round(max(0, value) / multiple)) * multiple


PRESET_FILE = "stream.json"


@dataclass(frozen=True, slots=True)
class Preset(Conventions):
    """Defaults of a checkpoint, which a session can override, and its conventions."""

    name: str
    fps: int = 16
    height: int = 480  # pixels
    width: int = 832
    block_frames: int = 10  # latent frames a block
    timesteps: tuple[float, ...] = (1000, 960, 889, 727)  # (): from solver, steps and flow_shift
    guidance: float = 1.0  # 1.0: none
    negative_prompt: str = ""
    memory: str = "cumulative"
    motion_score: str = ""  # appended to each prompt by the command line
    max_text_tokens: int = 300
    trained_latent_frames: int | None = None  # length of a stream in training
    solver: str = "renoise"  # or "euler", "dpm++", "unipc"
    steps: int = 4
    flow_shift: float = 8.0
    full_precision: tuple[str, ...] = (  # layers whose name has one of these are not quantized
        "patch_embedding",
        "time_embed",
        "caption_projection",
        "attn2.to_k",
        "attn2.to_v",
        "proj_out",
    )

    def under(self, origin: Origin) -> Preset:
        """The same defaults under the conventions of an origin."""
        return replace(self, **asdict(origin.conventions))


_Side = Annotated[int, Field(ge=1, le=16384)]  # pixels
_Line = Annotated[str, Field(max_length=4000)]


class _Fields(Schema):
    """The schema of `stream.json`."""

    name: Annotated[str, Field(min_length=1, max_length=200)] = "unknown"
    fps: Annotated[int, Field(ge=1, le=1000)] = 1
    height: _Side = 1
    width: _Side = 1
    block_frames: Count = 1
    timesteps: list[Annotated[float, Field(gt=0, le=1000)]] = Field([], max_length=1000)
    guidance: Annotated[float, Field(ge=0, le=1000)] = 1
    negative_prompt: Annotated[str, Field(max_length=20_000)] = ""
    memory: Annotated[str, Field(max_length=40)] = "cumulative"
    instruction: list[_Line] = Field([], max_length=100)
    lower_case: bool = True
    cross_norm_eps: Annotated[float, Field(gt=0, lt=1)] = 1e-5
    whole_timesteps: bool = False
    sigma_shift: Annotated[float, Field(ge=0.001, le=1000)] | None = None
    motion_score: _Line = ""
    max_text_tokens: Annotated[int, Field(ge=2, le=8192)] = 2
    trained_latent_frames: Annotated[int, Field(ge=1, le=10**7)] | None = None
    solver: Annotated[str, Field(max_length=40)] = "renoise"
    steps: Annotated[int, Field(ge=1, le=1000)] = 1
    flow_shift: Annotated[float, Field(gt=0, le=1000)] = 1
    full_precision: list[Annotated[str, Field(max_length=200)]] = Field([], max_length=1000)


# ---------------------------------------------------------------------------------------------
# The published models. One block of a 50-step model is a whole clip of 81 frames, as in training;
# attention sees the previous block only.

LONGSANA = Preset(
    "LongSANA 2B 480p",
    motion_score=" motion score: 10.",
    trained_latent_frames=261,
).under(AUTHORS_LONGSANA)
SANA_480P = Preset(
    "SANA-Video 2B 480p",
    block_frames=20,
    timesteps=(),
    guidance=6.0,
    negative_prompt=NEGATIVE_PROMPT,
    memory="window=1",
    motion_score=" motion score: 30.",
    trained_latent_frames=21,
    solver="dpm++",
    steps=50,
).under(DIFFUSERS)
SANA_720P = replace(
    SANA_480P,
    name="SANA-Video 2B 720p",
    height=704,
    width=1280,
    block_frames=10,  # 8 frames a latent frame
    trained_latent_frames=11,
)
GENERIC = Preset("unknown")
# ---------------------------------------------------------------------------------------------

_BY_SAMPLE_SIZE = {30: SANA_480P, 22: SANA_720P}
_AUTOREGRESSIVE = "Causal"  # in the transformer's class name


def preset_for(model: Path, name: str) -> Preset:
    """Choose the preset of a checkpoint.

    A `stream.json` in the folder defines it. Otherwise the published model is recognised by the
    transformer's class and `sample_size`, or by its name; solver and flow shift then come from its
    scheduler. Any other checkpoint gets `GENERIC`: cumulative memory, 10 latent frames a block,
    four steps. A file in the original layout gets the conventions of its authors (`conventions`).

    Args:
        model: a folder in the diffusers layout, or a file in the original layout.
        name: the name that the user gave, such as a hub id.

    Raises:
        CheckpointError: a file cannot be read, `stream.json` has a key that is not one of
            `Preset`'s fields, or the scheduler is one that cannot be used.
    """
    file = model / PRESET_FILE
    if model.is_dir():
        read_scheduler_file(model)  # reports a damaged file even where it is not used
        if file.exists() or file.is_symlink():
            return _from_dict(read_json(file), file)
    names = f"{name} {model.name}".lower()
    if not model.is_dir():
        preset = _named(names) or SANA_480P
        follows_diffusers = Conventions.of(preset) == DIFFUSERS.conventions
        if follows_diffusers and is_original_layout(model):
            return preset.under(AUTHORS_50_STEPS)
        return preset
    config = _config(model / "transformer" / "config.json")
    names += f" {config.get('_name_or_path', '')}".lower()[:1000]
    if _AUTOREGRESSIVE in str(config.get("_class_name", "")) or _named(names) == LONGSANA:
        return LONGSANA
    size = config.get("sample_size", 0)
    published = (_BY_SAMPLE_SIZE.get(size) if isinstance(size, int) else None) or _named(names)
    if published is None:
        return replace(GENERIC, name=safe_text(name))
    scheduler = read_scheduler(model)
    if scheduler is None:
        return published
    return replace(published, solver=scheduler.solver, flow_shift=scheduler.flow_shift)


def _named(names: str) -> Preset | None:
    if "longlive" in names or "longsana" in names:
        return LONGSANA
    return next(
        (p for size, p in (("480p", SANA_480P), ("720p", SANA_720P)) if size in names), None
    )


def _config(path: Path) -> dict[str, Any]:
    return read_json(path) if path.exists() else {}


def _from_dict(values: Mapping[str, Any], file: Path) -> Preset:
    settings = from_known_keys(_Fields, values, file, CheckpointError, allow_idle=False)
    named: dict[str, Any] = {"name": file.parent.name}
    preset = Preset(**named | settings)
    preset = replace(preset, name=safe_text(preset.name))
    if preset.solver not in SOLVERS:
        raise CheckpointError(
            f"{safe_text(file)}: solver is {safe_text(preset.solver, 60)};"
            f" allowed are {', '.join(SOLVERS)}"
        )
    if any(later >= earlier for earlier, later in pairwise(preset.timesteps)):
        raise CheckpointError(f"{safe_text(file)}: timesteps must descend")
    try:
        parse_memory_policy(preset.memory)
    except ConfigError as error:
        raise CheckpointError(f"{safe_text(file)}: {error}") from None
    return preset
