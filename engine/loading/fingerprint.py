"""Telling one model from another, whatever dtype and device it runs with."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from sana_stream.engine.engine import Engine

_ROUNDING = 2**-7  # what bfloat16 may change in a weight, twice over
_SMALLEST = 1e-6  # below this, float16 rounds weights away
_PROBE = "a red boat at dusk, 3 balloons over the sea"


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What a checkpoint is recognised by: its shapes exactly, its weights by a sample."""

    shapes: str  # hash of configurations, tokens, names and shapes
    sample: Tensor  # float32 (n,), one value of each weight tensor, on the CPU

    def matches(self, other: Fingerprint) -> bool:
        """Whether both are of one model, run in the same dtype or in different ones."""
        same = self.sample.shape == other.sample.shape and self.sample.dtype == other.sample.dtype
        if self.shapes != other.shapes or not same:
            return False
        return torch.allclose(self.sample, other.sample, rtol=_ROUNDING, atol=_SMALLEST)


def fingerprint_of(engine: Engine) -> Fingerprint:
    """The fingerprint of a loaded model; reads one value of each weight tensor."""
    named = dict(_weights(engine))
    text = engine.text_encoder
    parts = {
        "transformer": asdict(engine.transformer.config),
        "vae": asdict(engine.vae.config),
        "tokens": text.tokens(_PROBE),
        "weights": {name: list(weight.shape) for name, weight in named.items()},
    }
    digest = hashlib.blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=16)
    sample = torch.stack([_middle(weight) for weight in named.values()])
    return Fingerprint(digest.hexdigest(), sample)


def _weights(engine: Engine) -> Iterator[tuple[str, Tensor]]:
    yield from engine.transformer.named_parameters("transformer")
    yield from engine.vae.named_parameters("vae")
    yield from engine.text_encoder.named_parameters("text_encoder")
    if engine.decoder is not engine.vae:
        yield from engine.decoder.named_parameters("decoder")


def _middle(weight: Tensor) -> Tensor:
    """One value from the middle of a tensor, float32 on the CPU."""
    index = tuple(size // 2 for size in weight.shape)
    return weight[index].float().cpu()
