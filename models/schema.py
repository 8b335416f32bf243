"""Foreign values held against a schema; what does not fit is told on one line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from sana_stream._text import name_list, safe_text
from sana_stream.errors import ConfigError, SanaStreamError

_SHOWN = 60  # characters of a value in a message


class Schema(BaseModel):
    """Fields of a file: a number is no text, a truth value no number, and no number is endless."""

    model_config = ConfigDict(
        strict=True, extra="forbid", allow_inf_nan=False, protected_namespaces=()
    )


class OpenSchema(Schema):
    """Fields of a file that has others besides, which nothing here reads."""

    model_config = ConfigDict(extra="ignore")


def check_values(
    schema: type[Schema],
    values: Mapping[str, Any],
    where: object,
    error: type[SanaStreamError] = ConfigError,
) -> dict[str, Any]:
    """The values of a file, lists as tuples; those that it does not give are left out.

    Args:
        schema: which values there may be.
        values: what the file holds.
        where: the file, for messages.
        error: the class that is raised.

    Raises:
        SanaStreamError: of class `error`; names file, key, what was given and what is allowed.
    """
    try:
        checked = schema.model_validate({key: _listed(value) for key, value in values.items()})
    except ValidationError as found:
        raise error(f"{safe_text(where)}: {_first_fault(found)}") from None
    return {name: _frozen(getattr(checked, name)) for name in sorted(checked.model_fields_set)}


def without_idle(
    values: Mapping[str, Any],
    known: Iterable[str],
) -> tuple[dict[str, Any], list[str]]:
    """The values of known keys, and the unknown keys that ask for something.

    A newer version of the program that wrote a file adds keys, which are off: null, false, zero,
    empty. Keys that begin with an underscore are notes.
    """
    names = set(known)
    kept = {key: value for key, value in values.items() if key in names}
    odd = [
        key
        for key, value in values.items()
        if key not in names and not key.startswith("_") and not is_idle(value)
    ]
    return kept, odd


def is_idle(value: Any) -> bool:
    """Whether a setting is off."""
    return value is None or value in (False, "") or value in ([], {}) or value == 0


def nearest_key(key: str, known: Iterable[str]) -> str:
    """A hint at the key that a misspelt one may be; empty where none is near."""
    near = difflib.get_close_matches(key[:100], list(known), 1)
    return f"; did the file mean {near[0]!r}?" if near else ""


def refuse_unknown(odd: list[str], where: object, known: Iterable[str]) -> str:
    """The message about unknown keys."""
    allowed = ", ".join(sorted(known))
    return f"{safe_text(where)} has unknown keys {name_list(odd)}; allowed are {allowed}"


def _first_fault(found: ValidationError) -> str:
    faults = found.errors(include_url=False)
    first = faults[0]
    place = ".".join(str(part) for part in first["loc"]) or "it"
    rule = first["msg"].removeprefix("Input ").removeprefix("Value error, ")
    given = _given(first["input"])
    more = f" ({len(faults) - 1} more faults)" if len(faults) > 1 else ""
    return f"{safe_text(place, 80)} is {given}: it {safe_text(rule, 120)}{more}"


def _given(value: Any) -> str:
    if isinstance(value, list | dict | tuple):
        kind = "an object" if isinstance(value, dict) else "a list"
        return f"{kind} of {len(value)}"
    if isinstance(value, str):
        return safe_text(repr(value[:500]), _SHOWN)
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 200:
        return f"a number of {value.bit_length()} bits"
    return "null" if value is None else safe_text(value, _SHOWN)


def _listed(value: Any) -> Any:
    """A value as JSON has it: programs hand over tuples."""
    return list(map(_listed, value)) if isinstance(value, tuple) else value


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list | tuple) else value
