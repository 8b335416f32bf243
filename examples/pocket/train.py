"""Make the embedded model from nothing; a killed run goes on where it was.

python examples/pocket/train.py --hours 2                      # on a CPU, resumes after a kill
python examples/pocket/train.py --device cuda --minutes 22     # on a GPU
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from training import autoencoder, transformer
from training.export import export
from training.machine import keep_memory
from training.optimizer import averaged
from training.transformer import Kind, Plan

ROOT = Path(__file__).parents[2]
AUTOENCODER_SHARE = 0.4  # of the time for both stages
CPU = Plan()
GPU = Plan(
    picture=Kind(batch=512, first=4000, grow=64),
    short=Kind(batch=96, first=600),
    long=Kind(batch=48, first=600),
)


def main() -> None:
    given = _arguments()
    torch.set_num_threads(given.threads)
    keep_memory()
    common = (given.device, given.seed, given.compile)
    if given.stage in ("autoencoder", "all"):
        share = AUTOENCODER_SHARE if given.stage == "all" else 1
        autoencoder.train(given.work, share * given.minutes, *common)
    if given.stage in ("transformer", "all"):
        share = 1 - AUTOENCODER_SHARE if given.stage == "all" else 1
        plan = CPU if given.device == "cpu" else GPU
        weights = autoencoder.first_weights(given.work, given.seed)
        encode = autoencoder.encoder(weights, given.device)
        transformer.train(
            given.work, encode, share * given.minutes, plan, *common, given.begin_with
        )
    if given.stage in ("export", "all"):
        trained = averaged(torch.load(given.work / "transformer.pt", weights_only=False))
        export(given.out, autoencoder.trained_weights(given.work), trained, CPU.blocks)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--stage",
        choices=("autoencoder", "transformer", "export", "all"),
        default="all",
        help="one alone has all the time; the first two may run side by side",
    )
    parser.add_argument("--minutes", type=float, default=120, help="time for everything")
    parser.add_argument("--hours", type=float, help="the same in hours")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--begin-with",
        type=Path,
        metavar="FOLDER",
        help="a model to train further: its weights, longer clips at once, lower rates",
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
