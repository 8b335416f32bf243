"""Every output says, in IPTC's terms, that a model has generated it; readers find it."""

from __future__ import annotations

import json
import socket
import subprocess
from pathlib import Path
from threading import Thread
from typing import Any, cast
from xml.etree import ElementTree

import av
import pytest
from PIL import Image

from sana_stream.streaming import EncoderSettings, Metadata, OutputOptions, StreamSpec, VideoFormat
from sana_stream.streaming.ai_mark import DIGITAL_SOURCE_TYPE, SOFTWARE, AiMark
from sana_stream.streaming.containers.registry import create_muxer
from sana_stream.streaming.containers.run_id import read_run
from sana_stream.streaming.outputs.open import open_output
from sana_stream.streaming.web.live_feed import LiveFeed

from ..programs import need
from .blocks import FPS, HEIGHT, WIDTH, blocks, pour

VIDEO = VideoFormat(WIDTH, HEIGHT, FPS)
PROMPTS = ("a red boat", "rain & <wind> 雨")
METADATA = Metadata("Dusk", PROMPTS, 7, model="pocket")
SPEC = StreamSpec(VIDEO, metadata=METADATA)
IPTC = "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}"
XMP_BOX = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
CLUSTER = b"\x1f\x43\xb6\x75"
XMP_BEGIN, XMP_END = b"<?xpacket begin", b'<?xpacket end="r"?>'


def write(path: Path | str, spec: StreamSpec = SPEC, count: int = 2) -> None:
    output = open_output(path, spec)
    pour(output, blocks(count, prompts=PROMPTS))
    output.close()


def properties(xmp: bytes) -> dict[str, str | None]:
    """The properties of an XMP packet, by their names with namespaces."""
    text = xmp.decode().partition("?>")[2].rpartition("<?")[0]
    (described,) = ElementTree.fromstring(text)[0]
    return {each.tag: each.text for each in described}


def packets(data: bytes) -> list[bytes]:
    return [XMP_BEGIN + part.partition(XMP_END)[0] + XMP_END for part in data.split(XMP_BEGIN)[1:]]


def from_first(start: bytes, path: Path) -> bytes:
    data = path.read_bytes()
    return data[data.index(start) :]


def check_xmp(xmp: bytes, prompts: str) -> None:
    found = properties(xmp)
    assert found[f"{IPTC}DigitalSourceType"] == DIGITAL_SOURCE_TYPE
    assert found[f"{IPTC}AISystemUsed"] == "pocket"
    assert found[f"{IPTC}AISystemVersionUsed"] == SOFTWARE
    assert found[f"{IPTC}AIPromptInformation"] == prompts
    assert "7" in found.values()


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm"])
@pytest.mark.parametrize("closed", [True, False], ids=["closed", "growing"])
def test_container_holds_the_mark_while_it_grows_and_when_it_is_closed(
    tmp_path: Path, suffix: str, closed: bool
):
    path = tmp_path / f"a{suffix}"
    output = open_output(path, SPEC)
    pour(output, blocks(2, prompts=PROMPTS))
    if closed:
        output.close()
    with av.open(str(path)) as container:
        tags = {name.lower(): text for name, text in container.metadata.items()}
        assert sum(1 for _ in container.decode(video=0)) == 33
    facts = json.loads(tags["comment"])
    assert facts["digital_source_type"] == DIGITAL_SOURCE_TYPE
    assert (facts["model"], facts["software"], facts["seed"]) == ("pocket", SOFTWARE, 7)
    if suffix in (".mp4", ".mov"):
        check_xmp(packets(path.read_bytes())[-1], "\n".join(PROMPTS))
        assert (XMP_BOX in path.read_bytes()) == (suffix == ".mp4")
    else:
        assert tags["digital_source_type"] == DIGITAL_SOURCE_TYPE
        assert tags["description"] == "\n".join(PROMPTS)


