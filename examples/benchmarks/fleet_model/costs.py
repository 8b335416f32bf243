"""What a block costs, and the settings of a simulated fleet."""

from __future__ import annotations

from dataclasses import dataclass

from sana_stream.streaming.control.pacing import LEAD_SECONDS


@dataclass(frozen=True, slots=True)
class BlockCost:
    """The time of one block on one GPU.

    Attributes:
        calls: network calls of the transformer.
        call_seconds: of each.
        decode_seconds: of the block.
        video_seconds: how long the block plays.
        load_seconds: until a stream that a GPU does not have can continue there.
    """

    calls: int
    call_seconds: float
    decode_seconds: float
    video_seconds: float
    load_seconds: float = 0.0

    @property
    def seconds(self) -> float:
        """Of the whole block."""
        return self.calls * self.call_seconds + self.decode_seconds

    @property
    def capacity(self) -> float:
        """How many streams one GPU makes in real time."""
        return self.video_seconds / self.seconds


COSTS = {
    # counted: `count_cost.py --shapes 2b-480p`, fused, two latent frames decoded at a time, at
    # assumed rates of an H100; 153 MiB of state are assumed to come at 1 GB/s
    "2b-480p": BlockCost(5, 0.1016, 0.428, 40 / 16, 0.2),
    # measured on one core: `sana-stream bench`; six denoising calls and a commit
    "pocket": BlockCost(7, 0.0343, 0.0884, 16 / 16, 0.013),
}


@dataclass(frozen=True, slots=True)
class FleetSettings:
    """A simulated fleet; times in seconds.

    Attributes:
        gpus: replicas, one GPU each.
        cost: of a block.
        policy: whose block is next on a GPU: "edf", the earliest deadline, which also interrupts
            another block between two calls when it would be late, as replicas do; or "fifo", the
            one that was asked for first.
        every: blocks between two snapshots.
        lead: of finished video that is left when a block is asked for, besides the time of a block.
        lost_after: until the loss of a GPU is noticed.
        restart: until another GPU takes its place.
        between_losses: mean time of one GPU between two losses; None: none is lost.
        watched: mean time that a stream is watched, after which another one begins.
    """

    gpus: int
    cost: BlockCost
    policy: str = "edf"
    every: int = 8
    lead: float = LEAD_SECONDS
    lost_after: float = 0.3
    restart: float = 60.0
    between_losses: float | None = None
    watched: float = 600.0
