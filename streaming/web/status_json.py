"""The state of a stream as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from math import ceil

from .registry import ActiveStream


def status_of(stream: ActiveStream) -> dict[str, object]:
    """The state of a stream as `/status` has it, without what depends on the client."""
    snapshot = stream.status.snapshot()
    paused = stream.control.paused and snapshot.state != "finished"
    return {
        **snapshot.as_dict(),
        "state": "paused" if paused else snapshot.state,
        "stream": stream.id,
        "waiting_prompt": stream.control.waiting_prompt,
        "mime": stream.feed.mime,
        "viewers": stream.feed.viewers,
        "may_download": stream.recording is not None,
    }


def prompts_from_now(stream: ActiveStream, coming: list[dict[str, object]]) -> Iterator[str]:
    """The prompt of the newest block, the one that waits for the next, and those to come."""
    yield from (cue.prompt for cue in stream.status.snapshot().shown[-1:])
    yield from filter(None, [stream.control.waiting_prompt])
    yield from (str(cue["prompt"]) for cue in coming)


def coming_of(stream: ActiveStream) -> list[dict[str, object]]:
    """The prompts that are still to come, with those that a client has just scheduled."""
    snapshot = stream.status.snapshot()
    waiting = stream.control.waiting_story
    if waiting is None:
        return [asdict(cue) for cue in snapshot.coming]
    return [
        {
            "start": max(ceil(cue.at_seconds * snapshot.fps - 0.01), 0),
            "prompt": cue.prompt,
            "transition_blocks": cue.transition_blocks,
        }
        for cue in waiting
    ]
