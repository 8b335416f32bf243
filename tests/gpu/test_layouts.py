"""Memory layouts on a fake CUDA device: each one is the layout that its kernels are fast in.

A tensor in another layout costs a transposing copy in every operation that mixes the two, and
convolutions of cuDNN that take several times as long.
"""

from __future__ import annotations

from math import prod

import pytest

from fake_gpu.sessions import BlockTrace, SessionTrace
from fake_gpu.trace import Operation, TensorForm

LARGE = 1 << 22  # elements of a tensor whose layout matters


def is_contiguous(form: TensorForm) -> bool:
    """Whether the last axis is the densest one, without gaps; axes of one element are ignored."""
    step = 1
    for size, stride in zip(reversed(form.shape), reversed(form.stride), strict=True):
        if size > 1 and stride != step:
            return False
        step *= size
    return True


def is_channels_last(form: TensorForm) -> bool:
    """Whether (B, C, ..., H, W) has its channels densest, without gaps."""

    def moved(values: tuple[int, ...]) -> tuple[int, ...]:
        return values[0], *values[2:], values[1]

    return is_contiguous(form._replace(shape=moved(form.shape), stride=moved(form.stride)))


def token_streams(trace: SessionTrace, block: BlockTrace) -> list[tuple[Operation, TensorForm]]:
    """Token tensors (1, T, P, D) that an operation of the transformer reads, with the operation."""
    width = trace.shapes.transformer.hidden_size
    return [
        (operation, form)
        for operation in block.of("commit", "denoise")
        if not operation.view
        for form in operation.inputs
        if len(form.shape) == 4 and form.shape[-1] == width and prod(form.shape) >= LARGE
    ]


def large_convolutions(block: BlockTrace) -> list[Operation]:
    """The decoder's convolutions of large inputs."""
    return [
        operation
        for operation in block.of("decode")
        if operation.name == "convolution" and prod(operation.inputs[0].shape) >= LARGE
    ]


@pytest.mark.parametrize("name", ["whole_blocks", "hd_720"])
def test_token_stream_is_contiguous(name: str, request: pytest.FixtureRequest):
    trace: SessionTrace = request.getfixturevalue(name)
    streams = [found for block in trace.blocks for found in token_streams(trace, block)]
    assert streams
    assert not [(o.places[0], form) for o, form in streams if not is_contiguous(form)]


def test_weights_are_not_rearranged_in_a_call(whole_blocks: SessionTrace):
    weight = 3 * whole_blocks.shapes.transformer.hidden_size**2
    copies = [
        operation.places[0]
        for operation in whole_blocks.steady.of("commit", "denoise")
        if operation.inside("FeedForward.temporal_conv") and not operation.view
        if weight in [prod(form.shape) for form in operation.outputs]
    ]
    assert not copies


@pytest.mark.parametrize("name", ["whole_blocks", "single_frames", "small_decoder", "hd_720"])
def test_large_convolutions_are_channels_last(name: str, request: pytest.FixtureRequest):
    """In a stream's first block and in later ones."""
    trace: SessionTrace = request.getfixturevalue(name)
    for block in trace.blocks:
        assert large_convolutions(block)
        assert not _channels_first(block)


def _channels_first(block: BlockTrace) -> list[tuple[str, TensorForm]]:
    found = large_convolutions(block)
    return [(o.places[0], o.inputs[0]) for o in found if not is_channels_last(o.inputs[0])]
