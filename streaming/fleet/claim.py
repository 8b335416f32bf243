"""The claim of a fleet on its store, so that two fleets do not share one by mistake."""

from __future__ import annotations

import json
import logging
import os
import secrets
import socket
import time
from collections.abc import Callable
from threading import Event, Thread
from typing import Any

import psutil

from sana_stream._files import parse_json
from sana_stream._text import safe_text
from sana_stream.errors import ConfigError, StoreError

from .store import StreamStore

logger = logging.getLogger(__name__)
NAME = "fleet.json"
BEAT_SECONDS = 3.0
STALE_SECONDS = 10.0  # without a beat, after which a claim of another machine is taken over


class StoreClaim:
    """The right of one gateway to its store, renewed every three seconds until it is released.

    Blocks stay right without it, since all gateways would store the same bits. It keeps two
    gateways from serving, and ending, each other's streams. The claim of a process of this machine
    that has ended is taken over at once, the claim of another machine once it is not renewed.

    Args:
        store: of the fleet.
        on_lost: called with a line when another gateway has taken the claim.

    Raises:
        ConfigError: another gateway uses the store.
        StoreError: the store cannot be used.
    """

    def __init__(
        self,
        store: StreamStore,
        on_lost: Callable[[str], None] = lambda _: None,
        stale_seconds: float = STALE_SECONDS,
    ) -> None:
        self._store, self._on_lost = store, on_lost
        self._id = secrets.token_hex(8)
        self._beat = 0
        self._stop = Event()
        while not store.create(NAME, self._claim()):
            other = self._read()
            if other is None:  # released meanwhile
                continue
            if _has_ended(other) or not self._is_renewed(other, stale_seconds):
                store.put(NAME, self._claim())
                break
            raise ConfigError(
                f"{safe_text(store.url)} is used by another fleet (process {other.get('pid')} on"
                f" {safe_text(other.get('host', '?'), 60)}): end that one, or give another --store"
            )
        self._thread = Thread(target=self._renew, name="fleet claim", daemon=True)
        self._thread.start()

    def release(self) -> None:
        """Give the claim up."""
        self._stop.set()
        self._thread.join(BEAT_SECONDS)
        try:
            if (found := self._read()) is not None and found.get("id") == self._id:
                self._store.delete([NAME])
        except StoreError as error:
            logger.warning("%s", error)

    def _claim(self) -> bytes:
        self._beat += 1
        facts = {
            "id": self._id,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "started": psutil.Process().create_time(),
            "beat": self._beat,
        }
        return json.dumps(facts).encode()

    def _read(self) -> dict[str, Any] | None:
        data = self._store.get(NAME)
        if data is None:
            return None
        try:
            found = parse_json(data, 1 << 16)
        except ValueError:
            found = None
        if not isinstance(found, dict) or "id" not in found:
            raise ConfigError(
                f"{safe_text(self._store.url)}: {NAME} is not of this program: give another --store"
            )
        return found

    def _is_renewed(self, claim: dict[str, Any], seconds: float) -> bool:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(0.2)
            if (found := self._read()) is not None and found != claim:
                return True
        return False

    def _renew(self) -> None:
        while not self._stop.wait(BEAT_SECONDS):
            try:
                found = self._read()
                if found is not None and found.get("id") != self._id:
                    line = f"{safe_text(self._store.url)} was taken over by another fleet"
                    self._on_lost(line)
                    return
                self._store.put(NAME, self._claim())
            except (StoreError, ConfigError) as error:
                logger.warning("%s; the streams continue", error)


def _has_ended(claim: dict[str, Any]) -> bool:
    """Whether a claim is of a process of this machine that does not run any more."""
    if claim.get("host") != socket.gethostname():
        return False
    try:
        process = psutil.Process(int(claim["pid"]))
        return abs(process.create_time() - float(claim["started"])) > 1
    except psutil.NoSuchProcess:
        return True
    except (psutil.Error, KeyError, TypeError, ValueError):
        return False
