"""The order in which CUDA graphs are recorded and repeated, told by a stand-in for torch.cuda."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any

import pytest
import torch

from sana_stream.engine.performance.cuda_graphs import WARM_UPS, CudaGraphCapture, graph_capture_for
from sana_stream.errors import ConfigError

DEVICE = torch.device("cuda", 1)


class WrittenCuda:
    """Writes down what is asked of it."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.current = "main"
        self.pools = 0

    def graph_pool_handle(self) -> str:
        self.pools += 1
        return f"pool {self.pools}"

    def current_stream(self, device: torch.device | None = None) -> Queue:
        return Queue(self, self.current)

    def Stream(self) -> Queue:  # noqa: N802 - as torch has it
        return Queue(self, "side")

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
    def graph(self, graph: Graph, pool: str):
        self.calls.append(f"capture into {pool}")
        yield
        self.calls.append("captured")


class Graph:
    def __init__(self, cuda: WrittenCuda) -> None:
        self.cuda = cuda

    def replay(self) -> None:
        self.cuda.calls.append(f"replay on {self.cuda.current}")


class Queue:
    def __init__(self, cuda: WrittenCuda, name: str) -> None:
        self.cuda, self.name = cuda, name

    def wait_stream(self, other: Queue) -> None:
        self.cuda.calls.append(f"{self.name} waits for {other.name}")

    def wait_event(self, event: str) -> None:
        self.cuda.calls.append(f"{self.name} waits for {event}")

    def record_event(self) -> str:
        self.cuda.calls.append(f"event on {self.name}")
        return f"event on {self.name}"


def test_work_is_warmed_up_beside_and_then_captured():
    cuda: Any = WrittenCuda()
    repeat = CudaGraphCapture(DEVICE, cuda).capture(
        lambda: cuda.calls.append(f"work on {cuda.current}")
    )
    assert cuda.calls == [
        "on cuda:1",
        "side waits for main",
        *["work on side"] * WARM_UPS,
        "main waits for side",
        "capture into pool 1",
        "work on main",
        "captured",
    ]
    cuda.calls.clear()
    repeat()
    assert cuda.calls == ["replay on main"]


def test_recordings_of_one_recorder_share_a_pool_and_of_two_do_not():
    cuda: Any = WrittenCuda()
    one, other = CudaGraphCapture(DEVICE, cuda), CudaGraphCapture(DEVICE, cuda)
    for recorder in (one, one, other):
        recorder.capture(lambda: None)
    pools = [call for call in cuda.calls if call.startswith("capture into")]
    assert pools == ["capture into pool 1", "capture into pool 1", "capture into pool 2"]


def test_a_turn_waits_until_the_one_before_was_read_on_its_queue():
    cuda: Any = WrittenCuda()
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


def test_devices_without_graphs_are_told():
    with pytest.raises(ConfigError, match="need a CUDA device, this is cpu; leave graphs out"):
        graph_capture_for(torch.device("cpu"))
