"""Two blocks at once: the next one is drafted while this one is decoded."""

from __future__ import annotations

from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from .block import Block
from .session import Draft, Session
from .snapshot import Snapshot

PromptAt = Callable[[int], str | None]
"""The prompt for the block that starts at a pixel frame, or None to keep the one that holds."""


def keep_prompt(start: int) -> str | None:
    """No switch is planned."""
    return None


def overlapped(
    session: Session, prompt_at: PromptAt = keep_prompt, end: int | None = None
) -> Generator[Block]:
    """The blocks of a session, each decoded while the next one is being drafted.

    The pictures are those of iterating over the session itself. The draft made ahead is a guess:
    when it failed, or the session was switched or rewound in between, it is made again. A switch
    that is known beforehand costs nothing if `prompt_at` tells it.

    Args:
        session: where blocks come from; may be switched between two blocks.
        prompt_at: asked before each block is drafted.
        end: the pixel frame behind the last one that is wanted; no block after it is drafted.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="sana-stream-decode") as worker:
        draft = session.draft(_directed(session, session.snapshot(), prompt_at))
        while True:
            decoding = worker.submit(session.finish, draft, session.snapshot())
            if end is not None and session.plan.block(draft.after.index).start >= end:
                block, settled = decoding.result()
                session.settle(settled)
                yield block
                return
            head = _directed(session, draft.after, prompt_at)
            ahead = _guess(session, head)
            block, settled = decoding.result()
            expected = replace(settled, prompt=head.prompt, negative_prompt=head.negative_prompt)
            session.settle(expected)
            yield block
            if ahead is None or session.snapshot() is not expected:
                ahead = session.draft(_directed(session, session.snapshot(), prompt_at))
            draft = ahead


def _guess(session: Session, head: Snapshot) -> Draft | None:
    """A draft made ahead; what goes wrong with it is not to cost the block in decoding."""
    try:
        return session.draft(head)
    except Exception:
        return None


def _directed(session: Session, head: Snapshot, prompt_at: PromptAt) -> Snapshot:
    prompt = prompt_at(session.plan.block(head.index).start)
    return head if prompt is None else replace(head, prompt=prompt)
