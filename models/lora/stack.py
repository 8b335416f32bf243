"""Low-rank updates of weights (LoRA, arXiv 2106.09685): `W + scale alpha/r B A`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, prod
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

from sana_stream._text import name_list, safe_text, shape_text
from sana_stream.errors import CheckpointError
from sana_stream.models.weights.file_format import weight_format
from sana_stream.models.weights.files import READ_FAULTS, incomplete_file
from sana_stream.models.weights.torch_file import read_torch_file

from .keys import find_modules, split_key
from .settings import alpha_of, check_scale, read_settings

MAX_TENSORS = 20_000  # of a file; a LoRA of every layer has some thousand
_ADAPTER_FILES = ("adapter_model.safetensors", "adapter_model.bin")  # in a folder of peft


@dataclass(frozen=True, slots=True)
class LowRank:
    """Low-rank update of one weight."""

    A: Tensor  # (r, in), or (r, in, k, k) of a convolution
    B: Tensor  # (out, r) or (out, r, 1, 1)
    factor: float  # alpha / r

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the weight."""
        return (self.B.shape[0], *self.A.shape[1:])

    def delta(self, device: torch.device) -> Tensor:
        """Compute `factor B A`, float32, in the shape of the weight."""
        A, B = self.A.to(device, torch.float32), self.B.to(device, torch.float32)
        return self.factor * (B.flatten(1) @ A.flatten(1)).view(self.shape)

    def rows(self, parts: int) -> list[LowRank]:
        """Split the update by rows into the updates of `parts` equal matrices."""
        return [LowRank(self.A, B, self.factor) for B in self.B.chunk(parts)]


Update = Mapping[str, LowRank]
"""Updates by module name."""


def read_lora(path: Path) -> dict[str, LowRank]:
    """Read updates by module name from a LoRA file of diffusers, peft, ComfyUI or kohya.

    Alpha is given by an `.alpha` tensor, by the file's metadata (diffusers) or by
    `adapter_config.json` next to it (peft). Without any of them it is the rank.

    Raises:
        CheckpointError: not a LoRA file, truncated, of a kind that is more than `B A`, or with
            numbers that are not finite.
    """
    if path.is_dir():
        path = _adapter_file(path)
    tensors, metadata = _read(path)
    if len(tensors) > MAX_TENSORS:
        raise CheckpointError(
            f"{safe_text(path)} holds {len(tensors)} tensors; a LoRA has at most {MAX_TENSORS}"
        )
    parts: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        name, part = split_key(path, key)
        held = parts.setdefault(name, {})
        if part in held:
            raise CheckpointError(f"{safe_text(path)} has {part} of {safe_text(name, 120)} twice")
        held[part] = tensor
    if not parts:
        raise CheckpointError(f"{safe_text(path)} holds no LoRA")
    settings = read_settings(path, metadata)
    return {name: _low_rank(path, name, held, settings) for name, held in parts.items()}


class LoraStack:
    """LoRA updates merged into a model's weights; the original weights are kept on the CPU."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._originals: dict[str, Tensor] = {}

    def set(self, chosen: list[tuple[Path, float]]) -> None:
        """Merge these files, each at its scale, and replace those merged before.

        An empty list restores the checkpoint's weights bit for bit.

        Raises:
            CheckpointError: a file cannot be read or does not fit; nothing has changed.
            ConfigError: a scale that is not a finite number; nothing has changed.
        """
        scales = [check_scale(scale, path) for path, scale in chosen]
        weights = dict(self._model.named_parameters())
        updates = [
            (path, scale, fit_lora(path, read_lora(path), weights))
            for (path, _), scale in zip(chosen, scales, strict=True)
        ]
        touched = sorted({f"{module}.weight" for _, _, update in updates for module in update})
        for name in touched:
            self._check(name, weights[name], updates)
        for name, original in self._originals.items():
            weights[name].data.copy_(original)
        self._originals = {name: weights[name].data.to("cpu", copy=True) for name in touched}
        for name in touched:
            weights[name].data.copy_(_merged(name, weights[name].data, updates))

    def _check(
        self, name: str, weight: Tensor, updates: Sequence[tuple[Path, float, Update]]
    ) -> None:
        """Refuse updated weights that overflow the weight's dtype, before changing anything."""
        before = self._originals.get(name, weight.data).to(weight.device)
        total = _merged(name, before, updates).to(weight.dtype)
        if not torch.isfinite(torch.stack(torch.aminmax(total))).all():
            files = name_list({str(path) for path, _, u in updates if _module(name) in u})
            raise CheckpointError(
                f"{files}: with it, {_module(name)} has numbers that are not finite; give a"
                " smaller scale"
            )


