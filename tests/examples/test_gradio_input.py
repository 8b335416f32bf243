"""What a visitor sends to the Gradio page; a stand-in takes the place of gradio."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sana_stream import Engine

APP = Path(__file__).parents[2] / "examples" / "gradio" / "app.py"
VISITOR: Any = SimpleNamespace(session_hash="visitor")


class PageError(Exception):
    def __init__(self, message: str, print_exception: bool = True) -> None:
        super().__init__(message)


@pytest.fixture
def app(tiny_engine: Engine, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    gradio: Any = ModuleType("gradio")
    gradio.Error = PageError
    monkeypatch.setitem(sys.modules, "gradio", gradio)
    monkeypatch.setattr(Engine, "load", lambda *_: tiny_engine)
    monkeypatch.setenv("SANA_STREAM_SECONDS", "1")
    return runpy.run_path(str(APP))


def test_a_visitor_gets_no_picture_of_the_machine(app: dict[str, Any], tmp_path: Path):
    Image.fromarray(np.zeros((32, 48, 3), np.uint8)).save(secret := tmp_path / "secret.png")
    for story in (f"a boat <image>{secret}", f"a fox\na boat<image>{secret}"):
        with pytest.raises(PageError, match="cannot name pictures of this machine"):
            list(app["generate"](story, 1, 0, VISITOR))
    assert app["runs"] == {}


def test_empty_fields_are_defaults(app: dict[str, Any]):
    *_, (chunk, line, film) = app["generate"]("a boat", None, None, VISITOR)
    assert chunk is None
    assert float(line.partition(" ")[0]) >= 1
    assert film is not None
