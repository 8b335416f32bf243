"""Measure what the parts of the 2B model cost on this machine; needs torch alone.

python examples/benchmarks/measure_probe.py            # on a GPU, about two minutes
python examples/benchmarks/measure_probe.py --small    # anywhere, to see that it runs

Rates of products in bfloat16 and fp8, of the decoder's convolutions in several forms, of attention
and of passes over memory, with the kernels that ran. Records are printed as they come.
"""

from __future__ import annotations

import argparse

import torch

from measuring.attention import probe_attention
from measuring.convolutions import probe_convolutions
from measuring.passes import probe_passes
from measuring.products import probe_products
from measuring.records import emit_error
from measuring.timing import Bench

PARTS = {
    "products": probe_products,
    "convolutions": probe_convolutions,
    "attention": probe_attention,
    "passes": probe_passes,
}
TABLES = {"products": "rates"}  # others have the part's name


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Measure the parts of the model.")
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=list(PARTS))
    parser.add_argument("--small", action="store_true", help="small shapes, as without a GPU")
    args = parser.parse_args(argv)
    on_gpu = torch.cuda.is_available()
    bench = Bench(torch.device("cuda" if on_gpu else "cpu"), args.small or not on_gpu)
    torch.manual_seed(0)
    for name in args.parts:
        try:
            with torch.no_grad():
                PARTS[name](bench)
        except Exception as error:  # no memory for the tensors of a part
            emit_error(TABLES.get(name, name), f"{name}, the rest", error)


if __name__ == "__main__":
    main()
