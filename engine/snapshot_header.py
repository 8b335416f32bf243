"""What a checkpoint file says in words: its stream, its model, its place, and a checksum."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..models.errors import SanaStreamError
from .plan import FROM_THE_START, Take
from .snapshot import SessionSettings

FORMAT = "sana-stream checkpoint"
VERSION = 2
READABLE = (1, 2)  # version 1 knows of no guard and of no cut


class SnapshotError(SanaStreamError):
    """A checkpoint of a stream that cannot be written or gone on from: which, and why."""


@dataclass(frozen=True, slots=True)
class SnapshotHeader:
    """Everything of a saved stream that is not a tensor."""

    model: str  # the name in the model's preset, for people
    fingerprint: str
    prompt: str
    negative_prompt: str
    index: int  # number of the next block
    frames: int  # pixel frames made so far
    fps: float
    settings: SessionSettings
    states: list[dict[str, Any]]  # of `describe_states`
    beginning: tuple[float, ...] | None  # the look of the stream's first blocks
    device: str
    dtype: str
    extra: dict[str, Any]  # the caller's own
    watch: dict[str, Any] | None = None  # of `describe_watch`
    take: Take = FROM_THE_START  # where the stream's past begins

    @property
    def seconds(self) -> float:
        """How long the video made so far plays."""
        return self.frames / self.fps

    def sealed(self, tensors: Mapping[str, Tensor]) -> dict[str, str]:
        """The header as metadata of a safetensors file that holds these tensors."""
        words = {
            name: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            for name, value in asdict(self).items()
        }
        metadata = {"format": FORMAT, "version": str(VERSION), "torch": torch.__version__} | words
        return metadata | {"checksum": checksum(metadata, tensors)}

    @classmethod
    def from_metadata(cls, path: Path, metadata: Mapping[str, str]) -> SnapshotHeader:
        """Read the metadata of a file.

        Raises:
            SnapshotError: not of a checkpoint, of a newer version, or not as it was written.
        """
        if metadata.get("format") != FORMAT:
            raise SnapshotError(f"{path} is a safetensors file, but not a checkpoint of a stream")
        version = metadata.get("version", "")
        if version not in map(str, READABLE):
            raise SnapshotError(
                f"{path} has checkpoint version {version}, this program reads"
                f" {READABLE[0]} to {READABLE[-1]}; update sana-stream"
            )
        later = ("watch", "take")  # than version 1
        names = (field.name for field in fields(cls) if field.name not in later or version != "1")
        try:
            return cls(**{name: _value(name, metadata) for name in names})
        except (KeyError, TypeError, ValueError) as error:
            raise SnapshotError(
                f"{path} is damaged: its header cannot be read ({error})"
            ) from error


def checksum(metadata: Mapping[str, str], tensors: Mapping[str, Tensor]) -> str:
    """A hash of the metadata, but its checksum, and of every tensor's name, form and bytes."""
    digest = hashlib.blake2b(digest_size=32)
    words = {name: value for name, value in metadata.items() if name != "checksum"}
    digest.update(json.dumps(words, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


_TEXT = ("model", "fingerprint", "prompt", "negative_prompt", "device", "dtype")


def _value(name: str, metadata: Mapping[str, str]) -> Any:
    text = metadata[name]
    if name in _TEXT:
        return text
    value = json.loads(text)
    if name == "take":
        return Take(**value)
    if name == "settings":
        value["timesteps"] = tuple(value["timesteps"])
        if (after := value.get("after_cut")) is not None:
            value["after_cut"] = (after[0], tuple(after[1]))
        return SessionSettings(**value)
    return value
