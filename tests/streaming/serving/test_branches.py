"""Streams that are asked for with settings of their own, or as branches of others."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sana_stream.engine.engine import Engine
from sana_stream.errors import BranchError, ConfigError
from sana_stream.streaming.control.live_control import LiveControl
from sana_stream.streaming.run.config import RunConfig
from sana_stream.streaming.run.runner import Run

from ...command import pictures
from .local_server import LocalServer, serving

FILM = {"prompt": "a red boat", "seconds": 3, "seed": 5, "realtime": False}


def test_moments_of_a_rewound_video_are_where_they_were_shown(
    tiny_engine: Engine, tmp_path: Path
) -> None:
    """Blocks of 9, 8, 8, 8 frames, then back to frame 17 and two further blocks."""
    control = LiveControl()
    config = RunConfig(["a red boat"], outputs=[tmp_path / "a.mp4"], frames=49, seed=3)
    made: dict[float, np.ndarray] = {}  # by the end of the block before
    with Run(tiny_engine, config, control=control) as run:
        with pytest.raises(BranchError, match="no block of it is made yet"):
            run.moments.save(tmp_path / "a.ckpt")
        for progress in run:
            assert run.block is not None
            made[(progress.frames - len(run.block.frames)) / 16] = run.block.frames
            if progress.frames == 33:
                control.back(1.0)
                control.prompt("a fox runs")
        for asked, moment in ((1.2, 17 / 16), (2.0, 17 / 16), (2.6, 41 / 16), (None, 49 / 16)):
            assert run.moments.save(tmp_path / "b.ckpt", asked) == pytest.approx(moment)
            if (following := made.get(moment)) is not None and moment > 2:
                session = tiny_engine.resume(tmp_path / "b.ckpt")
                assert np.array_equal(next(session).frames, following)
        with pytest.raises(BranchError, match=r"0\.1 s is not kept: give 0\.5625 to 3\.0625 s"):
            run.moments.save(tmp_path / "b.ckpt", 0.1)


def test_session_saves_any_moment_of_its_history(tiny_engine: Engine, tmp_path: Path) -> None:
    session = tiny_engine.session("a red boat", seed=3)
    session.keep_history(30)
    starts = []
    made = []
    for _ in range(3):
        starts.append(session.next_start)
        made.append(next(session).frames)
    assert session.oldest_start == 0
    for start, frames in zip(starts, made, strict=True):
        session.save(tmp_path / "a.ckpt", start=start)
        assert np.array_equal(next(tiny_engine.resume(tmp_path / "a.ckpt")).frames, frames)
    with pytest.raises(ConfigError, match="no block that starts at frame 3 is kept: give"):
        session.save(tmp_path / "b.ckpt", start=3)
    assert not (tmp_path / "b.ckpt").exists()


@pytest.mark.parametrize("keep", [True, False])
def test_finished_stream_is_branched_at_its_end(
    tmp_path: Path, tiny_folder: Path, keep: bool
) -> None:
    with serving(tmp_path / "films", tiny_folder, keep=keep) as served:
        film = served.submit(**FILM)
        served.await_that(lambda: served.state(film) == "finished")
        point = {"stream": film}
        status, body, _ = served.ask(
            "POST", "/streams", {"branch_from": point, "seconds": 1, "realtime": False}
        )
        branch = json.loads(body)
        assert (status, branch["branch_from"]) == (201, {"stream": film, "seconds": 3.0})
        served.await_that(lambda: served.state(branch["id"]) == "finished")
        assert served.json(f"/streams/{branch['id']}/status")["title"] == "a red boat"
        made = tmp_path / "films" / f"stream-{branch['id']:04}.mp4"
        assert len(pictures(made)) == 16
        assert not list((tmp_path / "films").glob("*.start.ckpt"))
        for wrong, words in (
            ({"stream": film, "seconds": 1.0}, b"it has ended and can be branched at its end, 3 s"),
            ({"stream": 77}, b"stream 77: no checkpoint of it is kept"),
        ):
            status, body, _ = served.ask("POST", "/streams", {"branch_from": wrong})
            assert (status, words in body) == (409, True), body
        status, body, _ = served.ask(
            "POST", "/streams", {"branch_from": point, "story": "0:05 a\n0:02 b"}
        )
        assert status == 400
        assert not list((tmp_path / "films").glob("*.start.ckpt"))


def test_branch_equals_the_stream_that_has_its_prompts(tmp_path: Path, tiny_folder: Path) -> None:
    """Lossless recordings would be equal; these differ as two encodings of the same frames do."""
    with serving(tmp_path, tiny_folder) as served:
        first = served.submit(**FILM | {"seconds": 2})
        whole = served.submit(**FILM | {"prompt": None, "story": "0:00 a red boat\n0:02 night"})
        served.await_that(lambda: served.state(whole) == "finished")
        branch = served.submit(
            branch_from={"stream": first}, prompt="night", num_frames=16, realtime=False
        )
        served.await_that(lambda: served.state(branch) == "finished")
    files = [tmp_path / f"stream-{number:04}.mp4" for number in (whole, branch, first)]
    undisturbed, branched, other = (pictures(file).astype(float) for file in files)
    same = np.abs(undisturbed[33:] - branched[:15]).mean()  # the last block ends with frame 32
    assert same < np.abs(other[16:] - branched).mean() / 2


def test_running_stream_is_branched_at_an_earlier_block(tmp_path: Path, tiny_folder: Path) -> None:
    with serving(tmp_path, tiny_folder, streams=2) as served:
        film = served.submit(prompt="a red boat", seed=5)
        served.await_that(lambda: served.json(f"/streams/{film}/status").get("blocks", 0) > 3)
        assert served.ask("POST", f"/streams/{film}/command", {"command": "/pause"})[0] == 202
        point = {"stream": film, "seconds": 1.2}
        status, body, _ = served.ask(
            "POST", "/streams", {"branch_from": point, "prompt": "a fox", "seconds": 1}
        )
        assert status == 201, body
        assert json.loads(body)["branch_from"] == {"stream": film, "seconds": 17 / 16}
        branch = json.loads(body)["id"]
        served.await_that(lambda: served.state(branch) == "finished")
        assert served.state(film) == "running"


def test_branch_that_waits_outlives_a_restart(tmp_path: Path, tiny_folder: Path) -> None:
    with serving(tmp_path, tiny_folder) as served:
        film = served.submit(prompt="a red boat", seed=5)
        served.await_that(lambda: served.json(f"/streams/{film}/status").get("blocks", 0) > 0)
        branch = served.submit(branch_from={"stream": film}, prompt="a fox", seconds=1)
        assert served.state(branch) == "queued"
    assert (tmp_path / f"stream-{branch:04}.start.ckpt").exists()
    with serving(tmp_path, tiny_folder) as served:
        assert served.ask("DELETE", f"/streams/{film}")[0] == 204
        served.await_that(lambda: served.state(branch) == "finished")
    assert not (tmp_path / f"stream-{branch:04}.start.ckpt").exists()
    assert len(pictures(tmp_path / f"stream-{branch:04}.mp4")) == 16


def test_streams_that_are_not_resumed_leave_nothing_that_they_begin_with(
    tmp_path: Path, tiny_folder: Path
) -> None:
    with serving(tmp_path, tiny_folder) as served:
        film = served.submit(prompt="a red boat", seed=5)
        served.await_that(lambda: served.json(f"/streams/{film}/status").get("blocks", 0) > 0)
        served.submit(branch_from={"stream": film}, prompt="a fox", seconds=1)
    assert list(tmp_path.glob("*.start.*"))
    with serving(tmp_path, tiny_folder, resume=False) as served:
        assert served.json("/streams") == []
    assert not list(tmp_path.glob("*.start.*"))


def test_settings_of_a_request_are_those_of_its_stream(served: LocalServer) -> None:
    given = {"size": "64x32", "fps": 8, "num_inference_steps": 1, "guidance_scale": 2}
    words = {"negative_prompt": "rain", "num_frames": 9, "seed": 2, "realtime": False}
    stream = served.submit(prompt="a red boat", **given, **words)
    served.await_that(lambda: served.state(stream) == "finished")
    status = served.json(f"/streams/{stream}/status")
    assert (status["width"], status["height"], status["fps"], status["seed"]) == (64, 32, 8, 2)
    path = served.server._recordings.film(stream)
    assert path is not None
    assert pictures(path).shape == (9, 32, 64, 3)
    job = served.json(f"/streams/{stream}")
    assert {**given, **words}.items() <= job.items()


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"size": "65x32"}, "65x32"),
        ({"size": "99999x99999"}, "size"),
        ({"guidance_scale": 1, "negative_prompt": "rain"}, "no effect at guidance 1"),
        ({"num_inference_steps": 900, "solver": "x"}, "'solver': a stream has prompt"),
        ({"prompt": "~3s a fox"}, "~3s"),
        ({"prompt": "a <image>/etc/passwd"}, "cannot name pictures of this machine"),
        ({"prompt": "a :0.7 | b :0.7"}, "weights"),
    ],
)
def test_what_the_model_cannot_make_is_refused_before_it_waits(
    served: LocalServer, fields: dict[str, object], words: str
) -> None:
    before = served.json("/streams")
    status, body, _ = served.ask("POST", "/streams", {"prompt": "a red boat", **fields})
    assert (status, words in body.decode()) == (400, True), body
    assert body.count(b"\n") == 1
    assert served.json("/streams") == before


def test_timeline_has_prompts_and_pictures_from_before_a_restart(
    tmp_path: Path, tiny_folder: Path
) -> None:
    with serving(tmp_path, tiny_folder) as served:
        film = served.submit(prompt="a red boat")
        status = f"/streams/{film}/status"
        served.await_that(lambda: served.json(status).get("blocks", 0) > 2)
        assert served.ask("POST", f"/streams/{film}/prompt", {"prompt": "a <b>  & c"})[0] == 202
        served.await_that(lambda: len(served.json(status)["shown"]) == 2)
        shown = served.json(status)["shown"]
        enough = served.json(status)["blocks"] + 2
        served.await_that(lambda: served.json(status)["blocks"] > enough)
    with serving(tmp_path, tiny_folder) as served:
        served.await_that(lambda: served.json(status).get("blocks", 0) > 0)
        found = served.json(status)
        assert found["shown"] == shown
        starts = found["thumbnails"]
        assert (starts[0], starts == sorted(set(starts)), len(starts) > 3) == (0, True, True)
        before = [start for start in starts if start < found["seconds"] * found["fps"]]
        for start in (before[0], before[2]):
            code, data, _ = served.ask("GET", f"/streams/{film}/thumbnails/{start}.jpg")
            assert code == 200
            shown = np.asarray(Image.open(io.BytesIO(data)), np.int64)
            frames = pictures(tmp_path / f"stream-{film:04}.mp4")
            assert np.abs(shown - frames).mean(axis=(1, 2, 3)).argmin() == start
