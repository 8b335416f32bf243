"""Hooks of the guides' site, without mkdocs."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

import sana_stream
from sana_stream.cli.main import find_command
from sana_stream.cli.parser import build_parser

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def hooks(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setattr(sys, "path", [*sys.path])  # the hooks extend it
    spec = importlib.util.spec_from_file_location("site_hooks", EXAMPLES / "site" / "hooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_command_line_reference_has_every_option(hooks: ModuleType):
    text = "\n".join(hooks.command_line_reference())
    sections = dict(re.findall(r"^## `(.*?)`\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL))
    assert len(sections) == 9
    for name, section in sections.items():
        command = find_command(name.split()[1:])
        parser = command.parser() if command else build_parser("")
        for action in parser._actions:
            for option in action.option_strings:
                assert option in section, f"{name} {option}"


def test_python_reference_has_every_public_name(hooks: ModuleType):
    text = "\n".join(hooks.python_reference())
    names = set(sana_stream.__all__) - {"__version__"}
    assert set(re.findall(r"heading: (\w+)", text)) >= names


def test_each_reference_mark_is_in_one_guide(hooks: ModuleType):
    pages = [path.read_text("utf-8") for path in EXAMPLES.glob("guides/*.md")]
    for mark in (hooks.COMMAND_LINE, hooks.PYTHON):
        assert sum(mark in page for page in pages) == 1


def test_links_outside_the_guides_point_to_the_repository(hooks: ModuleType):
    fill = hooks.on_page_markdown
    assert fill("[a story](../story.txt)") == f"[a story]({hooks.REPOSITORY}/examples/story.txt)"
    assert fill("![a demo](../demo.webp)") == '<img alt="a demo" src="demo.webp">'
    assert fill("[here](live.md#http)") == "[here](live.md#http)"
    with pytest.raises(FileNotFoundError, match="leads to nothing"):
        fill("[gone](../gone.txt)")
