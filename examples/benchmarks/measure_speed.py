"""Measure a model in one precision: the engine as it is, with graphs, with the small decoder.

python examples/benchmarks/measure_speed.py --shapes 2b-480p --dtype bfloat16

Everything runs in one process, which loads the model once. Records are printed as they come, and
a way that fails has its reason in place of figures.
"""

from __future__ import annotations

import argparse
import sys

from measuring.package import KERNELS, is_missing
from measuring.records import emit

WAYS = ("eager", "pieces", "profile", "graphs", "small", "both")


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Measure a model in one precision.")
    model = parser.add_mutually_exclusive_group()
    model.add_argument("--shapes", help="random weights: 2b-480p, 2b-720p, pocket")
    model.add_argument("--model", default="pocket", help="a checkpoint")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--quantize", help="fp8 or int8")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument(
        "--torch-alone", action="store_true", help="hide triton, and so the package's own kernels"
    )
    parser.add_argument(
        "--ways", nargs="*", choices=WAYS, default=["eager"],
        help='"small" is the small decoder, "both" the small decoder with graphs',
    )  # fmt: skip
    parser.add_argument("--warmup", type=int, default=3, help="blocks that do not count")
    parser.add_argument("--repeats", type=int, default=4, help="blocks that count")
    args = parser.parse_args(argv)
    options = {"compiled": args.compile, "torch alone": args.torch_alone}
    chosen = [option for option, given in options.items() if given]
    name = ", ".join([args.quantize or args.dtype, *chosen])
    if args.torch_alone:
        if is_missing(KERNELS):
            emit("speed", name, error="this version has no kernels of its own")
            return
        sys.modules["triton"] = None  # type: ignore[assignment] - an import of it now fails
    from measuring.ways import measure_ways  # imports the engine, which looks for triton

    measure_ways(args, name)


if __name__ == "__main__":
    main()
