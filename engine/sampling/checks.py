"""Checks of each block: latents, states and frames must be finite."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from sana_stream.engine.block import BlockSpan
from sana_stream.errors import HealthError
from sana_stream.models.state import StreamState

from .calls import Steps

ATTEMPTS = 3
ATTEMPT_STEPS = 1 << 16  # more than any number of steps, so that each attempt has its own noise

_ADVICE = 'resume from a checkpoint with dtype="float32", or rewind and change prompt or seed'


def sample_until_finite(
    sample: Callable[[int], Steps[Tensor]], states: tuple[StreamState, ...], span: BlockSpan
) -> Steps[tuple[Tensor, int]]:
    """Sample a block until its latents are finite, with other noise each time.

    The host reads nothing from the device before an attempt is complete.

    Args:
        sample: samples the latents of an attempt, numbered from 0.
        states: the attention states that the block is generated from.
        span: the block, for the message.

    Returns:
        The latents and the number of attempts.

    Raises:
        HealthError: the states are not healthy, or no attempt was finite.
    """
    healthy = are_healthy(states)
    for attempt in range(ATTEMPTS):
        latents = yield from sample(attempt)
        states_healthy, finite = torch.stack((healthy, is_finite(latents))).cpu().tolist()
        if not states_healthy:
            raise HealthError(
                f"the memory before block {span.index + 1} (from frame {span.start}) is not finite;"
                f" {_ADVICE}"
            )
        if finite:
            return latents, attempt + 1
    raise HealthError(
        f"block {span.index + 1} (from frame {span.start}) has non-finite latents after {ATTEMPTS}"
        f" attempts with different noise; {_ADVICE}"
    )


def check_frames(finite: Tensor, span: BlockSpan) -> None:
    """Check that decoded frames are finite; in float16 a decoder may overflow.

    Args:
        finite: what `is_finite` returned for them, on the CPU.
        span: the block, for the message.

    Raises:
        HealthError: names the block and what to do.
    """
    if not finite.tolist():
        raise HealthError(
            f"the frames of block {span.index + 1} (from frame {span.start}) are not finite;"
            f" {_ADVICE}"
        )


def are_healthy(states: tuple[StreamState, ...]) -> Tensor:
    """Whether the attention sums are finite and `z` is not negative: bool () on their device.

    Keys are not negative, so their sum `z`, a part of the attention's denominator, is not either.
    """
    sums = [slot.sums for state in states for slot in state.memory.slots]
    return torch.stack(
        [flag for S, z in sums for flag in (is_finite(S), is_finite(z), (z >= 0).all())]
    ).all()


def out_of_memory(span: BlockSpan) -> HealthError:
    """The error for a device without enough memory for a block."""
    return HealthError(
        f"the device has no memory left for block {span.index + 1} (from frame {span.start});"
        " end other programs on it and resume from the checkpoint, or start again with a smaller"
        " size or shorter blocks"
    )


def is_finite(tensor: Tensor) -> Tensor:
    """Whether no value is infinite or not a number: bool () on the tensor's device."""
    return torch.isfinite(tensor).all()
