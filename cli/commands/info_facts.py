"""What `sana-stream info --json` prints: a model's facts and its memory as plain values."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sana_stream.engine.loading.inspect import MemoryEstimate, ModelInfo


def model_facts(
    info: ModelInfo, expected: MemoryEstimate | None, notes: list[str]
) -> dict[str, Any]:
    """All facts of a model, in values that JSON has.

    Bytes, pixels, frames and seconds are numbers. What is not known is null.

    Args:
        info: the model.
        expected: its memory; `None` where it cannot be estimated.
        notes: what is worth knowing, a line each.
    """
    from sana_stream.engine.loading.conventions import describe_conventions

    return {
        "model": info.preset.name,
        "source": str(info.source),
        "runs": not info.errors,
        "problems": list(info.problems),
        "notes": notes,
        "licence": info.licence,
        "parts": [
            {
                "name": part.name,
                "class": part.kind,
                "parameters": part.weights.parameters,
                "dtypes": list(part.weights.dtypes),
                "bytes": part.weights.file_bytes,
            }
            for part in info.parts
        ],
        "size": _size(info),
        "block": _block(info),
        "sampling": _sampling(info),
        "conventions": describe_conventions(info.preset),
        "clips_only": not info.transformer.causal,
        "image_start": info.preset.image_start,
        "memory_policy": info.preset.memory if info.transformer.causal else None,
        "text": {
            "max_tokens": info.preset.max_text_tokens,
            "instruction": list(info.preset.instruction),
            "suffix": info.preset.motion_score,
        },
        "loras": [{"file": str(file), "scale": scale} for file, scale in info.loras],
        "trained_seconds": info.trained_seconds,
        "vocabulary": None if info.vocabulary is None else list(info.vocabulary.content_words),
        "vocabulary_topics": None if info.vocabulary is None else info.vocabulary.by_topic,
        "memory": None if expected is None else _memory(expected),
    }


def _size(info: ModelInfo) -> dict[str, Any]:
    preset, multiple = info.preset, None
    if info.vae is not None:
        down, across = info.size_multiple
        multiple = {"width": across, "height": down}
    return {
        "width": preset.width,
        "height": preset.height,
        "fps": preset.fps,
        "multiple": multiple,
        "published": [{"width": size.width, "height": size.height} for size in preset.sizes],
    }


def _block(info: ModelInfo) -> dict[str, Any]:
    latents = info.preset.block_frames
    known = info.vae is not None
    frames = latents * info.temporal_factor if known else None
    return {
        "latent_frames": latents,  # the first block has one more, which is one frame
        "frames": frames,
        "first_frames": None if frames is None else frames + 1,
        "seconds": None if frames is None else frames / info.preset.fps,
    }


def _sampling(info: ModelInfo) -> dict[str, Any]:
    preset = info.preset
    return {
        "solver": preset.solver,
        "steps": len(preset.timesteps) or preset.steps,
        "timesteps": list(preset.timesteps) or None,  # null: of the steps and the flow shift
        "flow_shift": None if preset.timesteps else preset.flow_shift,
        "guidance": preset.guidance,
        "negative_prompt": preset.negative_prompt,
    }


def _memory(expected: MemoryEstimate) -> dict[str, Any]:
    memory = expected.memory
    return {
        "device": str(expected.device),
        "dtype": str(expected.dtype).removeprefix("torch."),
        "width": expected.width,
        "height": expected.height,
        "decode_frames": expected.decode_frames,
        **asdict(memory),
        "peak": memory.peak,
        "peak_without_text_encoder": memory.floor,
        "free": expected.free,
    }
