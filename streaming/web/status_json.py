"""The answers of `/status`: the state of a stream, for the page and for programs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from math import ceil
from typing import Any, Literal

from pydantic import RootModel

from sana_stream.streaming.control.job_queue import JobState

from .registry import ActiveStream
from .served_model import UnknownWord
from .status import ShownPrompt, StatusSnapshot


@dataclass(frozen=True, slots=True)
class RunningStream:
    """A stream that has begun and not ended."""

    id: int
    title: str


@dataclass(frozen=True)
class ClientStatus:
    """What `/status` has with and without a stream."""

    may_direct: bool  # whether this client may
    may_begin: bool  # whether it may ask for streams
    streams: list[RunningStream]  # all of the server


@dataclass(frozen=True)
class EmptyStatus(ClientStatus):
    """The server has had no stream."""

    state: Literal["empty"] = "empty"


@dataclass(frozen=True)
class WaitingStatus(ClientStatus):
    """A stream that has not begun, or never began."""

    state: JobState
    stream: int  # its id
    title: str
    place: int | None  # in the queue, 1 for the next one


@dataclass(frozen=True)
class StreamStatus(StatusSnapshot, ClientStatus):
    """A stream that has begun."""

    stream: int  # its id
    waiting_prompt: str | None  # of the next block, if a new one was requested
    mime: str  # for Media Source Extensions
    viewers: int
    may_download: bool  # whether it is recorded
    unknown_words: dict[str, list[UnknownWord]]  # by prompt


class Status(RootModel[StreamStatus | WaitingStatus | EmptyStatus]):
    """What `/status` answers."""


def status_of(
    stream: ActiveStream,
    client: ClientStatus,
    coming: tuple[ShownPrompt, ...],
    unknown_words: dict[str, list[UnknownWord]],
) -> StreamStatus:
    """The state of a stream.

    Args:
        stream: has begun.
        client: what depends on the client that asks.
        coming: as `coming_of`.
        unknown_words: of its prompts, by prompt.
    """
    snapshot = stream.status.snapshot()
    values: dict[str, Any] = {each.name: getattr(snapshot, each.name) for each in fields(snapshot)}
    values |= {**vars(client), "coming": coming}
    if stream.control.paused and snapshot.state != "finished":
        values["state"] = "paused"
    return StreamStatus(
        **values,
        stream=stream.id,
        waiting_prompt=stream.control.waiting_prompt,
        mime=stream.feed.mime,
        viewers=stream.feed.viewers,
        may_download=stream.recording is not None,
        unknown_words=unknown_words,
    )


def prompts_from_now(stream: ActiveStream, coming: Sequence[ShownPrompt]) -> Iterator[str]:
    """The prompt of the newest block, the one that waits for the next, and those to come."""
    yield from (cue.prompt for cue in stream.status.snapshot().shown[-1:])
    yield from filter(None, [stream.control.waiting_prompt])
    yield from (cue.prompt for cue in coming)


def coming_of(stream: ActiveStream) -> tuple[ShownPrompt, ...]:
    """The prompts that are still to come, with those that a client has just scheduled."""
    snapshot = stream.status.snapshot()
    waiting = stream.control.waiting_story
    if waiting is None:
        return snapshot.coming
    return tuple(
        ShownPrompt(
            max(ceil(cue.at_seconds * snapshot.fps - 0.01), 0), cue.prompt, cue.transition_blocks
        )
        for cue in waiting
    )
