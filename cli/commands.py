"""The commands beside making a video: `sana-stream NAME ...`, each in a module of its own."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import dataclass
from importlib import import_module

from .parser import Parser, command_parser


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
        import_module(self.module, __package__).add_options(parser)
        return parser

    def run(self, args: Namespace) -> int:
        """Do it; returns the exit code and raises the library's errors as they come."""
        return import_module(self.module, __package__).run(args)


COMMANDS = (
    Command("resume", ".resume", "go on with a video that was interrupted"),
    Command("branch", ".branch", "another video from where a checkpoint stands"),
    Command("info", ".info", "what a model is, and the memory that it will take", answers=True),
    Command("convert", ".convert", "a checkpoint in another layout"),
    Command("serve", ".serve", "keep a model loaded and make streams asked for on a page"),
    Command("bench", ".bench", "measure a model on this machine", answers=True),
)


def find_command(argv: list[str]) -> Command | None:
    """The command that the first word names, if it names one."""
    return next((c for c in COMMANDS if argv[:1] == [c.name]), None)


def summaries() -> str:
    """A line for each command, for `--help`."""
    rows = (f"  sana-stream {c.name + ' ...':14}{c.summary}" for c in COMMANDS)
    return "\n".join(("other commands (each has --help):", *rows))
