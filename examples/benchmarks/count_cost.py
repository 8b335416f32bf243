"""Count what one block costs on a GPU, without one, and what that takes at assumed rates.

python examples/benchmarks/count_cost.py --shapes 2b-480p

A block of random weights is generated on a fake CUDA device: every operation is followed, none is
computed. Launches, bytes and floating-point operations are counted. Milliseconds are assumed: they
follow from the rates in `fake_gpu/cost.py`, which were not measured with this program.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator

from fake_gpu import guard
from fake_gpu.cost import PRODUCTS, Cost, cost_of, total
from fake_gpu.sessions import BlockTrace, published, trace_session
from fake_gpu.trace import Operation
from sana_stream.engine.performance.random_model import SHAPES

HEADS = ("part", "launches", "GB", "TFLOP", "assumed ms")
LATENT_FRAMES = 11  # of the first block, the longest piece
OTHER = "residual additions, norms, the rest"
TRANSFORMER = {
    "temporal convolution's copies": (
        "FeedForward.temporal_conv",
        "FeedForward.temporal_conv_in_place",
    ),
    "SiLU, depthwise, bias, gate": ("FeedForward.forward",),
    "cross attention": ("CrossAttention.forward",),
    "linear attention": ("SelfAttention.forward",),
}
DECODER = {
    "norms and SiLU": ("RMSNorm.forward", "normalized_silu"),
    "joining and keeping tails": ("last_frames", "join_frames", "TemporalConv.forward"),
    "upsampling": ("Upsample.forward", "TemporalUpsample.forward", "interleave_frames"),
}


def part_of(operation: Operation) -> tuple[str, str]:
    """The network of an operation, and the part of it."""
    if operation.stage == "decode":
        if operation.name == "convolution":
            return "decoder", "convolutions"
        if operation.name in ("silu", "norm_silu", "vector_norm", "linalg_vector_norm"):
            return "decoder", "norms and SiLU"
        if operation.name == "bias_sum":
            return "decoder", OTHER
        return "decoder", _first(DECODER, operation)
    products = (*PRODUCTS, "temporal_conv")
    if operation.name in products and not operation.inside("linear_attention"):
        return "transformer", "products: projections, 1x1, temporal"
    return "transformer", _first(TRANSFORMER, operation)


def _first(parts: dict[str, tuple[str, ...]], operation: Operation) -> str:
    return next((name for name, own in parts.items() if operation.inside(*own)), OTHER)


def parts_table(block: BlockTrace) -> Iterator[str]:
    """The rows of a block's parts, and the sums."""
    costs: dict[tuple[str, str], Cost] = defaultdict(Cost)
    for operation in block.of("commit", "denoise", "decode"):
        costs[part_of(operation)] += cost_of(operation)
    yield _row(*HEADS)
    yield "|---" * len(HEADS) + "|"
    for network in ("transformer", "decoder"):
        own = {part: cost for (name, part), cost in costs.items() if name == network}
        for part, cost in sorted(own.items(), key=lambda item: -item[1].seconds):
            yield _row(f"{network}: {part}", *_cells(cost))
        yield _row(f"**{network}**", *_cells(sum(own.values(), Cost())))
    yield _row("**block**", *_cells(sum(costs.values(), Cost())))


def operations_table(operations: Iterable[Operation], count: int) -> Iterator[str]:
    """The most expensive operations, by name and place in the source."""
    costs: dict[str, Cost] = defaultdict(Cost)
    for operation in operations:
        costs[f"{operation.name}, {operation.places[0]}"] += cost_of(operation)
    yield _row("operation", *HEADS[1:])
    yield "|---" * len(HEADS) + "|"
    for name, cost in sorted(costs.items(), key=lambda item: -item[1].seconds)[:count]:
        yield _row(name, *_cells(cost))


def _cells(cost: Cost) -> tuple[str, ...]:
    sizes = f"{cost.bytes / 1e9:.0f}", f"{cost.flop / 1e12:.1f}"
    return str(cost.launches), *sizes, f"{cost.seconds * 1e3:.0f}"


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Count what a block costs on a GPU.")
    parser.add_argument("--shapes", choices=SHAPES, default="2b-480p")
    parser.add_argument("--decoder", choices=["tiny"], help="the small decoder in place of Wan's")
    parser.add_argument("--quantize", choices=["fp8"], help="the transformer's products in fp8")
    parser.add_argument("--decode-frames", type=int, help="latent frames decoded at once")
    parser.add_argument("--operations", type=int, default=0, help="number of operations to list")
    args = parser.parse_args(argv)
    if reason := guard.missing():
        sys.exit(f"count_cost: {reason}")
    pieces = args.decode_frames or LATENT_FRAMES
    trace = trace_session(
        published(args.shapes),
        blocks=2,
        decoder=args.decoder,
        quantize=args.quantize,
        decode_frames=pieces,
    )
    block = trace.steady
    cost = total(block.of("commit", "denoise", "decode"))
    precision = f"bfloat16{', products in ' + args.quantize if args.quantize else ''}"
    print(f"{args.shapes}, {precision}, one block of {block.frames[0]} frames, eager.")
    print("Launches, GB and TFLOP are counted; milliseconds are assumed, see fake_gpu/cost.py.\n")
    print("\n".join(parts_table(block)))
    print(
        f"\nassumed: {cost.seconds * 1e3:.0f} ms a block, {block.frames[0] / cost.seconds:.1f}"
        f" frames/s with one stage after the other; counted: {len(block.waits)} waits for the"
        f" device, {block.record.peak / 2**30:.1f} GiB live at the peak without weights"
    )
    if args.operations:
        print()
        print("\n".join(operations_table(block.operations, args.operations)))


if __name__ == "__main__":
    main()
