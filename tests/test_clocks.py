"""No source file reads the wall clock, which may be set back or forth at any time."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CLOCK = ROOT / "engine/public/_clock.py"  # of the dates that people and clients read
FOLDERS = ("engine", "models", "streaming", "cli")
CLOCKS = {
    "time": {"time", "time_ns", "localtime", "gmtime", "ctime", "strftime", "clock_gettime"},
    "datetime": {"now", "utcnow", "today"},
    "date": {"today"},
}


def wall_clocks(source: str) -> Iterator[str]:
    """Find the calls of wall-clock functions in a source."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Attribute(ast.Name(module), name) | ast.Attribute(
                ast.Attribute(attr=module), name
            ) if name in CLOCKS.get(module, ()):
                yield f"line {node.lineno}: {module}.{name}"
            case ast.ImportFrom(module="time", names=names):
                found = (each.name for each in names if each.name in CLOCKS["time"])
                yield from (f"line {node.lineno}: time.{name}" for name in found)


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_source_reads_the_wall_clock(folder: str) -> None:
    files = sorted({*(ROOT / folder).rglob("*.py")} - {CLOCK})
    assert files
    asked = {str(file): list(wall_clocks(file.read_text("utf-8"))) for file in files}
    assert {name: where for name, where in asked.items() if where} == {}


@pytest.mark.parametrize(
    "source",
    [
        "import time\ndue = time.time() + 30",
        "from time import monotonic, time_ns",
        "import datetime\nbegun = datetime.datetime.now()",
        "from datetime import datetime\nbegun = datetime.utcnow",
    ],
)
def test_wall_clock_call_is_found(source: str) -> None:
    assert len(list(wall_clocks(source))) == 1
    assert list(wall_clocks("import time\nnow = time.monotonic(), time.perf_counter()")) == []
