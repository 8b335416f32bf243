"""`sana-stream serve`: keep a model loaded and make the streams that clients ask for."""

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

from rich.console import Console

from sana_stream._text import safe_text
from sana_stream.cli import argument_types
from sana_stream.cli.console import PlainReporter, Reporter
from sana_stream.cli.flags import with_flags
from sana_stream.cli.live_options import DEFAULT_PORT
from sana_stream.cli.log_handler import show_log
from sana_stream.cli.model_options import FRAMES, MODEL
from sana_stream.cli.options import Options
from sana_stream.cli.parser import Parser, add_group, add_option, build_parser
from sana_stream.cli.run_config import run_config
from sana_stream.cli.signals import SignalHandler
from sana_stream.engine.story.read import parse_story
from sana_stream.errors import ConfigError, JobError, SanaStreamError
from sana_stream.streaming.control.job_queue import JobQueue, StreamJob
from sana_stream.streaming.control.live_control import LiveControl
from sana_stream.streaming.run.config import RunConfig
from sana_stream.streaming.run.live import LivePage
from sana_stream.streaming.run.messages import one_line
from sana_stream.streaming.run.model import describe_files
from sana_stream.streaming.run.outputs import metadata_of
from sana_stream.streaming.run.plan import RunPlan, resolve_plan, size_notes, with_size
from sana_stream.streaming.run.recordings import Recordings
from sana_stream.streaming.run.runner import Run

if TYPE_CHECKING:
    from sana_stream.streaming.outputs.recording import LimitedRecording


_REASON = 300  # characters of why a stream is not recorded


class Server:
    """Makes the streams of a queue, one after the other, with one engine.

    Args:
        config: what all streams have in common.
        reporter: shows each stream.
        recordings: the files of the streams.
        stop: set when serving is to end.

    Raises:
        ConfigError, CheckpointError: the model cannot be used.
    """

    def __init__(
        self, config: RunConfig, reporter: Reporter, recordings: Recordings, stop: Event
    ) -> None:
        self._reporter = reporter
        self._recordings = recordings
        self._stop = stop
        self._model = describe_files(config)
        self._config = with_size(config, self._model)
        for line in size_notes(config, self._model):
            reporter.note(with_flags(line))
        self._jobs = JobQueue(self._check)

    @contextmanager
    def page(self) -> Iterator[None]:
        """Serve the page, which submits jobs, inside the context."""
        config = self._config
        with LivePage(config.host, config.web or 0, config.token, self._jobs) as self._page:
            Thread(target=self._end_all, name="end of serving", daemon=True).start()
            yield

    def submit(self, prompts: Sequence[str]) -> None:
        """Submit a stream of prompts, unless there are none; raises ConfigError."""
        if not prompts:
            return
        try:
            self._jobs.submit({"story": "\n".join(prompts)})
        except JobError as error:
            raise ConfigError(f"--prompt: {error}") from error

    def load(self) -> None:
        """Load the model; raises as `Engine.load`."""
        self._model = replace(self._model, engine=self._model.load(self._config))

    def serve(self) -> None:
        """Make streams until `stop` is set."""
        while (job := self._jobs.next(self._stop)) is not None:
            control, failure = LiveControl(), ""
            self._jobs.begin(job, control)
            if self._stop.is_set():
                control.end()
            try:
                self._make(job, control)
            except (SanaStreamError, OSError, ValueError, RuntimeError, MemoryError) as error:
                failure = with_flags(one_line(error))
                self._reporter.note(f"stream {job.number}: {failure}")
            self._jobs.end(job, failure)

    def _make(self, job: StreamJob, control: LiveControl) -> None:
        config = self._job_config(job)
        run = Run.planned(self._model, config, config.read_story(), control=control)
        path, recording, why = self._record(run.plan)
        kept = (str(path),) if path is not None and self._recordings.keep else ()
        stream = self._page.begin(run.plan, control, path)
        if why is not None:
            self._reporter.note(f"stream {job.number} is not recorded: {why}")
            stream.status.set_notice(f"This stream is not recorded: {why}.")
        self._reporter.plan(run.plan, kept or ("the page",))
        run.use_outputs(() if recording is None else (recording,), kept, stream)
        try:
            with run, self._reporter.running(run.progress):
                for progress in run:
                    self._reporter.block(progress)
        finally:
            if recording is not None:
                recording.close()
            stream.status.finish()

    def _record(self, plan: RunPlan) -> tuple[Path | None, LimitedRecording | None, str | None]:
        """The recording of a stream, or why there is none; the stream is made in both cases."""
        try:
            begun = self._recordings.begin(
                plan.video_format, metadata_of(plan), self._page.set_notice
            )
        except (OSError, ValueError, SanaStreamError) as error:
            why = error.strerror.lower() if isinstance(error, OSError) and error.strerror else error
            return None, None, _server_words(safe_text(why, _REASON))
        return *begun, None

    def _check(self, job: StreamJob) -> None:
        config = self._job_config(job)
        resolve_plan(config, config.read_story(), self._model)

    def _job_config(self, job: StreamJob) -> RunConfig:
        """A job as a run; `ConfigError` for a story that cannot be read or used."""
        story = parse_story(job.story, "the story")
        if any(cue.image is not None for cue in story.cues):
            raise ConfigError("a story that is ordered cannot name pictures of this machine")
        return replace(
            self._config,
            story=story,
            seconds=job.seconds,
            endless=job.seconds is None and self._model.transformer.causal,
            seed=self._config.seed if job.seed is None else job.seed,
        )

    def _end_all(self) -> None:
        self._stop.wait()
        for job in self._jobs.jobs():
            self._jobs.cancel(job.number)


