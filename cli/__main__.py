"""`python -m sana_stream.cli` is `sana-stream`."""

from .main import entry

entry()
