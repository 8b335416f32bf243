"""Recorded functions: memory of their own going in and coming out, and only for known forms."""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from sana_stream.engine.performance.cuda_graphs import GraphedFunction

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


def test_each_call_has_its_own_numbers_without_running_python(recorder: TapeRecorder):
    scaled, eager = Scaled(), Scaled()
    recorded = GraphedFunction(scaled, recorder)
    recorded.capture(*inputs(0))
    ran = scaled.runs
    for seed in (1, 2, 3):
        got, wanted = flat(recorded(*inputs(seed))), flat(eager(*inputs(seed)))
        assert all(torch.equal(a, b) for a, b in zip(got, wanted, strict=True))
        assert [a.stride() for a in got] == [b.stride() for b in wanted]
    assert (scaled.runs, recorder.repeated) == (ran, 3)


def test_a_result_is_not_changed_by_later_calls(recorder: TapeRecorder):
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
def test_what_was_not_recorded_runs_as_it_is(recorder: TapeRecorder, other: tuple[Tensor, Pair]):
    scaled = Scaled()
    recorded = GraphedFunction(scaled, recorder)
    recorded.capture(*inputs(0))
    ran = scaled.runs
    assert all(map(torch.equal, flat(recorded(*other)), flat(Scaled()(*other))))
    assert (scaled.runs, recorder.repeated) == (ran + 1, 0)


def test_several_forms_are_kept(recorder: TapeRecorder):
    recorded = GraphedFunction(Scaled(), recorder)
    for rows in (2, 3):
        recorded.capture(*inputs(0, rows))
    for rows in (3, 2, 3):
        expected = flat(Scaled()(*inputs(rows, rows)))
        assert all(map(torch.equal, flat(recorded(*inputs(rows, rows))), expected))
    assert recorder.repeated == 3


def test_weights_may_change_in_place(recorder: TapeRecorder):
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
def test_the_tape_refuses_what_a_graph_cannot_hold(function, recorder: TapeRecorder):
    with pytest.raises(NotOnATapeError):
        GraphedFunction(function, recorder).capture(torch.ones(2, 3))
