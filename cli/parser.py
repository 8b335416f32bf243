"""Parsers of the command line, built from the declared options."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import PurePath
from typing import Any, NoReturn

from sana_stream._text import safe_text

from . import option_fields
from .live_options import LIVE
from .log_format import json_log
from .model_options import FRAMES, MODEL
from .options import LENGTH, MESSAGES, OPTIONS, OUTPUT, PROMPTS, SAFETY

USAGE_ERROR = 2
ONE_DEVICE = ("--devices", "--parallel")  # refused by commands that have no such option

EXAMPLES = """\
examples:
  sana-stream "a red boat at dusk"
  sana-stream --prompt-file story.txt --minutes 1
  sana-stream --prompt-file story.txt --minutes 10 --size 832x480 --model ~/LongSANA
  sana-stream --prompt "a balloon" --prompt "a train" --endless --every 20 --out tower.mkv
  sana-stream --prompt "a kite" --seconds 20 --out - | ffplay -autoexit -i -
  sana-stream --prompt "a harbour at dawn" --web

A prompt file has one prompt per line, with an optional start time:
  A red fox runs through deep snow
  0:12 The fox stops and looks around
  0:30 Night falls

The video can be played while it is generated, and stays playable after an interruption. Ctrl-C
finishes the current block and closes the file; a second Ctrl-C stops immediately.
"""


class Parser(argparse.ArgumentParser):
    """An argument parser with errors on one line; for an unknown option it names the nearest."""

    takes_prompt = False  # whether one argument without an option is the prompt
    commands: Sequence[str] = ()  # names that could have been meant in place of a prompt

    def error(self, message: str) -> NoReturn:
        line = f"{self.prog}: {safe_text(message.removeprefix('argument '), 400)}"
        if (log := json_log()) is not None:
            log.message(line, "error")
            self.exit(USAGE_ERROR)
        self.exit(USAGE_ERROR, f"{line}\n")

    def _print_message(self, message: str, file: Any = None) -> None:
        """Write a message; unlike argparse's method, a failed write raises OSError."""
        if message:
            (file or sys.stderr).write(message)

    def parse(self, argv: list[str]) -> argparse.Namespace:
        """The options in `argv`; exits for `--help`, `--version` and usage errors."""
        parsed, rest = self.parse_known_args(argv)
        if line := self._mistyped_command(argv, rest):
            self.error(line)
        if self.takes_prompt and len(rest) == 1 and not rest[0].startswith("-"):
            self._check_prompt(parsed, rest[0])
            parsed.prompt = rest
        elif rest:
            self.error(self._unrecognized(rest))
        return parsed

    def _mistyped_command(self, argv: list[str], rest: list[str]) -> str | None:
        """The error for arguments that begin with a mistyped command; None for any others.

        A word that resembles a command may begin a prompt. It is a command only where a file, the
        name of one, or an option that `sana-stream` does not have comes after it.
        """
        words = argv[0].split(" ", 1) if len(argv) == 1 else rest
        if len(words) < 2 or words[0] != argv[0].split(" ", 1)[0]:
            return None
        nearest = get_close_matches(words[0][:100], self.commands, n=1, cutoff=0.7)
        if not nearest or not any(map(_is_of_command, words[1:])):
            return None
        meant = shlex.join([self.prog, nearest[0], *(argv[1:] or words[1:])])
        given = words[0] if words[0] != nearest[0] else argv[0]  # a command in quotes
        return f'"{safe_text(given, 80)}" is not a command: did you mean {safe_text(meant, 200)}?'

    def _check_prompt(self, parsed: argparse.Namespace, word: str) -> None:
        """Exit where an argument without an option is a file or a second prompt."""
        shown = safe_text(word, 80)
        if os.path.isfile(word):
            self.error(
                f'"{shown}" is a file: give a story as --prompt-file "{shown}", and continue an '
                f'interrupted video with sana-stream resume "{shown}"'
            )
        if parsed.prompt:
            self.error(f'"{shown}" and --prompt both give a prompt: use --prompt for each')
        if parsed.prompt_file is not None:
            self.error(f'"{shown}" and --prompt-file both give prompts: give one of them')

    def _unrecognized(self, rest: list[str]) -> str:
        option = next((word for word in rest if word.startswith("-")), None)
        if option is None:
            word = safe_text(rest[0], 80)
            if not self.takes_prompt:
                return f'"{word}" belongs to no option: for a prompt use --prompt "{word}"'
            words = safe_text(" ".join(rest), 80)
            return (
                f'"{word}" and "{safe_text(rest[1], 80)}" are two arguments without an option: '
                f'put a prompt in quotes, "{words}", or give each with --prompt'
            )
        if option.partition("=")[0] in ONE_DEVICE:
            return f"{self.prog} runs on one device: leave {option.partition('=')[0]} out"
        known = [name for action in self._actions for name in action.option_strings]
        name = option.partition("=")[0][:200]
        nearest = get_close_matches(name, known, n=1, cutoff=0.5)
        hint = f"did you mean {nearest[0]}?" if nearest else "--help lists all options"
        return f"{safe_text(name, 80)} is not an option: {hint}"


