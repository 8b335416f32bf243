"""The caller's own values in a checkpoint."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sana_stream._arguments import shown
from sana_stream.errors import ConfigError

EXTRA_BYTES = 8 << 20


def check_extra(extra: object) -> Mapping[str, Any] | None:
    """Check the caller's values for a checkpoint.

    Raises:
        ConfigError: not a mapping with `str` keys, not JSON values, or more than 8 MiB.
    """
    if extra is None:
        return None
    wanted = "give a dict with str keys and JSON values"
    if not isinstance(extra, Mapping) or not all(isinstance(key, str) for key in extra):
        raise ConfigError(f"extra {shown(extra)}: {wanted}")
    try:
        size = len(json.dumps(dict(extra), allow_nan=False).encode())
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigError(f"extra cannot be written as JSON: {wanted}") from error
    if size > EXTRA_BYTES:
        raise ConfigError(f"extra takes {size} bytes as JSON: at most {EXTRA_BYTES} are stored")
    return extra
