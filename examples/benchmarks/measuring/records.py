"""Records: the results of a script, one JSON object a line on standard output, as they come."""

from __future__ import annotations

import json
from typing import Any

Record = dict[str, Any]


def emit(table: str, name: str, **values: Any) -> None:
    """Print a record. Later values of the same name in the same table are added to the row."""
    print(json.dumps({"table": table, "name": name, **values}), flush=True)


def emit_error(table: str, name: str, error: BaseException) -> None:
    """Print a record of something that could not be measured."""
    emit(table, name, error=reason_of(error))


def reason_of(error: BaseException) -> str:
    """The first line of an error's message, with its class unless it is one of the engine's."""
    lines = str(error).strip().splitlines() or [""]
    kind = type(error).__name__
    own = type(error).__module__.startswith("sana_stream")
    return lines[0][:300] if own and lines[0] else f"{kind}: {lines[0][:120]}".rstrip(": ")


def parse_record(line: str) -> Record | None:
    """The record of a line, or `None` for any other text."""
    if not line.startswith("{"):
        return None
    try:
        record = json.loads(line)
    except ValueError:
        return None
    known = isinstance(record, dict) and {"table", "name"} <= record.keys()
    return record if known else None
