"""Content credentials in finished files, verified by the reader of c2pa-python."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import av
import pytest

from sana_stream.errors import InvalidOutputError
from sana_stream.streaming import Metadata, OutputOptions, StreamSpec, VideoFormat
from sana_stream.streaming.ai_mark import DIGITAL_SOURCE_TYPE
from sana_stream.streaming.outputs.open import open_output
from sana_stream.streaming.outputs.signing import is_signed, remove_signature

from ...certificates import check_credentials, write_certificate
from ...command import run
from ...interruptions import make_interrupted
from ...programs import need
from ..blocks import FPS, HEIGHT, WIDTH, blocks, pour

SPEC = StreamSpec(
    VideoFormat(WIDTH, HEIGHT, FPS), metadata=Metadata("Dusk", ("a red boat",), 7, model="pocket")
)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_certificate(tmp_path_factory.mktemp("sign") / "sign.pem")


def write(path: Path, count: int = 4, **options: Any) -> None:
    kept = options.get("resume_frames", 0)
    output = open_output(path, SPEC, OutputOptions(**options))
    pour(output, [block for block in blocks(count) if block.start >= kept])
    output.close()


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_finished_file_is_signed(tmp_path: Path, certificate: Path, suffix: str):
    output = open_output(path := tmp_path / f"a{suffix}", SPEC, OutputOptions(sign=certificate))
    pour(output, blocks(4, prompts=("a red boat", "night falls")))
    output.close()
    manifest = check_credentials(path, 65)
    with av.open(str(path)) as container:
        titles = [each["metadata"]["title"] for each in container.chapters()]
    assert titles == ["a red boat", "night falls"]
    facts = {each["label"]: each["data"] for each in manifest["assertions"]}
    (action,) = next(data for name, data in facts.items() if "actions" in name)["actions"]
    assert action["digitalSourceType"] == DIGITAL_SOURCE_TYPE
    assert facts["io.github.sana-stream.generation"] == {
        "model": "pocket",
        "seed": 7,
        "prompts": ["a red boat"],
    }
    assert {each.name for each in tmp_path.glob("*")} == {f"a{suffix}", "a.vtt"}


def test_changed_file_is_found_out(tmp_path: Path, certificate: Path):
    write(path := tmp_path / "a.mp4", sign=certificate)
    data = bytearray(path.read_bytes())
    data[-2000] ^= 1
    path.write_bytes(data)
    import c2pa

    with c2pa.Reader(str(path)) as reader:
        assert json.loads(reader.json())["validation_state"] == "Invalid"


def test_signed_file_is_resumed_byte_for_byte_and_signed_again(tmp_path: Path, certificate: Path):
    whole, path = tmp_path / "whole.mp4", tmp_path / "a.mp4"
    write(whole)
    write(path, count=3, sign=certificate)
    write(path, resume_frames=33)
    assert path.read_bytes() == whole.read_bytes()
    write(path, count=3, overwrite=True, sign=certificate)
    write(path, resume_frames=33, sign=certificate)
    check_credentials(path, 65)


def test_complete_signed_file_stays_signed(tmp_path: Path, certificate: Path):
    write(path := tmp_path / "a.mp4", sign=certificate)
    before = path.read_bytes()
    open_output(path, SPEC, OutputOptions(resume_frames=65)).close()
    assert path.read_bytes() == before
    remove_signature(path)
    assert len(path.read_bytes()) < len(before)


@pytest.mark.skipif(sys.platform == "win32", reason="links and modes are those of POSIX")
def test_signing_keeps_links_and_permissions(tmp_path: Path, certificate: Path):
    (disk := tmp_path / "disk").mkdir()
    (path := tmp_path / "a.mp4").symlink_to(disk / "film.mp4")
    (disk / "film.mp4").touch(0o640)
    write(path, count=3, overwrite=True, sign=certificate)
    for count in (49, 65):  # signed, then resumed without its old signature
        assert path.is_symlink()
        assert (disk / "film.mp4").stat().st_mode & 0o777 == 0o640
        check_credentials(disk / "film.mp4", count)
        write(path, resume_frames=count, sign=certificate)


def test_each_file_of_several_is_signed(tmp_path: Path, certificate: Path):
    write(tmp_path / "a.mp4", segment_seconds=1.5, sign=certificate)
    check_credentials(tmp_path / "a-0001.mp4", 33)
    check_credentials(tmp_path / "a-0002.mp4", 32)


def test_wrong_certificates_are_refused_before_anything_is_made(
    tiny: tuple[str, ...], certificate: Path, capfd: pytest.CaptureFixture[str]
):
    text = certificate.read_bytes()
    key = text.index(b"-----BEGIN PRIVATE")
    second = text.index(b"-----BEGIN CERT", 10)
    wrong = {
        "nothing.pem": (None, "no such file"),
        "key.pem": (text[key:], "holds no certificate"),
        "cert.pem": (text[:key], "holds no private key: give one PEM file with both"),
        "broken.pem": (text[: key + 60] + b"x" + text[key + 61 :], ""),
        "root.pem": (text[second:], "cannot be signed"),
        "video.pem": (b"\x00" * 5000, "holds no certificate"),
    }
    for name, (data, message) in wrong.items():
        if data is not None:
            Path(name).write_bytes(data)
        words = ("--prompt", "a fox", "--frames", "9", "--out", "a.mp4", "--sign", name)
        assert run(*words, *tiny) == 2, name
        (line,) = capfd.readouterr().err.splitlines()[-1:]
        assert message in line
        assert not Path("a.mp4").exists()


def test_signing_from_the_command_line(tiny: tuple[str, ...], certificate: Path):
    words = ("--prompt", "a fox", "--frames", "9", "--sign", certificate)
    assert run(*words, "--out", "a.mp4", "--out", "a.mkv", *tiny) == 0
    check_credentials(Path("a.mp4"), 9)


def test_resuming_without_the_certificate_is_noticed(
    tiny: tuple[str, ...],
    certificate: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
):
    message = "the resumed video is not signed: give --sign again"
    for signed in (True, False):
        more = ("--sign", str(certificate)) if signed else ()
        make_interrupted(monkeypatch, 2, "a.mp4", *more, "--overwrite", *tiny, frames=33)
        assert is_signed(Path("a.mp4")) == signed
        shutil.copy("a.mp4", "b.mp4")
        for name in ("a.ckpt", "a.vtt"):
            shutil.copy(name, f"b{name[1:]}")
        capfd.readouterr()
        assert run("resume", "a.mp4") == 0
        assert (message in capfd.readouterr().err) == signed
        assert not is_signed(Path("a.mp4"))
        if signed:
            assert run("resume", "b.mp4", "--sign", certificate) == 0
            assert message not in capfd.readouterr().err
            check_credentials(Path("b.mp4"), 33)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--out", "a.mkv"), "--sign is for .mp4 and .mov files"),
        (("--out", "a.mp4", "--no-mark"), "leave --no-mark out"),
    ],
)
def test_what_cannot_be_signed(
    tiny: tuple[str, ...], capfd: pytest.CaptureFixture[str], more: tuple[str, ...], message: str
):
    assert run("--prompt", "a fox", "--frames", "9", "--sign", "c.pem", *more, *tiny) == 2
    assert message in capfd.readouterr().err


def test_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "c2pa", None)
    with pytest.raises(InvalidOutputError, match=r"pip install 'sana-stream\[sign\]'"):
        open_output(tmp_path / "a.mp4", SPEC, OutputOptions(sign=tmp_path / "c.pem"))


@pytest.mark.programs
def test_certificate_of_the_guide_signs(tmp_path: Path):
    need("bash", "openssl")
    pytest.importorskip("c2pa", reason="needs sana-stream[sign]")
    guide = Path(__file__).parents[3] / "examples" / "guides" / "marking.md"
    (block,) = re.findall(r"```sh\n(openssl .*?)```", guide.read_text("utf-8"), re.DOTALL)
    done = subprocess.run(["bash", "-ec", block], cwd=tmp_path, capture_output=True)
    assert done.returncode == 0, done.stderr
    write(path := tmp_path / "a.mp4", count=1, sign=tmp_path / "sign.pem")
    check_credentials(path, 17)
