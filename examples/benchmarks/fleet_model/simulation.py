"""The events of a fleet in virtual time: streams, blocks, lost GPUs. Nothing sleeps."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count

from sana_stream.streaming.fleet.homes import HomeTable

from .costs import FleetSettings
from .gpu import Gpu, Request, Stream


@dataclass(slots=True)
class Results:
    """What was counted; times in seconds.

    Attributes:
        seconds: that were simulated.
        busy: of all GPUs.
        blocks: that were delivered, first ones of streams not included.
        late: those that came after their viewer had nothing left to play.
        waits: of the viewers at each late block.
        starts: from the beginning of each stream until its first block.
        remade: blocks that were made once more after a move.
        losses: of GPUs.
    """

    seconds: float = 0.0
    busy: float = 0.0
    blocks: int = 0
    late: int = 0
    waits: list[float] = field(default_factory=list)
    starts: list[float] = field(default_factory=list)
    remade: int = 0
    losses: int = 0
    moves: int = 0


class Simulation:
    """A fleet whose streams stay on their GPUs by the table that the gateway uses.

    Args:
        settings: of the fleet.
        seed: of the random times.
    """

    def __init__(self, settings: FleetSettings, seed: int = 0) -> None:
        self.results = Results()
        self._settings = settings
        self._random = random.Random(seed)
        self._now = 0.0
        self._events: list[tuple] = []  # time, number, action, its arguments
        self._order = count()
        self._names = count()
        self._gpus: dict[str, Gpu] = {}  # lost ones too; one that takes a place has a new name
        self._running: dict[int, str] = {}  # by place in the fleet
        self._lost: set[str] = set()
        self._homes = HomeTable(lambda: self._now)
        self._homeless: list[Request] = []
        self._refill = False
        for place in range(settings.gpus):
            self._start(place)
        self._homes.update(self._running.values())

    def watch(self, streams: int) -> None:
        """Begin `streams` streams within ten seconds; each that ends is replaced."""
        self._refill = True
        for _ in range(streams):
            self.begin(self._random.uniform(0, 10), self._length())

    def begin(self, time: float, blocks: int) -> None:
        """Begin a stream of `blocks` blocks at a time."""
        stream = Stream(f"s{next(self._names)}", blocks, played_out=time)
        self._at(time, self._ask, Request(stream, time))

    def lose(self, time: float, gpu: int) -> None:
        """Lose the GPU of a place in the fleet at a time."""
        self._at(time, self._lose, gpu)

    def run(self, seconds: float) -> Results:
        """Simulate `seconds` seconds; returns the counts."""
        while self._events and self._events[0][0] <= seconds:
            self._now, _, action, *arguments = heappop(self._events)
            action(*arguments)
        self._now = seconds
        for gpu in self._gpus.values():
            gpu.take_finished(seconds)
        self.results.seconds = seconds
        self.results.busy = sum(gpu.busy for gpu in self._gpus.values())
        self.results.moves = self._homes.moves
        return self.results

    def _at(self, time: float, action: object, *arguments: object) -> None:
        heappush(self._events, (time, next(self._order), action, *arguments))

    def _ask(self, request: Request) -> None:
        """Send a request to the GPU of its stream; without one it waits for the first that runs."""
        home = self._homes.choose(request.stream.name)
        if home is None:
            self._homeless.append(request)
        elif home in self._lost:  # which is not noticed yet
            self._at(self._now + self._settings.lost_after, self._ask, request)
        else:
            request.work = self._work(request.stream, home)
            self._follow(self._gpus[home], self._gpus[home].add(request, self._now))

    def _work(self, stream: Stream, home: str) -> float:
        """The seconds of the next block, with those made again where the stream has moved."""
        cost, blocks = self._settings.cost, 1
        if stream.held == home:
            return cost.seconds
        if stream.held is not None:
            blocks += stream.block % self._settings.every
            self.results.remade += blocks - 1
        stream.held = home
        return blocks * cost.seconds + (cost.load_seconds if stream.block else 0.0)

    def _follow(self, gpu: Gpu, time: float | None) -> None:
        if time is not None:
            self._at(time, self._decide, gpu, gpu.version)

    def _decide(self, gpu: Gpu, version: int) -> None:
        if version != gpu.version:
            return
        done = gpu.take_finished(self._now)
        self._follow(gpu, gpu.decide(self._now))
        if done is not None:
            self._deliver(done)

    def _deliver(self, request: Request) -> None:
        stream, now, results = request.stream, self._now, self.results
        if stream.block == 0:
            results.starts.append(now - request.asked)
        else:
            results.blocks += 1
            if (wait := now - stream.played_out) > 1e-9:
                results.late += 1
                results.waits.append(wait)
        stream.block += 1
        stream.played_out = max(stream.played_out, now) + self._settings.cost.video_seconds
        stream.generation = now - request.asked
        if stream.block >= stream.length:
            self._homes.forget(stream.name)
            if self._refill:
                self.begin(now, self._length())
            return
        # as `RealtimePacer` waits
        ask = max(now, stream.played_out - stream.generation - self._settings.lead)
        self._at(ask, self._ask, Request(stream, ask))

    def _start(self, place: int) -> None:
        name = f"{place:04d}-{len(self._gpus)}"
        self._gpus[name] = Gpu(name, self._settings.cost, self._settings.policy)
        self._running[place] = name
        if (mean := self._settings.between_losses) is not None:
            self._at(self._now + self._random.expovariate(1 / mean), self._lose, place)

    def _lose(self, place: int) -> None:
        if (name := self._running.pop(place, None)) is None:
            return
        self.results.losses += 1
        self._lost.add(name)
        lost = self._gpus[name].stop(self._now)
        self._at(self._now + self._settings.lost_after, self._notice, lost)
        self._at(self._now + self._settings.restart, self._return, place)

    def _notice(self, lost: Iterable[Request]) -> None:
        self._homes.update(self._running.values())
        for request in lost:
            self._ask(request)

    def _return(self, place: int) -> None:
        self._start(place)
        self._homes.update(self._running.values())
        homeless, self._homeless = self._homeless, []
        for request in homeless:
            self._ask(request)

    def _length(self) -> int:
        mean = self._settings.watched / self._settings.cost.video_seconds
        return max(1, round(self._random.expovariate(1 / mean)))
