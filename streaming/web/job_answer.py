"""Answers about the jobs of a server: what was asked for, its state, and where it is watched."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, Field, RootModel

from sana_stream.streaming.control.job_queue import JobState, StreamJob
from sana_stream.streaming.control.stream_request import StreamRequest, given_fields


class StreamLinks(BaseModel):
    """The paths at which a stream is watched and directed."""

    page: str
    live: str
    playlist: str
    status: str
    prompt: str
    command: str
    download: str

    @classmethod
    def of(cls, stream_id: int, root: str) -> Self:
        """The paths of a stream of a server that is reached below `root`."""
        page = f"{root}/streams/{stream_id}/"
        return cls(
            page=page,
            live=f"{page}live.mp4",
            playlist=f"{page}live.m3u8",
            status=f"{page}status",
            prompt=f"{page}prompt",
            command=f"{page}command",
            download=f"{page}download",
        )


class Stream(StreamRequest):
    """A stream that was asked for; absent settings are those of the server."""

    id: int
    state: JobState
    message: str = Field(description="why it failed")
    place: int | None = Field(description="in the queue, 1 for the next one; null outside of it")
    links: StreamLinks

    @classmethod
    def of(cls, job: StreamJob, place: int | None, root: str) -> Self:
        """A job as the API shows it.

        Args:
            job: of the queue.
            place: in it.
            root: the path below which the server is reached.
        """
        return cls(
            **given_fields(job.request),
            id=job.id,
            state=job.state,
            message=job.message,
            place=place,
            links=StreamLinks.of(job.id, root),
        )


class StreamList(RootModel[list[Stream]]):
    """The streams of a server, oldest first: those that run or wait, and the last that ended."""
