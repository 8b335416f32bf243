"""Conventions by where the weights come from, and that converted models keep them."""

from __future__ import annotations

import inspect
import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import SanaVideoPipeline, SanaVideoTransformer3DModel
from safetensors.torch import save_file
from torch import Tensor

from sana_stream.engine.engine import Engine
from sana_stream.engine.loading.conventions import (
    AUTHORS_50_STEPS,
    AUTHORS_LONGSANA,
    DIFFUSERS,
    ORIGINS,
    Conventions,
    Origin,
    describe_conventions,
)
from sana_stream.engine.loading.convert import convert_model
from sana_stream.engine.loading.presets import preset_for
from sana_stream.errors import CheckpointError, SnapshotError
from sana_stream.models.weights.load import read_transformer
from sana_stream.models.weights.original_layout import to_original

CASED = "The RED Boat sails"
SMALL: dict[str, Any] = {"height": 32, "width": 48, "block_frames": 2, "steps": 3}


def plain_folder(place: Path, tiny_folder: Path) -> Path:
    """The tiny model as diffusers saves it: without a stream.json."""
    shutil.copytree(tiny_folder, place)
    (place / "stream.json").unlink()
    return place


def original_file(place: Path, tiny_folder: Path) -> Path:
    """The tiny model's transformer as a file in the original layout."""
    place.parent.mkdir(exist_ok=True)
    _, tensors = read_transformer(tiny_folder)
    torch.save({"state_dict": to_original(tensors)}, place)
    shutil.copy(tiny_folder / "transformer/config.json", place.parent)
    return place


def to_file(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write tensors in the format of a path's suffix."""
    whole = {name: tensor.clone() for name, tensor in tensors.items()}
    if path.suffix == ".safetensors":
        save_file(whole, path)
    else:
        torch.save({"state_dict": whole}, path)


@pytest.mark.parametrize(
    ("name", "original", "origin"),
    [
        ("LongSANA_2B_480p.pt", True, AUTHORS_LONGSANA),
        ("SANA_Video_2B_480p_LongLive.pth", True, AUTHORS_LONGSANA),
        ("SANA_Video_2B_480p_LongLive.safetensors", True, AUTHORS_LONGSANA),
        ("SANA_Video_2B_480p_LongLive_diffusers", False, AUTHORS_LONGSANA),
        ("SANA_Video_2B_480p.pth", True, AUTHORS_50_STEPS),
        ("SANA_Video_2B_480p.safetensors", True, AUTHORS_50_STEPS),
        ("SANA_Video_2B_480p_in_diffusers_names.safetensors", False, DIFFUSERS),
        ("SANA_Video_2B_480p_diffusers", False, DIFFUSERS),
    ],
    ids=lambda value: value.name if isinstance(value, Origin) else str(value),
)
def test_origin_determines_conventions(
    tmp_path: Path, tiny_folder: Path, name: str, original: bool, origin: Origin
):
    place = tmp_path / name
    if place.suffix:
        _, tensors = read_transformer(tiny_folder)
        to_file(place, to_original(tensors) if original else tensors)
    else:
        plain_folder(place, tiny_folder)
    assert Conventions.of(preset_for(place, name)) == origin.conventions


def test_values_are_those_of_the_authors_and_of_diffusers():
    """configs/sana_video_config and the model of NVlabs/Sana; SanaVideoPipeline of diffusers."""
    sizes = dict.fromkeys(("num_attention_heads", "num_cross_attention_heads"), 1)
    theirs: Any = SanaVideoTransformer3DModel(
        **sizes, attention_head_dim=8, cross_attention_head_dim=8, cross_attention_dim=8
    )
    assert DIFFUSERS.conventions.cross_norm_eps == theirs.transformer_blocks[0].attn2.norm_q.eps
    defaults = inspect.signature(SanaVideoPipeline.__call__).parameters
    wording = defaults["complex_human_instruction"].default
    assert DIFFUSERS.conventions.instruction == tuple(wording)
    for origin in (AUTHORS_LONGSANA, AUTHORS_50_STEPS):
        given = origin.conventions
        assert (given.lower_case, given.whole_timesteps, given.cross_norm_eps) == (0, 1, 1e-6)
        first, second = given.instruction[:2]
        assert 'generate an "Enhanced prompt" that' in first
        assert "suitable for image generation" in first
        assert "spatial relationships to create vivid and concrete scenes" in second
        assert len(given.instruction) == len(DIFFUSERS.conventions.instruction) == 8
        assert given.instruction[2] == DIFFUSERS.conventions.instruction[2]
    assert [origin.conventions.sigma_shift for origin in ORIGINS] == [7.0, None, None]


@pytest.mark.parametrize(
    ("name", "solver"),
    [
        ("SANA_Video_LongLive.pth", None),
        ("SANA_Video_2B_480p.pth", "euler"),
        ("SANA_Video_2B_480p.pth", "dpm++"),
    ],
)
def test_converted_folder_generates_the_same_frames(
    tmp_path: Path, tiny_folder: Path, name: str, solver: str | None
):
    file = original_file(tmp_path / "original" / name, tiny_folder)
    parts = plain_folder(tmp_path / "parts", tiny_folder)
    convert_model(file, tmp_path / "folder", parts=parts)
    convert_model(tmp_path / "folder", tmp_path / "again", dtype="float32")
    frames, engines = [], []
    for model in (file, tmp_path / "folder", tmp_path / "again", parts):
        engine = Engine.load(model, "cpu", "float32", parts=parts)
        session = engine.session(CASED, solver=solver, **SMALL)
        frames.append(np.concatenate([block.frames for block in itertools.islice(session, 2)]))
        engines.append(engine)
    authors, folder, again, diffusers = frames
    assert np.array_equal(folder, authors)
    assert np.array_equal(again, authors)
    assert diffusers.shape == authors.shape
    assert not np.array_equal(diffusers, authors)
    assert engines[1].preset == engines[0].preset
    assert engines[1].fingerprint.matches(engines[0].fingerprint)
    assert not engines[3].fingerprint.matches(engines[0].fingerprint)


def test_file_from_a_converted_folder_has_equal_weights(tmp_path: Path, tiny_folder: Path):
    file = original_file(tmp_path / "original" / "SANA_Video_2B_480p.pth", tiny_folder)
    convert_model(file, tmp_path / "folder", parts=tiny_folder)
    convert_model(tmp_path / "folder", tmp_path / "back.pth")
    before, after = (
        torch.load(path, weights_only=True)["state_dict"] for path in (file, tmp_path / "back.pth")
    )
    assert before.keys() == after.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)


