"""Validation of values from files against a schema, with one-line messages."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from sana_stream._text import name_list, safe_text
from sana_stream.errors import ConfigError, SanaStreamError

_MAX_SHOWN = 60  # characters of a value in a message


class Schema(BaseModel):
    """Strict fields of a file: no conversion between types, no unknown keys, no infinities."""

    model_config = ConfigDict(
        strict=True, extra="forbid", allow_inf_nan=False, protected_namespaces=()
    )


class OpenSchema(Schema):
    """Fields of a file that also has other keys, which are ignored."""

    model_config = ConfigDict(extra="ignore")


def check_values(
    schema: type[Schema],
    values: Mapping[str, Any],
    where: object,
    error: type[SanaStreamError] = ConfigError,
) -> dict[str, Any]:
    """Validate the values of a file; absent keys are left out, lists become tuples.

    Args:
        schema: allowed values of each key.
        values: content of the file.
        where: the file's name, for messages.
        error: class of the error to raise.

    Raises:
        SanaStreamError: of class `error`; names file, key, the value given and what is allowed.
    """
    try:
        checked = schema.model_validate({key: _listed(value) for key, value in values.items()})
    except ValidationError as found:
        raise error(f"{safe_text(where)}: {_first_fault(found)}") from None
    return {name: _frozen(getattr(checked, name)) for name in sorted(checked.model_fields_set)}


def from_known_keys(
    schema: type[Schema],
    values: Mapping[str, Any],
    where: object,
    error: type[SanaStreamError] = ConfigError,
    *,
    others: Iterable[str] = (),
    allow_idle: bool = True,
) -> dict[str, Any]:
    """Check the values of a file and refuse keys that are not in the schema.

    A newer version of the program that wrote a file adds keys that are off: null, false, zero or
    empty. They are left out, and so are keys that begin with an underscore.

    Args:
        schema, values, where, error: as for `check_values`.
        others: further keys that the file may have; their values are not returned.
        allow_idle: `False` refuses unknown keys that are off, too.

    Raises:
        SanaStreamError: of class `error`, for an unknown key or a value that is not allowed.
    """
    known = {*schema.model_fields, *others}
    odd = [key for key in values if key not in known]
    if allow_idle:
        odd = [key for key in odd if not key.startswith("_") and not is_idle(values[key])]
    if odd:
        near = difflib.get_close_matches(odd[0][:100], known, 1)
        hint = f"did the file mean {near[0]!r}?" if near else f"allowed are {name_list(known, 99)}"
        raise error(f"{safe_text(where)} has unknown keys {name_list(odd)}; {hint}")
    given = {key: value for key, value in values.items() if key in schema.model_fields}
    return check_values(schema, given, where, error)


def is_idle(value: Any) -> bool:
    """Whether a value is unset: null, false, zero or empty."""
    return value is None or value in (False, "") or value in ([], {}) or value == 0


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
        return safe_text(repr(value[:500]), _MAX_SHOWN)
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 200:
        return f"a number of {value.bit_length()} bits"
    return "null" if value is None else safe_text(value, _MAX_SHOWN)


def _listed(value: Any) -> Any:
    """Convert tuples to lists, as JSON has them."""
    return list(map(_listed, value)) if isinstance(value, tuple) else value


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list | tuple) else value
