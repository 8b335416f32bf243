"""Rank and alpha from a LoRA's metadata."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from numbers import Real
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from sana_stream._files import parse_json
from sana_stream._text import safe_text
from sana_stream.errors import CheckpointError, ConfigError
from sana_stream.models.schema import OpenSchema, check_values
from sana_stream.models.weights.files import read_json

MAX_SCALE = 1000.0  # absolute value; 1 is as trained


def check_scale(value: Any, file: object) -> float:
    """Return a scale as a float.

    Raises:
        ConfigError: not a number, not finite, or beyond `MAX_SCALE`.
    """
    if isinstance(value, Real) and not isinstance(value, bool):
        with suppress(OverflowError):
            if abs(number := float(value)) <= MAX_SCALE:  # False for NaN
                return number
    raise ConfigError(
        f"LoRA {safe_text(file)} has the scale {safe_text(value, 40)}; give a number from"
        f" -{MAX_SCALE:g} to {MAX_SCALE:g}, such as 0.8"
    )


ADAPTER_CONFIG = "adapter_config.json"
_METADATA = "lora_adapter_metadata"
_LITERAL = re.compile(r"[\w.-]*", re.ASCII)
_Alpha = Annotated[float, Field(ge=-1e6, le=1e6)]


class _Fields(OpenSchema):
    """peft's settings that affect an update."""

    lora_alpha: _Alpha | None = None
    alpha_pattern: (
        Annotated[dict[Annotated[str, Field(max_length=300)], _Alpha], Field(max_length=10_000)]
        | None
    ) = None
    use_rslora: bool | None = None
    use_dora: bool | None = None
    lora_bias: bool | None = None


def read_settings(path: Path, metadata: Mapping[str, str]) -> Mapping[str, Any]:
    """Read the settings from the file's metadata or the configuration next to it, by peft's names.

    Raises:
        CheckpointError: they cannot be read, or need more than `B A`.
    """
    config = path.parent / ADAPTER_CONFIG
    values: Mapping[str, Any] = read_json(config) if config.exists() else {}
    where = f"{path}: its metadata" if _METADATA in metadata else config
    if _METADATA in metadata:
        try:
            parsed = parse_json(metadata[_METADATA], depth=8)
        except ValueError as error:
            raise CheckpointError(
                f"{safe_text(path)}: its metadata cannot be read: {safe_text(error)}"
            ) from None
        if not isinstance(parsed, dict):
            raise CheckpointError(f"{safe_text(path)}: its metadata is not a JSON object")
        values = {key.removeprefix("transformer."): value for key, value in parsed.items()}
    settings = check_values(_Fields, values, where, CheckpointError)
    for kind in ("use_dora", "lora_bias"):
        if settings.get(kind):
            raise CheckpointError(
                f"{safe_text(path)} was made with {kind}; only plain LoRA (A and B) can be merged"
            )
    for pattern in settings.get("alpha_pattern") or {}:
        _pieces(pattern, where)
    return settings


def alpha_of(name: str, rank: int, settings: Mapping[str, Any]) -> float:
    """Alpha of a module: that of the first matching pattern, else the common one."""
    alpha = settings.get("lora_alpha")
    default = rank if alpha is None else alpha
    patterns = settings.get("alpha_pattern") or {}
    return next((value for pattern, value in patterns.items() if _matches(pattern, name)), default)


def _matches(pattern: str, name: str) -> bool:
    """Match a module's whole name or its end, by peft's rule, in linear time for any pattern."""
    pieces, anchored = _pieces(pattern)
    if len(pieces) == 1:
        ends = not anchored and name.endswith(f".{pieces[0]}")
        return name == pieces[0] or ends
    first, *middle, last = pieces
    if anchored and not name.startswith(first):
        return False
    at = len(first) if anchored else max(0, name.find(first)) + len(first)
    for piece in middle:
        found = name.find(piece, at)
        if found < 0:
            return False
        at = found + len(piece)
    return first in name and name.endswith(last) and len(name) - len(last) >= at


def _pieces(pattern: str, where: object = "") -> tuple[list[str], bool]:
    """Split a pattern into its literal pieces; also return whether it fixes the beginning.

    Of regular expressions only the forms that programs write are supported: `.*`, `\\.`, `^`, `$`.
    """
    anchored = pattern.startswith("^")
    plain = pattern.removeprefix("^").removesuffix("$").replace("(.*\\.)?", "").replace("\\.", ".")
    pieces = plain.split(".*")
    if not all(_LITERAL.fullmatch(piece) for piece in pieces):
        raise CheckpointError(
            f"{safe_text(where)}: alpha_pattern has {safe_text(repr(pattern), 80)}; names of"
            " modules are allowed, with .* between their parts"
        )
    return pieces, anchored