def _server_words(line: str) -> str:
    """A message about recordings with the options of this command."""
    return line.replace("(limit=)", "(--keep)")


EXAMPLES = """\
examples:
  sana-stream serve                      then open http://127.0.0.1:8765/ and write a prompt
  sana-stream serve --host 0.0.0.0       for the whole network; prints URLs with tokens
  sana-stream serve --record films       keep every stream in the folder films
  curl -d '{"story": "a red boat", "seconds": 60}' http://127.0.0.1:8765/streams

One stream is generated at a time; up to 16 others wait in a queue. Ctrl-C finishes the current
block and stops the server.
"""
TEMPORARY_BYTES = 4 * 10**9  # limit of a recording that is not kept


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
    add_group(parser, MODEL, leave_out=("devices", "parallel"))


def run(args: Namespace) -> int:
    """Serve until a signal; one stream at a time, the others wait."""
    defaults = vars(build_parser("").parse([])) | {"prompt": ["-"], "web": args.port}
    given = {name: value for name, value in vars(args).items() if name != "prompt"}
    options = Options.of(Namespace(**defaults | given))
    config = run_config(options, outputs=(), checkpoint=False, directed=True)
    reporter = PlainReporter(Console(stderr=True))
    with (
        SignalHandler(announce=True) as stop,
        show_log(lambda line: reporter.note(_server_words(line)), logging.INFO),
        _folder(args.record) as folder,
    ):
        keep = args.record is not None
        limit = args.keep or (None if keep else TEMPORARY_BYTES)
        recordings = Recordings(folder, keep, limit)
        recordings.check()
        server = Server(config, reporter, recordings, stop.requested)
        with closing(recordings), server.page():
            server.submit(args.prompt or [])
            with stop.interruptible():
                server.load()
            server.serve()
        return stop.exit_code


@contextmanager
def _folder(record: str | None) -> Iterator[Path]:
    """Where streams are recorded: the given folder, or one that is removed with this process."""
    if record is not None:
        yield Path(record)
        return
    # created when a stream begins; on a full disk there is none, and streams are not recorded
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
