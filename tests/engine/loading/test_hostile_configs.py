"""Configuration files with any value at any key: loaded, or refused quickly on one line."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sana_stream.engine.engine import Engine
from sana_stream.engine.loading.inspect import estimate_memory, inspect_model
from sana_stream.errors import CheckpointError, ConfigError, SanaStreamError

FILES = (
    "transformer/config.json",
    "vae/config.json",
    "text_encoder/config.json",
    "scheduler/scheduler_config.json",
    "tokenizer/tokenizer.json",
    "tokenizer/tokenizer_config.json",
    "stream.json",
    "model_index.json",
)
LONGEST = 1200  # characters of a message
SECONDS = 10  # of CPU time, generous: it takes milliseconds

Keys = tuple[str | int, ...]
REMOVED = object()
VALUES = st.one_of(
    st.sampled_from([None, True, False, "", "x", "nan", "\x1b[2J", [], {}, [None], {"a": 1}]),
    st.sampled_from([0, -1, 1, 3, 10**5, 10**9, 10**12, 2**63, 10**300, -(10**12)]),
    st.sampled_from([0.5, -0.0, 1e308, 1e-320, "a" * 10**5, [0] * 10**4, [[[[]]]], [1e308] * 3]),
    st.just(REMOVED),
)


def places(value: Any, before: Keys = ()) -> Iterator[Keys]:
    """Yield the paths of nested JSON values; of long lists and tables the first ones."""
    items: Any = ()
    if isinstance(value, dict):
        items = list(value.items())[:40]
    elif isinstance(value, list):
        items = list(enumerate(value))[:3]
    for key, inner in items:
        yield (*before, key)
        yield from places(inner, (*before, key))


def changed(value: Any, place: Keys, new: Any) -> Any:
    """Return a copy with another value at one path."""
    if not place:
        return new
    copy: Any = dict(value) if isinstance(value, dict) else list(value)
    if len(place) == 1 and new is REMOVED:
        del copy[place[0]]
    else:
        copy[place[0]] = changed(value[place[0]], place[1:], new)
    return copy


@pytest.fixture(scope="module")
def folder(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("hostile") / "model"
    shutil.copytree(tiny_folder, place)
    return place


def load(folder: Path) -> object:
    engine = Engine.load(folder, "cpu", "float32")
    return next(engine.session("a red boat", height=32, width=48)).frames


WAYS: dict[str, Callable[[Path], object]] = {
    "describe": lambda folder: inspect_model(folder).require_loadable(),
    "info": lambda folder: estimate_memory(inspect_model(folder), "cpu", "float32"),
    "load": load,
}


def refusal(way: Callable[[Path], object], folder: Path) -> str:
    """Return the library's error message, empty without an error."""
    try:
        way(folder)
    except SanaStreamError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("file", FILES)
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_value_at_any_key_is_handled(folder: Path, file: str, data: st.DataObject):
    path = folder / file
    whole = path.read_text()
    value = json.loads(whole)
    place = data.draw(st.sampled_from(list(places(value))))
    new = data.draw(VALUES)
    try:
        path.write_text(json.dumps(changed(value, place, new)))
        for way in WAYS.values():
            begun = time.process_time()
            message = refusal(way, folder)
            assert message.isprintable()
            assert len(message) <= LONGEST
            assert time.process_time() - begun < SECONDS
    finally:
        path.write_text(whole)


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", "\x00" * 100, '{"a":' * 10**5, "[" * 10**5, '{"a": NaN}garbage'],
    ids=["empty", "open", "list", "null", "zeros", "deep", "deep list", "behind"],
)
def test_broken_file_is_named(folder: Path, file: str, text: str):
    path = folder / file
    whole = path.read_text()
    try:
        path.write_text(text)
        with pytest.raises(CheckpointError, match=path.name):
            inspect_model(folder).require_loadable()
        with pytest.raises(CheckpointError, match=path.name):
            load(folder)
    finally:
        path.write_text(whole)


@pytest.mark.parametrize("file", FILES)
def test_pipe_instead_of_a_file_does_not_hang(tiny_folder: Path, tmp_path: Path, file: str):
    folder = tmp_path / "m"
    shutil.copytree(tiny_folder, folder)
    (folder / file).unlink()
    os.mkfifo(folder / file)
    for way in WAYS.values():
        assert refusal(way, folder) == "" or "not a regular file" in refusal(way, folder)


