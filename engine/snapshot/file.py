"""Checkpoint files of streams: written atomically, checked by a checksum when read."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from sana_stream._files import atomic_write, require_regular_file
from sana_stream._text import os_reason, safe_text
from sana_stream.engine.block import BlockPlan
from sana_stream.engine.device import DTYPES
from sana_stream.engine.frame_stats import FrameStats
from sana_stream.engine.loading.fingerprint import Fingerprint
from sana_stream.engine.loading.model import LoadedModel
from sana_stream.errors import SnapshotError
from sana_stream.models.vae.config import WanVAEConfig
from sana_stream.models.vae.taehv import TAEHVConfig

from .check import check_snapshot
from .header import SnapshotHeader, checksum
from .snapshot import Snapshot, initial_snapshot
from .tensors import (
    GOOD,
    cache_dtypes,
    describe_drift,
    describe_states,
    drift_from,
    from_tensors,
    recovery_from_tensors,
    to_tensors,
    without_cache,
)

logger = logging.getLogger(__name__)
SAMPLE = "model.sample"  # the tensor of the model's fingerprint


def save_snapshot(
    path: Path, snapshot: Snapshot, model: LoadedModel, extra: Mapping[str, Any] | None = None
) -> None:
    """Write a stream to a checkpoint file that `load_snapshot` reads.

    It is a safetensors file with readable metadata. Prompts are stored as text and embedded again;
    a caller's noise source is not stored. An existing file is replaced atomically.

    Args:
        path: conventionally ending in `.ckpt`.
        snapshot: of a session of `model`.
        extra: the caller's own values, anything that JSON can hold.

    Raises:
        SnapshotError: the file cannot be written; an existing one is unchanged.
    """
    try:
        atomic_write(path, serialize_snapshot(snapshot, model, extra))
    except OSError as error:
        raise SnapshotError(
            f"checkpoint {safe_text(path)} cannot be written: {os_reason(error)}"
        ) from error


def serialize_snapshot(
    snapshot: Snapshot, model: LoadedModel, extra: Mapping[str, Any] | None = None
) -> bytes:
    """The content of the checkpoint file that `save_snapshot` writes."""
    tensors = to_tensors(snapshot) | {SAMPLE: model.fingerprint.sample}
    header = _header_of(snapshot, model, extra or {})
    return save(tensors, header.sealed(tensors))


def read_header(path: Path) -> SnapshotHeader:
    """Read the header of a checkpoint without its tensors.

    Raises:
        SnapshotError: not a checkpoint, or one of a newer version.
    """
    return _read(path, with_tensors=False)[0]


@dataclass(frozen=True, slots=True)
class SavedStream:
    """A complete, undamaged checkpoint, before its model is loaded."""

    path: Path
    header: SnapshotHeader
    tensors: Mapping[str, Tensor]
    checksum: str

    def restore(self, model: LoadedModel) -> Snapshot:
        """The snapshot on the model's device and in its dtype.

        On the same device type, in the same dtype and divided among devices in the same way the
        stream continues bit for bit. Another division is logged as a warning.

        Raises:
            SnapshotError: it is of another model, or its tensors do not fit its header.
        """
        header, tensors, name = self.header, dict(self.tensors), safe_text(self.path)
        saved = Fingerprint(header.fingerprint, tensors.pop(SAMPLE, torch.empty(0)))
        if not model.fingerprint.matches(saved):
            if model.fingerprint.has_weights_of(saved):
                raise SnapshotError(
                    f"{name} is a stream of the same weights ({safe_text(header.model)}) under"
                    " another instruction, other conventions or another configuration, and would"
                    " not continue with the same numbers; give the model, its stream.json and the"
                    " version of sana-stream that generated it"
                )
            raise SnapshotError(
                f"{name} is a stream of another model ({safe_text(header.model)}), not of the one"
                f" loaded ({model.display_name}); give the model that generated it"
            )
        if header.dtype != _dtype(model) or _decoded_in_another(tensors, model):
            tensors = without_cache(tensors)
        try:
            prompts = header.prompt, header.negative_prompt
            beginning = initial_snapshot(model, header.settings, *prompts)
            snapshot = from_tensors(beginning, header.states, tensors)
            separate = recovery_from_tensors(tensors, model.device, GOOD)
            drift = drift_from(header.watch, snapshot.recovery_point, separate)
            stats = None if header.beginning is None else FrameStats(*header.beginning)
            alike = _is_like(header, model)
            snapshot = replace(
                snapshot,
                reference_stats=stats,
                drift_reference=drift,
                next_index=header.index,
                shot=header.take,
                blend=header.blend,
                decode_frames=header.decode_frames if alike else None,
                decode_tiles=header.decode_tiles if alike else None,
            )
            check_snapshot(snapshot, model)
            _warn_of_devices(header, model, name)
        except (KeyError, ValueError, TypeError, IndexError) as error:
            raise SnapshotError(f"{name} is damaged: {safe_text(error)}") from error
        return snapshot


def read_saved(path: Path) -> SavedStream:
    """Read a complete checkpoint and check it.

    Raises:
        SnapshotError: the file is damaged, not a checkpoint, or of a newer version.
    """
    header, tensors, digest = _read(path, with_tensors=True)
    return SavedStream(path, header, tensors, digest)


def load_snapshot(path: Path, model: LoadedModel) -> Snapshot:
    """Read a checkpoint into a snapshot on the model's device and in its dtype.

    Raises:
        SnapshotError: the file is damaged, not a checkpoint, of a newer version or of another
            model.
    """
    return read_saved(path).restore(model)


def _header_of(snapshot: Snapshot, model: LoadedModel, extra: Mapping[str, Any]) -> SnapshotHeader:
    settings, beginning = snapshot.settings, snapshot.reference_stats
    factor = model.vae.config.temporal_factor
    plan = BlockPlan(settings.block_frames, factor, (snapshot.shot,))
    return SnapshotHeader(
        model=model.display_name,
        fingerprint=model.fingerprint.shapes,
        prompt=snapshot.prompt,
        negative_prompt=snapshot.negative_prompt,
        index=snapshot.next_index,
        frames=plan.block(snapshot.next_index).start,
        fps=model.preset.fps,
        settings=settings,
        states=describe_states(snapshot.states),
        beginning=None if beginning is None else beginning.values,
        device=str(model.device),
        dtype=_dtype(model),
        extra=dict(extra),
        watch=describe_drift(snapshot),
        take=snapshot.shot,
        decode_frames=snapshot.decode_frames,
        decode_tiles=snapshot.decode_tiles,
        blend=snapshot.blend,
        devices=model.peers.devices,
        parallel=model.peers.describe(settings),
    )


def _is_like(header: SnapshotHeader, model: LoadedModel) -> bool:
    """Whether device type and dtype are those of the file, so that the stream can be the same."""
    same_device = header.device.partition(":")[0] == model.device.type
    return same_device and header.dtype == _dtype(model)


def _warn_of_devices(header: SnapshotHeader, model: LoadedModel, name: str) -> None:
    """Log that a stream was divided in another way, so that it differs by rounding from here on."""
    given = model.peers.describe(header.settings)
    if given != header.parallel:
        logger.warning(
            "%s was generated on %s, and continues on %s: not bit for bit",
            *(name, _devices(header.devices, header.parallel)),
            _devices(model.peers.devices, given),
        )


def _devices(count: int, parallel: str) -> str:
    if not parallel:
        return "one device"
    return f"{count} devices ({safe_text(parallel, 80)})"


def _decoded_in_another(tensors: Mapping[str, Tensor], model: LoadedModel) -> bool:
    """Whether the decoder that wrote the caches, and not the transformer, had another dtype."""
    if not isinstance(model.decoder.config, WanVAEConfig | TAEHVConfig):
        return False
    return bool(cache_dtypes(tensors) & {*DTYPES.values()} - {model.decoder_dtype})


def _dtype(model: LoadedModel) -> str:
    return str(model.dtype).removeprefix("torch.")


def _read(path: Path, with_tensors: bool) -> tuple[SnapshotHeader, dict[str, Tensor], str]:
    tensors: dict[str, Tensor] = {}
    name = safe_text(path)
    try:
        require_regular_file(path)
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            header = SnapshotHeader.from_metadata(path, metadata)
            for key in file.keys() if with_tensors else ():
                tensors[key] = file.get_tensor(key)
    except FileNotFoundError:
        raise SnapshotError(f"{name} does not exist: give the path of a checkpoint") from None
    except (OSError, SafetensorError, ValueError) as error:
        raise SnapshotError(
            f"{name} is not a complete checkpoint of a stream ({safe_text(os_reason(error))})"
        ) from error
    digest = metadata.get("checksum", "")
    if with_tensors and checksum(metadata, tensors) != digest:
        raise SnapshotError(f"{name} is damaged: its checksum does not match its content")
    return header, tensors, digest
