"""Watching a stream: every block finite, every sum sound, the look measured against the start."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from sana_stream.engine.block import BlockSpan
from sana_stream.errors import HealthError
from sana_stream.models.state import StreamState

ATTEMPTS = 3
ATTEMPT_STEPS = 1 << 16  # far above any number of steps: each attempt has noise of its own

_WAY_OUT = 'resume from a checkpoint with dtype="float32", or rewind and change prompt or seed'


def sample_until_finite(sample: Callable[[int], Tensor], planned: BlockSpan) -> tuple[Tensor, int]:
    """The first attempt at a block's latents that is finite, and how many it took.

    Args:
        sample: the attempt's number, from 0, to latents; each number has noise of its own.
        planned: the block, for the message.

    Raises:
        HealthError: no attempt was finite.
    """
    for attempt in range(ATTEMPTS):
        latents = sample(attempt)
        if is_finite(latents):
            return latents, attempt + 1
    raise HealthError(
        f"block {planned.index} (from frame {planned.start}) came out not finite {ATTEMPTS} times,"
        f" with different noise; {_WAY_OUT}"
    )


def check_pictures(pictures: Tensor, planned: BlockSpan) -> None:
    """Refuse decoded pictures that are not finite: the decoder overflowed.

    Raises:
        HealthError: with the block and a way out.
    """
    if not is_finite(pictures):
        raise HealthError(
            f"the pictures of block {planned.index} (from frame {planned.start}) are not finite;"
            f" {_WAY_OUT}"
        )


def check_states(states: tuple[StreamState, ...], planned: BlockSpan) -> None:
    """Refuse a memory that attention cannot divide by.

    Keys are not negative, so their sum, the denominator's part of the past, may not be either.

    Raises:
        HealthError: a sum that is not finite, or a negative sum of keys.
    """
    for state in states:
        for slot in state.memory.slots:
            if not is_finite(*slot.sums) or bool((slot.sums.z < 0).any()):
                raise HealthError(
                    f"the memory before block {planned.index} (from frame {planned.start}) is"
                    f" not finite; {_WAY_OUT}"
                )


def out_of_memory(planned: BlockSpan) -> HealthError:
    """The error for a device without room for a block."""
    return HealthError(
        f"the device has no memory left for block {planned.index} (from frame {planned.start});"
        " end other programs on it and go on from the checkpoint, or begin anew with a smaller"
        " size or shorter blocks"
    )


def is_finite(*tensors: Tensor) -> bool:
    """Whether no value is infinite or not a number."""
    return all(bool(torch.isfinite(tensor).all()) for tensor in tensors)
