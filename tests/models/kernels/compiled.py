"""Compile the kernels ahead of time for a GPU that need not be here, and check their registers.

python tests/models/kernels/compiled.py 90

Triton's wheel has the assembler. Shapes are those of the 2B model. Exit status 1 names what spills,
takes more shared memory than a block may, or does not use tensor cores.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import triton  # type: ignore[import-not-found]
from triton.backends.compiler import GPUTarget  # type: ignore[import-not-found]
from triton.compiler import ASTSource  # type: ignore[import-not-found]

from sana_stream.models.kernels import (
    decoder,
    feedforward,
    fp8,
    linear_attention,
    residual_norm,
)

ARCHITECTURE = int(sys.argv[1])
APPLY_TOKENS, APPLY_WARPS = (
    linear_attention.APPLY_HOPPER if ARCHITECTURE == 90 else linear_attention.APPLY_OTHER
)
CUOBJDUMP = next(Path(str(triton.__file__)).parent.glob("backends/nvidia/**/cuobjdump"))
SHARED = {
    80: 163 << 10,
    89: 99 << 10,
    90: 227 << 10,
    100: 227 << 10,
    120: 99 << 10,
}  # bytes that a block may take
FLOAT32 = {"query_scale", "key_scale", "row_scale", "scale", "cos", "sin", "S", "z"}
FLOATS = {"eps"}
WHOLE = {"rows", "tokens", "angle_tokens", "width", "height", "frames", "pixels"}
HEADS: dict[str, Any] = {"H": 20, "d": 112, "WIDTH": 128, "PRECISION": "tf32"}
NORM: dict[str, Any] = {"D": 2240, "WIDTH": 4096, "ROWS": 1}


def parts(branch: bool, gate: bool, norm: bool, quantize: bool = False) -> dict[str, bool]:
    return {"HAS_BRANCH": branch, "HAS_GATE": gate, "HAS_NORM": norm, "QUANTIZE": quantize}


# name: kernel, constants, warps, and whether it multiplies on tensor cores
KERNELS: dict[str, tuple[Any, dict[str, Any], int, bool]] = {
    "row_scales": (
        linear_attention.row_scales,
        {"ROWS": linear_attention.NORM_ROWS, "COLUMNS": linear_attention.NORM_COLUMNS},
        4,
        False,
    ),
    "block_sums": (
        linear_attention.block_sums,
        HEADS | {"TOKENS": linear_attention.SUM_TOKENS, "PIECE": linear_attention.PIECE},
        linear_attention.SUM_WARPS,
        True,
    ),
    "apply_sums": (
        linear_attention.apply_sums,
        HEADS | {"TOKENS": APPLY_TOKENS},
        APPLY_WARPS,
        True,
    ),
    "gated_depthwise": (
        feedforward.gated_depthwise_kernel,
        {"C": 6720, "COLUMNS": feedforward.COLUMNS, "CHANNELS": feedforward.CHANNELS},
        feedforward.WARPS,
        False,
    ),
    "gated_sum": (
        residual_norm.residual_norm_kernel,
        NORM | parts(True, True, False),
        residual_norm.WARPS,
        False,
    ),
    "sum_norm": (
        residual_norm.residual_norm_kernel,
        NORM | parts(True, True, True),
        residual_norm.WARPS,
        False,
    ),
    "sum_norm_fp8": (
        residual_norm.residual_norm_kernel,
        NORM | parts(True, True, True, True),
        residual_norm.WARPS,
        False,
    ),
    "quantize_rows of the feed-forward": (
        residual_norm.residual_norm_kernel,
        {"D": 6720, "WIDTH": 8192, "ROWS": 1} | parts(False, False, False, True),
        residual_norm.WARPS,
        False,
    ),
    "neighbours_fp8": (fp8.neighbours_kernel, NORM, residual_norm.WARPS, False),
    **{
        f"norm_silu of {channels} channels": (
            decoder.norm_silu_kernel,
            {
                "C": channels,
                "WIDTH": width,
                "ROWS": decoder.TILE // width,
                "HISTORY": 2,
                "HAS_BEFORE": True,
                "HAS_BIAS": True,
                "HAS_GAMMA": True,
            },
            decoder.WARPS,
            False,
        )
        for channels, width in ((96, 128), (192, 256), (384, 512), (1024, 1024))
    },
    "bias_sum": (
        decoder.bias_sum_kernel,
        {"C": 96, "WIDTH": 128, "ROWS": decoder.TILE // 128},
        decoder.WARPS,
        False,
    ),
}


def compile_kernel(kernel: Any, constants: dict[str, Any], warps: int) -> Any:
    """Compile for bfloat16 tensors whose addresses and strides are multiples of 16."""

    def kind(name: str) -> str:
        if name in constants:
            return "constexpr"
        if name in FLOATS:
            return "fp32"
        if name in WHOLE or name.endswith(("_batch", "_row", "_frame")):
            return "i32"
        # `scale` holds the norms of rows in the attention, and a modulation in the residual norm
        if name == "values" or (name == "normed" and constants["QUANTIZE"]):
            return "*fp8e4nv"
        float32 = name in FLOAT32 and not (name == "scale" and "HAS_NORM" in constants)
        return "*fp32" if float32 else "*bf16"

    names = kernel.arg_names
    aligned: dict[tuple[int], list[list[object]]] = {
        (i,): [["tt.divisibility", 16]]
        for i, name in enumerate(names)
        if kind(name).startswith("*") or name.endswith(("_batch", "_row", "_frame"))
    }
    source = ASTSource(
        fn=kernel,
        signature={name: kind(name) for name in names},
        constexprs=constants,
        attrs=aligned,
    )
    target = GPUTarget("cuda", ARCHITECTURE, 32)
    return triton.compile(source, target=target, options={"num_warps": warps})


def problems(name: str) -> list[str]:
    """Compile one kernel and return what is wrong with it."""
    kernel, constants, warps, multiplies = KERNELS[name]
    compiled = compile_kernel(kernel, constants, warps)
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(compiled.asm["cubin"])
        file.flush()
        usage, code = (
            subprocess.run(
                [CUOBJDUMP, option, file.name], check=True, capture_output=True, text=True
            ).stdout
            for option in ("--dump-resource-usage", "--dump-sass")
        )
    found = re.search(r"REG:(\d+) STACK:(\d+)", usage)
    assert found is not None, usage
    registers, stack = map(int, found.groups())
    shared = compiled.metadata.shared
    sys.stdout.write(f"{name}: {registers} registers, {stack} of stack, {shared} shared\n")
    wrong = {
        f"{name} spills {stack} bytes": stack > 0,
        f"{name} takes {registers} registers": registers * warps * 32 > 1 << 16,
        f"{name} takes {shared} bytes of shared memory": shared > SHARED[ARCHITECTURE],
        f"{name} does not use tensor cores": multiplies and not re.search("H?G?MMA", code),
    }
    return [problem for problem, is_true in wrong.items() if is_true]


if __name__ == "__main__":
    wrong = [problem for name in KERNELS for problem in problems(name)]
    sys.exit("\n".join(wrong) if wrong else 0)
