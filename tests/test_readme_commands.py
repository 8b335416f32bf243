"""Every command shown in the README and the guides can be parsed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from sana_stream.cli.main import find_command
from sana_stream.cli.parser import build_parser

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
PAGES = [ROOT / "README.md", EXAMPLES / "README.md", *sorted(EXAMPLES.glob("guides/*.md"))]
TEXT = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
PLACEHOLDERS = r"info MODEL|NAME`"
COMMANDS = sorted(
    set(re.findall(rf"(?:^|`)(sana-stream (?!{PLACEHOLDERS})[^`\n]+)", TEXT, re.MULTILINE))
)


def test_commands_are_found():
    assert len(COMMANDS) > 45


@pytest.mark.parametrize("line", COMMANDS)
def test_shown_command_is_parsed(line: str):
    argv = shlex.split(line.partition(" | ")[0], comments=True)[1:]
    command = find_command(argv)
    parser = command.parser() if command else build_parser("")
    parser.parse(argv[1:] if command else argv)
