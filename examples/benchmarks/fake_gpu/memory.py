"""Peak memory of a stream on a fake CUDA device, stage by stage."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch

from sana_stream.engine.loading.model import LoadedModel
from sana_stream.engine.performance.random_model import ModelShapes, engine_of
from sana_stream.models.vae.registry import build_vae

from .cuda import DEVICE, fake_cuda


@dataclass(frozen=True)
class StageMemory:
    """Bytes on the device in mid-stream.

    The text encoder is not counted, nor that of the VAE, which only images and clips need.
    """

    weights: int
    kept: int  # between two blocks: states, latents, keys and values of the prompt, decoder's cache
    sample: int  # what committing and denoising takes besides
    decode: int  # what decoding takes besides, the next cache included

    @property
    def peak(self) -> int:
        """The peak where both stages run at once."""
        return self.weights + self.kept + self.sample + self.decode


def stage_memory(shapes: ModelShapes, decode_frames: int, **settings: Any) -> StageMemory:
    """Memory of a stream's second block, in bfloat16; it is that of all later ones.

    All layers are alike, so two and three of them sample a block and the rest is extrapolated.

    Args:
        shapes: of the model, from `published`.
        decode_frames: latent frames decoded at once.
        settings: of the session.
    """
    layers = shapes.transformer.num_layers
    two, three = (_count(_with_layers(shapes, n), decode_frames, settings) for n in (2, 3))
    decoded = _count(_with_layers(shapes, 2), decode_frames, settings, decode=True)
    weights, kept, sample = (
        getattr(two, name) + (layers - 2) * (getattr(three, name) - getattr(two, name))
        for name in ("weights", "kept", "sample")
    )
    cache = decoded.kept - two.kept
    return StageMemory(weights, kept + cache, sample, decoded.decode)


def _with_layers(shapes: ModelShapes, layers: int) -> ModelShapes:
    return replace(shapes, transformer=replace(shapes.transformer, num_layers=layers))


def _count(
    shapes: ModelShapes, decode_frames: int, settings: dict[str, Any], decode: bool = False
) -> StageMemory:
    """Count the second block; its latents only, or with `decode` its frames only."""
    with torch.device("meta"):
        build_vae(shapes.vae)  # imports what cannot be imported below
    with fake_cuda() as trace:
        engine = engine_of(shapes, DEVICE, "bfloat16")
        engine.decode_frames = decode_frames
        weights = _weights(engine)
        before = trace.record.held
        session = engine.session("a red boat on the sea", timesteps=(1000.0,), **settings)
        latents = session.sample(session.snapshot())
        after = session.decode(latents, session.snapshot())[1] if decode else latents.after
        del latents
        session.advance_to(after)
        kept = trace.record.held - before
        trace.clear()
        latents = session.sample(session.snapshot())
        sampled = trace.record.peak - before - kept
        if not decode:
            return StageMemory(weights, kept, sampled, 0)
        trace.clear()
        held = trace.record.held
        session.decode(latents, session.snapshot())
        return StageMemory(weights, kept, sampled, trace.record.peak - held)


def _weights(engine: LoadedModel) -> int:
    networks = (engine.transformer, engine.vae)
    weights = (weight for network in networks for weight in network.parameters())
    return sum(weight.nbytes for weight in weights if weight.device.type == "cuda")
