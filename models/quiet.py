"""Libraries that talk of themselves while they are imported."""

from __future__ import annotations

from logging import ERROR, getLogger

_TALKERS = ("torchao", "torch.utils._pytree")


def hush_torchao() -> None:
    """Keep torchao from naming every kernel not built for this machine when it is imported.

    transformers imports it wherever it is installed, so this goes before both.
    """
    for talker in _TALKERS:
        getLogger(talker).setLevel(ERROR)
