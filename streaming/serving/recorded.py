"""What the recordings of a server have in common: their sound, their mark, their signature."""

from __future__ import annotations

import logging
from dataclasses import replace
from threading import Lock
from typing import TYPE_CHECKING

from sana_stream._files import expand_user
from sana_stream.streaming.outputs.signing import load_signer
from sana_stream.streaming.run.config import RunConfig
from sana_stream.streaming.run.messages import NO_MARK
from sana_stream.streaming.run.outputs import audio_of

if TYPE_CHECKING:
    from sana_stream.streaming.audio import AudioTrack

logger = logging.getLogger(__name__)


class Sounds:
    """The sound of each stream, from its beginning; streams with the same file share its samples.

    Its method may be called from any thread.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._tracks: dict[str, AudioTrack] = {}

    def of(self, config: RunConfig) -> AudioTrack | None:
        """The sound of a stream that is recorded and shown on a page; raises as `audio_of`."""
        if config.audio is None:
            return None
        key = str(config.audio)
        with self._lock:
            if key not in self._tracks:
                track = audio_of(replace(config, outputs=("stream.mp4",)))
                assert track is not None
                self._tracks[key] = track
            return self._tracks[key]


def check_recordings(config: RunConfig) -> None:
    """Check what all recordings of a server have in common, before anything is made.

    Raises:
        InvalidOutputError: a certificate or a file with sound that cannot be used.
        ConfigError: the recordings are to be signed and not to be marked.
    """
    config.check_sign()
    if config.sign is not None:
        load_signer(expand_user(config.sign))
    Sounds().of(config)
    if not config.mark:
        logger.warning("%s", NO_MARK)
