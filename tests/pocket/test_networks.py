"""Initialization from another model's weights, with embeddings matched by spelling."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from sana_stream.models.vae.wan import WanVAE
from training import autoencoder
from training.export import export
from training.networks import CONFIG, WORDS, Networks


def test_begin_with_copies_weights_and_matches_words(tmp_path: Path) -> None:
    torch.manual_seed(0)
    old = Networks().bfloat16()
    weights = {k: torch.randn_like(v) for k, v in old.named_parameters()}
    export(tmp_path, _autoencoder(), weights, trained_blocks=3)
    places = _swap_words(tmp_path / "tokenizer" / "tokenizer.json", "boat", "train")

    new = Networks()
    first = new.transformer.proj_out.weight.clone()
    count = new.begin_with(tmp_path)

    assert count == sum(1 for name in weights if not name.startswith("readers"))
    assert not torch.equal(new.transformer.proj_out.weight, first)
    copied, given = new.text.get_parameter(WORDS), weights[f"text.{WORDS}"].float()
    boat, train = places
    assert torch.equal(copied[boat], given[train])
    assert torch.equal(copied[train], given[boat])
    others = [i for i in range(len(copied)) if i not in places]
    assert torch.equal(copied[others], given[others])


def test_new_word_begins_as_the_word_it_is_a_synonym_of(tmp_path: Path) -> None:
    torch.manual_seed(0)
    weights = {k: torch.randn_like(v) for k, v in Networks().named_parameters()}
    export(tmp_path, _autoencoder(), weights, trained_blocks=3)
    file = tmp_path / "tokenizer" / "tokenizer.json"
    tokenizer = json.loads(file.read_text())
    tokenizer["model"]["vocab"]["zorblax"] = tokenizer["model"]["vocab"].pop("yacht")
    file.write_text(json.dumps(tokenizer))
    new = Networks()
    new.begin_with(tmp_path)
    words, copied = new.tokenizer.get_vocab(), new.text.get_parameter(WORDS)
    assert torch.equal(copied[words["yacht"]], copied[words["boat"]])


def test_begin_with_skips_weights_of_another_shape(tmp_path: Path) -> None:
    torch.manual_seed(0)
    old = {k: torch.randn_like(v) for k, v in Networks().named_parameters()}
    export(tmp_path, _autoencoder(), old, trained_blocks=3)
    new = Networks()
    name = "proj_out.weight"
    kept = torch.nn.Parameter(torch.randn(7, CONFIG.hidden_size))
    new.transformer.proj_out.weight = kept
    before = kept.detach().clone()
    assert new.begin_with(tmp_path) == sum(1 for k in old if not k.startswith("readers")) - 1
    assert torch.equal(new.transformer.get_parameter(name), before)


def _autoencoder() -> dict[str, torch.Tensor]:
    return WanVAE(autoencoder.CONFIG).state_dict()


def _swap_words(file: Path, one: str, other: str) -> tuple[int, int]:
    tokenizer = json.loads(file.read_text())
    words = tokenizer["model"]["vocab"]
    words[one], words[other] = words[other], words[one]
    file.write_text(json.dumps(tokenizer))
    return words[other], words[one]
