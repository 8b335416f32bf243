"""The name of a video for which none is given."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sana_stream.streaming.outputs.default_name import NAME_BYTES, default_output
from sana_stream.streaming.outputs.locks import lock_path


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("prompt_file", "prompts", "name"),
    [
        (None, ("A red boat, at dusk!", "a fox"), "a-red-boat-at-dusk.mp4"),
        (None, ("Über den Dächern",), "über-den-dächern.mp4"),
        (None, ("İzmir'de bir vapur",), "i̇zmir-de-bir-vapur.mp4"),  # lower case has a mark
        (None, ("लाल नाव", "a fox"), "लाल-नाव.mp4"),
        (None, ("قایق می\u200cرود",), "قایق-میرود.mp4"),  # a joiner that shows nothing
        (None, ("../../etc/passwd",), "etc-passwd.mp4"),
        (None, ("?!",), "sana-stream.mp4"),
        (None, ("NUL",), "nul-video.mp4"),  # a device of Windows
        (None, ("one " * 40,), "-".join(["one"] * 15) + ".mp4"),
        ("-", (), "sana-stream.mp4"),
        ("stories/night.txt", (), "night.mp4"),
    ],
)
def test_name_follows_from_the_prompts(
    prompt_file: str | None, prompts: tuple[str, ...], name: str
):
    assert default_output(prompt_file, prompts) == name


@pytest.mark.parametrize("taken", ["a.mp4", "a-0001.mp4", "a.vtt", "a.ckpt", lock_path(Path("a"))])
def test_name_of_an_existing_or_unfinished_video_gets_a_number(taken: str | Path):
    Path(Path(taken).name).touch()
    assert default_output(None, ("a",)) == "a-2.mp4"
    assert default_output(None, ("a",), overwrite=True) == "a.mp4"
    Path("a-2.mp4").touch()
    assert default_output(None, ("a",)) == "a-3.mp4"


@given(st.text())
def test_any_prompt_gives_a_file_in_the_current_folder(prompt: str):
    name = default_output(None, (prompt,))
    assert Path(name).name == name
    assert len(name.encode()) <= NAME_BYTES + len(".mp4")
    Path(name).touch()
    Path(name).unlink()
