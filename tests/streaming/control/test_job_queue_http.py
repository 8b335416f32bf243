"""The job queue of a server over HTTP: JSON and forms, roles, and what clients may not do."""

from __future__ import annotations

import http.client
import json
import threading
from io import BytesIO
from typing import Any

from PIL import Image

from sana_stream.streaming.control.job_queue import JobQueue, JobState
from sana_stream.streaming.control.stream_request import StreamRequest
from sana_stream.streaming.web.auth import AccessPolicy
from sana_stream.streaming.web.registry import StreamRegistry
from sana_stream.streaming.web.server import WebServer

from ..http_client import TIMEOUT_SECONDS, ask


def test_jobs_over_http() -> None:
    queue = JobQueue()
    with WebServer(StreamRegistry(), AccessPolicy.on("127.0.0.1", 0), queue) as server:

        def ask(method: str, path: str, body: object = None) -> tuple[int, Any]:
            connection = http.client.HTTPConnection(
                "127.0.0.1", server.access.port, timeout=TIMEOUT_SECONDS
            )
            connection.request(method, path, None if body is None else json.dumps(body))
            answer = connection.getresponse()
            content = answer.read()
            connection.close()
            kind = answer.getheader("content-type", "")
            return answer.status, json.loads(content) if "json" in kind else content

        code, job = ask("POST", "/streams", {"story": "dawn", "seed": 4, "seconds": 60})
        assert code == 201
        given = {"id": 1, "story": "dawn", "seed": 4, "seconds": 60, "state": "queued"}
        assert {name: value for name, value in job.items() if value is not None} == {
            **given,
            **{"message": "", "place": 1, "links": job["links"]},
        }
        assert set(job) - {"id", "state", "message", "place", "links"} == set(
            StreamRequest.model_fields
        )
        assert job["links"]["live"] == "/streams/1/live.mp4"
        assert ask("GET", job["links"]["status"])[1]["place"] == 1
        assert ask("GET", job["links"]["live"])[0] == 503
        assert ask("GET", job["links"]["page"])[0] == 200
        assert ask("GET", "/streams/1") == (200, job)
        assert ask("GET", "/streams") == (200, [job])
        assert ask("POST", "/streams", {"story": 5})[0] == 400
        assert ask("GET", "/status")[1]["may_begin"]
        for path in ("/streams/7", "/streams/01", "/streams/x", "/streams/7/live.mp4"):
            assert ask("GET", path)[0] == 404
        assert ask("DELETE", "/streams/7")[0] == 404
        assert ask("DELETE", "/streams/1")[0] == 204
        assert ask("GET", job["links"]["live"])[0] == 404
        assert queue.jobs()[0].state is JobState.CANCELLED
    with WebServer(StreamRegistry(), AccessPolicy.on("0.0.0.0", 0), queue) as server:
        query = f"?token={server.access.view_token}"
        assert ask("POST", "/streams" + query, {"story": "dawn"})[0] == 403
        assert ask("GET", "/streams" + query)[0] == 403
        assert ask("DELETE", "/streams/1" + query)[0] == 403
        assert ask("GET", "/status" + query)[1]["may_begin"] is False


def test_full_queue_says_when_to_try_again() -> None:
    queue = JobQueue()
    for _ in range(16):
        queue.submit({"story": "dawn"})
    with WebServer(StreamRegistry(), AccessPolicy.on("127.0.0.1", 0), queue) as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.access.port, timeout=30)
        words = {"Content-Type": "application/json"}
        connection.request("POST", "/streams", json.dumps({"story": "dusk"}), words)
        answer = connection.getresponse()
        assert (answer.status, answer.headers["Retry-After"]) == (503, "10")
        assert answer.read() == b"16 streams are waiting; try again later\n"
        connection.close()


def form(content: bytes, **fields: str) -> tuple[bytes, str]:
    """A form with fields and the file `image`; and its content type."""
    head = b"--xyz\r\nContent-Disposition: form-data; name="
    texts = [b'%s"%s"\r\n\r\n%s\r\n' % (head, *map(str.encode, each)) for each in fields.items()]
    file = b'%s"image"; filename="a.png"\r\n\r\n%s\r\n' % (head, content)
    return b"".join([*texts, file, b"--xyz--\r\n"]), "multipart/form-data; boundary=xyz"


def test_a_stream_begins_with_an_uploaded_picture() -> None:
    Image.new("RGB", (8, 6), (200, 20, 20)).save(data := BytesIO(), "png")
    picture, queue = data.getvalue(), JobQueue()
    with WebServer(StreamRegistry(), AccessPolicy.on("127.0.0.1", 0), queue) as server:
        body, kind = form(picture, prompt="123", seed="4", seconds="2.5", realtime="false")
        code, answer = ask(server, "/streams", body, Content_Type=kind)
        assert (code, json.loads(answer)["prompt"]) == (201, "123")
        for content, fields, code in (
            (picture[:40], {"prompt": "a"}, 400),
            (picture, {"prompt": "a", "seed": "x"}, 400),
            (picture, {"prompt": "a", "seed": "[" * 99}, 400),
            (picture, {"prompt": "a", "colour": "red"}, 400),
            (picture, {}, 400),
        ):
            body, kind = form(content, **fields)
            status, reason = ask(server, "/streams", body, Content_Type=kind)
            assert (status, reason.count(b"\n")) == (code, 1)
    found = queue.next(threading.Event())
    assert found is not None
    request = found[0].request
    assert (request.seed, request.seconds, request.realtime) == (4, 2.5, False)
    assert found[0].has_picture