def fit_lora(path: Path, update: Update, weights: Mapping[str, Tensor]) -> dict[str, LowRank]:
    """Assign updates to a model's modules, and check them against the weights' shapes.

    Raises:
        CheckpointError: an update of a missing module, or of another shape.
    """
    modules = {_module(name) for name in weights if name.endswith(".weight")}
    fitting: dict[str, LowRank] = {}
    unknown: list[str] = []
    for name, low_rank in update.items():
        found = find_modules(name, modules)
        if not found or low_rank.B.shape[0] % len(found):
            unknown.append(name)
        elif fitting.keys() & set(found):
            raise CheckpointError(f"{safe_text(path)} changes {safe_text(name, 120)} twice")
        else:
            fitting |= zip(found, low_rank.rows(len(found)), strict=True)
    if unknown:
        only = "" if fitting else "; nothing in it fits, it is a LoRA of another model"
        raise CheckpointError(
            f"{safe_text(path)} changes {name_list(unknown)}, which this model does not have{only}"
        )
    for name, low_rank in fitting.items():
        wanted = tuple(weights[f"{name}.weight"].shape)
        if _without_ones(low_rank.shape) != _without_ones(wanted):
            raise CheckpointError(
                f"{safe_text(path)}: {name} is of shape {shape_text(low_rank.shape)},"
                f" this model's is {wanted}; it is a LoRA of another model"
            )
    return fitting


def _merged(name: str, weight: Tensor, updates: Sequence[tuple[Path, float, Update]]) -> Tensor:
    """Compute the weight with its updates added, in float32."""
    total = weight.float()
    for _, scale, update in updates:
        if _module(name) in update:
            total = total + scale * update[_module(name)].delta(weight.device).view(total.shape)
    return total


def _module(weight: str) -> str:
    return weight.removesuffix(".weight")


def _without_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Drop trailing dimensions of 1: a 1x1 convolution's weight is a matrix."""
    return shape[:2] if prod(shape[2:]) == 1 else shape


def _adapter_file(folder: Path) -> Path:
    named = [folder / name for name in _ADAPTER_FILES if (folder / name).exists()]
    return next(iter(named or sorted(folder.glob("*.safetensors"))), folder / _ADAPTER_FILES[0])


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    if not path.exists():
        raise CheckpointError(f"{safe_text(path)} is missing; give a LoRA's .safetensors file")
    if weight_format(path) == "torch":
        return read_torch_file(path), {}
    try:
        with safe_open(path, framework="pt") as file:
            keys = list(file.keys())
            return {key: file.get_tensor(key) for key in keys}, file.metadata() or {}
    except READ_FAULTS as error:
        raise incomplete_file(path, error) from error


def _low_rank(
    path: Path, name: str, held: Mapping[str, Tensor], settings: Mapping[str, Any]
) -> LowRank:
    where = f"{safe_text(path)}: {safe_text(name, 120)}"
    if "A" not in held or "B" not in held:
        raise CheckpointError(f"{where} has only one of A and B")
    A, B = held["A"], held["B"]
    rank = A.shape[0] if A.ndim else 0
    fits = 2 <= A.ndim <= 5 and A.ndim == B.ndim and B.shape[1] == rank and prod(B.shape[2:]) == 1
    if not fits or not A.numel() or not B.numel():
        raise CheckpointError(
            f"{where} has A of shape {shape_text(A.shape)} and B of {shape_text(B.shape)}"
        )
    for tensor in held.values():
        if not tensor.is_floating_point() and tensor is not held.get("alpha"):
            raise CheckpointError(f"{where} is of type {tensor.dtype}; give floating-point numbers")
        if not torch.isfinite(tensor.float()).all():
            raise CheckpointError(f"{where} holds NaN or infinity; fetch the LoRA again")
    alpha = alpha_of(name, rank, settings)
    if "alpha" in held:
        if held["alpha"].numel() != 1:
            raise CheckpointError(f"{where} has an alpha of {held['alpha'].numel()} numbers")
        alpha = float(held["alpha"])
    factor = alpha / (rank**0.5 if settings.get("use_rslora") else rank)
    if not isfinite(factor):
        raise CheckpointError(f"{where} has an alpha of {alpha:g}")
    return LowRank(A, B, factor)
