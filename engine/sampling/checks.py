"""Checks of each block: latents, states and frames must be finite."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from sana_stream.engine.block import BlockSpan
from sana_stream.errors import HealthError
from sana_stream.models.state import StreamState

ATTEMPTS = 3
ATTEMPT_STEPS = 1 << 16  # more than any number of steps, so that each attempt has its own noise

_ADVICE = 'resume from a checkpoint with dtype="float32", or rewind and change prompt or seed'


def sample_until_finite(sample: Callable[[int], Tensor], span: BlockSpan) -> tuple[Tensor, int]:
    """Sample a block until its latents are finite, with other noise each time.

    Args:
        sample: returns the latents of an attempt, numbered from 0.
        span: the block, for the message.

    Returns:
        The latents and the number of attempts.

    Raises:
        HealthError: no attempt was finite.
    """
    for attempt in range(ATTEMPTS):
        latents = sample(attempt)
        if is_finite(latents):
            return latents, attempt + 1
    raise HealthError(
        f"block {span.index} (from frame {span.start}) has non-finite latents after {ATTEMPTS}"
        f" attempts with different noise; {_ADVICE}"
    )


def check_frames(frames: Tensor, span: BlockSpan) -> None:
    """Check that decoded frames are finite; in float16 a decoder may overflow.

    Raises:
        HealthError: names the block and what to do.
    """
    if not is_finite(frames):
        raise HealthError(
            f"the frames of block {span.index} (from frame {span.start}) are not finite; {_ADVICE}"
        )


def check_states(states: tuple[StreamState, ...], span: BlockSpan) -> None:
    """Check the attention states that a block is generated from.

    Keys are not negative, so their sum `z`, a part of the attention's denominator, is not either.

    Raises:
        HealthError: a sum is not finite, or `z` is negative.
    """
    for state in states:
        for slot in state.memory.slots:
            if not is_finite(*slot.sums) or bool((slot.sums.z < 0).any()):
                raise HealthError(
                    f"the memory before block {span.index} (from frame {span.start}) is"
                    f" not finite; {_ADVICE}"
                )


def out_of_memory(span: BlockSpan) -> HealthError:
    """The error for a device without enough memory for a block."""
    return HealthError(
        f"the device has no memory left for block {span.index} (from frame {span.start});"
        " end other programs on it and resume from the checkpoint, or start again with a smaller"
        " size or shorter blocks"
    )


def is_finite(*tensors: Tensor) -> bool:
    """Whether no value is infinite or not a number."""
    return all(bool(torch.isfinite(tensor).all()) for tensor in tensors)
