"""How outputs share one stream: back pressure, endings, failures."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest

from sana_stream.errors import OutputCancelled, OutputError, ReaderDisconnected
from sana_stream.streaming.outputs.pump import OutputPump

from ..blocks import blocks
from ..http_client import TIMEOUT_SECONDS, await_that

if TYPE_CHECKING:
    from sana_stream.engine.block import Block


class Probe:
    """An output that takes blocks only as the test lets it."""

    def __init__(self, name: str = "probe", durable: bool = False, open_gate: bool = True) -> None:
        self.name = name
        self.durable = durable
        self.frames = 0
        self.starts: list[int] = []
        self.closed = 0
        self.fail_at: dict[int, Exception] = {}
        self.fail_close: Exception | None = None
        self.gate = threading.Semaphore(1_000_000 if open_gate else 0)

    def write(self, block: Block) -> None:
        self.gate.acquire()
        if block.index in self.fail_at:
            raise self.fail_at[block.index]
        self.starts.append(block.start)
        self.frames += len(block.frames)

    def close(self) -> None:
        self.closed += 1
        if self.fail_close:
            raise self.fail_close


def feed(pump: OutputPump, count: int | None) -> list[bool]:
    """Write `count` blocks, or until none is taken, giving the outputs time to fail in between."""
    answers, deadline = [], time.monotonic() + TIMEOUT_SECONDS
    for block in blocks(count, size=4):
        answers.append(pump.write(block))
        if count is None and not answers[-1]:
            break
        assert time.monotonic() < deadline, "blocks are still taken"
        time.sleep(0.02)
    return answers


def test_every_output_gets_every_block_in_order(caplog: pytest.LogCaptureFixture) -> None:
    probes = [Probe("a"), Probe("b", durable=True)]
    with OutputPump(probes) as pump:
        assert all(feed(pump, 5))
    for probe in probes:
        assert (probe.starts, probe.frames, probe.closed) == ([0, 5, 9, 13, 17], 21, 1)
    assert caplog.messages == []


def test_a_slow_output_holds_the_stream_up_after_two_waiting_blocks() -> None:
    slow, fast = Probe("slow", open_gate=False), Probe("fast")
    pump = OutputPump([slow, fast])
    handed: list[int] = []

    def produce() -> None:
        for block in blocks(6, size=4):
            pump.write(block)
            handed.append(block.index)

    thread = threading.Thread(target=produce, daemon=True)
    thread.start()
    for allowed in range(3):
        await_that(lambda n=allowed: len(handed) >= n + 3, "a block is not taken")
        time.sleep(0.05)
        # One block is being delivered, two wait; the next one is not taken.
        assert len(handed) == allowed + 3
        slow.gate.release()
    slow.gate.release(100)
    thread.join(TIMEOUT_SECONDS)
    pump.close()
    assert slow.starts == fast.starts == [0, 5, 9, 13, 17, 21]


def test_a_slow_output_is_named(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("sana_stream.streaming.outputs.pump._SLOW_AFTER", 0.05)
    slow = Probe("standard output", open_gate=False)
    pump = OutputPump([slow])
    thread = threading.Thread(target=feed, args=(pump, 5), daemon=True)
    thread.start()
    await_that(lambda: caplog.messages, "the slow output is not named")
    slow.gate.release(100)
    thread.join(TIMEOUT_SECONDS)
    pump.close()
    assert caplog.messages == [
        "standard output: is slower than the video is generated; waiting for it"
    ]


def test_a_failed_file_stops_everything_but_others_are_completed() -> None:
    file, live = Probe("a.mp4", durable=True), Probe("tcp")
    file.fail_at[1] = OutputError("a.mp4: no space left on device; 5 frames (0.3 s) are in it")
    pump = OutputPump([file, live])
    with pytest.raises(OutputError, match="no space left"), pump:
        feed(pump, 4)
    assert (file.closed, live.closed) == (1, 1)


def test_the_run_continues_without_a_failed_live_output(caplog: pytest.LogCaptureFixture) -> None:
    file, live = Probe("a.mp4", durable=True), Probe("tcp")
    live.fail_at[1] = OutputError("tcp: connection reset")
    with OutputPump([file, live]) as pump:
        assert all(feed(pump, 4))
    assert file.starts == [0, 5, 9, 13]
    assert caplog.messages == [
        "tcp: connection reset; the other outputs continue",
        "not delivered to its end: tcp: connection reset",
    ]


def test_a_live_output_that_fails_at_its_end_leaves_a_complete_file_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    file, live = Probe("a.mp4", durable=True), Probe("tcp")
    live.fail_close = OutputError("tcp: nothing arrived: connection refused")
    with OutputPump([live, file]) as pump:
        feed(pump, 2)
    assert file.frames == 9
    assert caplog.messages == [
        "tcp: nothing arrived: connection refused; the other outputs are complete"
    ]


def test_outputs_of_which_none_is_whole_are_a_failure() -> None:
    probes = [Probe("tcp"), Probe("srt")]
    for probe in probes:
        probe.fail_close = OutputError(f"{probe.name}: nothing arrived")
    with (
        pytest.raises(OutputError, match="tcp: nothing arrived"),
        OutputPump(probes) as pump,
    ):
        feed(pump, 2)


def test_the_only_live_output_may_not_fail() -> None:
    live = Probe("tcp")
    live.fail_at[1] = OutputError("tcp: connection reset")
    with pytest.raises(OutputError, match="reset"), OutputPump([live]) as pump:
        feed(pump, 4)


@pytest.mark.parametrize("kind", [ReaderDisconnected, OutputCancelled])
def test_a_reader_that_has_disconnected_is_a_normal_end(
    kind: type[OutputError], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    pipe = Probe("standard output")
    pipe.fail_at[1] = kind("standard output: the reader has closed it")
    with OutputPump([pipe]) as pump:
        answers = feed(pump, None)
    assert answers[0]
    assert not answers[-1]
    assert caplog.messages == ["standard output: the reader has closed it"]


def test_what_goes_wrong_while_closing_is_raised_too() -> None:
    file = Probe("a.mp4", durable=True)
    file.fail_close = OutputError("a.mp4: no space left on device, so it has no index")
    pump = OutputPump([file])
    feed(pump, 2)
    with pytest.raises(OutputError, match="no index"):
        pump.close()
    pump.close()


def test_a_programming_error_in_an_output_is_not_swallowed() -> None:
    live, file = Probe("live"), Probe("a.mp4", durable=True)
    live.fail_at[0] = ZeroDivisionError("oops")
    with pytest.raises(ZeroDivisionError), OutputPump([live, file]) as pump:
        feed(pump, 3)


def test_an_error_of_the_caller_completes_the_outputs_and_is_kept(
    caplog: pytest.LogCaptureFixture,
) -> None:
    file = Probe("a.mp4", durable=True)
    file.fail_close = OutputError("a.mp4: no index")
    with pytest.raises(ZeroDivisionError), OutputPump([file]) as pump:
        feed(pump, 2 // (1 - len(feed(pump, 1))))
    assert (file.starts, file.closed, caplog.messages) == ([0], 1, ["a.mp4: no index"])


def test_no_thread_is_left() -> None:
    before = set(threading.enumerate())
    with OutputPump([Probe(), Probe()]) as pump:
        feed(pump, 2)
    assert set(threading.enumerate()) <= before
