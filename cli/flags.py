"""Messages of the library in terms of the command line: options in place of parameters."""

from __future__ import annotations

import re
import shlex
from functools import cache

from .option_fields import Option
from .options import OPTIONS

_VALUE = r"""True|False|None|"[^"]*"|'[^']*'|\[[^\]]*\]|torch\.\w+|-?\d+(?:\.\d+)?"""
_QUOTED = re.compile(r"""["']([^"']*)["']""")


def _parameters() -> dict[str, Option]:
    """Each option by the names that it has in Python functions."""
    named = dict(OPTIONS)
    for option in OPTIONS.values():
        named |= dict.fromkeys(option.parameters, option)
    return named


_PARAMETERS = _parameters()


@cache  # compiled with the first message, as `--help` needs none
def _assignment() -> re.Pattern[str]:
    """`name=value` or `name=`, but no part of a path, a URL, quoted text or a memory policy."""
    return re.compile(
        rf"""(?<![\w.=,:/?&"'-])(?<!memory )`?({"|".join(_PARAMETERS)}|checkpoint)=({_VALUE})?`?"""
        r"(?=[,;:.]?(?:[\s)]|$))"
    )


def with_flags(message: str) -> str:
    """A message with each `parameter=value` replaced by the option that sets it.

    `overwrite=True` becomes `--overwrite`, `dtype="float32"` becomes `--dtype float32`, and
    `decoder=None` becomes `no --decoder`. Without a value, `size=` becomes `--size`. The names are
    those of the fields of `Options`, and the `parameters` that a field declares.
    """
    return _assignment().sub(_given, message)


def _given(match: re.Match[str]) -> str:
    name, value = match[1], match[2]
    if name == "checkpoint":  # no option of its own
        return "--checkpoint-every off" if value == "False" else "--checkpoint-every"
    option = _PARAMETERS[name]
    if value is None or value == "True":
        return option.flag
    if value == "False":
        return f"--no-{option.flag[2:]}" if option.is_negatable else f"no {option.flag}"
    if value == "None":
        return f"no {option.flag}"
    if value.startswith("["):
        return " ".join(f"{option.flag} {shlex.quote(item)}" for item in _QUOTED.findall(value))
    quoted = _QUOTED.fullmatch(value)
    plain = value.removeprefix("torch.") if quoted is None else shlex.quote(quoted[1])
    return f"{option.flag} {plain}"
