"""The videos API, as the real `openai` package speaks it."""

from __future__ import annotations

import http.client
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sana_stream.streaming.web.v1.video_index import KeptVideo

from ...command import pictures
from ..serving.local_server import LocalServer, serving
from .video_requests import PICTURE, by_url, completed, create, data_url, form, picture

SHORT = {"seconds": "1", "extra_body": {"seed": 7}}


def client_of(served: LocalServer, **more: Any) -> Any:
    openai = pytest.importorskip("openai")
    base = f"http://127.0.0.1:{served.port}/v1"
    return openai.OpenAI(base_url=base, api_key="sk-local", max_retries=0, **more)


@pytest.mark.filterwarnings("ignore:The Sora API:DeprecationWarning")
def test_client_of_the_guide_makes_a_film(
    served: LocalServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openai")
    monkeypatch.chdir(tmp_path)
    guide = Path(__file__).parents[3] / "examples" / "guides" / "server.md"
    (snippet,) = re.findall(r"```python\n(.*?)```", guide.read_text("utf-8"), re.DOTALL)
    assert "127.0.0.1:8765" in snippet
    names: dict[str, Any] = {}
    exec(snippet.replace("127.0.0.1:8765", f"127.0.0.1:{served.port}"), names)
    assert len(pictures(tmp_path / "boat.mp4")) == 64
    assert names["night"].remixed_from_video_id == names["film"].id


@pytest.mark.filterwarnings("ignore:The Sora API:DeprecationWarning")
def test_openai_creates_polls_downloads_lists_remixes_and_deletes(
    served: LocalServer, served_folder: Path, tmp_path: Path
) -> None:
    client = client_of(served)
    (model,) = client.models.list().data
    film = client.videos.create_and_poll(
        model=model.id, prompt="a red boat", size="48x32", poll_interval_ms=50, **SHORT
    )
    assert (film.status, film.progress, film.seconds, film.size) == ("completed", 100, "1", "48x32")
    assert film.completed_at >= film.created_at
    (made := tmp_path / "a.mp4").write_bytes(client.videos.download_content(film.id).read())
    assert pictures(made).shape == (16, 32, 48, 3)
    for variant, width in (("thumbnail", 48), ("spritesheet", 5 * 48)):
        data = client.videos.download_content(film.id, variant=variant).read()
        assert Image.open(io.BytesIO(data)).width == width
    first = client.videos.create(
        prompt="a fox", input_reference=("a.png", picture(), "image/png"), **SHORT
    )
    nested = {PICTURE: {"image_url": data_url(picture())}}  # sent as input_reference[image_url]
    second = client.videos.create(prompt="a fox", seconds="1", extra_body={"seed": 7, **nested})
    remix = client.videos.remix(film.id, prompt="night falls")
    assert (remix.remixed_from_video_id, remix.prompt) == (film.id, "night falls")
    for each in (first, second, remix):
        assert client.videos.poll(each.id, poll_interval_ms=50).status == "completed"
    listed = [each.id for each in client.videos.list(limit=2)]
    assert listed[:4] == [remix.id, second.id, first.id, film.id]
    plain = client.videos.create_and_poll(prompt="a fox", poll_interval_ms=50, **SHORT)
    files = [served_folder / f"stream-{each.stream:04}.mp4" for each in (first, plain)]
    assert not np.array_equal(*(pictures(file)[0] for file in files))
    same = served_folder / f"stream-{second.stream:04}.mp4"
    assert np.array_equal(pictures(files[0]), pictures(same))
    assert client.videos.delete(film.id).deleted
    with pytest.raises(client_error("NotFoundError"), match="no film has this id"):
        client.videos.retrieve(film.id)
    assert film.id not in [each.id for each in client.videos.list()]
    assert not list(served_folder.glob("*.start.*"))


def client_error(name: str) -> type[Exception]:
    return getattr(pytest.importorskip("openai"), name)


def test_film_is_watched_as_a_stream_and_cancelled_by_deleting(
    served: LocalServer, served_folder: Path
) -> None:
    _, film = create(served, prompt="a red boat", seconds="3600", fps=16)
    path = f"/v1/videos/{film['id']}"
    served.await_that(lambda: served.json(path)["status"] == "in_progress")
    status, _, headers = served.ask("GET", path)
    assert int(headers["openai-poll-after-ms"]) > 0
    served.await_that(lambda: served.json(f"/streams/{film['stream']}/status").get("blocks", 0))
    status, body, _ = served.ask("GET", f"{path}/content")
    assert (status, json.loads(body)["error"]["code"]) == (409, "video_not_ready")
    assert served.ask("POST", f"{path}/remix", {"prompt": "a fox"})[0] == 409
    assert served.ask("DELETE", path)[0] == 200
    assert served.ask("GET", path)[0] == 404
    served.await_that(lambda: served.state(film["stream"]) == "cancelled")
    served.await_that(lambda: not (served_folder / f"stream-{film['stream']:04}.mp4").exists())


def test_sync_answers_with_the_file(served: LocalServer, tmp_path: Path) -> None:
    fields = {"story": "0:00 a red boat\n0:01 a fox", "seconds": 2, "fps": 8}
    status, body, headers = served.ask("POST", "/v1/videos/sync", fields)
    assert (status, headers["content-type"]) == (200, "video/mp4")
    (tmp_path / "a.mp4").write_bytes(body)
    assert len(pictures(tmp_path / "a.mp4")) == 16


def test_picture_in_json_is_that_of_a_form(served: LocalServer, served_folder: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8)
    Image.fromarray(noise).save(data := io.BytesIO(), "png")
    url = data_url(data.getvalue())
    body = json.dumps({**by_url(url), "num_frames": 9, "seed": 1})
    assert len(body) > 100_000
    body = body.replace("/", "\\/")  # as PHP writes it
    parts = [(*part, False) for part in (("prompt", b"x"), ("num_frames", b"9"), ("seed", b"1"))]
    upload = form("x", *parts, (PICTURE, data.getvalue(), True))
    nested = form("x", *parts, (f"{PICTURE}[image_url]", url.encode(), False))
    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    films = []
    for content, headers in ((body.encode(), {}), (nested, kind), (upload, kind)):
        status, answer, _ = served.ask("POST", "/v1/videos", content, headers)
        assert status == 200, answer
        films.append(json.loads(answer))
    served.await_that(lambda: served.json(f"/v1/videos/{films[2]['id']}")["status"] == "completed")
    first, *others = (pictures(served_folder / f"stream-{film['stream']:04}.mp4") for film in films)
    assert all(np.array_equal(first, other) for other in others)


def test_client_that_leaves_cancels_its_film(served: LocalServer) -> None:
    body = json.dumps({"prompt": "a red boat", "seconds": 3600}).encode()
    kind = {"Content-Type": "application/json"}
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=60)
    connection.request("POST", "/v1/videos/sync", body, kind)

    def running() -> list[int]:
        return [each["id"] for each in served.json("/streams") if each["state"] == "running"]

    served.await_that(lambda: bool(running()))
    (stream,) = running()
    connection.close()
    served.await_that(lambda: served.state(stream) == "cancelled")
    assert stream not in [each["stream"] for each in served.json("/v1/videos")["data"]]