def loaded(place: Path, tiny_folder: Path, **settings: object) -> Engine:
    """The tiny model with some conventions in its stream.json."""
    shutil.copytree(tiny_folder, place)
    stream = json.loads((place / "stream.json").read_text())
    (place / "stream.json").write_text(json.dumps(stream | settings))
    return Engine.load(place, "cpu", "float32")


def test_case_of_prompts_is_kept_where_it_was_in_training(tmp_path: Path, tiny_folder: Path):
    """The tiny tokenizer knows lower-case words only."""
    kept = loaded(tmp_path / "kept", tiny_folder, lower_case=False)
    lowered = loaded(tmp_path / "lowered", tiny_folder)
    for encode in ("encode_prompt", "encode_negative_prompt"):
        same, other = (
            [getattr(engine, encode)(prompt)[0] for prompt in (CASED, CASED.lower())]
            for engine in (lowered, kept)
        )
        assert torch.equal(*same)
        assert not torch.equal(*other)
        assert torch.equal(same[1], other[1])


@pytest.mark.parametrize("start", ["noise", "image"])
@pytest.mark.parametrize("whole", [True, False])
def test_network_is_called_at_whole_timesteps_where_it_was_trained_so(
    tmp_path: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch, start: str, whole: bool
):
    engine = loaded(tmp_path / "m", tiny_folder, whole_timesteps=whole)
    seen: list[Tensor] = []
    denoise = engine.transformer.denoise

    def noted(latents: Tensor, timestep: Tensor, *rest: Any) -> Tensor:
        seen.append(timestep.flatten())
        return denoise(latents, timestep, *rest)

    monkeypatch.setattr(engine.transformer, "denoise", noted)
    image = np.zeros((32, 48, 3), np.uint8) if start == "image" else None
    session = engine.session("a red boat", solver="euler", steps=5, flow_shift=3.0, image=image)
    planned = session.snapshot().settings.timesteps
    next(session)
    assert [float(times[-1]) for times in seen] == pytest.approx(
        [int(time) if whole else time for time in planned]
    )
    assert any(time != int(time) for time in planned)
    if start == "image":
        assert all(float(times[0]) == 0 and len(times) == 3 for times in seen)


def test_epsilon_is_that_of_cross_attention_only(tmp_path: Path, tiny_folder: Path):
    engine = loaded(tmp_path / "m", tiny_folder, cross_norm_eps=1e-6)
    for layer in engine.transformer.layers:
        assert {layer.attn2.norm_q.eps, layer.attn2.norm_k.eps} == {1e-6}
        assert {layer.attn1.norm_q.eps, layer.attn1.norm_k.eps} == {1e-5}


@pytest.mark.parametrize(
    "changed",
    [
        {"instruction": ["a sun rises", "red: "]},
        {"lower_case": False},
        {"cross_norm_eps": 1e-6},
        {"whole_timesteps": True},
        {"sigma_shift": 7.0},
    ],
    ids=lambda values: next(iter(values)),
)
def test_stream_is_resumed_under_its_own_conventions_only(
    tmp_path: Path, tiny_folder: Path, tiny_engine: Engine, changed: dict[str, object]
):
    """A checkpoint of an earlier version, which had one set of conventions, is refused too."""
    session = tiny_engine.session("a red boat")
    next(session)
    session.save(tmp_path / "boat.ckpt")
    other = loaded(tmp_path / "m", tiny_folder, **changed)
    with pytest.raises(SnapshotError, match=r"of the same weights .* other conventions") as caught:
        other.resume(tmp_path / "boat.ckpt")
    assert "\n" not in str(caught.value)
    session = other.session("a red boat")
    next(session)
    session.save(tmp_path / "other.ckpt")
    assert np.array_equal(next(other.resume(tmp_path / "other.ckpt")).frames, next(session).frames)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("lower_case", "no"),
        ("cross_norm_eps", 0),
        ("cross_norm_eps", 2.0),
        ("whole_timesteps", 1),
        ("sigma_shift", -1.0),
    ],
)
def test_values_that_cannot_be_used_are_refused(
    tmp_path: Path, tiny_folder: Path, key: str, value: object
):
    with pytest.raises(CheckpointError, match=rf"stream\.json: {key} is .*it should"):
        loaded(tmp_path / "m", tiny_folder, **{key: value})


def test_description_names_the_origin_and_every_value():
    assert describe_conventions(AUTHORS_LONGSANA.conventions) == (
        "the authors' (LongSANA): image instruction of 8 lines in double quotes, prompts with"
        " their case, cross-attention eps 1e-06, whole timesteps, sigma of 1000 levels at flow"
        " shift 7"
    )
    assert describe_conventions(DIFFUSERS.conventions) == (
        "diffusers': video instruction of 8 lines, prompts in lower case, cross-attention eps"
        " 1e-05, timesteps of the solver, sigma t/1000"
    )
    assert describe_conventions(Conventions()).startswith("the model's own: no instruction,")
