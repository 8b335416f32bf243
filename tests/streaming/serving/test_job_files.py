"""The files that keep a server's streams over a restart."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import pytest

from sana_stream.streaming.control.job_queue import JobQueue, StreamJob
from sana_stream.streaming.control.pending_changes import PendingChanges
from sana_stream.streaming.control.scheduled_prompt import ScheduledPrompt
from sana_stream.streaming.serving.job_files import JobFiles


def changed(files: JobFiles, job: StreamJob, frame: int, *lines: str) -> PendingChanges:
    """What a client changes before the block at a frame, as the run takes it."""
    control = files.control(job)
    for line in lines:
        control.submit(line)
    return control.drain(frame)


def test_queued_and_begun_streams_are_found_again(tmp_path: Path) -> None:
    before = JobFiles(tmp_path)
    queue = JobQueue(first=3, store=before)
    first = queue.submit({"story": "a red boat", "seed": 4, "seconds": 60})
    second = queue.submit({"story": "the \u0411 moon"})
    (film := tmp_path / "stream-0003.mp4").touch()
    before.begin(first, film)
    assert changed(before, first, 17, "noon", "/seed 9", "/back 1").back == 1
    changed(before, first, 33)
    files = JobFiles(tmp_path)
    assert files.load() == [first, second]
    assert (files.film(first), files.film(second)) == (film, None)
    control = files.control(first)
    control.prompt("dusk")
    assert control.drain(17) == PendingChanges("noon", None, 9)
    assert control.drain(33).prompt == "dusk"
    later = JobFiles(tmp_path)
    assert later.load() == [first, second]
    assert later.control(first).drain(33).prompt == "dusk"
    later.begin(first, film)  # from its beginning: the changes are those of the video before
    assert later.control(first).drain(33) == PendingChanges()
    film.unlink()
    assert later.film(first) is None
    for job in (first, second):
        later.remove(job)
    assert not list(tmp_path.iterdir())


def test_every_change_that_is_recorded_is_repeated(tmp_path: Path) -> None:
    """A field that `PendingChanges` gains is kept too, or is named here as one that is not."""
    job = JobQueue(store=JobFiles(tmp_path)).submit({"story": "a red boat"})
    files = JobFiles(tmp_path)
    files.load()
    story = (ScheduledPrompt(12.5, "dusk", 2), ScheduledPrompt(20, "night"))
    values = {"prompt": "noon", "negative": "fog", "seed": 9, "blend": 4, "story": story}
    values["image"] = b"a picture"
    names = {field.name for field in fields(PendingChanges)}
    assert names - set(values) == {"back", "back_to", "branch", "event", "superseded"}
    control = files.control(job)
    control.prompt("noon", 4)
    control.negative("fog")
    control.seed(9)
    control.replace_story(story)
    control.cut(b"a picture")
    taken = control.drain(17)
    assert taken == PendingChanges(**values)  # type: ignore[arg-type]
    again = JobFiles(tmp_path)
    again.load()
    assert again.control(job).drain(17) == taken


def test_streams_that_are_not_resumed_leave_their_recordings(tmp_path: Path) -> None:
    before = JobFiles(tmp_path)
    job = JobQueue(store=before).submit({"story": "a red boat"})
    (film := tmp_path / "stream-0001.mp4").touch()
    before.begin(job, film)
    files = JobFiles(tmp_path)
    files.load()
    files.drop()
    assert list(tmp_path.iterdir()) == [film]
    assert JobFiles(tmp_path).load() == []


GOOD = {"version": 1, "id": 1, "story": "a red boat"}


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{" * 100_000,
        json.dumps(GOOD | {"version": 2}),
        json.dumps(GOOD | {"id": 7}),
        json.dumps(GOOD | {"story": ""}),
        json.dumps(GOOD | {"film": "../stream-0001.mp4"}),
        json.dumps(GOOD | {"film": "/etc/passwd"}),
        json.dumps(GOOD | {"seconds": "inf"}),
        json.dumps(GOOD | {"changes": [{"frame": -1}]}),
        json.dumps(GOOD | {"more": 1}),
    ],
)
def test_foreign_files_are_reported_and_left(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: str
) -> None:
    (path := tmp_path / "stream-0001.job.json").write_text(content)
    files = JobFiles(tmp_path)
    assert files.load() == []
    assert "is not a stream of this program: it is left as it is" in caplog.text
    files.drop()
    assert path.read_text() == content
    path.write_text(json.dumps(GOOD))
    assert [job.id for job in JobFiles(tmp_path).load()] == [1]


def test_unwritable_folder_is_reported_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "films").write_text("a file")
    files = JobFiles(tmp_path / "films")
    queue = JobQueue(store=files)
    jobs = [queue.submit({"story": "a red boat"}) for _ in range(3)]
    assert changed(files, jobs[0], 17, "noon").prompt == "noon"
    assert caplog.text.count("after a restart the server does not know its streams") == 1


def test_pictures_are_repeated_and_removed_with_their_stream(tmp_path: Path) -> None:
    before = JobFiles(tmp_path)
    job = JobQueue(store=before).submit({"story": "a red boat"})
    (film := tmp_path / "stream-0001.mp4").touch()
    before.begin(job, film)
    control = before.control(job)
    for frame, image in ((0, None), (17, b"first"), (33, b"second"), (49, b"first")):
        if image is not None:
            control.cut(image, "" if frame == 33 else "noon")
        control.drain(frame)
    assert len(list(tmp_path.glob("*.job.png"))) == 2
    files = JobFiles(tmp_path)
    assert files.load() == [job]
    again = files.control(job)
    assert again.drain(17) == PendingChanges("noon", image=b"first")
    assert again.drain(33) == PendingChanges(image=b"second")
    assert again.drain(65) == PendingChanges()
    files.begin(job, film)
    assert not list(tmp_path.glob("*.job.png"))
    files.control(job).cut(b"third")
    foreign = tmp_path / "stream-0001.mine.job.png"
    foreign.touch()
    files.remove(job)
    assert sorted(tmp_path.iterdir()) == sorted([film, foreign])


def test_a_blend_is_repeated(tmp_path: Path) -> None:
    before = JobFiles(tmp_path)
    job = JobQueue(store=before).submit({"story": "a red boat"})
    before.begin(job, tmp_path / "stream-0001.mp4")
    assert changed(before, job, 17, "~3 noon").blend == 3
    files = JobFiles(tmp_path)
    files.load()
    assert files.control(job).drain(17) == PendingChanges("noon", blend=3)


def test_many_long_stories_do_not_fill_the_file(tmp_path: Path) -> None:
    before = JobFiles(tmp_path)
    job = JobQueue(store=before).submit({"story": "a red boat"})
    before.begin(job, tmp_path / "stream-0001.mp4")
    control = before.control(job)
    prompt = "\u96e8" * 3900
    for frame in range(1, 16):
        cues = [ScheduledPrompt(time, f"{frame}{prompt}") for time in range(frame, frame + 200)]
        control.replace_story(cues)
        control.drain(frame)
    (file,) = tmp_path.glob("*.job.json")
    assert file.stat().st_size < 16 << 20
    files = JobFiles(tmp_path)
    assert files.load() == [job]
    found = files.control(job).drain(15).story
    assert found is not None
    assert found[0].prompt == f"15{prompt}"


def test_pictures_of_a_stream_are_limited(tmp_path: Path) -> None:
    before = JobFiles(tmp_path)
    job = JobQueue(store=before).submit({"story": "a red boat"})
    before.begin(job, tmp_path / "stream-0001.mp4")
    control = before.control(job)
    for frame in range(1, 50):
        control.cut(b"%d" % frame)
        control.drain(frame)
    assert len(list(tmp_path.glob("*.job.png"))) == 32
    files = JobFiles(tmp_path)
    files.load()
    assert files.control(job).drain(49).image == b"49"
