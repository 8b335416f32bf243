"""`sana-stream serve`: keep a model loaded and make the streams that clients ask for."""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import tempfile
from argparse import Namespace
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from threading import current_thread

from rich.console import Console

from sana_stream._files import expand_user
from sana_stream.cli import argument_types
from sana_stream.cli.console import PlainReporter
from sana_stream.cli.flags import with_flags
from sana_stream.cli.fleet_options import add_fleet_options, fleet_config
from sana_stream.cli.json_reporter import JsonReporter
from sana_stream.cli.live_options import DEFAULT_PORT
from sana_stream.cli.log_format import JsonLog, json_log
from sana_stream.cli.log_handler import show_log
from sana_stream.cli.model_options import FRAMES, MODEL
from sana_stream.cli.options import Options
from sana_stream.cli.parser import Parser, add_group, add_option, build_parser
from sana_stream.cli.run_config import run_config
from sana_stream.cli.signals import SignalHandler
from sana_stream.cli.web_options import add_web_options, web_options
from sana_stream.streaming.run.config_values import LONGEST
from sana_stream.streaming.run.messages import one_line
from sana_stream.streaming.run.recordings import Recordings
from sana_stream.streaming.serving.job_files import JobFiles
from sana_stream.streaming.serving.recorded import check_recordings
from sana_stream.streaming.serving.server import ServerOptions, StreamServer

_OWN_FLAGS = {"(limit=)": "(--keep)", "(overcommit=True": "(--overcommit"}


def with_own_flags(line: str) -> str:
    """A message of the library in the words of this command line."""
    line = with_flags(line)
    for parameter, option in _OWN_FLAGS.items():
        line = line.replace(parameter, option)
    return line


class ServeReporter:
    """Prints a server's lines; with several streams each line begins with its stream."""

    def __init__(self, console: Console, streams: int) -> None:
        self._console = console
        self._several = streams > 1
        self._plain = PlainReporter(console)

    def note(self, line: str) -> None:
        """Print one line."""
        self._plain.note(with_own_flags(line))

    def log(self, line: str) -> None:
        """Print a line of the log, with the stream whose thread wrote it."""
        self.note(f"{current_thread().name}: {line}" if self._of_stream() else line)

    def stream(self, stream_id: int) -> PlainReporter:
        """A reporter of one stream."""
        return PlainReporter(self._console, f"stream {stream_id}: " if self._several else "")

    def describe(self, error: BaseException) -> str:
        """An error in the words of the command line."""
        return with_flags(one_line(error))

    def _of_stream(self) -> bool:
        return self._several and current_thread().name.startswith("stream ")


class JsonServeReporter(ServeReporter):
    """Writes a server's lines as JSON objects, with the stream of each."""

    def __init__(self, log: JsonLog) -> None:
        super().__init__(Console(stderr=True), 1)
        self._json = log

    def note(self, line: str) -> None:
        """Write one line."""
        self._json.message(with_own_flags(line))

    def stream(self, stream_id: int) -> PlainReporter:
        """A reporter of one stream."""
        return JsonReporter(self._json, stream_id)


EXAMPLES = """\
examples:
  sana-stream serve                      then open http://127.0.0.1:8765/ and write a prompt
  sana-stream serve --host 0.0.0.0       for the whole network; prints URLs with tokens
  sana-stream serve --record films       keep every stream in the folder films
  sana-stream serve --streams 4          four streams at once, at http://127.0.0.1:8765/streams/1/
  sana-stream serve --fleet --store fleet --streams 4    two replicas; a lost one costs no frame
  curl -d '{"prompt": "a red boat", "seconds": 60}' http://127.0.0.1:8765/streams

Streams beyond --streams wait in a queue, up to 16. Ctrl-C finishes the current block of each
stream, closes its file and stops the server. With --record the streams that had not ended, and the
queue, continue when a server is started in the same folder again, also after a crash; --fresh
leaves them as they are.
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
        "--streams",
        type=argument_types.positive_count,
        default=1,
        metavar="N",
        help="most streams that run at the same time and share the model; fewer where the device "
        "is too slow for real time or has too little memory (default: 1)",
    )
    streams.add_argument(
        "--overcommit",
        action="store_true",
        help="run all --streams at the same time, even if they are then slower than real time",
    )
    streams.add_argument(
        "--record",
        type=argument_types.filled,
        metavar="FOLDER",
        help="folder that keeps each stream as a file (default: a stream can be downloaded as long "
        "as the server lists it: the last 32 are)",
    )
    streams.add_argument(
        "--keep",
        type=argument_types.size_in_bytes,
        metavar="SIZE",
        help="limit of all recordings, such as 500MB or 20GB: the oldest ones are removed, and a "
        "recording that alone reaches the limit ends while its stream continues (default: 4GB; "
        "with --record the free disk space)",
    )
    add_option(
        streams,
        "checkpoint_every",
        help="how often a checkpoint of each stream is written with --record, from which it "
        "continues after a crash, such as 5m, or off (default: 30s)",
    )
    streams.add_argument(
        "--fresh",
        action="store_true",
        help="with --record, do not continue the streams of an earlier server; their files stay",
    )
    outputs = parser.add_argument_group("outputs")
    add_option(outputs, "mark")
    add_option(
        outputs,
        "audio",
        help="audio file that becomes the sound of each stream, cut or repeated to its length",
    )
    add_option(
        outputs,
        "sign",
        help="sign finished recordings (C2PA) with a PEM file that holds a certificate and its "
        "private key; needs sana-stream[sign]",
    )
    add_web_options(parser)
    add_fleet_options(parser)
    add_group(parser, FRAMES)
    add_group(parser, MODEL, leave_out=("devices", "parallel"))


def run(args: Namespace) -> int:
    """Serve until a signal; several streams at the same time, the others wait."""
    fleet, web = fleet_config(args), web_options(args)
    given = {name: value for name, value in vars(args).items() if name != "prompt"}
    defaults = vars(build_parser("").parse([])) | {"prompt": ["-"], "web": args.port}
    options = Options.of(Namespace(**defaults | given))
    keep = args.record is not None
    # branches begin at the checkpoint of a stream's end; a temporary one is written only there
    rare = {} if keep else {"checkpoint_every": LONGEST}
    config = run_config(options, outputs=(), directed=True, keep_checkpoint=True, **rare)
    log = json_log()
    reporter = ServeReporter(Console(stderr=True), args.streams)
    if log is not None:
        reporter = JsonServeReporter(log)
    with (
        SignalHandler(announce=True) as stop,
        show_log(reporter.log, logging.INFO, with_own_flags),
        _folder(args.record) as folder,
    ):
        limit = args.keep or (None if keep else TEMPORARY_BYTES)
        sign = None if config.sign is None else expand_user(config.sign)
        check_recordings(config)
        recordings = Recordings(folder, keep, limit, sign)
        files = JobFiles(folder) if recordings.check() and keep else None
        chosen = ServerOptions(args.streams, args.overcommit, not args.fresh, web)
        if fleet is None:
            server = StreamServer(config, reporter, recordings, stop.requested, chosen, files)
        else:
            from sana_stream.streaming.fleet.server import FleetServer  # loads torch

            server = FleetServer(config, reporter, recordings, stop.requested, chosen, fleet)
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
