"""`sana-stream serve`: keep a model loaded and make the streams that are asked for."""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import tempfile
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING

from sana_stream._text import safe_text
from sana_stream.cli import argument_types
from sana_stream.cli.console import Reporter, one_line, story_notes
from sana_stream.cli.live_options import DEFAULT_PORT
from sana_stream.cli.log_handler import show_log
from sana_stream.cli.model_options import FRAMES, MODEL
from sana_stream.cli.options import Length, Options
from sana_stream.cli.parser import Parser, add_group, add_option, build_parser
from sana_stream.engine.story.read import parse_story
from sana_stream.errors import ConfigError, JobError, SanaStreamError
from sana_stream.streaming.control.job_queue import JobQueue, StreamJob
from sana_stream.streaming.control.live_control import LiveControl
from sana_stream.streaming.outputs.locks import OutputLocks
from sana_stream.streaming.run.checkpoints import Checkpoints
from sana_stream.streaming.run.config import Job, Request, resolve_request
from sana_stream.streaming.run.inputs import VideoStart
from sana_stream.streaming.run.live import LivePage, LiveSession
from sana_stream.streaming.run.outputs import prepare_outputs, prompts_of, title
from sana_stream.streaming.run.recordings import Recordings
from sana_stream.streaming.run.runner import begin_session, run_stream
from sana_stream.streaming.video_format import Metadata, VideoFormat

from . import model

if TYPE_CHECKING:
    from sana_stream.engine.engine import Engine
    from sana_stream.streaming.outputs.pump import OutputPump
    from sana_stream.streaming.outputs.recording import LimitedRecording
    from sana_stream.streaming.web.status import ActiveStream


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
        self._programme = JobQueue(self._check)

    @contextmanager
    def page(self) -> Iterator[None]:
        """Serve the page, which takes orders, while this is entered."""
        options, note = self._options, self._reporter.note
        port = options.web or 0
        with LivePage(options.host, port, options.token, note, self._programme) as self._page:
            Thread(target=self._end_all, name="end of serving", daemon=True).start()
            yield

    def submit(self, prompts: Sequence[str]) -> None:
        """Order a stream of prompts, unless there are none; `ConfigError` for what is none."""
        if not prompts:
            return
        try:
            self._programme.submit({"story": "\n".join(prompts)})
        except JobError as error:
            raise ConfigError(f"--prompt: {error}") from error

    def serve(self, engine: Engine) -> None:
        """Make streams until it is to stop."""
        while (order := self._programme.next(self._stop)) is not None:
            control, failure = LiveControl(), ""
            self._programme.begin(order, control)
            if self._stop.is_set():
                control.end()
            try:
                self._make(order, control, engine)
            except (SanaStreamError, OSError, ValueError, RuntimeError, MemoryError) as error:
                failure = one_line(error)
                self._reporter.note(f"stream {order.number}: {failure}")
            self._programme.end(order, failure)

    def _make(self, order: StreamJob, control: LiveControl, engine: Engine) -> None:
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
            show.status.set_notice(f"This stream is not recorded: {why}.")
        self._reporter.plan(request, kept or ("the page",))
        try:
            with (
                OutputLocks() as locks,
                Checkpoints(job, note, locks) as checkpoints,
                self._outputs(job, request, control.stop, show, recording, locks) as pump,
            ):
                session = begin_session(engine, request, job, VideoStart())
                run_stream(
                    job,
                    request,
                    engine,
                    session,
                    pump,
                    checkpoints,
                    self._reporter,
                    LiveSession(control, None, show),
                    control.stop,
                )
        finally:
            if recording is not None:
                recording.close()
            show.status.finish()

    def _record(
        self, job: Job, request: Request
    ) -> tuple[Path | None, LimitedRecording | None, str | None]:
        """The recording of a stream, or why there is none; the stream goes on without."""
        video = VideoFormat(request.width, request.height, request.fps)
        tags = Metadata(title(job.options), prompts_of(request), request.seed, job.id)
        try:
            begun = self._recordings.begin(video, tags, self._page.set_notice)
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
        show: ActiveStream,
        recording: LimitedRecording | None,
        locks: OutputLocks,
    ) -> Iterator[OutputPump]:
        """The page, and the recording beside it."""
        job = replace(job, options=replace(job.options, outputs=()))
        with (
            prepare_outputs(job, request, locks, stop, None, recording) as prepared,
            prepared.started(show.feed) as pump,
        ):
            yield pump

    def _check(self, order: StreamJob) -> None:
        self._planned(order)

    def _planned(self, order: StreamJob) -> tuple[Job, Request]:
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
        return Job(options, story), resolve_request(options, story, self._described)

    def _end_all(self) -> None:
        self._stop.wait()
        for order in self._programme.jobs():
            self._programme.cancel(order.number)


