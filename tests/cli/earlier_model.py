"""The model with which the files in tests/data/earlier_versions were made."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

DATA = Path(__file__).parents[1] / "data" / "earlier_versions"
SPREAD = 0.1  # standard deviation of the weights of transformer and text encoder


def save_earlier_model(folder: Path) -> Path:
    """Write the model folder: stored configurations and weights of fixed random numbers.

    It depends on no version of torch, diffusers or transformers, which may change how they
    initialise weights: checkpoints refuse a model with other weights. NumPy promises never to
    change the numbers of `RandomState`.
    """
    shutil.copytree(DATA / "model", folder, dirs_exist_ok=True)
    for file, shapes in json.loads((DATA / "weights.json").read_text()).items():
        numbers = np.random.RandomState(0)
        weights = {name: _weight(name, shape, numbers) for name, shape in sorted(shapes.items())}
        save_file(weights, folder / file, metadata={"format": "pt"})
    return folder


def _weight(name: str, shape: list[int], numbers: np.random.RandomState) -> np.ndarray:
    if name.startswith(("encoder.", "decoder.", "quant_conv.", "post_quant_conv.")):  # the VAE
        if name.endswith("gamma"):
            return np.ones(shape, np.float32)
        spread = 1 / math.sqrt(math.prod(shape[1:])) if len(shape) > 1 else SPREAD
    else:
        spread = SPREAD
    return (numbers.standard_normal(shape) * spread).astype(np.float32)
