"""Two blocks at once: the next one is drafted while this one is decoded."""

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
"""The prompt (or negative prompt) for the block that starts at a pixel frame, or None to keep the
one that holds."""

PictureAt = Callable[[int], np.ndarray | None]
"""The picture, uint8 (H, W, 3), to cut to at a pixel frame, or None to go on."""


def keep_prompt(start: int) -> str | None:
    """No switch is planned."""
    return None


def no_cut(start: int) -> np.ndarray | None:
    """No cut is planned."""
    return None


def generate_ahead(
    session: Session,
    prompt_at: PromptAt = keep_prompt,
    end: int | None = None,
    picture_at: PictureAt = no_cut,
    negative_at: PromptAt = keep_prompt,
) -> Generator[Block]:
    """The blocks of a session, each decoded while the next one is being drafted.

    The pictures are those of iterating over the session itself. The draft made ahead is a guess:
    when it failed, or the session was switched or rewound in between, it is made again. A switch
    that is known beforehand costs nothing if `prompt_at` tells it. While a block is held out, the
    session has the next one's prompt, but has not made its cut.

    Args:
        session: where blocks come from; may be switched between two blocks.
        prompt_at: asked before each block is drafted.
        end: the pixel frame behind the last one that is wanted; no block after it is drafted.
        picture_at: asked after `prompt_at`, for the same frames.
        negative_at: the negative prompt, asked for the same frames.
    """

    def directed(head: Snapshot) -> Snapshot:
        start = session.plan.block(head.next_index).start
        prompt, picture = prompt_at(start), picture_at(start)
        negative = negative_at(start)
        head = head if prompt is None else replace(head, prompt=prompt)
        head = head if negative is None else replace(head, negative_prompt=negative)
        return head if picture is None else session.apply_cut(head, picture)

    def draft_next() -> LatentBlock:
        session.advance_to(directed(session.snapshot()))
        return session.sample(session.snapshot())

    with ThreadPoolExecutor(1, thread_name_prefix="sana-stream-decode") as worker:
        draft = draft_next()
        while True:
            decoding = worker.submit(session.decode, draft, session.snapshot())
            if end is not None and session.plan.block(draft.after.next_index).start >= end:
                block, settled = decoding.result()
                session.advance_to(settled)
                yield block
                return
            if is_single_threaded(session.device):
                wait((decoding,))
            ahead = _sample_ahead(session, draft.after, directed)
            block, settled = decoding.result()
            head = settled if ahead is None else ahead.snapshot
            expected = replace(settled, prompt=head.prompt, negative_prompt=head.negative_prompt)
            session.advance_to(expected)
            yield block
            if ahead is None or session.snapshot() is not expected:
                ahead = draft_next()
            elif ahead.snapshot.shot != expected.shot:
                session.advance_to(ahead.snapshot)
            draft = ahead


def _sample_ahead(
    session: Session, after: Snapshot, directed: Callable[[Snapshot], Snapshot]
) -> LatentBlock | None:
    """A draft made ahead; what goes wrong with it is not to cost the block in decoding."""
    try:
        return session.sample(directed(after))
    except Exception:
        return None
