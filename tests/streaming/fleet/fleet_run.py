"""Two streams on two replicas of a local Ray, which are killed, stopped and drained.

Prints one JSON line: whether every block equals that of a plain session, and what it took.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from threading import Event

from sana_stream.engine.session.settings import resolve_settings
from sana_stream.streaming.fleet.calls import FleetCounters, RetryingCalls
from sana_stream.streaming.fleet.cluster import FleetConfig, deployed
from sana_stream.streaming.fleet.homes import HOMES
from sana_stream.streaming.fleet.order import StreamOrder
from sana_stream.streaming.fleet.session import RemoteSession
from sana_stream.streaming.fleet.store import StreamStore
from sana_stream.streaming.run.config import RunConfig
from sana_stream.streaming.run.model import describe_files


def main(folder: str, model_folder: str) -> None:
    config = RunConfig(story=("a red boat",), model=model_folder, dtype="float32", device="cpu")
    model = describe_files(config)
    engine = model.load(config)
    settings = resolve_settings(model.preset, model.size_multiple, seed=3)
    order = StreamOrder(settings, "a red boat", "", model.temporal_factor)
    names = ("s0", "s1")
    plain = {s: engine.session("a red boat", negative_prompt="", settings=settings) for s in names}
    counters, same, drained, events = FleetCounters(), [], 0, []
    with deployed(FleetConfig("local", folder, every=2), config) as transport:
        calls = RetryingCalls(transport, HOMES, counters, 4.0, Event())
        store = StreamStore(folder)
        streams = {s: RemoteSession(calls, store, s, order, model.preset.fps) for s in names}
        for index in range(12):
            for name in names:
                if index == 3:
                    plain[name].switch("night falls")
                    streams[name].switch("night falls")
                if name == "s0" and index in (5, 8):
                    pid = transport.call("describe", name, (), 10)["pid"]
                    os.kill(pid, signal.SIGKILL if index == 5 else signal.SIGSTOP)
                if name == "s1" and index == 10:
                    home = HOMES.home(name) or ""
                    HOMES.pin("drain", home)
                    HOMES.drain(home)
                    drained = transport.call("drain", "drain", (), 20)
                begun = time.monotonic()
                made, wanted = next(streams[name]), next(plain[name])
                events.append(round(time.monotonic() - begun, 2))
                same.append(made.frames.tobytes() == wanted.frames.tobytes())
    facts = {
        "same": same,
        "retries": dict(counters.retries),
        "longest_pause": counters.longest_pause,
        "drained": drained,
        "seconds": events,
    }
    sys.stdout.write(json.dumps(facts) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:3])
