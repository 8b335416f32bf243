"""Count what one stream's devices send to each other, and what that takes at assumed rates.

python examples/benchmarks/parallel_traffic.py --shapes 2b-480p

Bytes are counted from shapes; a test compares them with those that processes send. Milliseconds are
assumed: a call's time on one device divided by the largest share, plus bytes and messages one after
another. Nothing here was measured on several GPUs.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from sana_stream.engine.engine import Engine
from sana_stream.engine.parallel.layout import Layout, choose_layout, spans
from sana_stream.engine.performance.random_model import SHAPES
from sana_stream.models.config import TransformerConfig

CALL_MS = 73.0  # 57.7 TFLOP of 2B at 480p at 790 TFLOP/s; another shape is scaled by its tokens
LINKS = {"NVLink": (450e9, 0.025), "PCIe 5": (50e9, 0.04)}  # bytes a second, ms a message
FLOAT32 = 4


@dataclass(frozen=True, slots=True)
class CallShape:
    """The shapes of a block's network calls."""

    layers: int
    heads: int
    head_dim: int
    channels: int  # of the latents
    scale: int  # latent rows of a token row
    height: int  # latent rows
    width: int  # latent columns
    columns: int  # token columns
    frames: int  # latent frames
    committed: int  # of the block before, which is committed
    itemsize: int  # bytes of an activation

    @classmethod
    def of(cls, engine: Engine, height: int, width: int, *, frames: int, committed: int) -> Self:
        """The calls of a loaded model for frames of height x width pixels."""
        config = engine.transformer.config
        assert isinstance(config, TransformerConfig)
        *_, rows, columns = engine.latent_shape(1, height, width)
        return cls._of(config, rows, columns, frames, committed, engine.dtype.itemsize)

    @classmethod
    def published(cls, name: str) -> Self:
        """The calls of a published model at its size, in bfloat16."""
        shapes = SHAPES[name]
        preset, factor = shapes.preset, shapes.vae.spatial_factor
        frames = preset.block_frames
        size = preset.height // factor, preset.width // factor
        return cls._of(shapes.transformer, *size, frames, frames, 2)

    @classmethod
    def _of(
        cls, config: TransformerConfig, rows: int, columns: int, frames: int, committed: int,
        itemsize: int,
    ) -> Self:  # fmt: skip
        _, down, across = config.patch_size
        heads, head_dim = config.num_attention_heads, config.attention_head_dim
        return cls(
            *(config.num_layers, heads, head_dim, config.in_channels, down),
            *(rows, columns, columns // across, frames, committed, itemsize),
        )

    @property
    def rows(self) -> int:
        """Token rows."""
        return self.height // self.scale

    @property
    def sums(self) -> int:
        """Bytes of a layer's attention sums."""
        return self.heads * (self.head_dim**2 + self.head_dim) * FLOAT32

    @property
    def row(self) -> int:
        """Bytes of a token row's activations."""
        return self.columns * self.heads * self.head_dim * self.itemsize

    @property
    def velocity(self) -> int:
        """Bytes of the velocity."""
        return self.channels * self.frames * self.height * self.width * FLOAT32

    def messages(self, layout: Layout) -> int:
        """Exchanges of a call, one after another."""
        each = (layout.context > 1) + (layout.frames > 1) + (layout.rows > 1)
        return self.layers * each + (layout.context > 1) + (layout.guidance > 1)


def call_bytes(shape: CallShape, layout: Layout, rank: int, frames: int) -> Counter[str]:
    """Bytes that a rank sends in the layers of one call of `frames` latent frames."""
    place = rank % layout.context
    frame_part, row_part = divmod(place, layout.rows)
    (first, end), (top, bottom) = (
        spans(frames, layout.frames)[frame_part],
        spans(shape.rows, layout.rows)[row_part],
    )
    sent: Counter[str] = Counter()
    count = layout.context
    sent["sums"] = shape.layers * (2 * (count - 1) * shape.sums // count)
    sides = (row_part > 0) + (row_part < layout.rows - 1)
    sent["neighbours"] = shape.layers * sides * (end - first) * shape.row
    sides = (frame_part > 0) + (frame_part < layout.frames - 1)
    sent["neighbours"] += shape.layers * sides * (bottom - top) * shape.row
    return sent


def denoise_bytes(shape: CallShape, layout: Layout, rank: int) -> Counter[str]:
    """Bytes that a rank sends in one denoising call."""
    sent = call_bytes(shape, layout, rank, shape.frames)
    largest = -(-shape.frames // layout.frames) * -(-shape.rows // layout.rows) * shape.scale
    piece = shape.channels * largest * shape.width * FLOAT32
    sent["velocity"] = (layout.context - 1) * piece
    sent["guidance"] = shape.velocity if layout.guidance > 1 else 0
    return sent


def commit_bytes(shape: CallShape, layout: Layout, rank: int) -> Counter[str]:
    """Bytes that a rank sends in one commit."""
    sent = call_bytes(shape, layout, rank, shape.committed)
    frame_part, row_part = divmod(rank % layout.context, layout.rows)
    first, end = spans(shape.rows, layout.rows)[row_part]
    is_source = layout.context > 1 and frame_part == layout.frames - 1
    sent["conv_state"] = is_source * shape.layers * (end - first) * shape.row
    if layout.guidance > 1:
        sent["guidance"] = shape.layers * (shape.sums + shape.rows * shape.row)
    return sent


def block_bytes(
    shape: CallShape, layout: Layout, rank: int, guided: bool, steps: int
) -> dict[str, int]:
    """Bytes that a rank sends for one block, by purpose, without control messages."""
    calls = 2 if guided and layout.guidance == 1 else 1
    sent: Counter[str] = Counter()
    for part in [denoise_bytes(shape, layout, rank)] * steps + [commit_bytes(shape, layout, rank)]:
        sent.update({name: calls * count for name, count in part.items()})
    return dict(sent)


def busiest(shape: CallShape, layout: Layout) -> int:
    """The most bytes that a rank sends in one denoising call."""
    return max(sum(denoise_bytes(shape, layout, r).values()) for r in range(layout.sampling))


def call_ms(shape: CallShape, layout: Layout, link: str, whole: float) -> float:
    """Assumed milliseconds of one call for each prompt."""
    rate, latency = LINKS[link]
    largest = -(-shape.frames // layout.frames) * -(-shape.rows // layout.rows)
    computing = whole * largest / (shape.frames * shape.rows)
    return computing + busiest(shape, layout) / rate * 1e3 + shape.messages(layout) * latency


def rows(name: str) -> Iterator[tuple[str, ...]]:
    """The lines of the table: each way on 2, 4 and 8 devices."""
    shape = CallShape.published(name)
    reference = CallShape.published("2b-480p")
    tokens = shape.frames * shape.rows * shape.columns
    known = reference.frames * reference.rows * reference.columns
    whole = CALL_MS * tokens / known
    yield ("devices", "way", "MB a call", "MB a block", *(f"{link} ms" for link in LINKS))
    yield ("1", "one device", "0", "0", *(f"{whole:.1f}" for _ in LINKS))
    for devices in (2, 4, 8):
        ways = ("guidance", "frames", "rows", None)
        layouts = [
            choose_layout(devices, way, way == "guidance", shape.frames, shape.rows) for way in ways
        ]
        for layout in dict.fromkeys(layouts):
            guided = layout.guidance > 1
            mark = " (default)" if guided or layout == layouts[-1] else ""
            block = max(
                sum(block_bytes(shape, layout, rank, guided, 4).values())
                for rank in range(layout.sampling)
            )
            times = (call_ms(shape, layout, link, whole) for link in LINKS)
            yield (
                *(str(devices), f"{layout}{mark}"),
                *(f"{busiest(shape, layout) / 1e6:.1f}", f"{block / 1e6:.0f}"),
                *(f"{ms:.1f} ({(1 + guided) * whole / ms:.2f}x)" for ms in times),
            )


def main(argv: list[str]) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shapes", choices=sorted(SHAPES), default="2b-480p")
    name = parser.parse_args(argv).shapes
    print(f"{name}, bfloat16: bytes are counted, milliseconds assumed")
    for row in rows(name):
        print("".join(f"{word:>24}" for word in row))


if __name__ == "__main__":
    main(sys.argv[1:])
