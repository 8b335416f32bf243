"""Metrics against what was done; their form against Prometheus's own parsers."""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as parse_text
from prometheus_client.registry import Collector

from sana_stream.errors import CheckpointError
from sana_stream.streaming.control.job_queue import JobQueue
from sana_stream.streaming.control.live_control import LiveControl
from sana_stream.streaming.control.pacing import RealtimePacer
from sana_stream.streaming.web.auth import AccessPolicy
from sana_stream.streaming.web.fleet import FleetMetrics, FleetState
from sana_stream.streaming.web.live_feed import LiveFeed
from sana_stream.streaming.web.metrics import ServerMetrics, error_kind
from sana_stream.streaming.web.registry import StreamRegistry
from sana_stream.streaming.web.server import WebServer
from sana_stream.streaming.web.state_metrics import StateCollector
from sana_stream.streaming.web.status import RunStatus

from ...programs import needs
from ..blocks import blocks
from ..http_client import VIDEO, Viewer, ask, await_viewers, stream_of

GUIDE = Path(__file__).parents[3] / "examples" / "guides" / "operations.md"


class Fleet:
    """A fleet of three replicas, one of which was lost before."""

    def metrics(self) -> FleetMetrics:
        return FleetMetrics(3, 2, 40, 5, 60.5, 1.5, {"lost": 4})

    def describe(self) -> FleetState:
        pytest.fail("metrics need no descriptions")

    def drain(self, replica: str) -> int | None:
        return None


@pytest.fixture
def metrics() -> ServerMetrics:
    return ServerMetrics()


@pytest.fixture
def streams(metrics: ServerMetrics) -> StreamRegistry:
    return StreamRegistry(metrics.follow)


def values(text: str) -> dict[str, float]:
    """The samples by name and labels, `name{label=value}`."""
    return {
        sample.name
        + "".join(f"{{{key}={text}}}" for key, text in sorted(sample.labels.items())): sample.value
        for family in parse_text(text)
        for sample in family.samples
    }


def scrape(server: WebServer) -> dict[str, float]:
    return values(ask(server, "/metrics")[1].decode())


def names(*collectors: Collector) -> set[str]:
    """The names of the metrics of this program, as the guide lists them."""
    families = [family for collector in collectors for family in collector.collect()]
    return {
        family.name + ("_total" if family.type == "counter" else "_info" * (family.type == "info"))
        for family in families
        if family.name.startswith("sana_stream_")
    }


def test_counts_equal_what_was_made(
    streams: StreamRegistry, metrics: ServerMetrics, tmp_path: Path
) -> None:
    film = tmp_path / "film.mp4"
    film.write_bytes(b"x" * 100)  # of an earlier run
    status = RunStatus(VIDEO)
    streams.begin(LiveFeed(VIDEO), LiveControl(), status, film)
    made = [block for block, _ in zip(blocks(), range(5), strict=False)]
    for count, block in enumerate(made, 1):
        stats = replace(block.stats, denoise_seconds=0.5, decode_seconds=0.25, text_seconds=1.0)
        status.on_block(replace(block, stats=stats))
        film.write_bytes(b"x" * (100 + 10 * count))
    status.on_stage("encode", 0.125)
    film.write_bytes(b"x" * 200)
    status.finish()
    status.finish()  # twice is once
    metrics.on_error(CheckpointError("x"))
    metrics.on_error(KeyError("x"))
    with WebServer(streams, AccessPolicy.on("127.0.0.1", 0), metrics=metrics) as server:
        found = scrape(server)
    frames = sum(len(block.frames) for block in made)
    assert found["sana_stream_blocks_total"] == 5
    assert found["sana_stream_frames_total"] == frames
    assert found["sana_stream_video_seconds_total"] == pytest.approx(VIDEO.seconds(frames))
    assert found["sana_stream_stage_seconds_total{stage=denoise}"] == 2.5
    assert found["sana_stream_stage_seconds_total{stage=decode}"] == 1.25
    assert found["sana_stream_stage_seconds_total{stage=text}"] == 5.0
    assert found["sana_stream_stage_seconds_total{stage=encode}"] == 0.125
    commit = sum(block.stats.commit_seconds for block in made)
    assert found["sana_stream_block_seconds_sum"] == pytest.approx(8.75 + commit)
    assert found["sana_stream_block_seconds_count"] == 5
    assert found["sana_stream_recorded_bytes_total"] == 100
    assert found["sana_stream_streams_started_total"] == 1
    assert found["sana_stream_streams{state=running}"] == 0
    assert found["sana_stream_peak_memory_bytes"] == max(
        block.stats.peak_memory_bytes for block in made
    )
    assert found["sana_stream_errors_total{kind=CheckpointError}"] == 1
    assert found["sana_stream_errors_total{kind=Exception}"] == 1
    assert found["process_resident_memory_bytes"] > 10 << 20


