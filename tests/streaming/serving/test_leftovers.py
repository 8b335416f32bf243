"""What a crash leaves of streams that are not resumed is removed by the next server."""

from __future__ import annotations

import shutil
from io import BytesIO
from pathlib import Path

from PIL import Image

from sana_stream._files import PARTIAL
from sana_stream.streaming.control.job_queue import JobQueue
from sana_stream.streaming.serving.job_files import JobFiles
from sana_stream.streaming.serving.leftovers import remove_leftovers

from ...command import pictures
from .local_server import serving

CUT = f".{'0123456789abcdef'}.job.png"


def picture(colour: str) -> bytes:
    Image.new("RGB", (96, 64), colour).save(data := BytesIO(), "png")
    return data.getvalue()


def test_only_files_of_streams_without_a_job_are_removed(tmp_path: Path) -> None:
    gone = ["stream-0001.start.png", "stream-0002.start.ckpt", f"stream-0003{CUT}"]
    gone += ["stream-12345.start.png", *(f".{name}{PARTIAL}" for name in gone)]
    kept = ["stream-0004.job.json", "stream-0004.start.png", f"stream-0004{CUT}"]
    kept += [f".stream-0004.start.png{PARTIAL}", "stream-0001.mp4", "stream-0001.ckpt"]
    kept += ["stream-0001.png", "stream-0001.mine.job.png"]
    kept += ["stream-1.start.png", ".stream-0001.start.png", f"stream-0001.start.png{PARTIAL}"]
    kept += ["my stream-0001.start.png", "videos.jsonl"]
    for name in (*gone, *kept):
        (tmp_path / name).touch()
    (tmp_path / "stream-0005.start.png").mkdir()
    remove_leftovers(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {*kept, "stream-0005.start.png"}
    remove_leftovers(tmp_path / "absent")


def test_next_server_removes_what_no_job_uses(tmp_path: Path, tiny_folder: Path) -> None:
    (before := tmp_path / "before").mkdir()
    made = {"prompt": "a red boat", "num_frames": 9, "seed": 1, "realtime": False}
    with serving(before, tiny_folder) as served:
        running = served.submit(prompt="a red boat", seed=5)
        served.await_that(lambda: served.json(f"/streams/{running}/status").get("blocks", 0) > 0)
        queue = served.server._jobs
        kept, other = (
            queue.submit(made, keep=keep, picture=picture(colour)).id
            for keep, colour in ((True, "red"), (False, "blue"))
        )
        branch = {"branch_from": {"stream": running}, "num_frames": 16}
        branches = [queue.submit(branch, keep=keep).id for keep in (True, False)]
        crashed = Path(shutil.copytree(before, tmp_path / "crashed"))
        assert len(list(crashed.glob("*.start.*"))) == 4
        assert served.ask("DELETE", f"/streams/{running}")[0] == 204
        served.await_that(lambda: served.state(other) == "finished")
    with serving(crashed, tiny_folder) as served:
        starts = {path.name for path in crashed.glob("*.start.*")}
        assert starts == {f"stream-{kept:04}.start.png", f"stream-{branches[0]:04}.start.ckpt"}
        assert served.ask("DELETE", f"/streams/{running}")[0] == 204
        served.await_that(lambda: served.state(branches[0]) == "finished")
        assert not list(crashed.glob("*.start.*"))
    film = f"stream-{kept:04}.mp4"
    assert (pictures(before / film) == pictures(crashed / film)).all()


def test_pictures_of_a_job_that_is_not_kept_are_no_files(tmp_path: Path) -> None:
    files = JobFiles(tmp_path)
    job = JobQueue(store=files).submit({"story": "a red boat"}, keep=False)
    control = files.control(job)
    control.cut(b"a picture")
    assert control.drain(17).image == b"a picture"
    files.remove(job)
    assert not list(tmp_path.iterdir())
