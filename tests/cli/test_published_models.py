"""Folders with the configuration files of the published models: info, generation, no noise."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sana_stream.engine.engine import Engine
from sana_stream.engine.loading.inspect import inspect_model
from sana_stream.errors import SanaStreamError
from sana_stream.models.schema import is_idle
from sana_stream.models.weights.load import read_transformer
from sana_stream.models.weights.original_layout import to_original

from ..command import environment, pictures, run, spawn
from ..published_models import NAMES, save_published_model

FACTS: dict[str, dict[str, Any]] = {
    "480p": {
        "model": "SANA-Video 2B 480p",
        "classes": ["SanaVideoTransformer3DModel", "AutoencoderKLWan", "Gemma2Model"],
        "size": (832, 480),
        "multiple": 16,
        "latents": 20,
        "solver": ("dpm++", 50, 8.0, 6.0),
        "sizes": (896, 448),
        "policy": "window=1",
        "conventions": "diffusers': video instruction",
    },
    "LongLive": {
        "model": "LongSANA 2B 480p",
        "classes": ["SanaVideoCausalTransformer3DModel", "AutoencoderKLWan", "Gemma2Model"],
        "size": (832, 480),
        "multiple": 16,
        "latents": 10,
        "solver": ("renoise", 4, None, 1.0),
        "sizes": (896, 448),
        "policy": "cumulative",
        "conventions": "the authors' (LongSANA): image instruction",
    },
    "720p": {
        "model": "SANA-Video 2B 720p",
        "classes": ["SanaVideoTransformer3DModel", "AutoencoderKLLTX2Video", "Gemma2Model"],
        "size": (1280, 704),
        "multiple": 32,
        "latents": 10,
        "solver": ("dpm++", 50, 8.0, 6.0),
        "sizes": (1344, 672),
        "policy": "window=1",
        "conventions": "diffusers': video instruction",
    },
}
NOISE = re.compile(r"diffusers|transformers|torchao|torch\.|Warning|config attributes|W\d{4} ")
SMALL = ("--size", "64x64", "--block-frames", "1", "--frames", "5", "--steps", "2")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("published")
    return {name: save_published_model(place / f"model-{name}", name) for name in NAMES}


Ended = dict[tuple[str, str], tuple[int, str, str]]


@pytest.fixture(scope="module")
def processes(models: dict[str, Path]) -> Ended:
    """Exit code, standard output and standard error of `info` and of a generation of each model."""
    started = {}
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    for name, folder in models.items():
        video = ("--model", folder, "--prompt", "a red boat", "--out", folder / "a.mkv", *SMALL)
        words = [str(word) for word in ("info", folder, "--device", "cpu", "then", *video)]
        argv = [sys.executable, str(Path(__file__).with_name("two_commands.py")), *words]
        # what its libraries print while they are imported is heard from the first
        fresh = name == NAMES[0]
        started[name] = spawn(argv, fresh=fresh, env=environment(), text=True, **pipes)
    ended: Ended = {}
    for name, process in started.items():
        streams = [re.split(r"ended with (\d+)\n", text) for text in process.communicate()]
        for kind, place in (("info", 0), ("video", 2)):
            code, (out, err) = int(streams[0][place + 1]), (each[place] for each in streams)
            ended[name, kind] = code, out, err
    return ended


@pytest.mark.parametrize("name", NAMES)
def test_info_prints_the_table_and_nothing_else(name: str, processes: Any):
    code, out, err = processes[name, "info"]
    assert (code, err) == (0, "")
    rows = dict(re.findall(r"^(\S(?:\S| (?! ))*) {2,}(.*)$", out, re.MULTILINE))
    wanted = FACTS[name]
    assert rows["model"] == wanted["model"]
    assert rows["vae"].startswith(wanted["classes"][1])
    assert rows["size"].startswith("{}x{} at 16".format(*wanted["size"]))
    assert rows["sizes in training"].startswith("{}x{}, ".format(*wanted["sizes"]))
    assert rows["conventions"].startswith(wanted["conventions"])
    others = out.replace(wanted["classes"][0], "").replace(rows["conventions"], "")
    assert not NOISE.search(others)


@pytest.mark.parametrize("name", NAMES)
def test_video_is_made_without_other_libraries_messages(
    name: str, processes: Any, models: dict[str, Path]
):
    code, out, err = processes[name, "video"]
    assert (code, out) == (0, ""), err
    assert not NOISE.search(err), err
    assert pictures(models[name] / "a.mkv").shape == (5, 64, 64, 3)
    trained = [line for line in err.splitlines() if "was not trained at 64x64" in line]
    assert len(trained) == 1


@pytest.mark.parametrize("name", NAMES)
def test_json_has_the_facts(name: str, models: dict[str, Path], capfd: pytest.CaptureFixture[str]):
    assert run("info", models[name], "--device", "cpu", "--json", "--size", "64x64") == 0
    facts, wanted = json.loads(capfd.readouterr().out), FACTS[name]
    assert (facts["model"], facts["runs"], facts["problems"]) == (wanted["model"], True, [])
    assert len(facts["notes"]) == 1  # of the size
    assert [part["class"] for part in facts["parts"]] == wanted["classes"]
    size, sampling = facts["size"], facts["sampling"]
    assert (size["width"], size["height"], size["fps"]) == (*wanted["size"], 16)
    assert size["multiple"] == {"width": wanted["multiple"], "height": wanted["multiple"]}
    assert {"width": wanted["sizes"][0], "height": wanted["sizes"][1]} in size["published"]
    assert (facts["block"]["latent_frames"], facts["memory_policy"]) == (
        wanted["latents"],
        wanted["policy"],
    )
    keys = ("solver", "steps", "flow_shift", "guidance")
    assert tuple(sampling[key] for key in keys) == wanted["solver"]


@pytest.mark.parametrize("name", NAMES)
def test_first_block_is_generated(name: str, models: dict[str, Path]):
    engine = Engine.load(models[name], "cpu", "float32")
    block = next(engine.session("a red boat", height=64, width=64, block_frames=1, steps=2))
    assert block.frames.shape == (9 if name == "720p" else 5, 64, 64, 3)
    assert engine.preset.name == FACTS[name]["model"]


def test_least_size_of_720p_is_named(models: dict[str, Path], capfd: pytest.CaptureFixture[str]):
    """LTX-2's decoder cannot pad a single latent pixel."""
    words = ("--size", "64x32", "--device", "cpu")
    assert run("info", models["720p"], *words) == 2
    made = ("--prompt", "a red boat", "--out", models["720p"] / "small.mkv", *words)
    assert run("--model", models["720p"], *made) == 2
    err = capfd.readouterr().err
    assert err.count("size 64x32 is too small for this model's VAE; give 64x64 or more") == 2