def _is_of_command(word: str) -> bool:
    """Whether an argument is an option, a file or the name of one, and so no part of a prompt."""
    named = " " not in word and PurePath(word).suffix != ""
    return word.startswith("-") or named or word == "pocket" or os.path.exists(word)


def build_parser(version: str, commands: str = "", names: Sequence[str] = ()) -> Parser:
    """The parser of `sana-stream`.

    Args:
        version: for `--version`.
        commands: lists the other commands for `--help`.
        names: of these commands.
    """
    parser = Parser(
        prog="sana-stream",
        usage="sana-stream PROMPT | --prompt-file FILE [options]",
        description="Generate a long video from prompts, block by block, in constant memory.",
        epilog=f"{EXAMPLES}\n{commands}",
        formatter_class=_formatter,
        allow_abbrev=False,
        add_help=False,
    )
    parser.takes_prompt = True
    parser.commands = names
    for group in (PROMPTS, LENGTH, OUTPUT, LIVE, FRAMES, MODEL, SAFETY):
        add_group(parser, group)
    messages = add_group(parser, MESSAGES)
    messages.add_argument(
        "--version",
        action="version",
        version=f"sana-stream {version}",
        help="print the version and exit",
    )
    messages.add_argument("-h", "--help", action="help", help="print this help and exit")
    return parser


def command_parser(name: str, summary: str) -> Parser:
    """A parser for `sana-stream NAME` with the options that all commands have."""
    parser = Parser(
        prog=f"sana-stream {name}",
        description=f"{summary[0].upper()}{summary[1:]}.",
        formatter_class=_formatter,
        allow_abbrev=False,
        add_help=False,
    )
    parser.add_argument("-h", "--help", action="help", help="print this help and exit")
    add_option(parser, "log_format")
    add_option(parser, "debug")
    return parser


def _formatter(prog: str) -> argparse.HelpFormatter:
    return argparse.RawDescriptionHelpFormatter(prog, max_help_position=26, width=96)


def add_group(
    parser: Parser, group: option_fields.Group, leave_out: tuple[str, ...] = ()
) -> argparse._ArgumentGroup:
    """Add a section of `--help` with its options; `leave_out` are names of fields."""
    return option_fields.add_group(parser, group, OPTIONS, leave_out)


def add_option(container: argparse._ActionsContainer, name: str, **changes: Any) -> None:
    """Add the option of a field to a parser or group, with other keywords of `add_argument`."""
    OPTIONS[name].add_to(container, **changes)


def add_devices(container: argparse._ActionsContainer) -> None:
    """Add the options of several devices to a command that continues a run."""
    for name in ("devices", "parallel"):
        text = OPTIONS[name].arguments["help"].partition(" (default")[0]
        add_option(container, name, help=f"{text} (default: as before)")


def add_device(container: argparse._ActionsContainer, default: str | None = "auto") -> None:
    """Add the options of device and dtype; with the default None they stay those of a run."""
    for name in ("device", "dtype"):
        text = OPTIONS[name].arguments["help"]
        if default is None:
            text = text.replace("(default: auto)", "(default: as before)")
        add_option(container, name, default=default, help=text)
