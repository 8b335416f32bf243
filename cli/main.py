"""The command `sana-stream`."""

from __future__ import annotations

import sys
import traceback
from argparse import Namespace
from dataclasses import dataclass
from importlib import import_module

from sana_stream import __version__
from sana_stream.errors import ConfigError, InvalidOutputError
from sana_stream.streaming.outputs.pipe import claim_stdout

from .options import STDOUT, Options
from .parser import USAGE_ERROR, Parser, build_parser, command_parser
from .process import leave_process, lost_answer, prepare_process, print_message, stray_output
from .signals import Interrupted


@dataclass(frozen=True, slots=True)
class Command:
    """One command. Its module has `add_options(parser)` and `run(args)`, the exit code."""

    name: str
    module: str
    summary: str
    answers: bool = False  # on standard output, when asked for JSON

    def parser(self) -> Parser:
        """The command's parser, with the options that all commands have."""
        parser = command_parser(self.name, self.summary)
        import_module(f"sana_stream.cli.commands.{self.module}").add_options(parser)
        return parser

    def run(self, args: Namespace) -> int:
        """Do it; returns the exit code and raises the library's errors as they come."""
        return import_module(f"sana_stream.cli.commands.{self.module}").run(args)


COMMANDS = (
    Command("resume", "resume", "go on with a video that was interrupted"),
    Command("branch", "branch", "another video from where a checkpoint stands"),
    Command("info", "info", "what a model is, and the memory that it will take", answers=True),
    Command("convert", "convert", "a checkpoint in another layout"),
    Command("serve", "serve", "keep a model loaded and make streams asked for on a page"),
    Command("bench", "bench", "measure a model on this machine", answers=True),
)


def find_command(argv: list[str]) -> Command | None:
    """The command that the first word names, if it names one."""
    return next((c for c in COMMANDS if argv[:1] == [c.name]), None)


def summaries() -> str:
    """A line for each command, for `--help`."""
    rows = (f"  sana-stream {c.name + ' ...':14}{c.summary}" for c in COMMANDS)
    return "\n".join(("other commands (each has --help):", *rows))


FAILURE = 1
INTERRUPTED = 130


def entry() -> None:
    """The installed command."""
    prepare_process()
    try:
        code = main(sys.argv[1:])
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0
    except KeyboardInterrupt:  # before the options were read
        code = INTERRUPTED
    except OSError as error:  # help that could not be written
        code = lost_answer(error)
    sys.exit(leave_process(code))


def main(argv: list[str]) -> int:
    """Run the command line; returns the exit code.

    0: the video is whole. 2: what was asked for cannot be done. 1: it failed on the way.
    130, 143: ended by Ctrl-C or SIGTERM, with the video complete up to there.
    """
    command = find_command(argv)
    parser = command.parser() if command else build_parser(__version__, summaries())
    args = parser.parse(argv[1:] if command else argv)
    try:
        if command is not None and command.answers:
            return command.run(args)
        with stray_output():
            return command.run(args) if command else _generate(args)
    except (Exception, KeyboardInterrupt, Interrupted) as error:
        return _fail(error, args.debug)


def _generate(args: Namespace) -> int:
    options = Options.of(args)
    stdout = claim_stdout() if STDOUT in options.outputs else None
    # what follows imports torch: errors in the options were reported before
    from sana_stream.cli.commands.generate import generate

    return generate(options, stdout)


def _fail(error: BaseException, debug: bool) -> int:
    """Tell an error on one line, or as it came with `--debug`."""
    from sana_stream.errors import SanaStreamError
    from sana_stream.streaming.run.messages import is_out_of_memory, one_line

    from .flags import with_flags

    if debug:
        traceback.print_exception(error)
    if isinstance(error, KeyboardInterrupt | Interrupted):
        code = error.args[0] if error.args else INTERRUPTED
        return _tell("stopped before the first block", code)
    if isinstance(error, ConfigError | InvalidOutputError):
        return _tell(with_flags(one_line(error)), USAGE_ERROR)
    if isinstance(error, SanaStreamError | OSError) or is_out_of_memory(error):
        return _tell(with_flags(one_line(error)), FAILURE)
    return _tell(
        f"something unforeseen: {one_line(error)} (--debug shows where it comes from)", FAILURE
    )


def _tell(message: str, code: int) -> int:
    print_message(message)
    return code
