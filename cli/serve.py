"""`sana-stream serve`: keep a model loaded and make the streams that are asked for."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from argparse import Namespace
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

from . import values
from .live_options import DEFAULT_PORT, add_address
from .options import Options
from .parser import Parser, add_model, add_picture, build_parser

EXAMPLES = """\
examples:
  sana-stream serve                      then open http://127.0.0.1:8765/ and write a prompt
  sana-stream serve --host 0.0.0.0       for the whole network: tells addresses with tokens
  sana-stream serve --record films       keep every stream
  curl -d '{"story": "a red boat", "seconds": 60}' http://127.0.0.1:8765/streams

One stream is made at a time, up to 16 others wait. Ctrl-C finishes the block and ends serving.
"""
TEMPORARY_BYTES = 4 * 10**9  # that a recording takes which nobody asked for


def add_options(parser: Parser) -> None:
    """The options of the command."""
    parser.epilog = EXAMPLES
    page = parser.add_argument_group("the page")
    page.add_argument(
        "--port",
        type=values.port,
        default=DEFAULT_PORT,
        metavar="PORT",
        help=f"where it is on this machine; 0 takes any free one (default: {DEFAULT_PORT})",
    )
    add_address(page)
    streams = parser.add_argument_group("the streams")
    streams.add_argument(
        "--prompt",
        action="append",
        metavar="TEXT",
        help="begin with a stream of this prompt; several follow one another in one stream",
    )
    streams.add_argument(
        "--record",
        type=values.filled,
        metavar="FOLDER",
        help="keep each stream there as a file of its own (default: for download only, until the "
        "next one begins)",
    )
    streams.add_argument(
        "--keep",
        type=values.size_in_bytes,
        metavar="SIZE",
        help="how much recordings may take, as 500MB or 20GB: the oldest one is removed for the "
        "one of now, and when that alone is as large, it ends while its stream goes on (default: "
        "4GB, with --record as much as the disk has)",
    )
    add_picture(parser)
    add_model(parser)


def run(args: Namespace) -> int:
    """Serve until a signal; one stream at a time, the others wait."""
    from rich.console import Console

    from .generate import load_engine
    from .recordings import Recordings
    from .reporter import Lines
    from .server import Server
    from .stop import Stop

    defaults = vars(build_parser("").parse([])) | {"prompt": ["-"], "web": args.port}
    given = {name: value for name, value in vars(args).items() if name != "prompt"}
    options = replace(Options.of(Namespace(**defaults | given)), checkpoint_every=0.0)
    reporter = Lines(Console(stderr=True))
    with Stop(aloud=True) as stop, _folder(args.record) as folder:
        keep = args.record is not None
        limit = args.keep or (None if keep else TEMPORARY_BYTES)
        recordings = Recordings(folder, keep, limit)
        recordings.check(reporter.note)
        server = Server(options, reporter, recordings, stop.asked)
        with closing(recordings), server.page():
            server.order(args.prompt or [])
            with stop.at_once():
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
