"""Malicious and damaged files that are named like weights files."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save

MAGIC = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2) + pickle.dumps({}, 2)


class Malicious:
    """An object whose unpickling runs a command."""

    def __reduce__(self):
        return os.system, ("touch hacked",)


def archive(data: bytes, members: dict[str, bytes] | None = None, **more: int) -> bytes:
    """Create a PyTorch archive with this pickle."""
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w", **more) as made:  # type: ignore[arg-type]
        held = {"data.pkl": data, "version": b"3\n", "byteorder": b"little"} | (members or {})
        for name, content in held.items():
            made.writestr(f"archive/{name}", content)
    return raw.getvalue()


def legacy(data: bytes, keys: list[str], rest: bytes = b"") -> bytes:
    """Create a PyTorch file of the older format."""
    return MAGIC + data + pickle.dumps(keys, 2) + rest


def weight(count: int, shape: tuple[int, ...], stride: tuple[int, ...], offset: int = 0) -> bytes:
    """Create a pickle of one tensor, which the file need not contain."""

    def numbers(values: tuple[int, ...]) -> bytes:
        return b"(" + b"".join(pickle.dumps(v, 2)[2:-1] for v in values) + b"t"

    storage = b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpu"
    storage += pickle.dumps(count, 2)[2:-1] + b"tQ"
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + pickle.dumps(offset, 2)[2:-1]
    tensor += numbers(shape) + numbers(stride) + b"\x89ccollections\nOrderedDict\n)RtR"
    return b"\x80\x02}X\x01\0\0\0w" + tensor + b"s."


def call(module: str, name: str, argument: bytes) -> bytes:
    """Create a pickle of a dictionary with the result of a call."""
    made = f"c{module}\n{name}\n".encode() + b"(" + argument + b"tR"
    return b"\x80\x02}X\x01\0\0\0w" + made + b"s."


def overlapping() -> bytes:
    """Create an archive whose directory lists one member's bytes under many names."""
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w") as made:
        made.writestr("archive/data.pkl", b"\x80\x02}.")
        made.writestr("archive/data/0", bytes(1 << 20))
        info = made.getinfo("archive/data/0")
        for number in range(1, 1000):
            other = zipfile.ZipInfo(f"archive/data/{number}")
            other.header_offset, other.CRC = info.header_offset, info.CRC
            other.file_size = other.compress_size = info.file_size
            made.filelist.append(other)
            made.NameToInfo[other.filename] = other
        made._didModify = True  # type: ignore[attr-defined]
    return raw.getvalue()


def tensors_file(header: object, data: bytes = b"", length: int | None = None) -> bytes:
    """Create a safetensors file with this header, optionally with a wrong length."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(shape: list[int], begin: int, end: int, dtype: str = "F32") -> dict[str, object]:
    """Create a tensor's entry of a safetensors header."""
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


