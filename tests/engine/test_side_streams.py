"""The order of calls to a CUDA side stream, recorded by a fake torch.cuda."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch

from sana_stream.engine.device import CudaSideStream, InlineStream
from sana_stream.models.upload import to_device


class RecordingCuda:
    """Records its calls; a copy's bytes arrive only when its event is synchronised."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.late: list[Any] = []

    def Stream(self, device: torch.device, priority: int) -> Queue:  # noqa: N802 - as torch has it
        assert priority < 0  # before the stream of the caller
        return Queue(self, "side")

    def current_stream(self, device: torch.device) -> Queue:
        return Queue(self, "main")

    @contextmanager
    def stream(self, queue: Queue):
        self.calls.append(f"enter {queue.name}")
        yield
        self.calls.append(f"leave {queue.name}")


class Queue:
    def __init__(self, cuda: RecordingCuda, name: str) -> None:
        self.cuda, self.name = cuda, name

    def record_event(self) -> Event:
        self.cuda.calls.append(f"record on {self.name}")
        return Event(self.cuda, self.name)

    def wait_event(self, event: Event) -> None:
        self.cuda.calls.append(f"{self.name} waits for {event.name}")


class Event:
    def __init__(self, cuda: RecordingCuda, name: str) -> None:
        self.cuda, self.name = cuda, name

    def synchronize(self) -> None:
        self.cuda.calls.append("synchronize")
        for host, value in self.cuda.late:
            host.data.copy_(value)


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> RecordingCuda:
    fake = RecordingCuda()
    empty, copy = torch.empty, torch.Tensor.copy_

    def pinned(*shape: Any, pin_memory: bool = False, **options: Any) -> torch.Tensor:
        if pin_memory:
            fake.calls.append("pinned")
        return empty(*shape, **options)

    def late_copy(host: torch.Tensor, value: torch.Tensor, non_blocking: bool = False):
        if not non_blocking:
            return copy(host, value)
        fake.calls.append("copy")
        fake.late.append((host, value))
        return host

    monkeypatch.setattr(torch, "empty", pinned)
    monkeypatch.setattr(torch.Tensor, "copy_", late_copy)
    monkeypatch.setattr(
        torch.Tensor, "record_stream", lambda t, s: fake.calls.append(f"kept for {s.name}")
    )
    return fake


def test_side_stream_waits_for_its_inputs(cuda: RecordingCuda):
    lane = CudaSideStream(torch.device("cuda", 0), cuda)
    latents = torch.ones(2)
    mark = lane.record_event()
    assert lane.run(lambda: cuda.calls.append("decode") or 7, mark, latents) == 7
    assert cuda.calls == [
        "record on main",
        "enter side",
        "side waits for main",
        "kept for side",
        "decode",
        "record on side",
        "synchronize",
        "leave side",
    ]


def test_results_are_complete_when_the_side_stream_has_run(cuda: RecordingCuda):
    """All copies to pinned memory are queued, and waited for once."""
    lane = CudaSideStream(torch.device("cuda", 0), cuda)
    pictures = torch.arange(6, dtype=torch.uint8).reshape(2, 3)

    def work() -> tuple[torch.Tensor, torch.Tensor]:
        host = lane.host_memory(pictures.shape, pictures.dtype)
        lane.to_host(pictures, host)
        return host, lane.to_host(pictures[0])

    host, first = lane.run(work, lane.record_event(), pictures)
    assert np.array_equal(host.numpy(), [[0, 1, 2], [3, 4, 5]])
    assert first.tolist() == [0, 1, 2]
    assert cuda.calls[4:] == [
        "pinned",
        "copy",
        "pinned",
        "copy",
        "record on side",
        "synchronize",
        "leave side",
    ]


def test_cpu_has_one_stream():
    lane = InlineStream()
    assert lane.run(lambda: 3, lane.record_event(), torch.ones(1)) == 3
    assert np.array_equal(lane.to_host(torch.tensor([1, 2])), [1, 2])
    host = lane.host_memory((2, 3), torch.uint8)
    lane.to_host(torch.ones(3, dtype=torch.uint8), host[1])
    assert host[1].tolist() == [1, 1, 1]


def test_copy_to_device_is_asynchronous(monkeypatch: pytest.MonkeyPatch):
    calls: list[Any] = []

    def sent(tensor: torch.Tensor, *place: Any, **how: Any) -> torch.Tensor:
        calls.append((*place, how))
        return tensor

    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda t: calls.append("pinned") or t)
    monkeypatch.setattr(torch.Tensor, "to", sent)
    noise, cuda, cpu = torch.ones(2), torch.device("cuda"), torch.device("cpu")
    assert to_device(noise, cuda) is noise
    assert calls == ["pinned", (cuda, {"non_blocking": True})]
    assert to_device(noise, cpu) is noise
    assert calls[2:] == [(cpu, {})]
