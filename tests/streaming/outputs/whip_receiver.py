"""A WHIP endpoint in a process of node, on npm's werift."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from threading import Thread
from typing import Any

_SCRIPT = Path(__file__).with_suffix(".cjs")
_PLACES = ("/usr/lib/node_modules", "/usr/local/lib/node_modules")


@cache
def missing() -> str | None:
    """Why there can be no receiver; None where there can."""
    if shutil.which("node") is None:
        return "node is not installed"
    found = subprocess.run(["node", "-e", "require('werift')"], env=_environment(), check=False,
                           capture_output=True)  # fmt: skip
    if found.returncode:
        return "npm's werift is not installed (npm install --global werift, and NODE_PATH)"
    return None


@dataclass
class Receiver:
    """A running endpoint and what it has seen."""

    process: subprocess.Popen[str]
    port: int
    events: list[dict[str, Any]] = field(default_factory=list)

    def packets(self, kind: str) -> list[dict[str, Any]]:
        """The RTP packets of one kind: "video" or "audio"."""
        seen = list(self.events)
        return [each for each in seen if each["event"] == "rtp" and each["kind"] == kind]

    def requests(self) -> list[tuple[str, str, str | None]]:
        """The requests: method, path, authorization."""
        seen = list(self.events)
        return [(e["event"], e["path"], e["authorization"]) for e in seen if "path" in e]


@contextmanager
def whip_receiver(port: int = 0) -> Iterator[Receiver]:
    """Receive WHIP on a port of this machine, inside the context."""
    process = subprocess.Popen(
        ["node", str(_SCRIPT), str(port)], env=_environment(), stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout
        receiver = Receiver(process, json.loads(process.stdout.readline())["port"])
        output = process.stdout

        def keep() -> None:
            for line in output:
                receiver.events.append(json.loads(line))

        thread = Thread(target=keep, daemon=True)
        thread.start()
        yield receiver
    finally:
        process.kill()
        process.wait()


def _environment() -> dict[str, str]:
    places = (os.environ.get("NODE_PATH"), *_PLACES)
    return {**os.environ, "NODE_PATH": os.pathsep.join(place for place in places if place)}
