"""Train the embedded model from nothing: autoencoder, transformer with text encoder, export.

python examples/pocket/train.py --hours 2                      # on a CPU, resumes after a kill
python examples/pocket/train.py --device cuda --minutes 22     # on a GPU
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch

from sana_stream.models.vae import WanVAE
from training import autoencoder, transformer
from training.clips import ClipPool
from training.export import averaged, export, with_statistics
from training.transformer import Plan

ROOT = Path(__file__).parents[2]
STATISTICS = "statistics.pt"
AUTOENCODER_SHARE = 0.4  # of the whole time


def main() -> None:
    given = _arguments()
    torch.set_num_threads(given.threads)
    autoencoder_minutes = AUTOENCODER_SHARE * given.minutes
    if not (given.work / STATISTICS).exists():  # later its latents must not change any more
        autoencoder.train(given.work, autoencoder_minutes, given.device, given.seed, given.compile)
    vae = frozen_autoencoder(given.work, given.device)
    plan = replace(CPU if given.device == "cpu" else GPU, compiled=given.compile)
    minutes = given.minutes - autoencoder_minutes
    transformer.train(given.work, vae, minutes, plan, given.device, given.seed, given.begin_with)
    export_run(given.work, given.out, plan)


CPU = Plan()
GPU = Plan(blocks=6, short_batch=96, long_batch=24, first_clips=600)


def frozen_autoencoder(work: Path, device: str) -> WanVAE:
    """The trained autoencoder, normalising its latents; the statistics are measured once."""
    state = torch.load(work / "autoencoder.pt", weights_only=False)
    statistics = work / STATISTICS
    if not statistics.exists():
        vae = autoencoder.build(weights=averaged(state), device=device)
        pool = ClipPool(vae, None, 1, seed=1)
        for _ in range(64):
            pool.grow()
        latents = torch.stack([clip.latents.float() for clip in pool.clips])
        torch.save(with_statistics(autoencoder.CONFIG, latents), statistics)
    config = torch.load(statistics, weights_only=False)
    return autoencoder.build(config=config, weights=averaged(state), device=device).eval()


def export_run(work: Path, out: Path, plan: Plan) -> None:
    """Write the model folder from the saved runs."""
    export(
        out,
        torch.load(work / STATISTICS, weights_only=False),
        averaged(torch.load(work / "autoencoder.pt", weights_only=False)),
        averaged(torch.load(work / "transformer.pt", weights_only=False)),
        plan.blocks,
    )
    print(f"written to {out}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])  # type: ignore[union-attr]
    parser.add_argument("--minutes", type=float, default=120, help="time for everything")
    parser.add_argument("--hours", type=float, help="the same in hours")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--begin-with", type=Path, metavar="FOLDER", help="a model whose weights to take over"
    )
    parser.add_argument("--compile", action="store_true", help="compile layers: faster, later")
    parser.add_argument("--work", type=Path, default=ROOT / ".work" / "pocket")
    parser.add_argument("--out", type=Path, default=ROOT / "models" / "pocket")
    given = parser.parse_args()
    if given.hours is not None:
        given.minutes = 60 * given.hours
    return given


if __name__ == "__main__":
    main()
