"""A server of streams: orders come from a page, one is made at a time, with one engine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING

from sana_stream._text import safe_text

from ..engine.story_file import parse_story
from ..models.errors import ConfigError, SanaStreamError
from ..streaming.control import Control
from ..streaming.format import Tags, VideoFormat
from ..streaming.output_lock import OutputLocks
from ..streaming.programme import Order, OrderError, Programme
from . import model
from .beginning import Beginning
from .checkpoints import Checkpoints
from .job import Job
from .live import Live
from .options import Length, Options
from .outputs import prepare_outputs, prompts_of, title
from .page import Page
from .perform import begin_session, perform
from .recordings import Recordings
from .reporter import Reporter
from .request import Request, make_request
from .words import one_line, story_notes

if TYPE_CHECKING:
    from ..engine.engine import Engine
    from ..streaming.pump import Pump
    from ..streaming.recording import RecordingSink
    from ..streaming.stage import Show

_REASON = 300  # characters of why a stream is not recorded


class Server:
    """Makes the streams that are ordered, one after the other, with one engine."""

    def __init__(
        self, options: Options, reporter: Reporter, recordings: Recordings, stop: Event
    ) -> None:
        self._options = options
        self._reporter = reporter
        self._recordings = recordings
        self._stop = stop
        self._described = model.describe(
            options.model, options.parts, options.decoder, options.loras
        )
        self._programme = Programme(self._check)

    @contextmanager
    def page(self) -> Iterator[None]:
        """Serve the page, which takes orders, while this is entered."""
        options, note = self._options, self._reporter.note
        port = options.web or 0
        with Page(options.host, port, options.token, note, self._programme) as self._page:
            Thread(target=self._end_all, name="end of serving", daemon=True).start()
            yield

    def order(self, prompts: Sequence[str]) -> None:
        """Order a stream of prompts, unless there are none; `ConfigError` for what is none."""
        if not prompts:
            return
        try:
            self._programme.submit({"story": "\n".join(prompts)})
        except OrderError as error:
            raise ConfigError(f"--prompt: {error}") from error

    def serve(self, engine: Engine) -> None:
        """Make streams until it is to stop."""
        while (order := self._programme.next(self._stop)) is not None:
            control, failure = Control(), ""
            self._programme.begin(order, control)
            if self._stop.is_set():
                control.end()
            try:
                self._make(order, control, engine)
            except (SanaStreamError, OSError, ValueError, RuntimeError, MemoryError) as error:
                failure = one_line(error)
                self._reporter.note(f"stream {order.number}: {failure}")
            self._programme.end(order, failure)

    def _make(self, order: Order, control: Control, engine: Engine) -> None:
        job, request = self._planned(order)
        job = job.with_new_id()
        path, recording, why = self._record(job, request)
        kept = (str(path),) if path is not None and self._recordings.keep else ()
        job, note = replace(job, options=replace(job.options, outputs=kept)), self._reporter.note
        show = self._page.begin(request, title(job.options), control, path)
        for line in story_notes(job.story, request):
            note(f"stream {order.number}: {line}")
        if why is not None:
            note(f"stream {order.number} is not recorded: {why}")
            show.board.tell(f"This stream is not recorded: {why}.")
        self._reporter.plan(request, kept or ("the page",))
        try:
            with (
                OutputLocks(note) as locks,
                Checkpoints(job, note, locks) as checkpoints,
                self._outputs(job, request, control.stop, show, recording, locks) as pump,
            ):
                session = begin_session(engine, request, job, Beginning())
                perform(
                    job,
                    request,
                    engine,
                    session,
                    pump,
                    checkpoints,
                    self._reporter,
                    Live(control, None, show),
                    control.stop,
                )
        finally:
            if recording is not None:
                recording.close()
            show.board.finish()

    def _record(
        self, job: Job, request: Request
    ) -> tuple[Path | None, RecordingSink | None, str | None]:
        """The recording of a stream, or why there is none; the stream goes on without."""
        video = VideoFormat(request.width, request.height, request.fps)
        tags = Tags(title(job.options), prompts_of(request), request.seed, job.id)
        try:
            begun = self._recordings.begin(video, tags, self._reporter.note, self._page.tell)
        except (OSError, ValueError, SanaStreamError) as error:
            why = error.strerror.lower() if isinstance(error, OSError) and error.strerror else error
            return None, None, safe_text(why, _REASON)
        return *begun, None

    @contextmanager
    def _outputs(
        self,
        job: Job,
        request: Request,
        stop: Event,
        show: Show,
        recording: RecordingSink | None,
        locks: OutputLocks,
    ) -> Iterator[Pump]:
        """The page, and the recording beside it."""
        job, note = replace(job, options=replace(job.options, outputs=())), self._reporter.note
        with (
            prepare_outputs(job, request, locks, stop, None, note, recording) as prepared,
            prepared.started(show.feed) as pump,
        ):
            yield pump

    def _check(self, order: Order) -> None:
        self._planned(order)

    def _planned(self, order: Order) -> tuple[Job, Request]:
        """The order as a run; `ConfigError` for a story that cannot be read or does not fit."""
        story = parse_story(order.story, "the story")
        if any(cue.image is not None for cue in story.cues):
            raise ConfigError("a story that is ordered cannot name pictures of this machine")
        options = replace(
            self._options,
            prompts=(story.cues[0].prompt,),
            length=Length(seconds=order.seconds, endless=order.seconds is None),
            seed=self._options.seed if order.seed is None else order.seed,
        )
        return Job(options, story), make_request(options, story, self._described)

    def _end_all(self) -> None:
        self._stop.wait()
        for order in self._programme.orders():
            self._programme.cancel(order.number)
