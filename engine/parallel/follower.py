"""The other processes of a stream on several devices: they do what the first one sends."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from sana_stream.engine.noise import NoiseSource, counter_noise
from sana_stream.engine.session.block_generator import BlockGenerator
from sana_stream.errors import HealthError, ParallelError

from .decoder import DecoderWorker
from .embeddings import FollowerEngine, prompts_of
from .groups import Groups, Place
from .leader import CANCEL, divided
from .link import END, Link, Lost
from .messages import Decode, MakeGroups, Sample, SamplingHistory, restore_sample, unpack

T = TypeVar("T")
REPORT_SECONDS = 0.5
EXIT_SECONDS = 2.0  # for an orderly end once the first process is gone


class Follower:
    """Samples and decodes as the first process asks; the `Peers` of its own sampling.

    Args:
        engine: this process's model.
        link: to the first process.
        groups: of this process.
        devices: of the stream.
        decoding: the group for decoding, where this process has that part.
        on_sampled: called with each block's latents, float32 (1, C, T', h, w).
    """

    def __init__(
        self,
        engine: FollowerEngine,
        link: Link,
        groups: Groups,
        devices: int,
        decoding: dist.ProcessGroup | None = None,
        on_sampled: Callable[[Tensor], None] | None = None,
    ) -> None:
        self.devices = devices
        self._engine = engine
        self._link = link
        self._groups = groups
        self._history = SamplingHistory()
        self._generators: dict[tuple[float, ...], BlockGenerator] = {}
        self._decoder = None if decoding is None else DecoderWorker(engine, link, decoding)
        self._place: Place | None = None
        self._on_sampled = on_sampled
        engine.peers = self

    def follow(self) -> None:
        """Do what the first process sends until it ends.

        Raises:
            ParallelError: it has ended without a word.
        """
        while True:
            message = self._link.receive(0)
            match message:
                case MakeGroups():
                    self._groups.place(message.layout)
                case Sample():
                    self._sample_block(message)
                case Decode():
                    assert self._decoder is not None
                    self._decoder.decode(message)
                case str() if message == END:
                    return

    def describe(self, settings: Any) -> str:
        return ""

    def sample(self, snapshot: Any, noise: NoiseSource, work: Callable[[NoiseSource], T]) -> T:
        assert self._place is not None
        with divided(self._engine, self._place):
            return work(noise)

    def should_stop(self, interrupted: bool) -> bool:
        return self._link.receive(0) == CANCEL

    def run_calls(self, calls: Sequence[Callable[[], Any]]) -> list[Any]:
        assert self._place is not None
        return self._place.run_calls(calls)

    def _sample_block(self, message: Sample) -> None:
        self._place = self._groups.place(message.layout)
        snapshot = restore_sample(message, self._engine, self._history)
        if message.embeddings:
            device = self._engine.device
            pairs = [(e.to(device), m.to(device)) for e, m in unpack(message.embeddings)]
            self._engine.received = dict(zip(prompts_of(snapshot), pairs, strict=True))
        noise = self._received_noise if message.seed is None else counter_noise(message.seed)
        settings = message.settings
        key = settings.height, settings.width, settings.block_frames, settings.guidance
        generator = self._generators.get(key)
        if generator is None:
            generator = self._generators[key] = BlockGenerator(self._engine, settings)
        try:
            block = generator.sample(snapshot, noise)
        except CancelledError:
            return
        except HealthError as error:
            if isinstance(error.__cause__, torch.OutOfMemoryError):
                raise
            return  # values that are not finite are so in every process
        self._history.add(message.number, block.after)
        if self._on_sampled is not None:
            self._on_sampled(block.latents)

    def _received_noise(self, block: int, step: int, shape: tuple[int, ...]) -> Tensor:
        values = self._link.receive(0)
        if isinstance(values, str):
            raise CancelledError
        return torch.from_numpy(values)


def end_with_first(lost: Lost) -> None:
    """End this process soon, also where it waits in a collective: the first one is gone."""
    timer = threading.Timer(EXIT_SECONDS, os._exit, (1,))
    timer.daemon = True
    timer.start()


def ignore_signals() -> None:
    """Leave signals to the first process, which may finish a block; its end is noticed."""
    if threading.current_thread() is threading.main_thread():
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), signal.SIG_IGN)


def report(link: Link, rank: int, error: BaseException) -> None:
    """Tell the first process why this one ends."""
    with contextlib.suppress(ParallelError):  # it is gone
        link.send(Lost(rank, f"{type(error).__name__}: {error}"[:500]))
        time.sleep(REPORT_SECONDS)  # closing at once could lose the message
