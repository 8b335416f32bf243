"""The cost model of a block: what is counted of known operations, and the printed tables."""

from __future__ import annotations

import re
from collections import Counter
from importlib.util import find_spec

import pytest
import torch
import torch.nn.functional as F

import count_cost
from fake_gpu.cost import FP8_PRODUCT, LAUNCH, MIXED_PASS, PASS, PRODUCT, Cost, cost_of, total
from fake_gpu.cuda import DEVICE, fake_cuda
from fake_gpu.sessions import published, trace_session


def test_product_counts_its_operations():
    with fake_cuda() as trace:
        a, b = (torch.empty(4096, 4096, dtype=torch.bfloat16, device=DEVICE) for _ in range(2))
        trace.clear()
        torch.mm(a, b)
        cost = total(trace.record.operations)
    flop, size = 2 * 4096**3, 3 * 4096 * 4096 * 2
    assert cost == Cost(1, size, flop, flop / PRODUCT)


@pytest.mark.skipif(find_spec("triton") is None, reason="triton is missing")
def test_fp8_products_and_what_quantizes_for_them():
    """One product for queries, keys and values; three inputs are no norm, and one is a sum.

    The frames are mixed in two parts, each with its own products and quantization.
    """
    trace = trace_session(published("2b-480p", 1), blocks=1, quantize="fp8", block_frames=1)
    operations = trace.steady.of("denoise")
    counts = Counter(operation.name for operation in operations if not operation.view)
    calls = counts["linear_attention"]
    assert counts["_scaled_mm"] == 9 * calls
    names = ("quantize_rows", "neighbours_fp8", "gated_sum_fp8", "modulated_norm_fp8")
    assert [counts[name] / calls for name in names] == [4, 1, 1, 1]
    product = next(o for o in operations if o.name == "_scaled_mm")
    (_, depth), columns = product.inputs[0].shape, product.inputs[1].shape[1]
    rows = product.inputs[0].shape[0]
    assert cost_of(product).flop == 2 * rows * depth * columns
    assert cost_of(product).seconds >= cost_of(product).flop / FP8_PRODUCT


def test_pass_that_mixes_layouts_costs_more():
    with fake_cuda() as trace:
        a = torch.empty(2048, 2048, device=DEVICE)
        trace.clear()
        _ = a + a
        plain = total(trace.record.operations)
        trace.clear()
        _ = a + a.T
        mixed = total(trace.record.operations)
    assert plain == Cost(1, 2 * 4 * 2048**2, 0, 2 * 4 * 2048**2 / PASS)
    assert mixed == Cost(1, 3 * 4 * 2048**2, 0, 3 * 4 * 2048**2 / MIXED_PASS)


def test_bias_of_a_convolution_is_a_pass_of_its_own():
    with fake_cuda() as trace:
        x = torch.empty(1, 96, 4, 64, 64, dtype=torch.bfloat16, device=DEVICE)
        weight = torch.empty(96, 96, 1, 1, 1, dtype=torch.bfloat16, device=DEVICE)
        trace.clear()
        result = F.conv3d(x, weight)
        without = total(trace.record.operations)
        trace.clear()
        F.conv3d(x, weight, weight[:, 0, 0, 0, 0])
        with_bias = total(trace.record.operations)
    assert with_bias.flop == without.flop == 2 * result.numel() * 96
    assert with_bias.bytes - without.bytes == 2 * result.numel() * 2 + 96 * 2


def test_views_and_small_kernels():
    with fake_cuda() as trace:
        a = torch.empty(8, 8, device=DEVICE)
        trace.clear()
        _ = a.T.unflatten(0, (2, 4))
        assert total(trace.record.operations) == Cost()
        _ = a + 1
    assert total(trace.record.operations).seconds == LAUNCH


def test_tables_say_what_is_counted_and_what_is_assumed(capsys: pytest.CaptureFixture[str]):
    count_cost.main(["--shapes", "pocket", "--operations", "3"])
    lines = capsys.readouterr().out.splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if "|" in line]
    assert rows[0] == ["part", "launches", "GB", "TFLOP", "assumed ms"]
    launches = {row[0]: int(row[1]) for row in rows if row[1].isdigit()}
    for network in ("transformer", "decoder"):
        parts = sum(n for name, n in launches.items() if name.startswith(f"{network}: "))
        assert parts == launches[f"**{network}**"] > 0
    assert launches["**block**"] == launches["**transformer**"] + launches["**decoder**"]
    assert "Launches, GB and TFLOP are counted; milliseconds are assumed" in lines[1]
    assert re.search(r"assumed: \d+ ms a block.*; counted: \d waits", "\n".join(lines))
    assert len([row for row in rows if ".py:" in row[0]]) == 3
