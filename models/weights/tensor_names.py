"""Tensor names without the prefixes of wrapper modules and training code."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from sana_stream._text import safe_text
from sana_stream.errors import CheckpointError

T = TypeVar("T")

# Modules that wrap another one: torch.compile, FSDP, activation checkpointing, DDP.
_WRAPPERS = frozenset(
    ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module", "module")
)
# Names that training code, peft and ComfyUI give to the whole network.
_OUTER = frozenset(
    (
        *("model", "diffusion_model", "generator", "ema_model", "base_model", "transformer"),
        *("unet", "dit", "pipe", "net"),
    )
)


def plain_name(name: str) -> str:
    """Remove wrapper modules anywhere in a name, and outer names at its beginning."""
    parts = [part for part in name.split(".") if part not in _WRAPPERS]
    while len(parts) > 1 and parts[0] in _OUTER:
        del parts[0]
    return ".".join(parts)


def plain_names(named: Iterable[tuple[str, T]], source: object) -> dict[str, T]:
    """Map plain names to values.

    Raises:
        CheckpointError: two names become the same.
    """
    plain: dict[str, T] = {}
    for name, value in named:
        short = plain_name(name)
        if short in plain:
            raise CheckpointError(
                f"{source} holds {safe_text(short)} twice, once as {safe_text(name, 120)}"
            )
        plain[short] = value
    return plain
