"""Requirements of devices other than the CPU, checked on torch's `meta` device."""

from __future__ import annotations

import itertools
import threading
from contextlib import closing
from functools import partialmethod
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from sana_stream.engine.device import is_single_threaded, resolve_dtype
from sana_stream.engine.engine import Engine
from sana_stream.engine.sampling.samplers import SAMPLERS
from sana_stream.engine.session.lookahead import generate_ahead
from sana_stream.engine.session.session import Session
from sana_stream.models.transformer import SanaVideoTransformer
from sana_stream.models.weights.load import load_transformer, load_vae

from .session.test_session import same, take

META = torch.device("meta")
WIDE = (torch.float64, torch.complex128)


class WithoutFloat64(TorchDispatchMode):
    """Refuses float64 on the device, which Apple's MPS does not support."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for value in tree_leaves(out):
            if isinstance(value, Tensor) and value.device == META and value.dtype in WIDE:
                raise TypeError(f"{func} makes {value.dtype} on the device")
        return out


@pytest.fixture
def meta_engine(tiny_engine: Engine, tiny_folder: Any, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """The tiny model on the meta device; what the host reads is replaced."""
    monkeypatch.setattr(Tensor, "cpu", lambda tensor: tensor)
    monkeypatch.setattr(Tensor, "tolist", lambda tensor: [1.0] * tensor.numel())
    monkeypatch.setattr(Tensor, "numpy", lambda tensor: np.zeros(tensor.shape, np.uint8))
    monkeypatch.setattr(
        "sana_stream.engine.device.InlineStream.host_memory",
        lambda _, shape, dtype: torch.empty(shape, dtype=dtype, device=META),
    )
    prepare = partialmethod(SanaVideoTransformer.prepare_text, keep_padding=True)
    monkeypatch.setattr(SanaVideoTransformer, "prepare_text", prepare)
    encode = tiny_engine.text_encoder.encode

    def embedded(prompt: str, *, with_instruction: bool = True) -> tuple[Tensor, ...]:
        return tuple(part.to(META) for part in encode(prompt, with_instruction=with_instruction))

    dtype = resolve_dtype("auto", torch.device("mps"))
    return Engine(
        load_transformer(tiny_folder, dtype, META),
        load_vae(tiny_folder, dtype, META),
        SimpleNamespace(encode=embedded),  # type: ignore[arg-type]
        tiny_engine.preset,
        META,
        dtype,
        decode_frames=2,
    )


@pytest.mark.parametrize("solver", SAMPLERS)
def test_no_float64_is_created_on_the_device(meta_engine: Engine, solver: str):
    """From input frames to decoded frames, with guidance, a moving sink and a cut."""
    picture = np.zeros((32, 48, 3), np.uint8)
    with WithoutFloat64():
        stream = meta_engine.session(
            "a red boat",
            video=np.zeros((17, 32, 48, 3), np.uint8),
            memory="window=1,sink=1",
            guidance=2.0,
            solver=solver,
            steps=3,
        )
        blocks = take(stream, 3)
        stream.cut(picture, "night falls")
        blocks += take(stream, 2)
    assert [block.frames.shape[0] for block in blocks] == [8, 8, 8, 9, 8]


def test_float64_on_the_device_is_detected():
    with WithoutFloat64(), pytest.raises(TypeError, match="float64 on the device"):
        torch.zeros(2, dtype=torch.float64).to(META)


def test_mps_defaults_to_float32():
    assert resolve_dtype("auto", torch.device("mps")) == torch.float32
    assert resolve_dtype("bfloat16", torch.device("mps")) == torch.bfloat16


def test_only_mps_is_single_threaded():
    assert is_single_threaded(torch.device("mps"))
    assert not is_single_threaded(torch.device("cpu"))
    assert not is_single_threaded(torch.device("cuda"))


def test_single_threaded_device_is_used_by_one_thread(
    tiny_engine: Engine, monkeypatch: pytest.MonkeyPatch
):
    """Using Metal from two threads at once ends the process."""
    expected = take(tiny_engine.session("a red boat"), 3)
    monkeypatch.setattr(
        "sana_stream.engine.session.lookahead.is_single_threaded", lambda device: True
    )
    busy, together = threading.Lock(), []

    def alone(work: Any) -> Any:
        def checked(*args: Any) -> Any:
            if not busy.acquire(blocking=False):
                together.append(work)
                return work(*args)
            try:
                return work(*args)
            finally:
                busy.release()

        return checked

    for name in ("sample", "decode"):
        monkeypatch.setattr(Session, name, _method(alone, getattr(Session, name)))
    with closing(generate_ahead(tiny_engine.session("a red boat"))) as blocks:
        assert same(list(itertools.islice(blocks, 3)), expected)
    assert not together


def _method(alone: Any, method: Any) -> Any:
    return alone(lambda stream, *args: method(stream, *args))
