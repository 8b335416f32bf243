"""Parameter names in the library's messages are printed as command-line options."""

from __future__ import annotations

from argparse import Namespace

import pytest

from sana_stream.cli.flags import with_flags
from sana_stream.cli.live_options import LiveOptions
from sana_stream.cli.main import main
from sana_stream.cli.model_options import ModelOptions
from sana_stream.cli.options import OPTIONS, Length, Options
from sana_stream.cli.parser import build_parser
from sana_stream.errors import ConfigError, OutputError


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("a.mp4 exists; choose another name or add overwrite=True",
         "a.mp4 exists; choose another name or add --overwrite"),
        ("a.mp4 exists: use `overwrite=True`.", "a.mp4 exists: use --overwrite."),
        ('use dtype="bfloat16", or int8', "use --dtype bfloat16, or int8"),
        ("use dtype='float32'", "use --dtype float32"),
        ("use dtype=torch.float32", "use --dtype float32"),
        ('give decoder="tiny=FILE"', "give --decoder tiny=FILE"),
        ('give memory="window=8,sink=1"', "give --memory window=8,sink=1"),
        ("no effect at guidance 1: add guidance=4.5",
         "no effect at guidance 1: add --guidance 4.5"),
        ("needs a CUDA device; use graphs=False", "needs a CUDA device; use no --graphs"),
        ("or decoder=None", "or no --decoder"),
        ("slower with realtime=False", "slower with --no-realtime"),
        ("a smaller picture (size=) or (decode_frames=1)",
         "a smaller picture (--size) or (--decode-frames 1)"),
        ("begin with outputs=['film.mp4']", "begin with --out film.mp4"),
        ("give prompt='a red boat'", "give --prompt 'a red boat'"),
        ("use container='mpegts'; or loras=", "use --format mpegts; or --lora"),
        ("another name, or checkpoint=False", "another name, or --checkpoint-every off"),
        ("give segment_seconds=90", "give --segment 90"),
    ],
)  # fmt: skip
def test_parameter_is_replaced_by_its_option(message: str, shown: str) -> None:
    assert with_flags(message) == shown


@pytest.mark.parametrize(
    "message",
    [
        "memory window=8: window and sink hold at most 4096 blocks",
        "memory window=8,sink=2 is not possible",
        "films/seed=4.mp4 exists",
        "seed=4.mp4 exists",
        "https://example.org/?token=12 refuses the stream",
        "no word of 'overwrite=True' is known",
        "block_frames 100000 is out of range",
        "xoverwrite=True, overwritten=True",
        "offload_text=True",
    ],
)
def test_other_text_is_unchanged(message: str) -> None:
    assert with_flags(message) == message


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("a.mp4 exists: add overwrite=True"), 2),
        (OutputError("a.mp4 exists: add overwrite=True"), 1),
    ],
)
def test_error_line_names_options(
    error: Exception,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def fail(args: Namespace) -> int:
        raise error

    monkeypatch.setattr("sana_stream.cli.main._generate", fail)
    assert main(["--prompt", "a"]) == code
    assert capfd.readouterr().err == "sana-stream: a.mp4 exists: add --overwrite\n"


def test_declared_option_is_parsed_and_read() -> None:
    parser = build_parser("")
    flags = {name for action in parser._actions for name in action.option_strings}
    assert {option.flag for option in OPTIONS.values()} == flags - {
        "--no-realtime", "--no-mark", "--version", "--help", "-h",
    }  # fmt: skip
    options = Options.of(parser.parse(["--prompt", "a"]))
    assert options == Options(prompts=("a",), outputs=("a.mp4",))
    given = Options.of(parser.parse(["--prompt", "a", "--lora", "b:0.5", "--frames", "9"]))
    assert (given.loras, given.length) == ((("b", 0.5),), Length(frames=9))
    assert isinstance(given, LiveOptions)
    assert isinstance(given, ModelOptions)
