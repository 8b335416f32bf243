"""The tiny model for command lines in this process."""

from __future__ import annotations

from pathlib import Path

import pytest

from sana_stream.engine.engine import Engine


@pytest.fixture
def tiny(
    tmp_path: Path, tiny_folder: Path, tiny_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> tuple[str, ...]:
    """The options for the tiny model, already loaded; the current folder is empty."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Engine, "load", lambda *_, **__: tiny_engine)
    return ("--model", str(tiny_folder))
