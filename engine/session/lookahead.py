"""Overlap of two blocks: the next one is sampled while the current one is decoded and used."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from sana_stream.engine.block import Block
from sana_stream.engine.device import is_single_threaded
from sana_stream.engine.snapshot.snapshot import Snapshot

from .block_generator import LatentBlock
from .session import Session

T = TypeVar("T")

PromptAt = Callable[[int], str | None]
"""The prompt (or negative prompt) for the block that starts at a pixel frame; `None` keeps it."""

BlocksAt = Callable[[int], int]
"""Over how many blocks the prompt that changes at a pixel frame is blended; 0 for a switch."""

PictureAt = Callable[[int], np.ndarray | None]
"""The image, uint8 (H, W, 3), to cut to at a pixel frame; `None` for no cut."""


def keep_prompt(start: int) -> str | None:
    """Return `None`: no prompt switch."""
    return None


def no_cut(start: int) -> np.ndarray | None:
    """Return `None`: no cut."""
    return None


def no_blend(start: int) -> int:
    """Return 0: no blend."""
    return 0


def generate_ahead(
    session: Session,
    prompt_at: PromptAt = keep_prompt,
    end: int | None = None,
    picture_at: PictureAt = no_cut,
    negative_at: PromptAt = keep_prompt,
    blend_at: BlocksAt = no_blend,
) -> Generator[Block]:
    """Yield the blocks of a session, each decoded while the next one is sampled.

    A block is yielded as soon as it is decoded; the next one may still be sampled then, on a thread
    of its own. Closing the generator waits for the network call that is running.

    The frames are those of iterating over the session itself. Where sampling ahead failed, or the
    session was switched or rewound in between, the block is sampled again. A switch that is known
    beforehand costs nothing if `prompt_at` returns it. While a block is yielded, the session has
    the next block's prompt, but not its cut.

    Args:
        session: generates the blocks; may be switched between two blocks.
        prompt_at: called before each block is sampled.
        end: the pixel frame after the last one that is needed; no block after it is sampled.
        picture_at: called after `prompt_at`, for the same frames.
        negative_at: the negative prompt, called for the same frames.
        blend_at: called after them where the prompt changes.
    """

    def with_changes(snapshot: Snapshot) -> Snapshot:
        start = session.plan.block(snapshot.next_index).start
        prompt, picture = prompt_at(start), picture_at(start)
        negative = negative_at(start)
        prompt = snapshot.prompt if prompt is None else prompt
        blocks = blend_at(start) if prompt != snapshot.prompt else 0
        snapshot = snapshot.with_prompts(prompt, negative, blocks)
        return snapshot if picture is None else session.apply_cut(snapshot, picture)

    def sample_next() -> LatentBlock:
        session.advance_to(with_changes(session.snapshot()))
        return session.sample(session.snapshot())

    with (
        ThreadPoolExecutor(1, thread_name_prefix="sana-stream-decode") as decoder,
        ThreadPoolExecutor(1, thread_name_prefix="sana-stream-sample") as sampler,
        _interrupted_at_exit(session),
    ):
        latent_block = sample_next()
        while True:
            decoding = decoder.submit(session.decode, latent_block, session.snapshot())
            if end is not None and session.plan.block(latent_block.after.next_index).start >= end:
                block, decoded = decoding.result()
                session.advance_to(decoded)
                yield block
                return
            if is_single_threaded(session.device):
                wait((decoding,))
            changed = _unless_failed(with_changes, latent_block.after)
            sampling: Future[LatentBlock] | None = None
            if changed is not None and not is_single_threaded(session.device):
                sampling = sampler.submit(session.sample, changed)
            block, decoded = decoding.result()
            used = decoded if changed is None else changed
            expected = replace(
                decoded,
                prompt=used.prompt,
                negative_prompt=used.negative_prompt,
                blend=used.blend,
            )
            session.advance_to(expected)
            yield block
            ahead = None
            if session.snapshot() is not expected:
                session.interrupt()  # what is sampled is not used
            elif sampling is not None:
                ahead = _unless_failed(sampling.result)
            elif changed is not None:
                ahead = _unless_failed(session.sample, changed)
            if ahead is None and session.is_complete:
                return
            if ahead is None:
                ahead = sample_next()
            elif ahead.snapshot.shot != expected.shot:
                session.advance_to(ahead.snapshot)
            latent_block = ahead


@contextmanager
def _interrupted_at_exit(session: Session) -> Iterator[None]:
    """Interrupt the sampling that is still running at the end of the context."""
    try:
        yield
    finally:
        session.interrupt()


def _unless_failed(call: Callable[..., T], *arguments: Any) -> T | None:
    """The result, or `None` after an error, which must not lose the block being decoded."""
    try:
        return call(*arguments)
    except Exception:
        return None
