"""Recorded functions: own input and output memory, and only for known argument shapes."""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from sana_stream.engine.performance.cuda_graphs import GraphedFunction, GraphInputs

from ..fake_graph_capture import NotOnATapeError, TapeRecorder


class Pair(NamedTuple):
    left: Tensor
    right: Tensor


class Scaled:
    """A function that counts how often its Python runs."""

    def __init__(self) -> None:
        self.runs = 0
        self.weight = torch.tensor([1.0, 2.0, 3.0])

    def __call__(self, x: Tensor, pair: Pair) -> tuple[Pair, Tensor]:
        self.runs += 1
        y = x * self.weight + pair.left
        y[0] += 1
        return Pair(y.flip(0), y.t() @ pair.right), x


def inputs(seed: int, rows: int = 2) -> tuple[Tensor, Pair]:
    g = torch.Generator().manual_seed(seed)
    x, left, right = torch.randn(3, rows, 3, generator=g).unbind()
    return x, Pair(left, right)


def flat(result: tuple[Pair, Tensor]) -> list[Tensor]:
    return [*result[0], result[1]]


@pytest.fixture
def recorder() -> TapeRecorder:
    return TapeRecorder()


def test_replay_uses_new_values_without_running_python(recorder: TapeRecorder):
    scaled, eager = Scaled(), Scaled()
    recorded = GraphedFunction(scaled, recorder)
    recorded.capture(*inputs(0))
    ran = scaled.runs
    for seed in (1, 2, 3):
        got, wanted = flat(recorded(*inputs(seed))), flat(eager(*inputs(seed)))
        assert all(torch.equal(a, b) for a, b in zip(got, wanted, strict=True))
        assert [a.stride() for a in got] == [b.stride() for b in wanted]
    assert (scaled.runs, recorder.repeated) == (ran, 3)


def test_result_is_not_changed_by_later_calls(recorder: TapeRecorder):
    recorded = GraphedFunction(Scaled(), recorder)
    recorded.capture(*inputs(0))
    first = flat(recorded(*inputs(1)))
    before = [tensor.clone() for tensor in first]
    second = flat(recorded(*inputs(2)))
    assert all(torch.equal(a, b) for a, b in zip(first, before, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert len({tensor.data_ptr() for tensor in first + second}) == 6


def test_arguments_are_copied_not_kept(recorder: TapeRecorder):
    recorded = GraphedFunction(Scaled(), recorder)
    sample = inputs(0)
    recorded.capture(*sample)
    expected = flat(recorded(*inputs(1)))
    for tensor in (sample[0], *sample[1]):
        tensor.fill_(torch.nan)
    given = inputs(1)
    assert all(map(torch.equal, flat(recorded(*given)), expected))
    assert torch.equal(given[0], inputs(1)[0])


@pytest.mark.parametrize(
    "other",
    [
        inputs(4, rows=3),
        (inputs(4)[0].double(), Pair(*(t.double() for t in inputs(4)[1]))),
        (inputs(4)[0].t().contiguous().t(), inputs(4)[1]),
    ],
    ids=["shape", "dtype", "order of axes"],
)
def test_unrecorded_arguments_run_eagerly(recorder: TapeRecorder, other: tuple[Tensor, Pair]):
    scaled = Scaled()
    recorded = GraphedFunction(scaled, recorder)
    recorded.capture(*inputs(0))
    ran = scaled.runs
    assert all(map(torch.equal, flat(recorded(*other)), flat(Scaled()(*other))))
    assert (scaled.runs, recorder.repeated) == (ran + 1, 0)


def test_several_shapes_are_recorded(recorder: TapeRecorder):
    recorded = GraphedFunction(Scaled(), recorder)
    for rows in (2, 3):
        recorded.capture(*inputs(0, rows))
    for rows in (3, 2, 3):
        expected = flat(Scaled()(*inputs(rows, rows)))
        assert all(map(torch.equal, flat(recorded(*inputs(rows, rows))), expected))
    assert recorder.repeated == 3


def test_weights_changed_in_place_are_used(recorder: TapeRecorder):
    scaled, eager = Scaled(), Scaled()
    recorded = GraphedFunction(scaled, recorder)
    recorded.capture(*inputs(0))
    for each in (scaled, eager):
        each.weight.copy_(torch.tensor([5.0, 6.0, 7.0]))
    assert all(map(torch.equal, flat(recorded(*inputs(1))), flat(eager(*inputs(1)))))


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x * x.sum().item(),
        lambda x: x if (x > 0).all() else -x,
        lambda x: x[x > 0],
        lambda x: x * torch.tensor([1.0, 2.0, 3.0]),
        lambda x: x.double().float(),
    ],
    ids=["value", "branch", "shape from values", "numbers from the host", "float64"],
)
def test_tape_refuses_operations_a_graph_cannot_hold(function, recorder: TapeRecorder):
    with pytest.raises(NotOnATapeError):
        GraphedFunction(function, recorder).capture(torch.ones(2, 3))


def test_functions_share_the_memory_of_inputs_of_one_form(recorder: TapeRecorder):
    shared = GraphInputs()
    first, second = (GraphedFunction(Scaled(), recorder, shared) for _ in range(2))
    for rows in (2, 3):
        first.capture(*inputs(0, rows))
    second.capture(*inputs(1))
    held = [
        {tensor.data_ptr() for tensor in graph.inputs}
        for function in (first, second)
        for graph in function._graphs.values()
    ]
    assert [len(memory) for memory in held] == [3, 3, 3]  # no two inputs of one call are one
    assert held[0] == held[2]
    assert not held[0] & held[1]
    eager = Scaled()
    for seed, rows in ((1, 2), (2, 3), (3, 2)):
        for recorded in (first, second):
            got, wanted = flat(recorded(*inputs(seed, rows))), flat(eager(*inputs(seed, rows)))
            assert all(torch.equal(a, b) for a, b in zip(got, wanted, strict=True))
    assert recorder.repeated == 5  # all but the second function's other form
