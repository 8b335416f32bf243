"""`sana-stream mcp`: an MCP server on standard input and output."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from contextlib import closing
from importlib import import_module
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

from sana_stream._text import safe_text
from sana_stream.cli import argument_types
from sana_stream.cli.model_options import FRAMES, MODEL
from sana_stream.cli.options import Options
from sana_stream.cli.parser import Parser, add_group, build_parser
from sana_stream.cli.process import print_message
from sana_stream.cli.run_config import run_config
from sana_stream.cli.signals import SignalHandler
from sana_stream.errors import ConfigError

if TYPE_CHECKING:
    from sana_stream.streaming.run.video_maker import VideoMaker

EXAMPLES = """\
A client such as Claude Code, Claude Desktop, Cursor or VS Code starts the command:
  claude mcp add sana-stream -- sana-stream mcp --folder ~/films
or in its configuration file:
  {"mcpServers": {"sana-stream": {"command": "sana-stream", "args": ["mcp", "--folder", "films"]}}}

Its tools are start, prompt, status, frame (a PNG image) and stop. One video is made at a time. The
server ends with its client; the video is completed up to the current block, and sana-stream
resume continues it.
"""


def add_options(parser: Parser) -> None:
    """Add the options of the command."""
    parser.epilog = EXAMPLES
    parser.add_argument(
        "--folder",
        type=argument_types.filled,
        default=".",
        metavar="FOLDER",
        help="folder in which the videos are written (default: the current one)",
    )
    add_group(parser, FRAMES)
    add_group(parser, MODEL)


def run(args: Namespace) -> int:
    """Serve until the client closes the connection, or a signal."""
    folder = Path(args.folder).expanduser()
    _check_installed()
    if not folder.is_dir():
        raise ConfigError(f"--folder {safe_text(folder)}: give a folder that exists")
    defaults = vars(build_parser("").parse([])) | {"prompt": ["-"]}
    config = run_config(Options.of(Namespace(**defaults | vars(args))), outputs=())
    from sana_stream.streaming.run.video_maker import VideoMaker

    from .mcp_tools import build_server

    maker = VideoMaker(config, folder.resolve())
    server = build_server(maker)
    if sys.stdin.isatty():
        print_message("waiting for an MCP client on standard input; Ctrl-C ends the server")
    with SignalHandler(announce=False) as stop, closing(maker):
        Thread(target=_end, args=(stop, maker), name="end of serving", daemon=True).start()
        server.run("stdio")
        return stop.exit_code


def _end(stop: SignalHandler, maker: VideoMaker) -> None:
    """After a signal complete the video and end the process, which waits for a line to read."""
    stop.requested.wait()
    maker.close()
    os._exit(stop.exit_code)


def _check_installed() -> None:
    try:
        import_module("mcp.server.mcpserver")
    except ImportError as error:
        raise ConfigError(
            "this command needs the package mcp, version 2 or newer: pip install 'sana-stream[mcp]'"
        ) from error