def test_pages_of_a_list(served: LocalServer) -> None:
    ids = [completed(served, num_frames=9, seconds=None) for _ in range(3)]
    page = served.json("/v1/videos?limit=2")
    assert ([each["id"] for each in page["data"]], page["has_more"]) == (ids[:0:-1], True)
    assert (page["first_id"], page["last_id"]) == (ids[2], ids[1])
    later = served.json(f"/v1/videos?limit=1&after={ids[1]}")
    assert [each["id"] for each in later["data"]] == [ids[0]]
    upwards = served.json(f"/v1/videos?order=asc&after={ids[1]}")
    assert ([each["id"] for each in upwards["data"]], upwards["has_more"]) == ([ids[2]], False)


@pytest.mark.filterwarnings("ignore:The Sora API:DeprecationWarning")
def test_bearer_key_is_required_where_there_is_a_token(tmp_path: Path, tiny_folder: Path) -> None:
    with serving(tmp_path, tiny_folder, token="open sesame") as served:
        code, body, _ = served.ask("GET", "/v1/models")
        assert (code, json.loads(body)["error"]["code"]) == (401, "invalid_api_key")
        with pytest.raises(client_error("AuthenticationError")):
            client_of(served).videos.list()
        key = {"Authorization": "Bearer open sesame"}
        assert served.ask("GET", "/v1/videos", headers=key)[0] == 200


def test_films_outlive_the_server(
    tmp_path: Path, tiny_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(tmp_path, tiny_folder) as served:
        whole = completed(served)
        removed = completed(served)
        _, running = create(served, prompt="a red boat", seconds="6")
        _, waiting = create(served, prompt="a fox", seconds="1")
    (index := tmp_path / "videos.jsonl").open("a").write('{"id": "video_1"}\n\0oops\n')
    (tmp_path / f"stream-{2:04}.mp4").unlink()
    with serving(tmp_path, tiny_folder) as served:
        assert "2 damaged lines are left out" in caplog.text
        for film in (running, waiting):
            path = f"/v1/videos/{film['id']}"
            served.await_that(lambda p=path: served.json(p)["status"] == "completed")
        ids = [each["id"] for each in served.json("/v1/videos?order=asc")["data"]]
        assert ids == [whole, running["id"], waiting["id"]]
        assert served.ask("GET", f"/v1/videos/{removed}")[0] == 404
        status, remix, _ = served.ask("POST", f"/v1/videos/{whole}/remix", {"prompt": "night"})
        assert status == 200, remix
        assert served.ask("DELETE", f"/v1/videos/{whole}")[0] == 200
        assert not (tmp_path / "stream-0001.mp4").exists()
    assert index.read_text().count("\n") == 3


def test_ids_of_streams_without_a_file_are_not_given_again(
    tmp_path: Path, tiny_folder: Path
) -> None:
    """A film of an earlier server may have failed, or lost its recording since."""
    kept = {"created_at": 1, "model": "m", "prompt": "p", "seconds": "1", "size": ""}
    failed = KeptVideo(id=f"video_{1:032x}", stream=1, error_code="failed", error="e", **kept)
    interrupted = KeptVideo(id=f"video_{2:032x}", stream=2, **kept)
    lines = [film.model_dump_json(exclude_none=True) for film in (failed, interrupted)]
    (tmp_path / "videos.jsonl").write_text("".join(f"{line}\n" for line in lines))
    with serving(tmp_path, tiny_folder) as served:
        film = completed(served)
        assert served.json(f"/v1/videos/{film}")["stream"] == 3
        states = [each["status"] for each in served.json("/v1/videos?order=asc")["data"]]
    assert states == ["failed", "failed", "completed"]


def test_film_that_cannot_be_removed_stays(
    served: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    film = completed(served)
    stream = served.json(f"/v1/videos/{film}")["stream"]

    def fail(*_: object, **more: object) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as changed:
        changed.setattr(Path, "unlink", fail)
        for path in (f"/v1/videos/{film}", f"/films/{stream}"):
            status, body, _ = served.ask("DELETE", path)
            assert (status, b"cannot be removed: permission denied" in body.lower()) == (
                503,
                True,
            ), body
    assert served.json(f"/v1/videos/{film}")["status"] == "completed"
    assert served.ask("DELETE", f"/v1/videos/{film}")[0] == 200
