"""A process that computes a part of another process's stream."""

from __future__ import annotations

import sys

from .start import follow

if __name__ == "__main__":
    sys.exit(follow())