@pytest.mark.programs
@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.mkv", "0.png"])
def test_exiftool_finds_the_source_type(tmp_path: Path, name: str):
    need("exiftool")
    write(tmp_path / name.replace("0", "%d"), count=1)
    found = subprocess.run(
        ["exiftool", "-s3", "-DigitalSourceType", tmp_path / name],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert found.stdout.strip() == DIGITAL_SOURCE_TYPE


def test_picture_holds_the_prompt_of_its_block(tmp_path: Path):
    write(tmp_path / "%02d.png")
    for number, prompt in ((0, PROMPTS[0]), (32, PROMPTS[1])):
        with Image.open(tmp_path / f"{number:02}.png") as picture:
            picture.load()
            check_xmp(picture.info["XML:com.adobe.xmp"].encode(), prompt)
        assert read_run(tmp_path / f"{number:02}.png") == METADATA.run


@pytest.mark.parametrize("codec", ["h264", "h265"])
def test_each_block_of_a_transport_stream_holds_its_prompt(tmp_path: Path, codec: str):
    write(path := tmp_path / "a.ts", StreamSpec(VIDEO, EncoderSettings(codec), METADATA))
    assert DIGITAL_SOURCE_TYPE.encode() in path.read_bytes()[:1000], "the table of services"
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    texts = [
        bytes(data)[16:]
        for frame in frames
        for data in cast("Any", frame).side_data  # its stub has the types of a mapping
        if "SEI" in data.type.name and b"digital_source_type" in bytes(data)
    ]
    assert len(frames) == 33
    found = [json.loads(text) for text in texts]
    assert [facts["prompt"] for facts in found] == list(PROMPTS)
    assert all(facts["digital_source_type"] == DIGITAL_SOURCE_TYPE for facts in found)
    assert {(facts["model"], facts["seed"]) for facts in found} == {("pocket", 7)}


@pytest.mark.parametrize("container", ["nut", "flv"])
def test_streaming_containers_hold_the_mark(tmp_path: Path, container: str):
    muxer = create_muxer(container, SPEC)
    data = muxer.header() + bytes(muxer.add(next(blocks(1)))) + muxer.trailer()
    (path := tmp_path / "a").write_bytes(data)
    with av.open(str(path), format=container) as opened:
        assert opened.metadata["digital_source_type"] == DIGITAL_SOURCE_TYPE


def test_playlist_and_page_begin_with_the_mark(tmp_path: Path):
    write(tmp_path / "live.m3u8")
    check_xmp(packets((tmp_path / "init.mp4").read_bytes())[0], "\n".join(PROMPTS))
    check_xmp(packets(LiveFeed(VIDEO, metadata=METADATA).init)[0], "\n".join(PROMPTS))


def test_captions_hold_the_mark_of_a_file_without_metadata(tmp_path: Path):
    write(tmp_path / "a.y4m")
    assert f"\nNOTE {DIGITAL_SOURCE_TYPE}\n" in (tmp_path / "a.vtt").read_text()


def test_socket_carries_the_mark():
    with socket.create_server(("127.0.0.1", 0)) as server:
        received: list[bytes] = []

        def read() -> None:
            connection, _ = server.accept()
            with connection:
                while data := connection.recv(1 << 16):
                    received.append(data)

        reader = Thread(target=read)
        reader.start()
        write(f"tcp://127.0.0.1:{server.getsockname()[1]}")
        reader.join(20)
    assert DIGITAL_SOURCE_TYPE.encode() in b"".join(received)


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.mkv", "a.ts", "%d.png", "live.m3u8"])
def test_nothing_is_marked_without_mark(tmp_path: Path, name: str):
    unmarked = Metadata("Dusk", PROMPTS, 7, model="pocket", mark=False)
    write(tmp_path / name, StreamSpec(VIDEO, metadata=unmarked))
    written = {each.name: each.read_bytes() for each in tmp_path.iterdir() if each.is_file()}
    assert written
    for data in written.values():
        assert b"trainedAlgorithmicMedia" not in data
        assert b"pocket" not in data


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.mov"])
def test_resumed_file_equals_the_undisturbed_one(tmp_path: Path, name: str):
    whole, cut = tmp_path / f"whole{Path(name).suffix}", tmp_path / name
    write(whole, count=4)
    for closed in (False, True):
        cut.unlink(missing_ok=True)
        cut.with_suffix(".vtt").unlink(missing_ok=True)
        output = open_output(cut, SPEC)
        source = blocks(4, prompts=PROMPTS)
        for _ in range(3):
            output.write(next(source))
        if closed:
            output.close()
        del output
        resumed = open_output(cut, SPEC, OutputOptions(resume_frames=33))
        pour(resumed, list(blocks(4, prompts=PROMPTS))[2:])
        resumed.close()
        start = CLUSTER if name == "a.mkv" else b""  # the id before it is drawn at random
        assert from_first(start, cut) == from_first(start, whole)


def test_titles_and_models_of_any_length_fit_a_transport_stream(tmp_path: Path):
    long = Metadata("雨" * 300, ("x" * 20_000,), 7, model="雨" * 300)
    write(tmp_path / "a.ts", StreamSpec(VIDEO, metadata=long), count=1)
    with av.open(str(tmp_path / "a.ts")) as container:
        assert sum(1 for _ in container.decode(video=0)) == 17


@pytest.mark.parametrize("text", ["]]>&<a/>", "\x00\x01\ud800\uffff", "</rdf:RDF>"])
def test_any_prompt_is_valid_xml(text: str):
    found = properties(AiMark("m", 1, f"a{text}b").xmp())
    prompt = found[f"{IPTC}AIPromptInformation"] or ""
    assert prompt == f"a{text if text.isprintable() else ' ' * len(text)}b"
