"""What a server needs of the place that keeps its streams over a restart."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from sana_stream.streaming.control.job_queue import JobStore, StreamJob


class KeptJobs(JobStore, Protocol):
    """The jobs that have not ended, with what an earlier server has made of them."""

    def load(self) -> list[StreamJob]:
        """The jobs of an earlier server, oldest first."""
        ...

    def drop(self) -> None:
        """Forget the jobs that `load` found."""
        ...

    def begin(self, job: StreamJob, film: Path | None) -> None:
        """Record in which file a stream that begins is recorded; None: it is not recorded."""
        ...

    def film(self, job: StreamJob) -> Path | None:
        """The recording of a stream that had begun; None where there is none."""
        ...
