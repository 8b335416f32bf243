"""Evaluate a model folder against rendered scenes; each part can run alone.

python examples/pocket/evaluate.py prompts --quick
python examples/pocket/evaluate.py all --model models/pocket
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from evaluation import measures
from evaluation.doubles import load_detector
from evaluation.probe import Probe, accuracy, load_probe, rendered
from sana_stream import Engine

ROOT = Path(__file__).parents[2]
PARTS = (
    *("autoencoder", "probe", "prompts", "words", "doubles", "nearest", "switches", "drift"),
    "constant",
)
CONSTANT = "a red balloon floats over the hills by day under a clear sky"


def main() -> None:
    args = _arguments()
    torch.set_num_threads(args.threads)
    args.out.mkdir(parents=True, exist_ok=True)
    engine = Engine.load(args.model)
    probe = load_probe(args.out / "probe.pt")
    for part in PARTS if args.part == "all" else (args.part,):
        figures, image = _measure(part, engine, probe, args.quick, args.out)
        print(f"{part}:")
        for name, value in figures.items():
            print(f"  {name:34} {value:.3f}")
        (args.out / f"{part}.json").write_text(json.dumps(figures, indent=2) + "\n")
        if image is not None:
            Image.fromarray(image).save(args.out / f"{part}.png")


def _measure(
    part: str, engine: Engine, probe: Probe, quick: bool, out: Path
) -> tuple[measures.Figures, np.ndarray | None]:
    if part == "autoencoder":
        return measures.autoencoder_figures(engine, 12 if quick else 60)
    if part == "probe":
        frames, scenes = rendered(500, seed=11)
        return accuracy(probe.read(frames), scenes), None
    if part == "prompts":
        return measures.prompt_figures(engine, probe, *((40, 4) if quick else (200, 8)))
    if part == "words":
        return measures.word_figures(engine, probe, 40 if quick else 200), None
    if part == "doubles":
        detector = load_detector(out / "doubles.pt")
        return measures.double_figures(engine, detector, *((20, 4) if quick else (100, 8)))
    if part == "nearest":
        return measures.nearest_figures(engine, 10 if quick else 40), None
    if part == "switches":
        return measures.switch_figures(engine, 10 if quick else 50), None
    if part == "drift":
        return measures.drift_figures(engine, probe, 2 if quick else 10)
    return measures.constant_figures(engine, 1 if quick else 5, CONSTANT)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Evaluate a model folder.")
    parser.add_argument("part", choices=(*PARTS, "all"))
    parser.add_argument("--model", default="pocket", help="folder; the embedded one if not given")
    parser.add_argument("--quick", action="store_true", help="fewer prompts, shorter runs")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=ROOT / ".work" / "pocket" / "evaluation")
    return parser.parse_args()


if __name__ == "__main__":
    main()
