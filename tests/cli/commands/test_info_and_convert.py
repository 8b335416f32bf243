"""`sana-stream info` and `sana-stream convert`, in process."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import asdict
from io import BytesIO, TextIOWrapper
from pathlib import Path

import pytest

from sana_stream.engine.loading.inspect import estimate_memory, inspect_model

from ...command import run


def test_info_describes_a_model(tiny_folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run("info", tiny_folder, "--device", "cpu", "--dtype", "float32") == 0
    out, err = capfd.readouterr()
    assert err == ""
    for text in ("tiny", "SanaVideoTransformer3DModel", "Gemma2Model", "48x32", "multiples of 16"):
        assert text in out
    assert "while decoding" in out
    assert "does not run" not in out
    assert "\x1b" not in out
    rows = dict(line.split("  ", 1) for line in out.splitlines())  # one line each
    assert rows["model"].strip() == "tiny"


def test_info_says_whose_conventions_are_used(
    tiny_folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file, folder = tmp_path / "SANA_480p.pth", tmp_path / "folder"
    assert run("convert", tiny_folder, file) == 0
    shutil.copy(tiny_folder / "transformer/config.json", tmp_path)
    assert run("convert", file, folder, "--parts", tiny_folder) == 0
    capfd.readouterr()
    printed = []
    for words in (("pocket",), (file, "--parts", tiny_folder), (folder,)):
        assert run("info", *words, "--device", "cpu", "--json") == 0
        printed.append(json.loads(capfd.readouterr().out)["conventions"])
    own, authors, converted = printed
    assert own.startswith("the model's own: no instruction, prompts in lower case, ")
    assert authors.startswith("the authors' (original layout): image instruction of 8 lines in ")
    assert converted == authors


def test_info_lists_vocabulary_of_embedded_model(capfd: pytest.CaptureFixture[str]) -> None:
    assert run("info", "pocket", "--device", "cpu", "--json") == 0
    facts = json.loads(capfd.readouterr().out)
    assert {"boat", "purple", "sunset", "forest"} <= set(facts["vocabulary"])
    assert facts["block"] == {
        "latent_frames": 4,
        "frames": 16,
        "first_frames": 17,
        "seconds": 1.0,
    }
    assert facts["size"]["published"] == []


def test_info_lists_words_by_topic_after_the_memory(
    tiny_folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run("info", "pocket", "--device", "cpu", "--json") == 0
    topics = json.loads(capfd.readouterr().out)["vocabulary_topics"]
    assert run("info", "pocket", "--device", "cpu") == 0
    rows = [line.split("  ", 1) for line in capfd.readouterr().out.splitlines()]
    names = [name for name, _ in rows]
    assert names[names.index("words it knows") + 1 :] == list(topics)
    assert names.index("free now") < names.index("words it knows")
    assert dict(rows)["places"].strip() == ", ".join(topics["places"])

    folder = tmp_path / "named"
    shutil.copytree(tiny_folder, folder)
    topic = {"topics": {"\x1b[2Jships": ["red boat"]}}
    (folder / "vocabulary.json").write_text(json.dumps(topic))
    assert run("convert", folder, tmp_path / "copy") == 0
    capfd.readouterr()
    assert run("info", tmp_path / "copy", "--device", "cpu") == 0
    out = capfd.readouterr().out
    assert "\x1b" not in out
    assert "ships" in out
    assert "red boat" in out


def test_info_lists_every_problem_of_an_unsupported_model(
    tiny_folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "broken"
    shutil.copytree(tiny_folder, place)
    (place / "stream.json").unlink()
    for file, values in [
        ("transformer/config.json", {"sample_size": 30}),
        ("vae/config.json", {"_class_name": "AutoencoderDC"}),
        ("scheduler/scheduler_config.json", {"_class_name": "HeunDiscreteScheduler"}),
    ]:
        known = json.loads((place / file).read_text())
        (place / file).write_text(json.dumps(known | values))
    assert run("info", place, "--device", "cpu", "--json") == 1
    facts = json.loads(capfd.readouterr().out)
    assert facts["runs"] is False
    assert facts["memory"] is None
    assert "HeunDiscreteScheduler" in facts["problems"][0]
    assert "not for video (DC-AE-V)" in facts["problems"][1]
    assert run("info", place, "--device", "cpu") == 1
    out, err = capfd.readouterr()
    assert out.count("does not run") == len(facts["problems"])
    assert err == ""


def test_info_as_json(tiny_folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = ("--size", "96x64", "--device", "cpu", "--dtype", "bfloat16", "--json")
    assert run("info", tiny_folder, *words) == 0
    facts = json.loads(capfd.readouterr().out)
    memory = facts["memory"]
    assert (memory["width"], memory["height"]) == (96, 64)
    assert (memory["device"], memory["dtype"]) == ("cpu", "bfloat16")
    assert memory["peak"] == memory["peak_without_text_encoder"] + memory["text_encoder"]
    assert facts["sampling"] == {
        "solver": "renoise",
        "steps": 4,
        "timesteps": [1000, 960, 889, 727],
        "flow_shift": None,
        "guidance": 1.0,
        "negative_prompt": "",
    }
    assert facts["runs"] is True
    assert facts["size"]["multiple"] == {"width": 16, "height": 16}


def test_json_has_every_fact_of_the_model(
    tiny_folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run("info", tiny_folder, "--device", "cpu", "--dtype", "float32", "--json") == 0
    facts = json.loads(capfd.readouterr().out)
    info = inspect_model(tiny_folder)
    expected = estimate_memory(info, "cpu", "float32")
    assert expected is not None
    for part, weights in zip(facts["parts"], info.parts, strict=True):
        assert part["parameters"] == weights.weights.parameters
        assert (part["name"], part["class"]) == (weights.name, weights.kind)
        assert (part["dtypes"], part["bytes"]) == (["float32"], weights.weights.file_bytes)
    for name, value in asdict(expected.memory).items():
        assert facts["memory"][name] == value
    assert facts["text"]["instruction"] == ["the night falls", "red: "]
    assert facts["source"] == str(tiny_folder)


@pytest.mark.parametrize(
    ("words", "size"),
    [(("--aspect", "9:16"), (32, 48)), (("--aspect", "1"), (32, 32)), ((), (48, 32))],
)
def test_memory_is_estimated_for_an_aspect_ratio(
    tiny_folder: Path,
    capfd: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    size: tuple[int, int],
) -> None:
    assert run("info", tiny_folder, "--device", "cpu", "--json", *words) == 0
    memory = json.loads(capfd.readouterr().out)["memory"]
    assert (memory["width"], memory["height"]) == size


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("info", "nothing-there"), "model 'nothing-there' is not known"),
        (("info", "FOLDER", "--size", "50x32"), "the nearest is 48x32"),
        (("info", "FOLDER", "--size", "48x32", "--aspect", "1"), "not allowed with argument"),
        (("info", "FOLDER", "--aspect", "0"), "'0' is not possible: give 20:1 to 1:20"),
        (("info", "FOLDER", "--aspect", "wide"), "'wide' is not an aspect ratio: give width"),
        (("convert", "FOLDER", "FOLDER"), "exists; give a name that is free"),
        (("convert", "FOLDER", "x", "--dtype", "int4"), "dtype int4 is not known"),
    ],
)
def test_mistake_exits_with_one_line(
    tiny_folder: Path,
    capfd: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    message: str,
) -> None:
    assert run(*(str(tiny_folder) if word == "FOLDER" else word for word in words)) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert message in err
    assert err.count("\n") == 1


def test_converted_folder_is_read_by_info(
    tiny_folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run("convert", tiny_folder, tmp_path / "half", "--dtype", "bfloat16") == 0
    assert f"{tmp_path / 'half'} is written" in capfd.readouterr().err
    assert run("info", tmp_path / "half", "--device", "cpu", "--json") == 0
    assert json.loads(capfd.readouterr().out)["parts"][0]["dtypes"] == ["bfloat16"]


def test_info_prints_untrusted_text_literally(
    tiny_folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "m"
    shutil.copytree(tiny_folder, place)
    settings = json.loads((place / "stream.json").read_text())
    settings["name"] = "\x1b[2J[red]x[/nothing]\r\n"
    (place / "stream.json").write_text(json.dumps(settings))
    (place / "README.md").write_text("---\nlicense: \x1b]0;x\x07[bold]\n---\n")
    assert run("info", place, "--device", "cpu") == 0
    out = capfd.readouterr().out
    assert "[red]x[/nothing]" in out
    assert "[bold]" in out
    assert "\x1b" not in out
    assert "\x07" not in out


def test_table_fits_the_terminal(
    tiny_folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "60")
    assert run("info", tiny_folder, "--device", "cpu") == 0
    out = capfd.readouterr().out
    assert max(map(len, out.splitlines())) <= 60
    assert "\x1b" not in out


def test_characters_that_the_output_lacks_are_escaped(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "m\u00e9"
    shutil.copytree(tiny_folder, place)
    written = BytesIO()
    monkeypatch.setattr(sys, "stdout", TextIOWrapper(written, encoding="ascii"))
    assert run("info", place, "--device", "cpu") == 0
    assert b"m\\xe9" in written.getvalue()
