"""A fleet on Ray: replicas that are killed, stopped or drained cost a pause and not one bit."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from ...command import environment

NEEDED = ("ray", "obstore")
MISSING = [name for name in NEEDED if find_spec(name) is None]
pytestmark = [
    pytest.mark.skipif(bool(MISSING), reason="needs sana-stream[fleet]; `make test-fleet` has it"),
    pytest.mark.skipif(sys.platform != "linux", reason="replicas are stopped by Linux's signals"),
]


def test_lost_replicas_cost_a_pause_and_not_one_bit(tmp_path: Path, tiny_folder: Path) -> None:
    script = Path(__file__).with_name("fleet_run.py")
    words = [sys.executable, str(script), str(tmp_path / "store"), str(tiny_folder)]
    done = subprocess.run(words, env=environment(), capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-4000:]
    facts = json.loads(done.stdout.strip().splitlines()[-1])
    assert facts["same"] == [True] * 24
    assert facts["retries"].get("late", 0) >= 1  # the stopped replica
    assert facts["drained"] >= 1
    assert facts["longest_pause"] < 60
