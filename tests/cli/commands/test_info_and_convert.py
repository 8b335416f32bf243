"""`sana-stream info` and `sana-stream convert`, in process."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from ...command import run


def test_info_describes_a_model(tiny_folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run("info", tiny_folder, "--device", "cpu", "--dtype", "float32") == 0
    out, err = capfd.readouterr()
    assert out == ""
    for text in ("tiny", "SanaVideoTransformer3DModel", "Gemma2Model", "48x32", "multiples of 16"):
        assert text in err
    assert "while decoding" in err
    assert "does not run" not in err


def test_info_says_whose_conventions_are_used(
    tiny_folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file, folder = tmp_path / "SANA_480p.pth", tmp_path / "folder"
    assert run("convert", tiny_folder, file) == 0
    shutil.copy(tiny_folder / "transformer/config.json", tmp_path)
    assert run("convert", file, folder, "--parts", tiny_folder) == 0
    capfd.readouterr()
    told = []
    for words in (("pocket",), (file, "--parts", tiny_folder), (folder,)):
        assert run("info", *words, "--device", "cpu", "--json") == 0
        told.append(json.loads(capfd.readouterr().out)["conventions"])
    own, authors, converted = told
    assert own.startswith("the model's own: no instruction, prompts in lower case, ")
    assert authors.startswith("the authors' (original layout): image instruction of 8 lines in ")
    assert converted == authors


def test_info_lists_vocabulary_of_embedded_model(capfd: pytest.CaptureFixture[str]) -> None:
    assert run("info", "pocket", "--device", "cpu", "--json") == 0
    facts = json.loads(capfd.readouterr().out)
    assert {"boat", "purple", "sunset", "forest"} <= set(facts["words it knows"].split(", "))
    assert facts["block"].startswith("4 latent frames, 16 pictures, 1 s; ")


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
    assert run("info", place, "--device", "cpu", "--json") == 0
    problems = json.loads(capfd.readouterr().out)["does not run"]
    assert "HeunDiscreteScheduler" in problems
    assert "not for video (DC-AE-V)" in problems


def test_info_as_json(tiny_folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = ("--size", "96x64", "--device", "cpu", "--dtype", "bfloat16", "--json")
    assert run("info", tiny_folder, *words) == 0
    facts = json.loads(capfd.readouterr().out)
    assert facts["at"] == "96x64"
    assert facts["on"] == "cpu, bfloat16"
    assert facts["sampling"] == "renoise, timesteps 1000, 960, 889, 727, no guidance"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("info", "nothing-there"), "model 'nothing-there' is not known"),
        (("info", "FOLDER", "--size", "50x32"), "the nearest is 48x32"),
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
    assert "in bfloat16" in json.loads(capfd.readouterr().out)["transformer"]


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
    err = capfd.readouterr().err
    assert "[red]x[/nothing]" in err
    assert "[bold]" in err
    assert "\x1b" not in err
    assert "\x07" not in err
