"""Generate a day of video with a tiny random model, to find leaks and numerical drift.

Memory, open files and threads are counted while blocks are generated, encoded, checkpointed and
dropped. The sum of keys, which grows without limit, is compared with the same sum in float64.

python examples/benchmarks/soak.py                    # 24 hours of video in some minutes
python examples/benchmarks/soak.py --hours 1 --rows 6
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psutil
import torch

from sana_stream.engine.engine import Engine
from sana_stream.engine.loading.presets import Preset
from sana_stream.engine.performance.random_model import ModelShapes, engine_of
from sana_stream.engine.session.session import Session
from sana_stream.models.config import TransformerConfig
from sana_stream.models.vae.config import WanVAEConfig
from sana_stream.streaming.outputs.open import open_output
from sana_stream.streaming.outputs.options import OutputOptions
from sana_stream.streaming.outputs.pump import OutputPump
from sana_stream.streaming.video_format import StreamSpec, VideoFormat

FPS = 16
SHAPES = ModelShapes(
    TransformerConfig(
        in_channels=4,
        out_channels=4,
        num_attention_heads=2,
        attention_head_dim=12,
        num_layers=2,
        num_cross_attention_heads=2,
        cross_attention_head_dim=12,
        cross_attention_dim=24,
        caption_channels=16,
    ),
    WanVAEConfig(
        latents_mean=(0.0,) * 4,
        latents_std=(1.0,) * 4,
        base_dim=4,
        z_dim=4,
        dim_mult=(1, 2, 2, 2),
        num_res_blocks=1,
    ),
    Preset("soak", FPS, 16, 16, block_frames=64, timesteps=(1000.0, 500.0), max_text_tokens=8),
)


class Row(NamedTuple):
    """Counts after `hours` of video."""

    hours: float
    position: int  # latent frames
    resident: int  # bytes
    files: int
    threads: int
    key_error: float  # relative error of the sum of keys


class ExactKeys:
    """Sum of the keys of every committed block, in float64."""

    def __init__(self, engine: Engine) -> None:
        self.total: torch.Tensor | None = None
        self._commit = engine.transformer.commit
        engine.transformer.commit = self  # type: ignore[method-assign]

    def __call__(self, *given):
        added = self._commit(*given)
        keys = added.sums.z.double()
        self.total = keys if self.total is None else self.total + keys
        return added

    def error(self, session: Session) -> float:
        """Relative error of the stream's own sum."""
        if self.total is None:
            return 0.0
        own = session.snapshot().states[0].memory.view().z.double()
        return float((own - self.total).norm() / self.total.norm())


def soak(hours: float, rows: int, folder: Path) -> Iterator[Row]:
    """Generate `hours` hours of video, and count `rows` times."""
    torch.manual_seed(0)
    engine = engine_of(SHAPES, "cpu", "float32")
    exact, process = ExactKeys(engine), psutil.Process()
    session = engine.session("a red boat", memory="cumulative")
    session.keep_history(seconds=60)
    end, counted = hours * 3600 * FPS, 0
    output = open_output(
        str(folder / "live.m3u8"), StreamSpec(VideoFormat(16, 16, FPS)), OutputOptions(window=5)
    )
    with OutputPump([output]) as pump:
        for block in session:
            pump.write(block)
            generated = block.start + len(block.frames)
            if block.index % 50 == 0:
                session.switch(f"night falls for the time number {block.index // 50}")
                session.save(folder / "soak.ckpt")
            if generated >= end * (counted + 1) / rows:
                counted += 1
                yield Row(
                    generated / FPS / 3600,
                    session.snapshot().states[0].position,
                    process.memory_info().rss,
                    process.num_fds() if hasattr(process, "num_fds") else 0,
                    threading.active_count(),
                    exact.error(session),
                )
            if generated >= end:
                return


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=float, default=24)
    parser.add_argument("--rows", type=int, default=12)
    args = parser.parse_args(argv)
    begun = time.perf_counter()
    print("| video | latent frame | resident | open files | threads | error of the key sum |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for row in soak(args.hours, args.rows, Path(folder)):
            print(
                f"| {row.hours:.2f} h | {row.position} | {row.resident / 2**20:.1f} MiB"
                f" | {row.files} | {row.threads} | {row.key_error:.1e} |",
                flush=True,
            )
    print(f"\n{args.hours:g} h of video in {(time.perf_counter() - begun) / 60:.1f} minutes")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
