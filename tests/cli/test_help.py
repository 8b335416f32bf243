"""The help: written down, so that a change of it is seen; and where it is repeated, the same.

After a change that is meant: `sana-stream --help > tests/cli/help.txt`.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from sana_stream import __version__
from sana_stream.cli.options import Options
from sana_stream.cli.parser import EXAMPLES, build_parser

from ..command import run

ROOT = Path(__file__).parents[2]
GOLDEN = Path(__file__).parent / "help.txt"


def test_help_is_what_is_written_down(capfd: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == 0
    out, err = capfd.readouterr()
    assert err == ""
    assert out == GOLDEN.read_text(encoding="utf-8")


def test_every_example_of_the_help_can_be_parsed() -> None:
    lines = re.findall(r"^  sana-stream (.*)$", EXAMPLES, re.MULTILINE)
    assert len(lines) > 3
    for line in lines:
        argv = shlex.split(line.partition("|")[0])
        assert Options.of(build_parser("").parse(argv)).outputs


def test_the_readme_shows_the_same_help() -> None:
    readme = (ROOT / "README.md").read_text("utf-8") if (ROOT / "README.md").exists() else ""
    for shown in re.findall(r"\$ sana-stream --help\n(.*?)```", readme, re.DOTALL):
        assert shown == GOLDEN.read_text(encoding="utf-8")


def test_version(capfd: pytest.CaptureFixture[str]) -> None:
    assert run("--version") == 0
    assert capfd.readouterr().out == f"sana-stream {__version__}\n"
