"""Checks of the parameters of a run, each by itself."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

from sana_stream._arguments import ARGUMENTS, shown
from sana_stream._files import expand_user
from sana_stream.engine.loading.sizes import parse_aspect
from sana_stream.engine.parallel.layout import check_devices
from sana_stream.engine.story.read import parse_story
from sana_stream.engine.story.story import Story
from sana_stream.errors import ConfigError
from sana_stream.streaming.video_format import LEAST, MOST, rate_of

STORY_SUFFIXES = (".txt", ".md", ".vtt", ".srt", ".sbv", ".ass", ".ssa", ".json", ".jsonl")
LONGEST = 1e9  # seconds
MOST_OUTPUTS = 100
MOST_LORAS = 1000
MOST_PROMPTS = 100_000
MOST_STEPS = 10_000

_FLAGS = (
    *("endless", "overwrite", "nvenc", "compile", "graphs", "checkpoint", "keep_checkpoint"),
    *("directed", "interactive", "watch", "mark"),
)
_WORDS = (
    *("container", "codec", "preset", "solver", "memory", "quantize", "quantize_text"),
    *("device", "dtype", "decoder", "host", "token", "guard"),
)
_PATHS = ("image", "video", "parts", "sign", "audio")
_COUNTS = {"frames": 1 << 53, "window": 10**9, "block_frames": 10_000, "decode_frames": 100_000}
_ABOVE_ZERO = ("minutes", "seconds", "every", "segment", "flow_shift", "history")


def check_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of a run in their plain form: numbers as int or float, sequences as tuples.

    Raises:
        ConfigError: a value of a wrong type or out of its range.
    """
    given = {name: value for name, value in values.items() if value is not None}
    found: dict[str, Any] = {"story": _story(values["story"])}
    found["outputs"] = _outputs(values["outputs"])
    found |= {name: ARGUMENTS.flag(name, values[name]) for name in _FLAGS}
    if "realtime" in given:
        found["realtime"] = ARGUMENTS.flag("realtime", given["realtime"])
    found |= {name: ARGUMENTS.word(name, given[name]) for name in _WORDS if name in given}
    found |= {name: _path(name, given[name]) for name in (*_PATHS, "model") if name in given}
    for name, most in _COUNTS.items():
        if name in given:
            found[name] = ARGUMENTS.whole(name, given[name], 1, most)
    for name in _ABOVE_ZERO:
        if name in given:
            found[name] = ARGUMENTS.number(name, given[name], above=0, most=LONGEST)
    found["checkpoint_every"] = ARGUMENTS.number(
        "checkpoint_every", values["checkpoint_every"], 0, LONGEST
    )
    found["seed"] = ARGUMENTS.whole("seed", values["seed"], 0, 2**63 - 1)
    if "crf" in given:
        found["crf"] = ARGUMENTS.whole("crf", given["crf"])
    if "bit_depth" in given:
        found["bit_depth"] = ARGUMENTS.whole("bit_depth", given["bit_depth"])
    if "web" in given:
        found["web"] = ARGUMENTS.whole("web", given["web"], 0, 65535)
    if "guidance" in given:
        found["guidance"] = ARGUMENTS.number("guidance", given["guidance"], 0)
    if "negative_prompt" in given:
        negative = given["negative_prompt"]
        found["negative_prompt"] = ARGUMENTS.text("negative_prompt", negative, empty=True)
    if "aspect" in given:
        parse_aspect(given["aspect"])
    check_devices(1 if values["devices"] is None else values["devices"], values["parallel"])
    found |= {"size": _size(values["size"]), "fps": _fps(values["fps"])}
    found |= {"steps": _steps(values["steps"]), "loras": _loras(values["loras"])}
    return found


def _story(given: object) -> Path | tuple[str, ...] | Story:
    if isinstance(given, Story):
        return given
    if isinstance(given, os.PathLike):
        return Path(given)
    if isinstance(given, str):
        if given.lower().endswith(STORY_SUFFIXES) and "\n" not in given:
            return expand_user(given)
        return parse_story(given, "the story")
    prompts = ARGUMENTS.items(
        "story", given, "a path, a text, a Story or a list of prompts", MOST_PROMPTS
    )
    if not prompts:
        raise ConfigError('story is empty: give a prompt such as "a red boat at dusk"')
    return tuple(ARGUMENTS.word("story", prompt) for prompt in prompts)


def _outputs(given: object) -> tuple[str, ...]:
    if isinstance(given, str | os.PathLike):
        given = (given,)
    found = ARGUMENTS.items("outputs", given, "a list of paths and URLs", MOST_OUTPUTS)
    return tuple(_target(output) for output in found)


def _target(given: object) -> str:
    text = os.fspath(given) if isinstance(given, str | os.PathLike) else None
    if not isinstance(text, str) or not text.strip() or "\0" in text:
        raise ConfigError(f"outputs {shown(given)}: give paths, - or URLs")
    return text


def _path(name: str, given: object) -> str:
    if isinstance(given, str | os.PathLike):
        text = os.fspath(given)
        if isinstance(text, str) and text.strip():
            return text
    raise ConfigError(f"{name} {shown(given)}: give a path (a str or a Path)")


def _size(given: object) -> tuple[int, int] | None:
    if given is None:
        return None
    sides = ARGUMENTS.items("size", given, "(width, height) in pixels", 2)
    if len(sides) != 2:
        raise ConfigError("size: give (width, height) in pixels, such as (832, 480)")
    return ARGUMENTS.whole("size", sides[0]), ARGUMENTS.whole("size", sides[1])


def _fps(given: object) -> Fraction | None:
    if given is None:
        return None
    if not isinstance(given, Fraction):
        ARGUMENTS.number("fps", given, above=0, most=MOST)
    rate = rate_of(given)  # pyright: ignore[reportArgumentType] - it is a number
    if not LEAST <= rate <= MOST:
        raise ConfigError(f"fps {float(rate):g}: give {float(LEAST):g} to {MOST}")
    return rate


def _steps(given: object) -> int | tuple[float, ...] | None:
    if given is None:
        return None
    if not isinstance(given, Iterable):
        return ARGUMENTS.whole("steps", given, 1, MOST_STEPS)
    steps = ARGUMENTS.items("steps", given, "a number of steps, or timesteps", MOST_STEPS)
    return tuple(ARGUMENTS.number("steps", step) for step in steps)


def _loras(given: object) -> tuple[tuple[str, float], ...]:
    expected = "pairs (file, scale)"
    pairs = ARGUMENTS.items("loras", given, expected, MOST_LORAS)
    found = []
    for pair in pairs:
        parts = ARGUMENTS.items("loras", pair, expected, 2)
        if len(parts) != 2:
            raise ConfigError(f"loras: give {expected}")
        found.append((_path("loras", parts[0]), ARGUMENTS.number("loras", parts[1])))
    return tuple(found)
