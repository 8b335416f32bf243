"""Make the pictures of the example prompts on the start screen of the page.

    python examples/example_pictures.py

Each is a frame of the embedded model under one of the prompts in streaming/run/model_facts.py. Run
it again when the embedded model or a prompt has changed.
"""

import argparse
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

from PIL import Image

from sana_stream import Engine
from sana_stream.streaming.run.model_facts import EMBEDDED_EXAMPLES

STATIC = Path(__file__).resolve().parent.parent / "streaming" / "web" / "static"
BYTES = 8192  # of one picture, at most
WIDTH = 320  # pixels, at most


def make_picture(engine: Engine, prompt: str, seed: int, seconds: float) -> bytes:
    """The frame of a stream at a time, as a WebP file of at most `BYTES` bytes."""
    for block in engine.session(prompt, seed=seed):
        if block.start + len(block.frames) > seconds * engine.preset.fps:
            return encode_picture(Image.fromarray(block.frames[-1]))
    raise RuntimeError("the stream has ended")


def encode_picture(picture: Image.Image) -> bytes:
    """A WebP file of the highest quality with at most `BYTES` bytes."""
    if picture.width > WIDTH:
        size = (WIDTH, round(picture.height * WIDTH / picture.width))
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    for quality in range(95, 0, -5):
        picture.save(data := BytesIO(), "webp", quality=quality, method=6)
        if data.tell() <= BYTES:
            return data.getvalue()
    raise ValueError(f"the picture does not fit in {BYTES} bytes")


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Make the pictures of the example prompts.")
    parser.add_argument("--seconds", type=float, default=4, help="time of the frame (default: 4)")
    parser.add_argument("--folder", type=Path, default=STATIC, help="where they are written")
    parser.add_argument("--model", default="pocket", help="model (default: the embedded one)")
    args = parser.parse_args(argv)
    engine = Engine.load(args.model)
    for seed, example in enumerate(EMBEDDED_EXAMPLES, 1):
        data = make_picture(engine, example.prompt, seed, args.seconds)
        (args.folder / str(example.picture)).write_bytes(data)
        print(f"{example.picture}: {len(data)} bytes, {example.prompt}")


if __name__ == "__main__":
    main()
