"""Messages of the library in terms of the command line: options in place of parameters."""

from __future__ import annotations

import re
import shlex

from sana_stream.streaming.run.config import field_names

_FLAGS = {name: "--" + name.replace("_", "-") for name in field_names()} | {
    "container": "--format",
    "outputs": "--out",
    "loras": "--lora",
    "story": "--prompt-file",
}
_VALUE = r"""True|False|None|"[^"]*"|'[^']*'|\[[^\]]*\]|-?\d+(?:\.\d+)?"""
_QUOTED = re.compile(r"""["']([^"']*)["']""")
# `name=value` or `name=`, but no part of a path, a URL, quoted text or a memory policy
_ASSIGNMENT = re.compile(
    rf"""(?<![\w.=,:/"'-])(?<!memory )({"|".join(_FLAGS)})=({_VALUE})?(?=[,;:.]?(?:[\s)]|$))"""
)


def with_flags(message: str) -> str:
    """A message with each `parameter=value` replaced by the option that sets it."""
    return _ASSIGNMENT.sub(_given, message)


def _given(match: re.Match[str]) -> str:
    flag, value = _FLAGS[match[1]], match[2]
    if match[1] == "checkpoint":  # no option of its own
        return "--checkpoint-every off" if value == "False" else "--checkpoint-every"
    if value is None or value == "True":
        return flag
    if value in ("False", "None"):
        return f"no {flag}"
    if value.startswith("["):
        return " ".join(f"{flag} {shlex.quote(item)}" for item in _QUOTED.findall(value))
    quoted = _QUOTED.fullmatch(value)
    return f"{flag} {value if quoted is None else shlex.quote(quoted[1])}"
