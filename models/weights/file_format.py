"""Detection of a weights file's format by its first bytes, whatever its name is."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from sana_stream._files import require_regular_file
from sana_stream._text import os_reason, safe_text
from sana_stream.errors import CheckpointError

Format = Literal["safetensors", "torch"]
SAFETENSORS = ".safetensors"
HEADER_BYTES = 32 << 20  # of a safetensors file; the published 2B model has 0.1 MiB
_HEAD = 512  # bytes read to recognize a format
_LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # magic number of torch.save before 1.6

# First bytes of other formats that are found under the name of weights.
_OTHERS: tuple[tuple[bytes, str], ...] = (
    (b"GGUF", "a GGUF file (quantized for llama.cpp or ComfyUI)"),
    (b"GGML", "a GGML file (quantized for llama.cpp)"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"version https://git-lfs", "a Git LFS pointer (run `git lfs pull` to get the file itself)"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    (b"\x1f\x8b", "a gzip archive; unpack it"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive; unpack it"),
    (b"Rar!", "a RAR archive; unpack it"),
    (b"BZh", "a bzip2 archive; unpack it"),
    (b"\xfd7zXZ", "an xz archive; unpack it"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard archive; unpack it"),
    (b"\x89PNG", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"%PDF", "a PDF document"),
    (b"\x1aE\xdf\xa3", "a Matroska video"),
)


def weight_format(path: Path) -> Format:
    """Detect the format of the weights in a file.

    Raises:
        CheckpointError: the file is missing, not a regular file, empty, or of another format,
            which is named.
    """
    try:
        size = require_regular_file(path)
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except FileNotFoundError as error:
        raise CheckpointError(f"{safe_text(path)} is missing; the model is not complete") from error
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{safe_text(path)} cannot be read: {safe_text(os_reason(error))}"
        ) from error
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06", _LEGACY)):
        return "torch"
    if (other := _other(head)) is not None:
        raise CheckpointError(
            f"{safe_text(path)} is {other}; give weights as .safetensors or as a PyTorch file"
        )
    length = int.from_bytes(head[:8], "little")
    if len(head) > 8 and head[8:9] == b"{":
        _check_header(path, length, size)
        return "safetensors"
    raise CheckpointError(f"{safe_text(path)} is not {_expected(path)}: {_beginning(head, size)}")


def _check_header(path: Path, length: int, size: int) -> None:
    if length > HEADER_BYTES:
        reason = f"its header has {length} bytes, at most {HEADER_BYTES} are allowed"
    elif 8 + length > size:
        reason = "it ends in its header"
    else:
        return
    raise CheckpointError(
        f"{safe_text(path)} is not a complete safetensors file ({reason}); fetch it again"
    )


def _other(head: bytes) -> str | None:
    for start, description in _OTHERS:
        if head.startswith(start):
            return description
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        return "a web page (the download gave an error page or asks for a login)"
    if text.startswith((b"{", b"[{")):
        return "a text file with JSON"
    if head[4:8] == b"ftyp":
        return "an MP4 video"
    if head[257:262] == b"ustar":
        return "a tar archive; unpack it"
    if head[:1] == b"\x08" and head[1:2] < b"\x20" and head[2:3] in (b"\x12", b"\x1a", b":"):
        return "an ONNX model"
    if head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return "a plain Python pickle, and code in it could run"
    return None


def _expected(path: Path) -> str:
    """Format that a file's name suggests."""
    return (
        "a complete safetensors file" if path.suffix == SAFETENSORS else "a complete PyTorch file"
    )


def _beginning(head: bytes, size: int) -> str:
    if not size:
        return "it is empty"
    if not any(head):
        return "it begins with zeros, as an interrupted download does"
    return f"it begins with {safe_text(head[:12])}"
