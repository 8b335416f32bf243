"""The order of CUDA calls in graph capture and replay, recorded by a fake torch.cuda."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any

import pytest
import torch

from sana_stream.engine.device import HIGH_PRIORITY
from sana_stream.engine.performance.cuda_graphs import WARM_UPS, CudaGraphCapture, graph_capture_for
from sana_stream.errors import ConfigError

DEVICE = torch.device("cuda", 1)


class RecordingCuda:
    """Records its calls."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.current = "main"
        self.pools = self.streams = 0

    def graph_pool_handle(self) -> str:
        self.pools += 1
        return f"pool {self.pools}"

    def current_stream(self, device: torch.device | None = None) -> Queue:
        return Queue(self, self.current)

    def Stream(self, device: torch.device, priority: int) -> Queue:  # noqa: N802 - as torch has it
        assert device == DEVICE
        self.streams += 1
        return Queue(self, "side" if priority == 0 else f"side of priority {priority}")

    def CUDAGraph(self) -> Graph:  # noqa: N802 - as torch has it
        return Graph(self)

    @contextmanager
    def device(self, device: torch.device):
        self.calls.append(f"on {device}")
        yield

    @contextmanager
    def stream(self, queue: Queue):
        before, self.current = self.current, queue.name
        yield
        self.current = before

    @contextmanager
    def graph(self, graph: Graph, pool: str, stream: Queue):
        self.calls.append(f"capture into {pool}")
        with self.stream(stream):
            yield
        self.calls.append("captured")


class Graph:
    def __init__(self, cuda: RecordingCuda) -> None:
        self.cuda = cuda

    def replay(self) -> None:
        self.cuda.calls.append(f"replay on {self.cuda.current}")


class Queue:
    def __init__(self, cuda: RecordingCuda, name: str) -> None:
        self.cuda, self.name = cuda, name

    def wait_stream(self, other: Queue) -> None:
        self.cuda.calls.append(f"{self.name} waits for {other.name}")

    def wait_event(self, event: str) -> None:
        self.cuda.calls.append(f"{self.name} waits for {event}")

    def record_event(self) -> str:
        self.cuda.calls.append(f"event on {self.name}")
        return f"event on {self.name}"


def test_work_is_warmed_up_on_a_side_stream_and_captured():
    cuda: Any = RecordingCuda()
    repeat = CudaGraphCapture(DEVICE, cuda).capture(
        lambda: cuda.calls.append(f"work on {cuda.current}")
    )
    assert cuda.calls == [
        "on cuda:1",
        "side waits for main",
        *["work on side"] * WARM_UPS,
        "main waits for side",
        "capture into pool 1",
        "work on side",
        "captured",
    ]
    cuda.calls.clear()
    repeat()
    assert cuda.calls == ["replay on main"]


def test_graphs_are_captured_on_a_stream_of_their_priority():
    """torch gives each kernel of a graph the priority of the stream that it was captured on."""
    cuda: Any = RecordingCuda()
    recorder = CudaGraphCapture(DEVICE, cuda, HIGH_PRIORITY)
    recorder.capture(lambda: cuda.calls.append(f"work on {cuda.current}"))
    assert cuda.calls[-2:] == ["work on side of priority -1", "captured"]


def test_graphs_of_one_recorder_share_a_memory_pool_and_its_stream():
    cuda: Any = RecordingCuda()
    one, other = CudaGraphCapture(DEVICE, cuda), CudaGraphCapture(DEVICE, cuda)
    for recorder in (one, one, other):
        recorder.capture(lambda: None)
    pools = [call for call in cuda.calls if call.startswith("capture into")]
    assert pools == ["capture into pool 1", "capture into pool 1", "capture into pool 2"]
    assert cuda.streams == 2


def test_exclusive_use_waits_for_the_previous_one():
    cuda: Any = RecordingCuda()
    recorder = CudaGraphCapture(DEVICE, cuda)
    for queue in ("main", "side"):
        cuda.current = queue
        with recorder.exclusive():
            cuda.calls.append(f"fill, repeat, read on {queue}")
    assert cuda.calls == [
        "fill, repeat, read on main",
        "event on main",
        "side waits for event on main",
        "fill, repeat, read on side",
        "event on side",
    ]


def test_device_without_graphs_is_refused():
    with pytest.raises(ConfigError, match="need a CUDA device, this is cpu; leave graphs out"):
        graph_capture_for(torch.device("cpu"))
