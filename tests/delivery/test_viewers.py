"""The benchmark of live page viewers, on a tiny model."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import viewers


def test_benchmark_prints_times_with_and_without_viewers(
    tiny_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ("--model", tiny_folder, "--viewers", "10", "--blocks", "2", "--turns", "2")
    viewers.main([str(word) for word in argv])
    first, second, last = capsys.readouterr().out.splitlines()
    assert first.startswith("10 viewers, ")
    assert second.startswith("10 viewers, ")
    assert re.fullmatch(
        r"a block alone \d+ ms, with 10 viewers \d+ ms: \d+\.\d\d times as long", last
    )
