"""Profile the slowest stage of a block with torch's profiler; prints the top of its table.

python examples/benchmarks/measure_profile.py --shapes 2b-480p
"""

from __future__ import annotations

import argparse
import itertools

import torch
from torch.profiler import ProfilerActivity, profile

from sana_stream.engine.performance.random_model import random_engine

ROWS = 40


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Profile the slowest stage.")
    parser.add_argument("--shapes", default="pocket")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto")
    args = parser.parse_args(argv)
    engine = random_engine(args.shapes, args.device, args.dtype)
    session = engine.session("a red boat on the sea", seed=1)
    *_, last = itertools.islice(session, 3)
    spent = {
        "commit and denoising": last.stats.commit_seconds + last.stats.denoise_seconds,
        "decoding": last.stats.decode_seconds,
    }
    slowest = max(spent, key=lambda stage: spent[stage])
    snapshot = session.snapshot()
    block = session.sample(snapshot)
    on_gpu = engine.device.type == "cuda"
    activities = [ProfilerActivity.CPU, *[ProfilerActivity.CUDA] * on_gpu]
    with profile(activities=activities) as profiler:
        if slowest == "decoding":
            session.decode(block, snapshot)
        else:
            session.sample(snapshot)
        if on_gpu:
            torch.cuda.synchronize()
    order = "self_cuda_time_total" if on_gpu else "self_cpu_time_total"
    print(", ".join(f"{stage} {seconds * 1e3:.1f} ms" for stage, seconds in spent.items()))
    print(f"{slowest}, one block of {args.shapes}, {engine.dtype}:\n")
    print(profiler.key_averages().table(sort_by=order, row_limit=ROWS, max_name_column_width=70))


if __name__ == "__main__":
    main()