CYCLE = b"\x80\x02}q\0X\n\0\0\0state_dicth\0s."
BIG = pickle.dumps((1 << 31) - 1, 2)[2:-1]
PYTORCH: dict[str, Callable[[], bytes]] = {
    "bomb": lambda: archive(bytes(512 << 20), compression=zipfile.ZIP_DEFLATED, compresslevel=9),
    "bomb of data": lambda: archive(
        weight(1 << 27, (1 << 27,), (1,)),
        {"data/0": bytes(1 << 29)},
        compression=zipfile.ZIP_DEFLATED,
        compresslevel=1,
    ),
    "overlapping members": overlapping,
    "a pickle that holds itself": lambda: archive(CYCLE),
    "an older one that holds itself": lambda: legacy(CYCLE, []),
    "a far memo": lambda: archive(b"\x80\x02}r\xff\xff\xff\x7f."),
    "a long text": lambda: archive(b"\x80\x02X\xff\xff\xff\x7fabc."),
    "a long number": lambda: archive(b"\x80\x02\x8b\xff\xff\xff\x7fabc."),
    "bytes of gigabytes": lambda: archive(call("__builtin__", "bytearray", BIG)),
    "a storage of gigabytes": lambda: archive(call("torch", "FloatStorage", BIG)),
    "deep lists": lambda: archive(b"\x80\x02" + b"]" * 10**6 + b"a" * (10**6 - 1) + b"."),
    "a deep key": lambda: archive(b"\x80\x02})" + b"\x85" * 10**6 + b"K\x01s."),
    "a listed storage": lambda: archive(weight(1 << 40, (1 << 40,), (1,)), {"data/0": b"1234"}),
    "an older listed storage": lambda: legacy(weight(1 << 40, (1 << 40,), (1,)), ["0"]),
    "an older truncated storage": lambda: legacy(weight(4, (4,), (1,)), ["0"], bytes(10)),
    "an expanded tensor": lambda: archive(weight(1, (10**6, 10**6), (0, 0)), {"data/0": bytes(4)}),
    "a tensor after its data": lambda: archive(weight(1, (1,), (1,), 5), {"data/0": bytes(4)}),
    "a negative shape": lambda: archive(weight(1, (-1,), (1,)), {"data/0": bytes(4)}),
    "copies of copies": lambda: archive(
        b"\x80\x02ccollections\nOrderedDict\nq\0]q\1(" + b"K\1K\2\x86" * 10**5 + b"e"
        + b"h\0h\1\x85R" * 10**4 + b"."
    ),
    "code": lambda: archive(pickle.dumps({"state_dict": {"x": Malicious()}}, 2)),
    "code in the older format": lambda: legacy(pickle.dumps({"x": Malicious()}, 2), []),
    "code alone": lambda: pickle.dumps(Malicious()),
    "a program of torch": lambda: archive(b"\x80\x02}.", {"code/x.py": b"", "constants.pkl": b""}),
    "NumPy's archive": lambda: b"PK\x03\x04" + bytes(100),
    "GGUF": lambda: b"GGUF" + bytes(100),
    "a Git LFS pointer": lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
    "a web page": lambda: b"\n<!DOCTYPE html><html><body>404</body></html>",
    "ONNX": lambda: b"\x08\x07\x12\x07pytorch" + bytes(100),
    "a NumPy array": lambda: b"\x93NUMPY\x01\0" + bytes(100),
    "a gzip archive": lambda: b"\x1f\x8b\x08" + bytes(100),
    "a tar archive": lambda: bytes(257) + b"ustar" + bytes(300),
    "JSON": lambda: b'{"error": "login"}',
    "zeros": lambda: bytes(5000),
    "nothing": lambda: b"",
}  # fmt: skip
SAFETENSORS: dict[str, Callable[[], bytes]] = {
    "a header without end": lambda: tensors_file(b"{", length=(1 << 63) - 1),
    "a header of gigabytes": lambda: tensors_file(b"{", length=1 << 31),
    "a deep header": lambda: tensors_file(b'{"a":' * 10**6),
    "data after the end": lambda: tensors_file({"a": entry([4], 0, 16)}, bytes(8)),
    "data twice": lambda: tensors_file(
        {"a": entry([2], 0, 8), "b": entry([2], 0, 8)}, bytes(8)
    ),
    "a name twice": lambda: tensors_file(
        b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},'
        b'"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}', bytes(8)
    ),
    "an endless shape": lambda: tensors_file({"a": entry([1 << 62, 4], 0, 4)}, bytes(4)),
    "an endless shape of nothing": lambda: tensors_file({"a": entry([1 << 62, 0, 1 << 62], 0, 0)}),
    "a negative shape": lambda: tensors_file({"a": entry([-1], 0, 4)}, bytes(4)),
    "an unknown type": lambda: tensors_file({"a": entry([1], 0, 4, "F31")}, bytes(4)),
    "a wrapped name twice": lambda: save(
        {"a.weight": torch.zeros(1), "_orig_mod.a.weight": torch.zeros(1)}
    ),
    "a name with terminal escapes": lambda: save({"\x1b[2J\x1b]0;x\7": torch.zeros(1)}),
    "a name of a million": lambda: save({"a" * 10**6: torch.zeros(1)}),
    "many names": lambda: save({f"n{number}": torch.zeros(1) for number in range(20_000)}),
}  # fmt: skip


def write_hostile_files(folder: Path) -> dict[str, Path]:
    """Write all files, with a named pipe, a folder and an endless device; return their paths."""
    written: dict[str, Path] = {}
    for suffix, kinds in ((".pth", PYTORCH), (".safetensors", SAFETENSORS)):
        for number, (name, make) in enumerate(kinds.items()):
            written[f"{name} {suffix}"] = folder / f"{number}{suffix}"
            written[f"{name} {suffix}"].write_bytes(make())
    for suffix in (".pth", ".safetensors"):
        for kind in ("pipe", "folder", "zero", "loop", "gone"):
            written[f"{kind} {suffix}"] = folder / f"{kind}{suffix}"
        os.mkfifo(folder / f"pipe{suffix}")
        (folder / f"folder{suffix}").mkdir()
        (folder / f"zero{suffix}").symlink_to("/dev/zero")
        (folder / f"loop{suffix}").symlink_to(folder / f"loop{suffix}")
    return written