BAD: dict[str, tuple[str, dict[str, Any], str]] = {
    "layers": (FILES[0], {"num_layers": 10**9}, "num_layers is 1000000000: it should be less"),
    "layers in bounds": (FILES[0], {"num_layers": 400}, "has 2 layers, .* num_layers 400"),
    "text": (FILES[0], {"num_layers": "2"}, "num_layers is '2': it should be a valid integer"),
    "null": (FILES[0], {"num_layers": None}, "num_layers is null"),
    "truth": (FILES[0], {"num_layers": True}, "num_layers is True"),
    "unknown": (FILES[0], {"attention_kind": "full"}, "unknown keys attention_kind"),
    "class": (FILES[0], {"_class_name": "UNet2DModel"}, "a model of another kind; supported"),
    "vae": (FILES[1], {"base_dim": 10**12}, "base_dim is 1000000000000"),
    "text layers": (FILES[2], {"num_hidden_layers": 500}, "num_hidden_layers is 500"),
    "text width": (FILES[2], {"hidden_size": 48}, "the parts are not of one model"),
    "remote code": (FILES[2], {"auto_map": {"AutoModel": "x--y.Z"}}, "asks for code to be run"),
    "text window": (FILES[2], {"sliding_window": None}, "sliding_window is null"),
    "text dtype": (FILES[2], {"dtype": 7}, "dtype is 7: it should be a valid string"),
    "text turns": (
        FILES[2],
        {"rope_parameters": {"rope_theta": None}},
        "rope_parameters: rope_theta is null",
    ),
    "text turns of a layer": (
        FILES[2],
        {"rope_parameters": {"full_attention": {"rope_theta": "12"}}},
        "rope_parameters: rope_theta is '12'",
    ),
    "remote kernel": (FILES[2], {"_attn_implementation": "owner/kernel"}, "use eager or sdpa"),
    "regular expression": (
        FILES[4],
        {"normalizer": {"type": "Replace", "pattern": {"Regex": "(a+)+$"}, "content": ""}},
        "a regular expression, which may run endlessly",
    ),
    "component": (FILES[4], {"pre_tokenizer": {"type": "Shell"}}, "Shell, which is not one of"),
    "padding": (FILES[4], {"padding": {"strategy": "x", "max_length": 10**9}}, "max_length"),
    "remote tokenizer": (FILES[5], {"auto_map": {"AutoTokenizer": "x"}}, "auto_map"),
    "timesteps": (FILES[6], {"timesteps": [1, 2]}, "timesteps must descend"),
    "solver": (FILES[6], {"solver": "magic"}, "solver is magic; allowed are renoise"),
    "memory": (FILES[6], {"memory": "window=0"}, "memory 'window=0' is not known"),
    "height": (FILES[6], {"height": 10**9}, "height is 1000000000"),
}


@pytest.mark.parametrize("name", BAD)
def test_message_names_file_key_and_allowed_values(tiny_folder: Path, tmp_path: Path, name: str):
    file, values, message = BAD[name]
    folder = tmp_path / "m"
    shutil.copytree(tiny_folder, folder)
    known = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps(known | values))
    with pytest.raises((CheckpointError, ConfigError), match=message):
        load(folder)


# written by one program each: an unknown key there is an error
OWN_FILES = ("stream.json", "tokenizer/tokenizer.json")
IDLE: list[Any] = [None, False, 0, 0.0, "", [], {}]


@pytest.mark.parametrize("file", [file for file in FILES if file not in OWN_FILES])
def test_unknown_keys_with_default_like_values_are_ignored(
    tiny_folder: Path, tmp_path: Path, file: str
):
    folder = tmp_path / "m"
    shutil.copytree(tiny_folder, folder)
    known = json.loads((folder / file).read_text())
    more = {f"of_a_newer_writer_{number}": value for number, value in enumerate(IDLE)}
    (folder / file).write_text(json.dumps(known | more))
    assert inspect_model(folder).problems == ()
    Engine.load(folder, "cpu", "float32")