def test_states_queue_and_viewers(streams: StreamRegistry, metrics: ServerMetrics) -> None:
    jobs = JobQueue()
    for state in ("starting", "running", "paused", "finished"):
        control, status = LiveControl(), RunStatus(VIDEO)
        streams.begin(LiveFeed(VIDEO), control, status)
        if state != "starting":
            status.on_block(next(blocks()))
        if state == "paused":
            control.submit("/pause")
        if state == "finished":
            status.finish()
    streams.begin(LiveFeed(VIDEO), LiveControl(), RunStatus(VIDEO))
    for _ in range(3):
        jobs.submit({"story": "a fox"})
    jobs.cancel(2)
    found = jobs.next(threading.Event())
    assert found is not None
    jobs.end(found[0], "no memory is left")
    with WebServer(streams, AccessPolicy.on("127.0.0.1", 0), jobs, metrics=metrics) as server:
        watching = Viewer(server)
        await_viewers(server, 1)
        seen = scrape(server)
        stream_of(streams).feed.close()
        watching.body()
    states = {s: seen[f"sana_stream_streams{{state={s}}}"] for s in ("queued", "starting")}
    assert states == {"queued": 1, "starting": 2}
    assert seen["sana_stream_streams{state=running}"] == 1
    assert seen["sana_stream_streams{state=paused}"] == 1
    ended = {
        s: seen[f"sana_stream_streams_ended_total{{state={s}}}"] for s in ("failed", "cancelled")
    }
    assert ended == {"failed": 1, "cancelled": 1}
    assert seen["sana_stream_streams_ended_total{state=finished}"] == 0
    assert seen["sana_stream_viewers"] == 1
    assert seen["sana_stream_slowest_speed_ratio"] > 0


def test_requests_are_counted_by_route_and_bytes_as_received(
    current: StreamRegistry, server: WebServer
) -> None:
    stream_of(current).feed.write(next(blocks()))
    received = sum(len(ask(server, f"/streams/{number}/init.mp4")[1]) for number in (1, 1, 2, 3))
    for path in ("/streams/1/segment0.m4s", "/nowhere", "/streams/999/x", "/%e4"):
        ask(server, path)
    ask(server, "/prompt", "fox")
    ask(server, "/status", method="BREW")
    ask(server, "/status", Host="evil.example")
    found = scrape(server)

    def count(method: str, route: str, status: int) -> float:
        labels = f"{{method={method}}}{{route={route}}}{{status={status}}}"
        return found[f"sana_stream_http_requests_total{labels}"]

    assert count("GET", "/streams/{id}/init.mp4", 200) == 2
    assert count("GET", "/streams/{id}/init.mp4", 404) == 2
    assert found["sana_stream_sent_bytes_total{route=/streams/{id}/init.mp4}"] == received
    assert count("GET", "/streams/{id}/segment{number}.m4s", 200) == 1
    assert count("GET", "other", 404) == 3
    assert count("POST", "/prompt", 202) == 1
    assert count("other", "/status", 405) == 1
    assert count("GET", "/status", 400) == 1


