"""What a message calls an output."""

from __future__ import annotations

from urllib.parse import urlsplit


def label(output: str) -> str:
    """An output by its name, an address without what may be secret: user, stream key, query."""
    if output == "-":
        return "standard output"
    if "://" not in output:
        return output
    parts = urlsplit(output)
    if parts.scheme == "unix":
        return f"unix://{parts.netloc}{parts.path}"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
