"""Stages that run at once share torch's threads, unless somebody has chosen their number."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import torch

from sana_stream.engine import cpu
from sana_stream.engine.cpu import core_count, limit_threads, stay_within_quota

CPU = torch.device("cpu")


@pytest.fixture
def eight(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine of eight cores, all of them torch's."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    monkeypatch.setattr(cpu, "core_count", lambda: 8)
    monkeypatch.setattr(cpu, "allowed_cores", lambda: 8)
    before = torch.get_num_threads()
    torch.set_num_threads(8)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("eight")
@pytest.mark.parametrize(("stages", "each"), [(1, 8), (2, 4), (3, 2), (20, 1)])
def test_each_stage_has_its_share_for_as_long_as_they_run(stages: int, each: int) -> None:
    with pytest.raises(ValueError), limit_threads(CPU, stages):  # noqa: PT011, PT012
        assert torch.get_num_threads() == each
        seen = []
        worker = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
        worker.start()
        worker.join()
        assert seen == [each]
        raise ValueError
    assert torch.get_num_threads() == 8


@pytest.mark.usefixtures("eight")
def test_a_chosen_number_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(6)
    with limit_threads(CPU):
        assert torch.get_num_threads() == 6
    torch.set_num_threads(8)
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    with limit_threads(CPU):
        assert torch.get_num_threads() == 8


@pytest.mark.usefixtures("eight")
def test_a_gpu_needs_no_sharing() -> None:
    with limit_threads(torch.device("cuda")):
        assert torch.get_num_threads() == 8


@pytest.mark.usefixtures("eight")
def test_a_quota_bounds_the_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "allowed_cores", lambda: 3)
    stay_within_quota()
    assert torch.get_num_threads() == 3
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    torch.set_num_threads(8)
    stay_within_quota()
    assert torch.get_num_threads() == 8


def test_the_cores_are_those_that_the_process_may_use() -> None:
    assert 1 <= core_count() <= torch.multiprocessing.cpu_count()
