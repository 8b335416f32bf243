"""The jobs of a fleet's server in its store, so that the next gateway continues them."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from sana_stream._files import parse_json
from sana_stream._text import safe_text
from sana_stream.errors import SanaStreamError, StoreError
from sana_stream.streaming.control.job_queue import StreamJob
from sana_stream.streaming.control.stream_request import (
    StreamRequest,
    given_fields,
    stored_request,
)
from sana_stream.streaming.stream_name import stream_name, stream_of

from .order import StreamOrder
from .order_json import order_from_json
from .session import ORDER
from .store import StreamStore

logger = logging.getLogger(__name__)
JOB = "job.json"
_LIMIT = 1 << 20  # bytes


class _Job(StreamRequest):
    """A stream that was asked for and has not ended."""

    version: Literal[1]


def film_of(order: StreamOrder) -> Path | None:
    """The recording in an order; None where its stream is not recorded."""
    film = (order.gateway or {}).get("film")
    return Path(film) if isinstance(film, str) else None


class StoredJobs:
    """The jobs in a store, one folder each.

    Args:
        store: of the fleet, claimed.
    """

    def __init__(self, store: StreamStore) -> None:
        self._store = store
        self._remover = ThreadPoolExecutor(1, thread_name_prefix="sana-stream-store")
        self._found: list[int] = []
        self._orders: dict[int, StreamOrder] = {}  # of streams that an earlier gateway began

    def load(self) -> list[StreamJob]:
        """The jobs of an earlier gateway that have not ended, oldest first.

        What cannot be read is logged and left as it is.

        Raises:
            StoreError: the store cannot be read.
        """
        jobs = []
        for name in self._store.folders():
            if (stream_id := stream_of(name)) is None:
                continue
            if (data := self._store.get(f"{name}/{JOB}")) is None:
                continue  # it has ended, and some of its objects could not be removed
            try:
                found = _Job.model_validate(parse_json(data, _LIMIT))
                order = self._store.get(f"{name}/{ORDER}")
                if order is not None:
                    where = f"{self._store.url}/{name}/{ORDER}"
                    self._orders[stream_id] = order_from_json(order, where)
            except (ValidationError, ValueError, StoreError) as error:
                reason = "" if isinstance(error, ValidationError) else f" ({error})"
                logger.warning("%s is left as it is: it cannot be read%s", name, safe_text(reason))
                continue
            self._found.append(stream_id)
            jobs.append(StreamJob(stream_id, stored_request(found)))
        return sorted(jobs, key=lambda job: job.id)

    def film(self, job: StreamJob) -> Path | None:
        """The recording that an earlier gateway began; None where there is none."""
        order = self._orders.get(job.id)
        return None if order is None else film_of(order)

    def order(self, job: StreamJob) -> StreamOrder | None:
        """The order of a job that an earlier gateway began; None for any other."""
        return self._orders.pop(job.id, None)

    def drop(self) -> None:
        """Remove the jobs that `load` found."""
        for stream_id in self._found:
            self._remover.submit(self._remove, stream_name(stream_id))

    def save(self, job: StreamJob) -> None:
        """Keep a queued job; raises StoreError."""
        values = _Job(version=1, **given_fields(job.request)).model_dump_json(exclude_none=True)
        self._store.put(f"{stream_name(job.id)}/{JOB}", values.encode())

    def remove(self, job: StreamJob) -> None:
        """Remove a job with its order and its snapshots, in the background."""
        self._remover.submit(self._remove, stream_name(job.id))

    def close(self) -> None:
        """Wait for what is being removed."""
        self._remover.shutdown()

    def _remove(self, folder: str) -> None:
        try:
            self._store.delete([f"{folder}/{JOB}"])
            self._store.delete_folder(folder)
        except SanaStreamError as error:
            logger.warning("%s is not removed: %s", folder, error)
