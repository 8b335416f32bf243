"""Offload of the text encoder: it is on its device only while a prompt is encoded."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from sana_stream.engine.device import text_offload_device
from sana_stream.models.text_encoder import TextEncoder

from ..tiny_model import tiny_text_encoder, tiny_tokenizer

WORKING, OFFLOAD = torch.device("cpu"), torch.device("meta")


class RecordingDecoder:
    """A decoder that records its device moves; its weights are not moved."""

    def __init__(self) -> None:
        self.model = tiny_text_encoder().eval()
        self.moves: list[torch.device] = []
        self.fail = False
        self.dtype = torch.float32

    def to(self, device: torch.device) -> RecordingDecoder:
        self.moves.append(device)
        return self

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        assert self.moves[-1] == WORKING, "called while offloaded"
        if self.fail:
            raise RuntimeError("out of memory")
        return self.model(*args, **kwargs)


def encoder(model: Any, offload: torch.device | None) -> TextEncoder:
    return TextEncoder(tiny_tokenizer(), model, (), 12, WORKING, offload)


def test_encode_moves_decoder_to_device_and_back():
    model = RecordingDecoder()
    text = encoder(model, OFFLOAD)
    assert model.moves == [OFFLOAD]
    embeds, mask = text.encode("a red boat")
    assert model.moves == [OFFLOAD, WORKING, OFFLOAD]
    expected, expected_mask = encoder(model.model, None).encode("a red boat")
    assert torch.equal(embeds, expected)
    assert torch.equal(mask, expected_mask)
    assert embeds.device == mask.device == text.device == WORKING


def test_encode_offloads_decoder_after_an_error():
    model = RecordingDecoder()
    text, model.fail = encoder(model, OFFLOAD), True
    with pytest.raises(RuntimeError, match="out of memory"):
        text.encode("a red boat")
    assert model.moves[-1] == OFFLOAD


def test_encode_without_offload_keeps_device():
    model = RecordingDecoder()
    encoder(model, None).encode("a red boat")
    assert model.moves == [WORKING]


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
