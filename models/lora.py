"""Low-rank updates of weights (LoRA, arXiv 2106.09685): `W + scale alpha/r B A`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from .errors import CheckpointError
from .weights import NAMED, read_json

ADAPTER_CONFIG = "adapter_config.json"
_PREFIX = re.compile(r"^(base_model\.model\.|transformer\.|module\.|model\.)+")
_FACTORS = {
    ".lora_A.weight": "A",
    ".lora_A.default.weight": "A",
    ".lora.down.weight": "A",
    ".lora_down.weight": "A",
    ".lora_B.weight": "B",
    ".lora_B.default.weight": "B",
    ".lora.up.weight": "B",
    ".lora_up.weight": "B",
    ".alpha": "alpha",
}


@dataclass(frozen=True, slots=True)
class LowRank:
    """The update of one weight."""

    A: Tensor  # (r, in) or of a convolution (r, in, k, k)
    B: Tensor  # (out, r) or (out, r, 1, 1)
    factor: float  # alpha / r

    def delta(self, device: torch.device) -> Tensor:
        """`factor B A`, float32, in the shape of the weight."""
        A, B = self.A.to(device, torch.float32), self.B.to(device, torch.float32)
        product = B.flatten(1) @ A.flatten(1)
        return self.factor * product.view(B.shape[0], *A.shape[1:])


def read_lora(path: Path) -> dict[str, LowRank]:
    """Updates by the name of their module, from a file in the diffusers or the peft layout.

    Where nothing says otherwise, alpha is the rank. It may be told by an `.alpha` tensor, by the
    file's metadata (diffusers) or by `adapter_config.json` beside it (peft).

    Raises:
        CheckpointError: not such a file, cut short, or of a kind that is more than `B A`.
    """
    if path.is_dir():
        path = next((f for f in sorted(path.glob("*.safetensors"))), path / "*.safetensors")
    tensors, metadata = _read(path)
    parts: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        suffix = next((end for end in _FACTORS if key.endswith(end)), None)
        if suffix is None:
            raise CheckpointError(f"{path}: {key} is not of a plain LoRA (A and B alone)")
        name = _PREFIX.sub("", key.removesuffix(suffix))
        parts.setdefault(name, {})[_FACTORS[suffix]] = tensor
    if not parts:
        raise CheckpointError(f"{path} holds no LoRA")
    settings = _settings(path, metadata)
    return {name: _low_rank(path, name, held, settings) for name, held in parts.items()}


class LoraStack:
    """Updates merged into a model's weights; the weights before them are kept, on the CPU."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._originals: dict[str, Tensor] = {}

    def set(self, chosen: list[tuple[Path, float]]) -> None:
        """Merge these files, each at its scale, in place of those merged before.

        An empty list gives the weights of the checkpoint back, bit for bit.

        Raises:
            CheckpointError: a file cannot be read or does not fit; nothing has changed.
        """
        updates = [(path, scale, read_lora(path)) for path, scale in chosen]
        weights = dict(self._model.named_parameters())
        for path, _, update in updates:
            _check(path, update, weights)
        for name, original in self._originals.items():
            weights[name].data.copy_(original)
        touched = {f"{module}.weight" for _, _, update in updates for module in update}
        self._originals = {name: weights[name].data.to("cpu", copy=True) for name in touched}
        for name in sorted(touched):
            weight, module = weights[name], name.removesuffix(".weight")
            total = weight.data.float()
            for _, scale, update in updates:
                if module in update:
                    total = total + scale * update[module].delta(weight.device)
            weight.data.copy_(total)


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    if not path.is_file():
        raise CheckpointError(f"{path} is missing; give a LoRA's .safetensors file")
    try:
        with safe_open(path, framework="pt") as file:
            keys = list(file.keys())
            return {key: file.get_tensor(key) for key in keys}, file.metadata() or {}
    except SafetensorError as error:
        raise CheckpointError(f"{path} is not a whole safetensors file ({error})") from error


def _settings(path: Path, metadata: Mapping[str, str]) -> Mapping[str, Any]:
    """What the file or the configuration beside it says of rank and alpha, by peft's names."""
    beside = path.parent / ADAPTER_CONFIG
    settings: Mapping[str, Any] = read_json(beside) if beside.exists() else {}
    if "lora_adapter_metadata" in metadata:
        try:
            told = json.loads(metadata["lora_adapter_metadata"])
        except json.JSONDecodeError as error:
            raise CheckpointError(f"{path}: its metadata cannot be read: {error}") from error
        settings = {key.removeprefix("transformer."): value for key, value in told.items()}
    for kind in ("use_dora", "lora_bias"):
        if settings.get(kind):
            raise CheckpointError(f"{path} was made with {kind}; only plain LoRA (A and B) merges")
    return settings


def _low_rank(
    path: Path, name: str, held: Mapping[str, Tensor], settings: Mapping[str, Any]
) -> LowRank:
    if "A" not in held or "B" not in held:
        raise CheckpointError(f"{path}: {name} has one of A and B only")
    A, B = held["A"], held["B"]
    rank = A.shape[0]
    if B.ndim != A.ndim or B.shape[1] != rank:
        raise CheckpointError(
            f"{path}: {name} has A of shape {tuple(A.shape)} and B of {tuple(B.shape)}"
        )
    alpha = settings.get("lora_alpha", rank)
    alpha = _by_pattern(settings.get("alpha_pattern") or {}, name, alpha)
    if "alpha" in held:
        alpha = float(held["alpha"])
    return LowRank(A, B, alpha / (rank**0.5 if settings.get("use_rslora") else rank))


def _by_pattern(patterns: Mapping[str, float], name: str, default: float) -> float:
    """peft's patterns: a module's full name, its end, or a regular expression for either."""
    for pattern, value in patterns.items():
        if re.match(rf"(.*\.)?({pattern})$", name):
            return value
    return default


def _check(path: Path, update: Mapping[str, LowRank], weights: Mapping[str, Tensor]) -> None:
    unknown = sorted(name for name in update if f"{name}.weight" not in weights)
    if unknown:
        named = ", ".join(unknown[:NAMED])
        raise CheckpointError(f"{path} changes {named}, which this model does not have")
    for name, low_rank in update.items():
        wanted = tuple(weights[f"{name}.weight"].shape)
        given = (low_rank.B.shape[0], *low_rank.A.shape[1:])
        if given != wanted:
            raise CheckpointError(
                f"{path}: {name} is of shape {given}, this model's is {wanted}; it is a LoRA of"
                " another model"
            )