@pytest.mark.parametrize(("name", "other"), [("480p", "720p"), ("720p", "480p")])
def test_wrong_parts_have_one_message_everywhere(
    name: str,
    other: str,
    models: dict[str, Path],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
):
    """The file has the original layout and no telling name."""
    config, tensors = read_transformer(models[name])
    path = tmp_path / "latest.pth"
    torch.save({"state_dict": to_original(tensors)}, path)
    shutil.copy(models[name] / "transformer/config.json", tmp_path)
    with pytest.raises(SanaStreamError) as refused:
        Engine.load(path, "cpu", "float32", parts=models[other])
    message = str(refused.value)
    assert FACTS[other]["classes"][1] in message
    assert f"the transformer takes {config.in_channels}" in message
    assert f"SANA-Video_2B_{name}_diffusers" in message
    assert run("info", path, "--parts", models[other], "--device", "cpu", "--json") == 1
    assert message in json.loads(capfd.readouterr().out)["problems"]
    info = inspect_model(path, parts=models[name])
    assert (info.preset.name, info.notes) == (FACTS[name]["model"], ())


def test_note_says_where_name_and_weights_differ(
    models: dict[str, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    place = tmp_path / "SANA-Video_2B_720p"
    shutil.copytree(models["480p"], place)
    config = json.loads((place / "transformer/config.json").read_text())
    (place / "transformer/config.json").write_text(json.dumps(config | {"sample_size": 22}))
    index = json.loads((place / "model_index.json").read_text())
    index["vae"] = ["diffusers", "AutoencoderKLLTX2Video"]
    (place / "model_index.json").write_text(json.dumps(index))
    assert run("info", place, "--device", "cpu") == 0
    out = capfd.readouterr().out
    assert "that of SANA-Video 2B 720p" in out
    assert "model_index.json names AutoencoderKLLTX2Video for vae/" in out


# Keys that decide shapes: another value cannot be that of these weights.
DECIDING = {
    "transformer/config.json": (
        *("in_channels", "out_channels", "num_attention_heads", "attention_head_dim"),
        *("num_layers", "caption_channels", "cross_attention_dim", "patch_size", "mlp_ratio"),
        *("qk_norm", "norm_elementwise_affine", "attention_bias", "guidance_embeds"),
        *("_class_name",),
    ),
    "vae/config.json": ("_class_name", "latent_channels", "z_dim", "layers_per_block", "base_dim"),
}
VALUES = st.one_of(
    st.integers(-3, 300),
    st.booleans(),
    st.floats(0.1, 9),
    st.none(),
    st.sampled_from(["reflect", "AutoencoderKL", "SanaTransformer2DModel", [1, 2, 2], [2, 1, 1]]),
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_contradictions_are_refused_or_noted(models: dict[str, Path], data: st.DataObject):
    folder = models[data.draw(st.sampled_from(NAMES))]
    file = data.draw(st.sampled_from(sorted(DECIDING)))
    whole = (folder / file).read_text()
    published = json.loads(whole)
    keys = data.draw(st.lists(st.sampled_from(sorted(published)), min_size=1, max_size=2))
    changed = published | {key: data.draw(VALUES) for key in keys}
    try:
        (folder / file).write_text(json.dumps(changed))
        said = reported(folder)
    finally:
        (folder / file).write_text(whole)
    deciding = [
        key for key in keys if key in DECIDING[file] and differs(changed[key], published[key])
    ]
    assert said or not deciding, deciding
    assert "\n" not in said


def reported(folder: Path) -> str:
    """What is said of a model: errors and notes; empty for one that is accepted as it is."""
    try:
        info = inspect_model(folder)
    except SanaStreamError as error:
        return str(error)
    return " ".join((*info.problems, *info.notes))


def differs(value: Any, published: Any) -> bool:
    """Whether a value is another one, and not unset: a key that is null has its default."""
    return not is_idle(value) and (type(value) is bool, value) != (False, published)
