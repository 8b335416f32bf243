"""Tests of `examples/benchmarks/delivery`, and with them of what it measures."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "examples" / "benchmarks" / "delivery"))
