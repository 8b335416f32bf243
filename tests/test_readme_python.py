"""The README's Python runs as it stands, with the embedded model."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


def test_the_opening_example_makes_the_blocks_that_it_says(capsys: pytest.CaptureFixture[str]):
    (snippet,) = SNIPPETS
    exec(compile(snippet, "README.md", "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    starts = [int(line.split()[0]) for line in lines]
    assert starts == [0, 17, 33, 49]
    assert all("128, 224, 3)" in line for line in lines)
    boat, balloon = "a red boat on the sea at sunset", "a yellow balloon over the hills at night"
    assert [line.endswith(balloon) for line in lines] == [False, False, True, True]
    assert all(line.endswith(boat) for line in lines[:2])


def test_pictures_and_pages_that_are_linked_are_there():
    root = Path(__file__).parent.parent
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", README)
    assert "examples/demo.png" in links
    assert [link for link in links if not (root / link).exists()] == []
