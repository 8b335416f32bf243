"""The text encoder works on one device and rests on another."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from sana_stream.engine.device import text_offload_device
from sana_stream.models.text_encoder import TextEncoder

from ..tiny_model import tiny_text_encoder, tiny_tokenizer

WORKING, RESTING = torch.device("cpu"), torch.device("meta")


class Traveller:
    """A decoder that notes where it is; the weights themselves stay, for it has one device only."""

    def __init__(self) -> None:
        self.model = tiny_text_encoder().eval()
        self.places: list[torch.device] = []
        self.fail = False
        self.dtype = torch.float32

    def to(self, device: torch.device) -> Traveller:
        self.places.append(device)
        return self

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        assert self.places[-1] == WORKING, "asked while it rests"
        if self.fail:
            raise RuntimeError("out of memory")
        return self.model(*args, **kwargs)


def encoder(model: Any, resting: torch.device | None) -> TextEncoder:
    return TextEncoder(tiny_tokenizer(), model, (), 12, WORKING, resting)


def test_it_comes_for_a_prompt_and_leaves_again():
    model = Traveller()
    text = encoder(model, RESTING)
    assert model.places == [RESTING]
    embeds, mask = text.encode("a red boat")
    assert model.places == [RESTING, WORKING, RESTING]
    expected, expected_mask = encoder(model.model, None).encode("a red boat")
    assert torch.equal(embeds, expected)
    assert torch.equal(mask, expected_mask)
    assert embeds.device == mask.device == text.device == WORKING


def test_it_leaves_after_an_error_too():
    model = Traveller()
    text, model.fail = encoder(model, RESTING), True
    with pytest.raises(RuntimeError, match="out of memory"):
        text.encode("a red boat")
    assert model.places[-1] == RESTING


def test_without_a_resting_place_it_stays():
    model = Traveller()
    encoder(model, None).encode("a red boat")
    assert model.places == [WORKING]


@pytest.mark.parametrize(
    ("total", "offload", "expected"),
    [(16, None, "cpu"), (24, None, "cpu"), (80, None, None), (80, True, "cpu"), (16, False, None)],
)
def test_small_gpus_offload(
    monkeypatch: pytest.MonkeyPatch, total: int, offload: bool | None, expected: str | None
):
    properties = type("Properties", (), {"total_memory": total << 30})()
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    resting = text_offload_device(torch.device("cuda"), offload)
    assert resting == (None if expected is None else torch.device(expected))


def test_the_cpu_has_nowhere_else_to_rest():
    assert text_offload_device(torch.device("cpu"), None) is None
    assert text_offload_device(torch.device("cpu"), True) is None