def test_metrics_do_not_grow_with_streams_and_addresses(
    streams: StreamRegistry, metrics: ServerMetrics
) -> None:
    with WebServer(streams, AccessPolicy.on("127.0.0.1", 0), metrics=metrics) as server:

        def use(number: int) -> None:
            status = RunStatus(VIDEO, f"title {number}")
            streams.begin(LiveFeed(VIDEO), LiveControl(), status)
            status.on_block(next(blocks()))
            status.finish()
            ask(server, f"/streams/{number}/status?{number}")
            ask(server, f"/nowhere{number}")

        for number in range(1, 4):
            use(number)
        scrape(server)
        before = set(scrape(server))
        for number in range(4, 60):
            use(number)
        after = scrape(server)
    assert set(after) == before
    assert after["sana_stream_streams_started_total"] == 59


@pytest.mark.parametrize(
    ("ends", "late"),
    [
        ((1.0, 1.9, 2.8), 0),  # each block plays for a second
        ((5.0, 6.5, 7.0), 1),  # the first one is not late, the second one is
        ((1.0, 2.5, 4.0), 2),
    ],
)
def test_late_blocks_are_counted(ends: tuple[float, ...], late: int) -> None:
    now = [0.0]
    pace = RealtimePacer(VIDEO, threading.Event(), lambda: now[0])
    misses = 0
    for end in ends:
        pace._stop.set()  # wait for nothing
        pace.wait()
        now[0] = end
        misses += not pace.on_block(VIDEO.rate.numerator, 0.1)
    assert misses == late


def test_pause_makes_no_block_late() -> None:
    now = [0.0]
    stop = threading.Event()
    stop.set()
    pace = RealtimePacer(VIDEO, stop, lambda: now[0])
    pace.wait()
    assert pace.on_block(16, 0.1)
    now[0] = 100.0  # everything was played out meanwhile
    pace.wait()
    now[0] = 101.0
    assert pace.on_block(16, 1.0)


def test_error_kinds_are_few() -> None:
    class OwnError(OSError):
        pass

    kinds = [
        error_kind(error)
        for error in (OwnError("/tmp/x"), MemoryError(), type("X", (Exception,), {})())
    ]
    assert kinds == ["OSError", "MemoryError", "Exception"]


@pytest.mark.parametrize("accept", ["", "application/openmetrics-text; version=1.0.0"])
def test_form_is_that_of_the_accepted_format(current: StreamRegistry, accept: str) -> None:
    with WebServer(current, AccessPolicy.on("127.0.0.1", 0), JobQueue(), Fleet()) as server:
        text = ask(server, "/metrics", Accept=accept)[1].decode()
    assert text.endswith("# EOF\n") == bool(accept)
    families = list((parse_openmetrics if accept else parse_text)(text))
    assert {family.name for family in families if not family.documentation} == set()
    assert any(family.name.startswith("sana_stream_fleet_re") for family in families)


@needs("promtool")
def test_promtool_accepts_every_metric(current: StreamRegistry) -> None:
    with WebServer(current, AccessPolicy.on("127.0.0.1", 0), JobQueue(), Fleet()) as server:
        ask(server, "/status")
        text = ask(server, "/metrics")[1]
    promtool = shutil.which("promtool") or ""
    done = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True)
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")


def test_guide_lists_every_metric(current: StreamRegistry, metrics: ServerMetrics) -> None:
    status = stream_of(current).status
    status.on_block(next(blocks()))
    state = StateCollector(current, lambda: None, JobQueue(), Fleet())
    listed = re.findall(r"^\| `(sana_stream_\w+)", GUIDE.read_text("utf-8"), re.MULTILINE)
    assert len(listed) == len(set(listed))
    assert set(listed) == names(metrics.registry, state)
