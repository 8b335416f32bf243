"""Compare ways to mix two prompts: how evenly a blend changes the frames of the embedded model.

python examples/benchmarks/measure_blends.py
python examples/benchmarks/measure_blends.py --changes 1 --sheet blend.jpg

For each change of prompt the blocks of a blend are projected onto the difference between the frames
before and after it: a share of 0 is the old prompt, of 1 the new one. Printed are the largest step
of the share from one block to the next (evenly it is 1 / (blocks + 1)), the largest step backwards,
and the lowest contrast, relative to a straight line between that before and after.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from sana_stream import Engine
from sana_stream.engine.frame_stats import FrameStats, measure_frames
from sana_stream.engine.sampling.prompt_mixing import Embedded, prepare_mix
from sana_stream.models.text_kv import MASKED, TextKV

CHANGES = (
    (
        "a red boat on the sea by day under a clear sky",
        "a red boat on the sea at night under a clear sky",
    ),
    ("a red boat on the sea by day", "night, and the red boat is still out there on the sea"),
    ("a yellow balloon over the desert by day", "a yellow balloon over the forest by day"),
    ("a green kite over the hills at dawn in clouds", "at sunset a green kite flies over hills"),
    ("a red boat on the sea by day", "a purple train through the mountains at night in snow"),
)
BEFORE, AFTER = 2, 2  # blocks around a blend
Interpolate = Callable[[Tensor, Tensor, float], Tensor]
Way = Callable[..., TextKV]  # as `prepare_mix`


def lerp(a: Tensor, b: Tensor, share: float) -> Tensor:
    """Interpolate vectors (..., C) linearly."""
    return torch.lerp(a, b, share)


def slerp(a: Tensor, b: Tensor, share: float) -> Tensor:
    """Interpolate the directions of vectors (..., C) along the arc, and their lengths linearly."""
    lengths = [part.norm(dim=-1, keepdim=True).clamp_min(1e-9) for part in (a, b)]
    a, b = a / lengths[0], b / lengths[1]
    angle = torch.arccos((a * b).sum(-1, keepdim=True).clamp(-1, 1))
    arc = torch.sin((1 - share) * angle) * a + torch.sin(share * angle) * b
    sine = torch.sin(angle)
    direction = torch.where(sine < 1e-4, torch.lerp(a, b, share), arc / sine.clamp_min(1e-4))
    return direction * torch.lerp(lengths[0], lengths[1], share)


def of_embeddings(interpolate: Interpolate) -> Way:
    """Interpolate the embeddings, token by token."""

    def mix(transformer: object, embedded: Sequence[Embedded], shares: Sequence[float]) -> TextKV:
        if len(embedded) == 1:
            return prepare_mix(transformer, embedded, shares)  # type: ignore[arg-type]
        (a, a_mask), (b, b_mask) = embedded
        mixed = interpolate(a.float(), b.float(), shares[1]).to(a.dtype)
        return transformer.prepare_text(mixed, torch.maximum(a_mask, b_mask))  # type: ignore[attr-defined]

    return mix


def of_keys_and_values(interpolate: Interpolate) -> Way:
    """Interpolate the keys and the values of every layer, token by token."""

    def mix(transformer: object, embedded: Sequence[Embedded], shares: Sequence[float]) -> TextKV:
        if len(embedded) == 1:
            return prepare_mix(transformer, embedded, shares)  # type: ignore[arg-type]
        prepare = transformer.prepare_text  # type: ignore[attr-defined]
        texts = [prepare(*pair, keep_padding=True) for pair in embedded]
        keys, values = (
            tuple(
                interpolate(a.float(), b.float(), shares[1]).to(a.dtype)
                for a, b in zip(*parts, strict=True)
            )
            for parts in ([text.keys for text in texts], [text.values for text in texts])
        )
        mask = torch.maximum(*(mask for _, mask in embedded))
        return TextKV(keys, values, ((1 - mask) * MASKED).to(keys[0].dtype)[:, None, None])

    return mix


WAYS: dict[str, Way] = {
    "joined tokens at weights": prepare_mix,
    "embeddings, lerp": of_embeddings(lerp),
    "embeddings, slerp": of_embeddings(slerp),
    "keys and values, lerp": of_keys_and_values(lerp),
    "keys and values, slerp": of_keys_and_values(slerp),
}


def blended(engine: Engine, change: tuple[str, str], blocks: int, seed: int) -> list[np.ndarray]:
    """The blocks from the last one before a blend to the last one measured after it."""
    session = engine.session(change[0], seed=seed)
    made = [next(session).frames for _ in range(BEFORE)]
    session.switch(change[1], transition_blocks=blocks)
    return made[-1:] + [next(session).frames for _ in range(blocks + AFTER)]


def brightness(frames: np.ndarray) -> float:
    """Mean luma of frames, 0 to 1."""
    return FrameStats.mean(measure_frames(torch.from_numpy(frames))).brightness


def figures(made: list[np.ndarray]) -> tuple[float, float, float]:
    """The largest step, the largest step backwards and the lowest relative contrast."""
    means = [frames.astype(np.float32).mean(0) for frames in made]
    change = means[-1] - means[0]
    shares = [float(((m - means[0]) * change).mean() / (change**2).mean()) for m in means]
    steps = np.diff(shares)
    contrast = np.array([frames.std() for frames in made])
    line = np.linspace(contrast[0], contrast[-1], len(contrast))
    return float(steps.max()), float(max(0, -steps.min())), float((contrast / line).min())


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", default="pocket")
    parser.add_argument("--blocks", type=int, default=4, help="of each blend (default: 4)")
    parser.add_argument("--changes", type=int, default=len(CHANGES), help="how many to measure")
    parser.add_argument("--ways", type=int, default=len(WAYS), help="how many to compare")
    parser.add_argument("--sheet", type=Path, help="write frames of the first change")
    args = parser.parse_args(argv)

    engine = Engine.load(args.model)
    print(f"{'way':26} step (even: {1 / (args.blocks + 1):.2f})  back  contrast   brightness")
    for name, way in list(WAYS.items())[: args.ways]:
        found, light = [], ""
        for seed, change in enumerate(CHANGES[: args.changes]):
            with patch("sana_stream.engine.sampling.denoise.prepare_mix", way):
                made = blended(engine, change, args.blocks, seed)
            found.append(figures(made))
            if not seed:
                light = " ".join(f"{brightness(frames):.2f}" for frames in made)
                if args.sheet is not None and way is prepare_mix:
                    save_sheet(made[: args.blocks + 2], args.sheet)
        step, back, contrast = np.mean(found, axis=0)
        print(f"{name:26} {step:16.2f} {back:5.2f} {contrast:9.2f}   {light}", flush=True)


def save_sheet(made: list[np.ndarray], path: Path) -> None:
    """Write the last frame of each block: in two rows, or in one for an odd number."""
    frames = [block[-1] for block in made]
    columns = len(frames) if len(frames) % 2 else len(frames) // 2
    rows = [frames[i : i + columns] for i in range(0, len(frames), columns)]
    image = np.concatenate([np.concatenate(row, axis=1) for row in rows])
    Image.fromarray(image).save(path, quality=85)


if __name__ == "__main__":
    main()
