"""What the page asks of the model: unknown words, example prompts; and pictures to cut to."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.resources import files
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from PIL import Image

from sana_stream.engine.loading.vocabulary import Vocabulary
from sana_stream.streaming.control.live_control import LiveControl
from sana_stream.streaming.run.config import RunConfig
from sana_stream.streaming.run.model import describe_files
from sana_stream.streaming.run.model_facts import EMBEDDED_EXAMPLES, served_model, word_finder
from sana_stream.streaming.web.auth import AccessPolicy
from sana_stream.streaming.web.live_feed import LiveFeed
from sana_stream.streaming.web.registry import StreamRegistry
from sana_stream.streaming.web.served_model import ExamplePrompt, ServedModel
from sana_stream.streaming.web.server import WebServer
from sana_stream.streaming.web.status import RunStatus

from ..http_client import VIDEO, ask, stream_of

WORDS = Vocabulary(frozenset(("boat", "red", "rolls", "sails", "train", "trains")))
EXAMPLES = (ExamplePrompt("a red boat", "example-boat.webp"), ExamplePrompt("a train"))

CUT = {"prompt": None, "from_frame_or_later": 0, "unknown_words": []}


@pytest.fixture
def closed() -> Iterator[WebServer]:
    """A server whose model knows few words and takes no pictures."""
    model = ServedModel(word_finder(WORDS), EXAMPLES, takes_pictures=False)
    streams = StreamRegistry()
    streams.begin(LiveFeed(VIDEO), LiveControl(), RunStatus(VIDEO, "A day"))
    with WebServer(streams, AccessPolicy.on("127.0.0.1", 0), model=model) as server:
        yield server


def answer(server: WebServer, path: str) -> Any:
    code, content = ask(server, path)
    assert code == 200
    return json.loads(content)


def png(width: int = 8, height: int = 6) -> bytes:
    data = BytesIO()
    Image.new("RGB", (width, height), (200, 20, 20)).save(data, "png")
    return data.getvalue()


def form(**files: bytes) -> tuple[bytes, str]:
    """A form with files and, for names that end in `_text`, text; and its content type."""
    parts = [
        b'--xyz\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n'
        % (
            name.removesuffix("_text").encode(),
            b"" if name.endswith("_text") else b'; filename="a.png"',
            content,
        )
        for name, content in files.items()
    ]
    return b"".join(parts) + b"--xyz--\r\n", "multipart/form-data; boundary=xyz"


@pytest.mark.parametrize(
    ("prompt", "unknown"),
    [
        ("", []),
        ("a red boat", []),
        ("a red boot sails", [("boot", ["boat"])]),
        ("~4 a rad train", [("rad", [])]),
        ("a boat :0.5 | a trian :0.5", [("trian", ["train"])]),
        ("a boat :0.5 | a trainz", [("trainz", ["train", "trains"])]),
        ("a boat --neg zebra", []),
        ("zebra zebra", [("zebra", [])]),
    ],
)
def test_unknown_words_come_with_the_nearest_known_ones(
    closed: WebServer, prompt: str, unknown: list[tuple[str, list[str]]]
) -> None:
    found = answer(closed, f"/words?prompt={quote(prompt)}")
    assert found["closed_vocabulary"]
    assert found["unknown"] == [{"word": word, "nearest": near} for word, near in unknown]


def test_a_model_that_reads_any_word_names_none(server: WebServer) -> None:
    assert answer(server, "/words?prompt=zebra") == {"closed_vocabulary": False, "unknown": []}
    assert answer(server, "/examples") == {"examples": [], "takes_pictures": True}


def test_words_without_a_prompt_are_those_that_the_model_knows() -> None:
    topics = {"animals": ("fox", "hare"), "other words": ["red"]}
    model = ServedModel(word_finder(WORDS), topics=topics)
    with WebServer(StreamRegistry(), AccessPolicy.on("127.0.0.1", 0), model=model) as server:
        known = {"animals": ["fox", "hare"], "other words": ["red"]}
        expected = {"closed_vocabulary": True, "unknown": [], "topics": known}
        assert answer(server, "/words") == expected
        assert "topics" not in answer(server, "/words?prompt=")


def test_embedded_model_has_its_words_by_topic() -> None:
    config = RunConfig(["-"])
    model = served_model(config, describe_files(config))
    assert "fox" in model.topics["subjects"]


def test_many_words_are_limited(closed: WebServer) -> None:
    words = " ".join(f"w{number}" for number in range(500))
    assert len(answer(closed, f"/words?prompt={quote(words)}")["unknown"]) == 20
    assert ask(closed, f"/words?prompt={'w' * 4001}")[0] == 400
    assert ask(closed, "/words?prompt=%ff%00")[0] == 200
    assert ask(closed, "/words", "x")[0] == 405


def test_examples_have_prompts_and_pictures(closed: WebServer) -> None:
    first, second = answer(closed, "/examples")["examples"]
    assert first == {"prompt": "a red boat", "picture": "example-boat.webp"}
    assert second == {"prompt": "a train", "picture": None}


def test_examples_of_the_embedded_model_are_small_pictures(server: WebServer) -> None:
    vocabulary = Vocabulary.read(Path(str(files("sana_stream.models"))) / "pocket")
    assert vocabulary is not None
    for example in EMBEDDED_EXAMPLES:
        assert vocabulary.unknown(example.prompt) == []
        code, content = ask(server, f"/{example.picture}")
        assert code == 200
        assert len(content) <= 8192
        assert Image.open(BytesIO(content)).format == "WEBP"


def test_a_stream_cuts_to_a_picture(current: StreamRegistry, server: WebServer) -> None:
    control = stream_of(current).control
    code, content = ask(server, "/image", png(), Content_Type="image/png")
    assert (code, json.loads(content)) == (202, CUT)
    changes = control.drain(5)
    assert changes.prompt is None
    assert changes.image is not None
    assert Image.open(BytesIO(changes.image)).size == (8, 6)
    body, kind = form(image=png(), prompt_text=b"a  fox")
    code, content = ask(server, "/streams/1/image", body, Content_Type=kind)
    assert (code, json.loads(content)["prompt"]) == (202, "a fox")
    changes = control.drain(9)
    assert (changes.prompt, changes.image is None) == ("a fox", False)
    assert control.drain(13).image is None


@pytest.mark.parametrize(
    ("body", "kind", "code"),
    [
        (b"no picture", "image/png", 400),
        (b"", "image/png", 400),
        (png()[:40], "image/png", 400),
        (b"a prompt", "text/plain", 415),
        (b"no form", "multipart/form-data", 400),
        (*form(picture=png()), 400),
        (*form(image=png(), seed_text=b"4"), 400),
        (*form(image=png(), prompt_text=b"x" * 5000), 400),
        (*form(image=png(), prompt_text=b"a :0.7 | b :0.7"), 400),
    ],
)
def test_other_pictures_change_nothing(
    current: StreamRegistry, server: WebServer, body: bytes, kind: str, code: int
) -> None:
    status, reason = ask(server, "/image", body, Content_Type=kind)
    assert status == code
    assert reason.count(b"\n") == 1
    assert stream_of(current).control.drain(3).image is None


def test_forms_are_taken_for_pictures_only(server: WebServer) -> None:
    body, kind = form(image=png())
    for path in ("/prompt", "/command"):
        assert ask(server, path, body, Content_Type=kind)[0] == 415
    assert ask(server, "/prompt", bytes(17 << 20), Content_Type=kind)[0] == 413


def test_a_model_without_pictures_refuses_them(closed: WebServer) -> None:
    code, reason = ask(closed, "/image", png(), Content_Type="image/png")
    assert (code, reason) == (400, b"this model cannot cut to a picture\n")
    assert not answer(closed, "/examples")["takes_pictures"]


def test_a_picture_needs_the_role_control(current: StreamRegistry) -> None:
    access = AccessPolicy("127.0.0.1", 0, "control", "view")
    with WebServer(current, access) as server:
        for token, code in (("view", 403), ("control", 202), ("other", 401)):
            path = f"/image?token={token}"
            assert ask(server, path, png(), Content_Type="image/png")[0] == code
        assert ask(server, "/words?prompt=x&token=view")[0] == 200


def test_status_and_answers_name_unknown_words_also_beside_known_ones(closed: WebServer) -> None:
    assert answer(closed, "/status")["unknown_words"] == {}
    trian = {"word": "trian", "nearest": ["train"]}
    far = {"word": "zeppelin", "nearest": []}
    code, content = ask(closed, "/prompt", "~2 a red trian")
    assert code == 202
    assert json.loads(content)["unknown_words"] == [trian]
    assert answer(closed, "/status")["unknown_words"] == {"a red trian": [trian]}
    assert stream_prompts(closed, "a zeppelin :0.5 | a trian :0.5") == [far, trian]
    assert stream_prompts(closed, "a red train") == []


def stream_prompts(server: WebServer, prompt: str) -> Any:
    """The unknown words in the answer to a prompt."""
    return json.loads(ask(server, "/prompt", prompt)[1])["unknown_words"]
