"""Requests that the videos API refuses: bodies, fields and pictures, as OpenAI's JSON errors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ..serving.local_server import LocalServer
from .video_requests import PICTURE, by_url, create, data_url, form, picture

BOMB = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\xff\xff\x00\x00\xff\xff\x08\x02\x00\x00\x00"
PROMPT = ("prompt", b"a red boat", False)


@pytest.mark.parametrize(
    ("parts", "status", "param"),
    [
        ((PROMPT, ("input_reference", b"no picture", True)), 400, "input_reference"),
        ((PROMPT, ("input_reference", b"", True)), 400, "input_reference"),
        ((PROMPT, ("input_reference", BOMB, True)), 400, "input_reference"),
        ((PROMPT, ("image", picture(), True)), 400, "'image'"),
        ((PROMPT, ("input_reference", b"text", False)), 400, "input_reference"),
        ((PROMPT, ("seed", b"seven", False)), 400, "seed"),
        ((PROMPT, PROMPT), 400, None),
        ((PROMPT, ("input_reference", bytes(17 << 20), True)), 413, None),
    ],
)
def test_invalid_forms_are_refused(
    served: LocalServer, parts: tuple[Any, ...], status: int, param: str | None
) -> None:
    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    code, body, _ = served.ask("POST", "/v1/videos", form("x", *parts), kind)
    assert (code, json.loads(body)["error"]["param"]) == (status, param and param.strip("'"))


@pytest.mark.parametrize(
    ("fields", "status", "param", "words"),
    [
        ({}, 400, "prompt", "prompt: is missing"),
        ({"prompt": ""}, 400, "prompt", "1 to 4000"),
        ({"prompt": "x", "story": "y"}, 400, None, "leave one of them out"),
        ({"prompt": "x", "model": "sora-2"}, 404, "model", "'sora-2' does not exist"),
        ({"prompt": "x", "lora": "y"}, 400, "lora", "'lora': a film has prompt, story"),
        ({"prompt": "x", "realtime": True}, 400, "realtime", "a film has"),
        ({"prompt": "x", "seconds": "forever"}, 400, "seconds", "at most 3600"),
        ({"prompt": "x", "seconds": "-1"}, 400, "seconds", "more than 0"),
        ({"prompt": "x", "seconds": 4000}, 400, "seconds", "at most 3600"),
        ({"prompt": "x", "num_frames": 10**9}, 400, "seconds", "at most 3600"),
        ({"prompt": "x", "size": "65x32"}, 400, "size", "65"),
        ({"prompt": "x", "size": "big"}, 400, "size", "width and height"),
        ({"prompt": "x", "seed": 1.5}, 400, "seed", "1.5"),
        ({"prompt": "x<image>/etc/passwd"}, 400, None, "cannot name pictures"),
        ({"prompt": "x", "input_reference": "y"}, 400, "input_reference", "multipart form"),
        ({"prompt": "x", "input_reference": {}}, 400, "input_reference", "multipart form"),
        (by_url("http://a/b.png"), 400, "input_reference", "fetches no pictures"),
        (by_url("file:///etc/passwd"), 400, "input_reference", "fetches no pictures"),
        (by_url("data:image/png,abc"), 400, "input_reference", "not in base64"),
        (by_url("data:image/png;base64,a"), 400, "input_reference", "base64 is damaged"),
        (by_url("data:image/png;base64,"), 400, "input_reference", "picture is empty"),
        (by_url("data:image/png;base64,AAAA"), 400, "input_reference", "input_reference: "),
        (by_url("data:", file_id="f"), 400, "input_reference", "keeps no files"),
        (by_url("data:", other="f"), 400, "input_reference", "in a form as input_reference["),
    ],
)
def test_invalid_films_are_refused(
    served: LocalServer, fields: dict[str, object], status: int, param: str | None, words: str
) -> None:
    code, answer = create(served, **fields)
    error = answer["error"]
    assert (code, error["param"], words in error["message"]) == (status, param, True), error
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error"
    if isinstance(reference := fields.get(PICTURE), dict) and reference:  # the same as a form
        nested = ((f"{PICTURE}[{name}]", text.encode(), False) for name, text in reference.items())
        kind = {"Content-Type": "multipart/form-data; boundary=x"}
        code, body, _ = served.ask("POST", "/v1/videos", form("x", PROMPT, *nested), kind)
        assert (code, json.loads(body)["error"]) == (status, error)


def test_a_picture_is_given_once(served: LocalServer) -> None:
    url = (f"{PICTURE}[image_url]", data_url(picture()).encode(), False)
    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    for other, words in (
        ((PICTURE, picture(), True), "given as a file and as input_reference["),
        ((PICTURE, b"text", False), "cannot be 'text'"),
        (url, "repeats a field"),
    ):
        code, body, _ = served.ask("POST", "/v1/videos", form("x", PROMPT, url, other), kind)
        assert (code, words in json.loads(body)["error"]["message"]) == (400, True), body


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", f"/v1/videos/video_{'0' * 32}", 404),
        ("GET", "/v1/videos/..%2fstream-0001.mp4", 404),
        ("DELETE", f"/v1/videos/video_{'0' * 32}", 404),
        ("GET", f"/v1/videos/video_{'0' * 32}/content", 404),
        ("GET", "/v1/models/gpt-9", 404),
        ("GET", "/v1/videos?limit=0", 400),
        ("GET", "/v1/videos?limit=" + "9" * 5000, 400),
        ("GET", "/v1/videos?order=up", 400),
        ("GET", "/v1/videos?after=video_1", 400),
        ("GET", "/v1/videos?first=1", 400),
        ("GET", "/v1/nothing", 404),
        ("PUT", "/v1/videos", 405),
    ],
)
def test_other_refusals_have_the_same_form(
    served: LocalServer, method: str, path: str, status: int
) -> None:
    code, body, headers = served.ask(method, path)
    assert (code, headers["content-type"]) == (status, "application/json")
    assert set(json.loads(body)["error"]) == {"message", "type", "param", "code"}


def test_bodies_of_other_kinds_are_refused(served: LocalServer) -> None:
    for kind, body, status in (
        ("text/plain", b"a red boat", 415),
        ("application/json", b"{", 400),
        ("application/json", b'{"prompt": "' + b"x" * 70_000 + b'"}', 413),
        ("multipart/form-data", b"", 400),
        ("image/png", picture(), 415),
    ):
        code, answer, _ = served.ask("POST", "/v1/videos", body, {"Content-Type": kind})
        assert (code, "error" in json.loads(answer)) == (status, True), answer


def test_only_the_picture_of_a_body_may_be_large(served: LocalServer) -> None:
    large = "data:" + "x" * (70 << 10)
    kind = {"Content-Type": "application/json"}
    for path, fields, status in (
        ("/v1/videos", {**by_url("data:,"), "prompt": "x" * (70 << 10)}, 413),
        ("/v1/videos", {**by_url(large), "story": large}, 413),
        ("/v1/videos", by_url("data:" + "x" * (17 << 20)), 413),
        ("/v1/videos", by_url(large), 400),
        ("/streams", by_url(large), 413),
        ("/v1/videos/video_1/remix", by_url(large), 413),
    ):
        content = json.dumps(fields).encode()
        assert served.ask("POST", path, content, kind)[0] == status, (path, len(content))
    forms = {"Content-Type": "multipart/form-data; boundary=x"}
    url = f"{PICTURE}[image_url]"
    for path, name, value, status in (
        ("/v1/videos", url, "x" * (70 << 10), 413),
        ("/v1/videos", url, "data:" + "x" * (17 << 20), 413),
        ("/v1/videos", url, large, 400),
        ("/v1/videos", "story", large, 413),
        ("/streams", url, large, 413),
        ("/streams", "story", large, 413),
    ):
        content = form("x", PROMPT, (name, value.encode(), False))
        assert served.ask("POST", path, content, forms)[0] == status, (path, name)


def test_a_branch_with_a_picture_is_refused(served: LocalServer, served_folder: Path) -> None:
    body = form("xyz", ("branch_from", b'{"stream": 1}', False), ("image", picture(), True))
    kind = {"Content-Type": "multipart/form-data; boundary=xyz"}
    status, answer, _ = served.ask("POST", "/streams", body, kind)
    assert (status, b"leave the picture out" in answer) == (400, True), answer
    assert not list(served_folder.glob("*.start.*"))
