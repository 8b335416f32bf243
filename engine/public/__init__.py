"""Minutes-long AI video as a stream: SANA-Video block by block, in fixed memory."""

__all__: list[str] = []
__version__ = "0.1.0"
