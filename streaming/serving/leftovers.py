"""Removing the files of streams that ended with a crash and are not resumed."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from sana_stream._files import PARTIAL
from sana_stream.streaming.run.recordings import (
    JOB_SUFFIX,
    START_PICTURE_SUFFIX,
    START_SUFFIX,
)
from sana_stream.streaming.stream_name import STREAM_NAME

from .cut_pictures import PICTURE_NAME

logger = logging.getLogger(__name__)
_START = rf"{STREAM_NAME}({re.escape(START_SUFFIX)}|{re.escape(START_PICTURE_SUFFIX)})"


def remove_leftovers(folder: Path) -> None:
    """Remove what streams began with, or were cut to, if no server resumes them.

    To be called before the first stream, by the server that has claimed the folder. The files of a
    stream with a job file stay, also if that cannot be read. A file that cannot be removed stays.

    Args:
        folder: of the recordings.
    """
    with suppress(OSError):
        for path in _leftovers(list(folder.iterdir())):
            with suppress(OSError):
                path.unlink(missing_ok=True)
                logger.debug("%s of a stream that is not resumed was removed", path.name)


def _leftovers(paths: Sequence[Path]) -> Iterator[Path]:
    jobs = {path.name.removesuffix(JOB_SUFFIX) for path in paths if path.name.endswith(JOB_SUFFIX)}
    for path in paths:
        name = path.name
        if name.startswith(".") and name.endswith(PARTIAL):  # it was being written
            name = name[1:].removesuffix(PARTIAL)
        is_ours = re.fullmatch(_START, name) or re.fullmatch(PICTURE_NAME, name)
        if is_ours and name.partition(".")[0] not in jobs:
            yield path
