"""Which streams of a server may begin on its device."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from sana_stream.engine.engine import Engine
from sana_stream.engine.scheduling.admission import Limits
from sana_stream.engine.scheduling.batch_size import measure_costs
from sana_stream.engine.session.session import Session
from sana_stream.errors import ConfigError
from sana_stream.streaming.serving.shared_device import SharedDevice, StreamDemand


@pytest.fixture
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each network call takes a second, so that times do not depend on the machine."""

    def measure(model, settings, costs) -> None:
        for kind in ("sample", "decode"):
            costs.measured((kind, model.latent_shape(4, 32, 48), 1), 1.0)

    module = measure_costs.__module__.replace("batch_size", "shared_engine")
    monkeypatch.setattr(f"{module}.measure_costs", measure)


@contextmanager
def shared(
    engine: Engine, streams: int, share: float, *, overcommit: bool = False
) -> Iterator[SharedDevice]:
    """A device of which each stream needs a share of the time; other threads claim it, too."""
    settings = engine.session("a red boat").snapshot().settings
    with SharedDevice(engine, streams, StreamDemand(settings, 1.0), overcommit) as probe:
        used = probe._shared.admit(settings, 1.0, paced=True).demand.utilization
    usual = StreamDemand(settings, share / used)
    with SharedDevice(engine, streams, usual, overcommit) as device:
        yield device


def begin(
    device: SharedDevice, engine: Engine, demand: StreamDemand | None = None
) -> Session | None:
    """Begin a stream on a thread of its own, where the device lets it begin."""

    demand = demand or device._usual

    def run() -> Session | None:
        begins = device.claim(demand)
        return device.attach(engine.session("a red boat"), demand) if begins else None

    with ThreadPoolExecutor(1) as threads:
        return threads.submit(run).result()


@pytest.mark.usefixtures("unmeasured")
def test_streams_begin_as_far_as_there_is_time(
    tiny_engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with shared(tiny_engine, 4, 0.4) as device:
        assert "each stream needs 40 % of the device's time: 2 of 4 run" in caplog.text
        first, second = (begin(device, tiny_engine) for _ in range(2))
        assert [begin(device, tiny_engine) for _ in range(3)] == [None] * 3
        assert caplog.text.count("the next stream waits: 3 streams need 120% of") == 1
        assert first is not None
        with first.idle():  # paused
            assert begin(device, tiny_engine) is not None
            assert begin(device, tiny_engine) is None
        assert first.place == 1
        device.release(second)
        assert first.place == 0
        assert next(first).index == 0


@pytest.mark.usefixtures("unmeasured")
def test_stream_that_is_not_watched_takes_the_time_that_is_left(tiny_engine: Engine) -> None:
    with shared(tiny_engine, 4, 0.6) as device:
        usual = device._usual
        assert begin(device, tiny_engine) is not None
        assert begin(device, tiny_engine) is None
        film = StreamDemand(usual.settings, usual.fps, paced=False)
        slow = StreamDemand(usual.settings, 2 * usual.fps)  # never in time, even alone
        assert begin(device, tiny_engine, film) is not None
        assert begin(device, tiny_engine, slow) is not None


@pytest.mark.usefixtures("unmeasured")
@pytest.mark.parametrize(("share", "overcommit"), [(0.4, True), (2.0, False)])
def test_slow_device_runs_as_many_as_are_allowed(
    tiny_engine: Engine, caplog: pytest.LogCaptureFixture, share: float, overcommit: bool
) -> None:
    caplog.set_level(logging.INFO)
    with shared(tiny_engine, 3, share, overcommit=overcommit) as device:
        begun = [begin(device, tiny_engine) for _ in range(4)]
        assert [each is None for each in begun] == [False, False, False, True]
        device.release(begun[0])
        assert begin(device, tiny_engine) is not None
    assert ("one stream needs 200 %" in caplog.text) is not overcommit


@pytest.mark.usefixtures("unmeasured")
def test_one_stream_begins_at_a_time(tiny_engine: Engine) -> None:
    """The needs of one that begins are taken into account before the next one begins."""
    with shared(tiny_engine, 4, 0.4) as device:
        assert device.claim(device._usual)
        assert begin(device, tiny_engine) is None
        device.release(None)  # it failed before it was attached
        assert begin(device, tiny_engine) is not None


def test_stream_without_a_place_in_memory_is_refused(
    tiny_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = Limits.__module__.replace("admission", "shared_engine")
    monkeypatch.setattr(f"{module}.memory_for_streams", lambda _: 1000)
    with (
        pytest.raises(ConfigError, match=r"need .* GiB.*; or run one stream at a time"),
        shared(tiny_engine, 2, 0.1),
    ):
        pass