EXAMPLES = """\
examples:
  sana-stream serve                      then open http://127.0.0.1:8765/ and write a prompt
  sana-stream serve --host 0.0.0.0       for the whole network; prints URLs with tokens
  sana-stream serve --record films       keep every stream in the folder films
  curl -d '{"story": "a red boat", "seconds": 60}' http://127.0.0.1:8765/streams

One stream is generated at a time; up to 16 others wait in a queue. Ctrl-C finishes the current
block and stops the server.
"""
TEMPORARY_BYTES = 4 * 10**9  # that a recording takes which nobody asked for


def add_options(parser: Parser) -> None:
    """Add the options of the command."""
    parser.epilog = EXAMPLES
    page = parser.add_argument_group("page")
    page.add_argument(
        "--port",
        type=argument_types.port,
        default=DEFAULT_PORT,
        metavar="PORT",
        help=f"port that the page listens on; 0 takes any free one (default: {DEFAULT_PORT})",
    )
    add_option(page, "host")
    add_option(page, "token")
    streams = parser.add_argument_group("streams")
    add_option(
        streams,
        "prompts",
        help="prompt of a first stream; repeat the option for several prompts, shown one after "
        "another",
    )
    streams.add_argument(
        "--record",
        type=argument_types.filled,
        metavar="FOLDER",
        help="folder that keeps each stream as a file (default: the current stream can be "
        "downloaded until the next one starts)",
    )
    streams.add_argument(
        "--keep",
        type=argument_types.size_in_bytes,
        metavar="SIZE",
        help="limit of all recordings, such as 500MB or 20GB: the oldest ones are removed, and a "
        "recording that alone reaches the limit ends while its stream continues (default: 4GB; "
        "with --record the free disk space)",
    )
    add_group(parser, FRAMES)
    add_group(parser, MODEL)


def run(args: Namespace) -> int:
    """Serve until a signal; one stream at a time, the others wait."""
    from rich.console import Console

    from sana_stream.cli.console import PlainReporter
    from sana_stream.cli.signals import SignalHandler
    from sana_stream.streaming.run.recordings import Recordings

    from .generate import load_engine

    defaults = vars(build_parser("").parse([])) | {"prompt": ["-"], "web": args.port}
    given = {name: value for name, value in vars(args).items() if name != "prompt"}
    options = replace(Options.of(Namespace(**defaults | given)), checkpoint_every=0.0)
    reporter = PlainReporter(Console(stderr=True))
    with (
        SignalHandler(announce=True) as stop,
        show_log(reporter.note, logging.INFO),
        _folder(args.record) as folder,
    ):
        keep = args.record is not None
        limit = args.keep or (None if keep else TEMPORARY_BYTES)
        recordings = Recordings(folder, keep, limit)
        recordings.check(reporter.note)
        server = Server(options, reporter, recordings, stop.requested)
        with closing(recordings), server.page():
            server.submit(args.prompt or [])
            with stop.interruptible():
                engine = load_engine(options, reporter)
            server.serve(engine)
        return stop.exit_code


@contextmanager
def _folder(record: str | None) -> Iterator[Path]:
    """Where streams are recorded: the folder asked for, or one that goes with this process."""
    if record is not None:
        yield Path(record)
        return
    # made when a stream begins: where no byte is left, there is none, and streams go on without
    folder = Path(_temporary(), f"sana-stream-{secrets.token_hex(8)}")
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _temporary() -> str:
    try:
        return tempfile.gettempdir()
    except OSError:  # nothing can be written to any of its folders now
        return os.environ.get("TMPDIR") or "/tmp"
