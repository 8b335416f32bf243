"""Invalid arguments from Python: refused before any work, by name, without side effects."""

from __future__ import annotations

import inspect
import itertools
import threading
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sana_stream._arguments import Arguments
from sana_stream.engine.engine import Engine
from sana_stream.engine.noise import counter_noise
from sana_stream.errors import ConfigError, SanaStreamError

UNDEFINED = object()
# values of many types; each parameter names the few of them that it accepts
WRONG: tuple[Any, ...] = (
    None,
    True,
    np.bool_(False),
    -1,
    1.5,
    float("nan"),
    float("inf"),
    10**400,
    -(10**400),
    2**64,
    "",
    "7",
    "a\x00b",
    "\udcff",
    "a" * 3_000_000,
    b"a red boat",
    [],
    ["a", "b"],
    {},
    {1},
    UNDEFINED,
    int,
    Path("x"),
    Decimal(1),
    1j,
    np.float32("nan"),
    np.array([1, 2]),
    np.array(3),
    torch.tensor(3),
    torch.tensor([1.0, 2.0]),
    torch.float32,
    iter([]),
    range(3),
    1e308,
    "cuda:99",
)
ACCEPTED: dict[str, Callable[[Any], bool]] = {
    "prompt": lambda v: v in ("7", "cuda:99"),
    "negative_prompt": lambda v: v is None or v in ("", "7", "cuda:99"),
    "noise": lambda v: v is None or v is int,
    "aspect": lambda v: v is None or v in (1.5, "7"),
    "guidance": lambda v: v is None or v == 1.5,
    "flow_shift": lambda v: v is None or v == 1.5,
    "seed": lambda v: False,
}
PARAMETERS = [
    name
    for name in inspect.signature(Engine.session).parameters
    if name not in ("self", "image", "video")
]


def accepts(name: str, value: Any) -> bool:
    """Whether a parameter accepts a value that others refuse."""
    allowed = ACCEPTED.get(name, lambda v: v is None)
    return isinstance(value, str | float | type(None) | type) and bool(allowed(value))


def refused(call: Callable[[], object], kind: type[Exception] = ConfigError) -> str:
    """Call a function that must raise, and return its printable one-line message."""
    with pytest.raises(kind) as caught:
        call()
    message = str(caught.value)
    assert message
    assert len(message) <= 1000
    assert message.isprintable()
    return message


@pytest.mark.parametrize("name", PARAMETERS)
def test_session_with_invalid_value_raises(tiny_engine: Engine, name: str) -> None:
    for value in WRONG:
        if not accepts(name, value):
            given: Any = {"prompt": "a red boat"} | {name: value}
            message = refused(lambda given=given: tiny_engine.session(**given))
            topic = {"height": "size", "width": "size"}.get(name, name)
            assert name in message or topic in message, message


@pytest.mark.parametrize(
    "name",
    ["model", "device", "dtype", "loras", "decode_frames", "decoder", "offload_text", "quantize"],
)
def test_load_with_invalid_value_raises(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for value in WRONG:
        if value is None and name in ("decode_frames", "decoder", "offload_text", "quantize"):
            continue
        if name == "offload_text" and value is True:
            continue
        if name == "dtype" and isinstance(value, torch.dtype):
            continue
        if name == "decode_frames" and isinstance(value, int) and value > 1:
            continue
        if name == "loras" and isinstance(value, list) and not value:
            continue
        if name == "loras" and isinstance(value, type(iter([]))):
            continue
        given: Any = {"model": tiny_folder, "device": "cpu"} | {name: value}
        refused(lambda given=given: Engine.load(**given), SanaStreamError)


def test_session_accepts_numpy_numbers(tiny_engine: Engine) -> None:
    settings = (
        tiny_engine.session(
            "a red boat",
            seed=np.int64(7),  # type: ignore[arg-type]
            height=np.uint16(32),  # type: ignore[arg-type]
            timesteps=np.array([1000, 500]),  # type: ignore[arg-type]
            guidance=Fraction(3, 2),  # type: ignore[arg-type]
        )
        .snapshot()
        .settings
    )
    assert (settings.seed, settings.height, settings.guidance) == (7, 32, 1.5)
    assert settings.timesteps == (1000.0, 500.0)
    assert {type(settings.seed), type(settings.height)} == {int}


def test_refused_call_changes_nothing(tiny_engine: Engine, tmp_path: Path) -> None:
    straight = list(itertools.islice(tiny_engine.session("a red boat"), 3))
    session = tiny_engine.session("a red boat")
    session.keep_history(100)
    blocks = [next(session)]
    calls: list[Callable[[Any], object]] = [
        session.switch,
        session.reseed,
        session.rewind,
        session.keep_history,
        session.save,
        lambda value: session.switch("night", value),
        lambda value: session.rewind(1.0, value),
        lambda value: session.keep_history(1, value),
        lambda value: session.keep_history(1, folder=value),
        lambda value: session.save(tmp_path / "a.ckpt", value),
        lambda value: session.save(tmp_path / "a.ckpt", {"a": value}),
        tiny_engine.session_from,
        tiny_engine.set_loras,
        lambda value: tiny_engine.set_loras([value]),
        lambda value: tiny_engine.set_loras([("a.safetensors", value)]),
        tiny_engine.encode_prompt,
        tiny_engine.resume,
    ]
    for call in calls:
        for value in (b"a", UNDEFINED, 1j, np.array([1, 2]), float("nan"), int):
            refused(lambda call=call, value=value: call(value), SanaStreamError)
        blocks += [next(session)] if len(blocks) < 3 else []
    assert all(np.array_equal(a.frames, b.frames) for a, b in zip(blocks, straight, strict=True))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("drawn", "message"),
    [
        (lambda shape: torch.zeros(1), r"noise for block_index 0, step_index 0 has shape \(1,\)"),
        (lambda shape: torch.zeros(shape, dtype=torch.int32), "is torch.int32: give a tensor"),
        (lambda shape: np.zeros(shape), "of type ndarray: give a tensor"),
        (lambda shape: None, "is None: give a tensor"),
    ],
)
def test_noise_of_wrong_type_raises_when_used(
    tiny_engine: Engine, drawn: Callable[[tuple[int, ...]], Any], message: str
) -> None:
    good = counter_noise(0)
    wrong = [True]

    def noise(block: int, step: int, shape: tuple[int, ...]) -> torch.Tensor:
        return drawn(shape) if wrong[0] else good(block, step, shape)

    session = tiny_engine.session("a red boat", noise=noise)
    with pytest.raises(ConfigError, match=message):
        next(session)
    wrong[0] = False
    assert np.array_equal(next(session).frames, next(tiny_engine.session("a red boat")).frames)


