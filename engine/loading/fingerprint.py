"""Identification of a model by its weights, the same in any dtype and on any device."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from sana_stream.models.text_encoder import TextEncoder
from sana_stream.models.transformer import SanaVideoTransformer
from sana_stream.models.vae.registry import VideoDecoder, VideoVAE

_ROUNDING = 2**-7  # what bfloat16 may change in a weight, twice over
_SMALLEST = 1e-6  # below this, float16 rounds weights away
_PROBE = "a red boat at dusk, 3 balloons over the sea"


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """Identifies a checkpoint: its shapes exactly, its weights by a sample."""

    shapes: str  # hash of configurations, tokens, names and shapes
    sample: Tensor  # float32 (n,), one value of each weight tensor, on the CPU

    def matches(self, other: Fingerprint) -> bool:
        """Whether both are of one model, in the same dtype or in different ones."""
        same = self.sample.shape == other.sample.shape and self.sample.dtype == other.sample.dtype
        if self.shapes != other.shapes or not same:
            return False
        return torch.allclose(self.sample, other.sample, rtol=_ROUNDING, atol=_SMALLEST)


def fingerprint_of(
    transformer: SanaVideoTransformer,
    vae: VideoVAE,
    text_encoder: TextEncoder,
    decoder: VideoDecoder,
) -> Fingerprint:
    """The fingerprint of loaded networks; reads one value of each weight tensor.

    The values of all weights on one device are copied to the host at once.
    """
    named = dict(_weights(transformer, vae, text_encoder, decoder))
    parts = {
        "transformer": asdict(transformer.config),
        "vae": asdict(vae.config),
        "tokens": text_encoder.tokens(_PROBE),
        "weights": {name: list(weight.shape) for name, weight in named.items()},
    }
    digest = hashlib.blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=16)
    sample = _on_host([_middle(weight) for weight in named.values()])
    return Fingerprint(digest.hexdigest(), sample)


def _weights(
    transformer: SanaVideoTransformer,
    vae: VideoVAE,
    text_encoder: TextEncoder,
    decoder: VideoDecoder,
) -> Iterator[tuple[str, Tensor]]:
    yield from transformer.named_parameters("transformer")
    yield from vae.named_parameters("vae")
    yield from text_encoder.named_parameters("text_encoder")
    if decoder is not vae:
        yield from decoder.named_parameters("decoder")


def _middle(weight: Tensor) -> Tensor:
    """One value from the middle of a tensor, float32 () on its device."""
    return weight[tuple(size // 2 for size in weight.shape)].float()


def _on_host(values: list[Tensor]) -> Tensor:
    """Values () of several devices as one tensor (n,) on the CPU, in their order."""
    sample = torch.empty(len(values))
    for device in {value.device for value in values}:
        places = [n for n, value in enumerate(values) if value.device == device]
        sample[places] = torch.stack([values[n] for n in places]).cpu()
    return sample
