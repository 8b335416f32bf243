"""The command `sana-stream`."""

from __future__ import annotations

import sys
import traceback
from argparse import Namespace
from dataclasses import dataclass
from importlib import import_module

from sana_stream import __version__
from sana_stream.engine.parallel.world import check_one_process, is_follower
from sana_stream.errors import ConfigError, InvalidOutputError

from .flags import with_flags
from .log_format import json_log, log_format
from .log_handler import show_log
from .options import STDOUT, Options
from .parser import USAGE_ERROR, Parser, build_parser, command_parser
from .process import (
    leave_process,
    lost_answer,
    prepare_process,
    print_message,
    silence_process,
    stray_output,
)
from .signals import Interrupted


@dataclass(frozen=True, slots=True)
class Command:
    """A command; its module has `add_options(parser)` and `run(args)`, the exit code."""

    name: str
    module: str
    summary: str
    answers: bool = False  # on standard output: with `--json`, or in a protocol

    def parser(self) -> Parser:
        """The command's parser."""
        parser = command_parser(self.name, self.summary)
        import_module(f"sana_stream.cli.commands.{self.module}").add_options(parser)
        return parser

    def run(self, args: Namespace) -> int:
        """Run the command; returns the exit code and raises the errors of the library."""
        return import_module(f"sana_stream.cli.commands.{self.module}").run(args)


COMMANDS = (
    Command("resume", "resume", "continue an interrupted video"),
    Command("branch", "branch", "start another video from a checkpoint"),
    Command("cues", "cues", "write the prompts of a video for editing programs"),
    Command("info", "info", "describe a model and estimate the memory it needs", answers=True),
    Command("convert", "convert", "convert a model between the diffusers and the original layout"),
    Command("serve", "serve", "serve a page that takes requests for streams"),
    Command("mcp", "mcp", "let an MCP client make and direct videos", answers=True),
    Command("bench", "bench", "measure the speed of a model on this machine", answers=True),
)


def find_command(argv: list[str]) -> Command | None:
    """The command named by the first argument, or None."""
    return next((c for c in COMMANDS if argv[:1] == [c.name]), None)


def summaries() -> str:
    """The list of commands for `--help`."""
    rows = (f"  sana-stream {c.name + ' ...':14}{c.summary}" for c in COMMANDS)
    return "\n".join(("other commands (each has --help):", *rows))


FAILURE = 1
INTERRUPTED = 130


def entry() -> None:
    """The entry point of the installed command."""
    prepare_process()
    if is_follower():
        silence_process()
    try:
        code = main(sys.argv[1:])
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0
    except KeyboardInterrupt:  # while the options are parsed
        code = INTERRUPTED
    except OSError as error:  # `--help` could not be written
        code = lost_answer(error)
    sys.exit(leave_process(code))


def main(argv: list[str]) -> int:
    """Run the command line; returns the exit code.

    0: success. 1: the run failed. 2: a usage error. 130, 143: ended by Ctrl-C or SIGTERM; the
    video is playable up to there.
    """
    with log_format(argv):
        return _main(argv)


def _main(argv: list[str]) -> int:
    command = find_command(argv)
    names = [each.name for each in COMMANDS]
    parser = command.parser() if command else build_parser(__version__, summaries(), names)
    args = parser.parse(argv[1:] if command else argv)
    try:
        with show_log(None if getattr(args, "quiet", False) else print_message):
            return _run(command, args)
    except (Exception, KeyboardInterrupt, Interrupted) as error:
        return _fail(error, args.debug)


def _run(command: Command | None, args: Namespace) -> int:
    if command is not None and command.name not in ("resume", "branch"):
        check_one_process(command.name)
    elif is_follower():
        from sana_stream.engine.parallel.start import follow  # imports torch

        return follow()
    if command is not None and command.answers:
        return command.run(args)
    with stray_output():
        return command.run(args) if command else _generate(args)


def _generate(args: Namespace) -> int:
    options = Options.of(args)
    from sana_stream.streaming.outputs.pipe import claim_stdout

    stdout = claim_stdout() if STDOUT in options.outputs else None
    # imports torch, so the options are checked before
    from sana_stream.cli.commands.generate import generate

    return generate(options, stdout)


def _fail(error: BaseException, debug: bool) -> int:
    """Print an error on one line, with `--debug` after its traceback; returns the exit code."""
    from sana_stream.errors import SanaStreamError
    from sana_stream.streaming.run.messages import is_out_of_memory, one_line

    if isinstance(error, KeyboardInterrupt | Interrupted):
        code = error.args[0] if error.args else INTERRUPTED
        return _print("stopped before the first block", code, error, debug)
    line = with_flags(one_line(error))
    if isinstance(error, ConfigError | InvalidOutputError):
        return _print(line, USAGE_ERROR, error, debug)
    if isinstance(error, SanaStreamError | OSError) or is_out_of_memory(error):
        return _print(line, FAILURE, error, debug)
    line = f"unexpected error: {one_line(error)} (--debug prints the traceback)"
    return _print(line, FAILURE, error, debug)


def _print(message: str, code: int, error: BaseException, debug: bool) -> int:
    trace = "".join(traceback.format_exception(error)) if debug else None
    if trace is not None and json_log() is None:
        sys.stderr.write(trace)
    print_message(message, "error", error=type(error).__name__, traceback=trace)
    return code
