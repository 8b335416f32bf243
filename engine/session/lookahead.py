"""Overlap of two blocks: the next one is sampled while the current one is decoded."""

from __future__ import annotations

from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace

import numpy as np

from sana_stream.engine.block import Block
from sana_stream.engine.device import is_single_threaded
from sana_stream.engine.snapshot.snapshot import Snapshot

from .block_generator import LatentBlock
from .session import Session

PromptAt = Callable[[int], str | None]
"""The prompt (or negative prompt) for the block that starts at a pixel frame; `None` keeps it."""

PictureAt = Callable[[int], np.ndarray | None]
"""The image, uint8 (H, W, 3), to cut to at a pixel frame; `None` for no cut."""


def keep_prompt(start: int) -> str | None:
    """Return `None`: no prompt switch."""
    return None


def no_cut(start: int) -> np.ndarray | None:
    """Return `None`: no cut."""
    return None


def generate_ahead(
    session: Session,
    prompt_at: PromptAt = keep_prompt,
    end: int | None = None,
    picture_at: PictureAt = no_cut,
    negative_at: PromptAt = keep_prompt,
) -> Generator[Block]:
    """Yield the blocks of a session, each decoded while the next one is sampled.

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
    """

    def with_changes(snapshot: Snapshot) -> Snapshot:
        start = session.plan.block(snapshot.next_index).start
        prompt, picture = prompt_at(start), picture_at(start)
        negative = negative_at(start)
        if prompt is not None:
            snapshot = replace(snapshot, prompt=prompt)
        if negative is not None:
            snapshot = replace(snapshot, negative_prompt=negative)
        return snapshot if picture is None else session.apply_cut(snapshot, picture)

    def sample_next() -> LatentBlock:
        session.advance_to(with_changes(session.snapshot()))
        return session.sample(session.snapshot())

    with ThreadPoolExecutor(1, thread_name_prefix="sana-stream-decode") as worker:
        latent_block = sample_next()
        while True:
            decoding = worker.submit(session.decode, latent_block, session.snapshot())
            if end is not None and session.plan.block(latent_block.after.next_index).start >= end:
                block, decoded = decoding.result()
                session.advance_to(decoded)
                yield block
                return
            if is_single_threaded(session.device):
                wait((decoding,))
            ahead = _sample_ahead(session, latent_block.after, with_changes)
            block, decoded = decoding.result()
            used = decoded if ahead is None else ahead.snapshot
            expected = replace(decoded, prompt=used.prompt, negative_prompt=used.negative_prompt)
            session.advance_to(expected)
            yield block
            if ahead is None and session.is_complete:
                return
            if ahead is None or session.snapshot() is not expected:
                ahead = sample_next()
            elif ahead.snapshot.shot != expected.shot:
                session.advance_to(ahead.snapshot)
            latent_block = ahead


def _sample_ahead(
    session: Session, after: Snapshot, with_changes: Callable[[Snapshot], Snapshot]
) -> LatentBlock | None:
    """The next block, or `None` after an error, which must not lose the block being decoded."""
    try:
        return session.sample(with_changes(after))
    except Exception:
        return None
