"""The settings of a stream, resolved from what is given and from the checkpoint's preset."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from sana_stream._arguments import ARGUMENTS
from sana_stream._prompts import parse_mix
from sana_stream.engine.loading.presets import Preset
from sana_stream.engine.loading.sizes import parse_aspect, size_for_aspect
from sana_stream.engine.noise import check_seed
from sana_stream.engine.sampling.schedule import default_image_solver, resolve_timesteps
from sana_stream.engine.snapshot.snapshot import SessionSettings, check_settings
from sana_stream.errors import ConfigError

T = TypeVar("T")
MOST_GUIDANCE = 1000


def resolve_settings(
    preset: Preset,
    size_multiple: tuple[int, int],
    *,
    seed: int = 0,
    height: int | None = None,
    width: int | None = None,
    aspect: str | float | None = None,
    steps: int | None = None,
    timesteps: Sequence[float] | None = None,
    solver: str | None = None,
    flow_shift: float | None = None,
    guidance: float | None = None,
    memory: str | None = None,
    block_frames: int | None = None,
) -> SessionSettings:
    """Check the settings of a stream and fill in the preset's; needs no loaded model.

    Args:
        preset: of the checkpoint.
        size_multiple: pixels, down and across, of which height and width must be multiples.
        seed, height, width, aspect, steps, timesteps, solver, flow_shift, guidance, memory,
            block_frames: as for `Engine.session`.

    Raises:
        ConfigError: a setting that cannot be used.
    """
    if aspect is not None:
        if height is not None or width is not None:
            raise ConfigError("aspect and a size are given; leave one of them out")
        height, width = size_of_aspect(preset, size_multiple, aspect)
    plain, after_cut = (
        resolve_timesteps(preset, timesteps, steps, chosen, flow_shift)
        for chosen in (solver, default_image_solver(preset, solver))
    )
    settings = SessionSettings(
        seed=check_seed(seed),
        height=ARGUMENTS.whole("height", _default(height, preset.height)),
        width=ARGUMENTS.whole("width", _default(width, preset.width)),
        block_frames=ARGUMENTS.whole("block_frames", _default(block_frames, preset.block_frames)),
        timesteps=plain[1],
        guidance=ARGUMENTS.number(
            "guidance", _default(guidance, preset.guidance), most=MOST_GUIDANCE
        ),
        memory=ARGUMENTS.word("memory", _default(memory, preset.memory)),
        solver=plain[0],
        after_cut=None if after_cut == plain else after_cut,
    )
    check_settings(settings, size_multiple)
    return settings


def check_prompt(prompt: object) -> str:
    """Check a prompt, which may hold several at weights.

    Raises:
        ConfigError: not text, empty, or weights that do not add up to 1.
    """
    text = ARGUMENTS.text("prompt", prompt)
    try:
        parse_mix(text)
    except ValueError as error:
        raise ConfigError(f"prompt: {error}") from error
    return text


def size_of_aspect(
    preset: Preset, size_multiple: tuple[int, int], aspect: str | float
) -> tuple[int, int]:
    """Height and width in pixels for an aspect ratio.

    Args:
        preset: of the checkpoint; without published sizes the area of its own size is kept.
        size_multiple: as for `resolve_settings`.
        aspect: width / height, or text such as "16:9".

    Raises:
        ConfigError: not an aspect ratio.
    """
    area = preset.height * preset.width
    return size_for_aspect(parse_aspect(aspect), preset.sizes, area, size_multiple)


def _default(given: T | None, preset: T) -> T:
    return preset if given is None else given
