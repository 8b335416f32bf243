"""The header of a checkpoint file: stream, model, position and checksum."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sana_stream._prompts import Mix
from sana_stream._text import safe_text
from sana_stream.engine.block import FIRST_SHOT, Shot
from sana_stream.engine.prompt_blend import PromptBlend
from sana_stream.errors import ConfigError, SnapshotError
from sana_stream.models.memory_policy import parse_memory_policy

from .schema import StoredBlend, StoredHeader, read_header_values
from .snapshot import SessionSettings

FORMAT = "sana-stream checkpoint"
VERSION = 2
SEVERAL = ("devices", "parallel")  # only in files of several devices
READABLE = (1, 2)  # version 1 has no drift reference and no shot


@dataclass(frozen=True, slots=True)
class SnapshotHeader:
    """All values of a saved stream that are not tensors; fields are named as in the files."""

    model: str  # the model's display name
    fingerprint: str
    prompt: str
    negative_prompt: str
    index: int  # number of the next block
    frames: int  # pixel frames generated so far
    fps: float
    settings: SessionSettings
    states: list[dict[str, Any]]  # of `describe_states`
    beginning: tuple[float, ...] | None  # frame statistics of the stream's first blocks
    device: str
    dtype: str
    extra: dict[str, Any]  # the caller's values
    watch: dict[str, Any] | None = None  # of `describe_drift`
    take: Shot = FIRST_SHOT  # the current shot
    decode_frames: int | None = None  # decoded at once; earlier files have none
    decode_tiles: bool | None = None  # whether in tiles; earlier files have none
    blend: PromptBlend | None = None  # a change of prompt; earlier files have none
    devices: int = 1  # that generated it together; files of one device have neither
    parallel: str = ""  # how they divided the sampling

    @property
    def seconds(self) -> float:
        """Duration of the video generated so far, in seconds."""
        return self.frames / self.fps

    def sealed(self, tensors: Mapping[str, Tensor]) -> dict[str, str]:
        """The header as metadata of a safetensors file with these tensors, checksum included."""
        words = {
            name: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            for name, value in asdict(self).items()
            if self.devices > 1 or name not in SEVERAL
        }
        metadata = {"format": FORMAT, "version": str(VERSION), "torch": torch.__version__} | words
        return metadata | {"checksum": checksum(metadata, tensors)}

    @classmethod
    def from_metadata(cls, path: Path, metadata: Mapping[str, str]) -> SnapshotHeader:
        """Read a header from the metadata of a file.

        Raises:
            SnapshotError: not a checkpoint, of a newer version, or damaged.
        """
        if metadata.get("format") != FORMAT:
            raise SnapshotError(
                f"{safe_text(path)} is a safetensors file, but not a checkpoint of a stream"
            )
        version = metadata.get("version", "")
        if version not in map(str, READABLE):
            raise SnapshotError(
                f"{safe_text(path)} has checkpoint version {safe_text(version, 40)}, this program"
                f" reads {READABLE[0]} to {READABLE[-1]}; update sana-stream"
            )
        later = ("watch", "take")  # added in version 2
        optional = ("decode_frames", "decode_tiles", "blend", *SEVERAL)
        names = tuple(
            f.name
            for f in fields(cls)
            if (f.name not in later or version != "1")
            and (f.name not in optional or f.name in metadata)
        )
        try:
            stored = read_header_values(metadata, names)
            return cls(**_fields(stored, names))
        except (TypeError, ValueError, ConfigError) as error:
            raise SnapshotError(
                f"{safe_text(path)} is damaged: its header cannot be read ({error})"
            ) from error


def checksum(metadata: Mapping[str, str], tensors: Mapping[str, Tensor]) -> str:
    """A hash of the metadata without its checksum and of all tensors with name, dtype, shape."""
    digest = hashlib.blake2b(digest_size=32)
    words = {name: value for name, value in metadata.items() if name != "checksum"}
    digest.update(json.dumps(words, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _fields(stored: StoredHeader, names: tuple[str, ...]) -> dict[str, Any]:
    """The fields of a header, with settings and shot as their records."""
    values = {name: value for name, value in stored.model_dump().items() if name in names}
    settings = values["settings"]
    parse_memory_policy(settings["memory"])
    settings["timesteps"] = tuple(settings["timesteps"])
    if (after := settings["after_cut"]) is not None:
        solver, timesteps = after
        if not isinstance(solver, str) or not isinstance(timesteps, list):
            raise ValueError("settings.after_cut: a solver and its timesteps are needed")
        settings["after_cut"] = (solver, tuple(timesteps))
    values["settings"] = SessionSettings(**settings)
    if stored.take is not None:
        values["take"] = Shot(stored.take.index, stored.take.start)
    else:
        values.pop("take", None)
    if stored.blend is not None:
        values["blend"] = _blend(stored.blend)
    return values


def _blend(stored: StoredBlend) -> PromptBlend:
    if stored.done >= stored.blocks:
        raise ValueError(f"blend.done: {stored.done} of {stored.blocks} blocks")
    return PromptBlend(_mix(stored.prompt), _mix(stored.negative), stored.blocks, stored.done)


def _mix(stored: list[list[str | float]]) -> Mix:
    found = []
    for text, share in stored:
        if not isinstance(text, str) or not isinstance(share, float):
            raise ValueError("blend: prompts and their shares are needed")
        found.append((text, share))
    return tuple(found)
