"""Tests of the measurements in `examples/delivery`, and with them of what they measure."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "examples" / "delivery"))
