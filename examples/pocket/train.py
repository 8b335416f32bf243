"""Train the embedded model from scratch; a killed run resumes from its last saved state.

python examples/pocket/train.py --hours 2                      # on a CPU, resumes after a kill
python examples/pocket/train.py --device cuda --minutes 22     # on a GPU
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from training import autoencoder, transformer
from training.export import export
from training.machine import keep_freed_memory
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
    args = _arguments()
    torch.set_num_threads(args.threads)
    keep_freed_memory()
    common = (args.device, args.seed, args.compile)
    if args.stage in ("autoencoder", "all"):
        share = AUTOENCODER_SHARE if args.stage == "all" else 1
        autoencoder.train(args.work, share * args.minutes, *common, args.begin_smaller)
    if args.stage in ("transformer", "all"):
        share = 1 - AUTOENCODER_SHARE if args.stage == "all" else 1
        plan = CPU if args.device == "cpu" else GPU
        weights = autoencoder.first_weights(args.work, args.seed)
        encode = autoencoder.encoder(weights, args.device)
        transformer.train(args.work, encode, share * args.minutes, plan, *common, args.begin_with)
    if args.stage in ("export", "all"):
        trained = averaged(torch.load(args.work / "transformer.pt", weights_only=False))
        export(args.out, autoencoder.trained_weights(args.work), trained, CPU.blocks)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--stage",
        choices=("autoencoder", "transformer", "export", "all"),
        default="all",
        help="one stage gets all the time; the first two can run at the same time",
    )
    parser.add_argument("--minutes", type=float, default=120, help="time for all stages")
    parser.add_argument("--hours", type=float, help="the same in hours")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--begin-with",
        type=Path,
        metavar="FOLDER",
        help="a model to fine-tune: its weights, longer clips from the start, lower rates",
    )
    parser.add_argument(
        "--begin-smaller",
        type=Path,
        metavar="FOLDER",
        help="a model of half the height and width whose autoencoder is enlarged",
    )
    parser.add_argument("--compile", action="store_true", help="compile layers: a slower start")
    parser.add_argument("--work", type=Path, default=ROOT / ".work" / "pocket")
    parser.add_argument("--out", type=Path, default=ROOT / "models" / "pocket")
    args = parser.parse_args()
    if args.hours is not None:
        args.minutes = 60 * args.hours
    return args


if __name__ == "__main__":
    main()
