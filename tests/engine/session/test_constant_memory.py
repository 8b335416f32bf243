"""Memory is constant over a stream: tensors and Python objects of block 40 and block 240."""

from __future__ import annotations

import gc
import tracemalloc

import pytest
import torch

from sana_stream.engine.engine import Engine


def tensor_bytes() -> int:
    """Bytes of all live tensors' storages, each counted once."""
    gc.collect()
    storages = {}
    for thing in gc.get_objects():
        if type(thing) in (torch.Tensor, torch.nn.Parameter):
            storage = thing.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
    return sum(storages.values())


@pytest.mark.parametrize("memory", ["cumulative", "window=2,sink=1"])
def test_memory_is_flat_from_block_40_to_block_240(tiny_engine: Engine, memory: str):
    session = tiny_engine.session("a red boat", memory=memory, timesteps=(1000,))  # one step
    tracemalloc.start()
    try:
        measured = {}
        for block in session:
            if block.index in (40, 240):
                del block
                measured[session.next_index - 1] = (
                    tensor_bytes(),
                    tracemalloc.get_traced_memory()[0],
                )
            elif block.index % 60 == 0:
                session.switch(f"night falls {block.index // 60}")
            if session.next_index > 240:
                break
    finally:
        tracemalloc.stop()
    tensors_early, python_early = measured[40]
    tensors_late, python_late = measured[240]
    assert tensors_late == tensors_early
    # torch's own small caches are still filling; a kept block would be tens of kilobytes
    assert python_late - python_early < 64 * 1024