def test_switch_from_another_thread_takes_effect(tiny_engine: Engine) -> None:
    inside, switched = threading.Event(), threading.Event()
    good = counter_noise(0)

    def noise(block: int, step: int, shape: tuple[int, ...]) -> torch.Tensor:
        inside.set()
        switched.wait(0.2)
        return good(block, step, shape)

    session = tiny_engine.session("a red boat", noise=noise)

    def switch() -> None:
        inside.wait(60)
        session.switch("night falls")
        switched.set()

    thread = threading.Thread(target=switch)
    thread.start()
    first = next(session)
    thread.join()
    assert [first.prompt, session.prompt] == ["a red boat", "night falls"]


def test_snapshot_of_another_model_raises(tiny_engine: Engine) -> None:
    pocket = Engine.load("pocket", "cpu", "float32")
    with pytest.raises(ConfigError, match="the snapshot is of another model"):
        tiny_engine.session_from(pocket.session("a red boat").snapshot())


@pytest.mark.parametrize(
    "given",
    [
        {"height": 99984, "width": 99984},
        {"block_frames": 10_000, "height": 16000, "width": 16000},
        {"memory": "window=9999", "height": 16000, "width": 16000},
    ],
)
def test_session_beyond_memory_raises_before_allocation(
    tiny_engine: Engine, given: dict[str, Any]
) -> None:
    message = refused(lambda: tiny_engine.session("a red boat", **given))
    assert "this machine has" in message


values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.binary(),
    st.lists(st.integers(), max_size=3),
    st.fractions(),
    st.complex_numbers(),
)


@given(values, st.sampled_from(["whole", "number", "text", "path", "flag", "word", "items"]))
def test_check_returns_plain_type_or_raises_one_line(value: object, check: str) -> None:
    checks = Arguments(ConfigError)
    kinds: dict[str, tuple[type, Callable[[], object]]] = {
        "whole": (int, lambda: checks.whole("name", value, 0, 10)),
        "number": (float, lambda: checks.number("name", value, 0, 10)),
        "text": (str, lambda: checks.text("name", value)),
        "path": (Path, lambda: checks.path("name", value)),
        "flag": (bool, lambda: checks.flag("name", value)),
        "word": (str, lambda: checks.word("name", value)),
        "items": (list, lambda: checks.items("name", value, "numbers", 10)),
    }
    kind, call = kinds[check]
    found, message = outcome(call)
    if message is None:
        assert isinstance(found, kind)
        assert check not in ("whole", "number") or found == float(value)  # type: ignore[arg-type]
    else:
        assert message.startswith("name")
        assert message.isprintable()


def outcome(call: Callable[[], object]) -> tuple[object, str | None]:
    try:
        return call(), None
    except ConfigError as error:
        return None, str(error)


@pytest.mark.parametrize("name", ["\ud800", "a\x00b", "", "x" * 5000])
def test_impossible_path_raises(name: str) -> None:
    with pytest.raises(ConfigError, match="is not a path: give the name of a file"):
        Arguments(ConfigError).path("path", name)
