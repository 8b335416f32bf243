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
        *("model", "diffusion_model", "generator", "base_model", "transformer"),
        *("unet", "dit", "pipe", "net"),
    )
)
_AVERAGED = "ema_model"  # the same for the moving average of the weights


def plain_name(name: str) -> str:
    """Remove wrapper modules anywhere in a name, and outer names at its beginning."""
    return _split(name)[1]


def is_averaged(name: str) -> bool:
    """Whether a tensor's name says that it is a moving average of the weights."""
    return _AVERAGED in _split(name)[0]


def _split(name: str) -> tuple[list[str], str]:
    """The outer names at a name's beginning, and the plain name."""
    parts = [part for part in name.split(".") if part not in _WRAPPERS]
    count = 0
    while count < len(parts) - 1 and (parts[count] in _OUTER or parts[count] == _AVERAGED):
        count += 1
    return parts[:count], ".".join(parts[count:])


def plain_names(named: Iterable[tuple[str, T]], source: object) -> dict[str, T]:
    """Map plain names to values; an averaged tensor only where there is no other of its name.

    Raises:
        CheckpointError: two names become the same.
    """
    plain: dict[str, T] = {}
    listed = list(named)
    trained = {plain_name(name) for name, _ in listed if not is_averaged(name)}
    for name, value in listed:
        short = plain_name(name)
        if is_averaged(name) and short in trained:
            continue
        if short in plain:
            raise CheckpointError(
                f"{source} holds {safe_text(short)} twice, once as {safe_text(name, 120)}"
            )
        plain[short] = value
    return plain
