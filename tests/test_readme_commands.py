"""Every command that the README shows is one that the program understands."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from sana_stream.cli.main import find_command
from sana_stream.cli.parser import build_parser

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
COMMANDS = sorted(
    set(re.findall(r"(?:^|`)(sana-stream (?!info MODEL)[^`\n]+)", README, re.MULTILINE))
)


def test_there_are_commands():
    assert len(COMMANDS) > 10


@pytest.mark.parametrize("line", COMMANDS)
def test_the_program_understands(line: str):
    argv = shlex.split(line.partition(" | ")[0])[1:]
    command = find_command(argv)
    parser = command.parser() if command else build_parser("")
    parser.parse(argv[1:] if command else argv)
