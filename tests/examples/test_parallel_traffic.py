"""`parallel_traffic.py` prints the table of the guide; its bytes are tested with real processes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_table_is_that_of_the_guide(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "examples" / "benchmarks"))
    import parallel_traffic

    parallel_traffic.main(["--shapes", "2b-480p"])
    assert "bytes are counted, milliseconds assumed" in capsys.readouterr().out
    guide = (ROOT / "examples" / "guides" / "scale.md").read_text(encoding="utf-8")
    for row in list(parallel_traffic.rows("2b-480p"))[1:]:
        assert "| " + " | ".join(row) + " |" in guide
    sys.modules.pop("parallel_traffic")
