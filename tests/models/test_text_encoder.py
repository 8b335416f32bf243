"""Offload of the text encoder: its weights are on its device only while a prompt is encoded."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch

from sana_stream.engine.device import text_offload_device
from sana_stream.models.text_encoder import TextEncoder

from ..tiny_model import tiny_text_encoder, tiny_tokenizer

CPU, META = torch.device("cpu"), torch.device("meta")


def encoder(model: Any, device: torch.device, offload: torch.device | None) -> TextEncoder:
    return TextEncoder(tiny_tokenizer(), model, (), 12, device, offload)


def test_offloaded_weights_are_copied_and_stay_where_they_are():
    """On the meta device in place of a GPU, and with the same embeddings on the CPU."""
    model = tiny_text_encoder().eval()
    expected, expected_mask = encoder(model, CPU, None).encode("a red boat")
    before = dict(model.named_parameters())
    embeds, mask = encoder(model, CPU, CPU).encode("a red boat")
    assert torch.equal(embeds, expected)
    assert torch.equal(mask, expected_mask)
    embeds, mask = encoder(model, META, CPU).encode("a red boat")
    assert (embeds.device, mask.device) == (META, META)
    assert embeds.shape == expected.shape
    assert all(weight is before[name] for name, weight in model.named_parameters())
    assert {weight.device for weight in before.values()} == {CPU}


def test_offloaded_weights_stay_after_an_error(monkeypatch: pytest.MonkeyPatch):
    model = tiny_text_encoder().eval()
    text, before = encoder(model, META, CPU), dict(model.named_parameters())

    def fail(*_: Any, **__: Any):
        assert {weight.device for weight in model.parameters()} == {META}
        raise RuntimeError("out of memory")

    monkeypatch.setattr(model, "forward", fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        text.encode("a red boat")
    assert all(weight is before[name] for name, weight in model.named_parameters())


def test_encode_without_offload_uses_the_weights_themselves():
    model = tiny_text_encoder().eval()
    text = encoder(model, META, None)
    assert {weight.device for weight in model.parameters()} == {META}
    assert text.encode("a red boat")[0].device == text.device == META


@pytest.mark.parametrize(
    ("total", "offload", "expected"),
    [(16, None, "cpu"), (24, None, "cpu"), (80, None, None), (80, True, "cpu"), (16, False, None)],
)
def test_text_offload_device_depends_on_gpu_memory(
    monkeypatch: pytest.MonkeyPatch, total: int, offload: bool | None, expected: str | None
):
    properties = type("Properties", (), {"total_memory": total << 30})()
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    device = text_offload_device(torch.device("cuda"), offload)
    assert device == (None if expected is None else torch.device(expected))


def test_text_offload_device_on_cpu_is_none():
    assert text_offload_device(torch.device("cpu"), None) is None
    assert text_offload_device(torch.device("cpu"), True) is None


def test_prompts_are_tokenized_one_at_a_time(monkeypatch: pytest.MonkeyPatch):
    """Two streams: one encodes while the other one's prompt is checked, with other settings."""
    tokenizer, busy = tiny_tokenizer(), threading.Lock()

    class Tokenizer:
        is_fast = True

        def __call__(self, *args: Any, **options: Any) -> Any:
            assert busy.acquire(blocking=False), "another thread is at work"
            try:
                time.sleep(0.001)
                return tokenizer(*args, **options)
            finally:
                busy.release()

    text = TextEncoder(Tokenizer(), tiny_text_encoder().eval(), ("in a film:",), 12, CPU)
    long = "a red boat on the sea " * 20
    with ThreadPoolExecutor(2) as threads:
        encoded = threads.submit(lambda: [text.encode(long)[0] for _ in range(10)])
        checked = threads.submit(lambda: [text.unread(long) for _ in range(10)])
        assert len({embeds.shape for embeds in encoded.result()}) == 1
        assert all("is too long" in (line or "") for line in checked.result())
