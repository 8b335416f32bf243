"""The Python snippets of the README and the guides run unchanged, with the embedded model."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
GUIDES = sorted((ROOT / "examples" / "guides").glob("*.md"))
SERVED = ("server",)  # their snippets are run by tests/streaming/web/test_videos.py
PAGES = [ROOT / "README.md", ROOT / "examples" / "README.md", ROOT / "CONTRIBUTING.md", *GUIDES]


def snippets(page: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)


def is_run_here(page: Path) -> bool:
    return bool(snippets(page)) and page.stem not in SERVED


def stem(page: Path) -> str:
    return page.stem


def test_opening_example_makes_the_stated_blocks(capsys: pytest.CaptureFixture[str]):
    snippet, *_ = snippets(ROOT / "README.md")
    exec(compile(snippet, "README.md", "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    starts = [int(line.split()[0]) for line in lines]
    assert starts == [0, 17, 33, 49]
    assert all("256, 448, 3)" in line for line in lines)
    boat, balloon = "a red boat on the sea at sunset", "a yellow balloon over the hills at night"
    assert [line.endswith(balloon) for line in lines] == [False, False, True, True]
    assert all(line.endswith(boat) for line in lines[:2])


def test_readme_runs_make_their_videos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    _, snippet = snippets(ROOT / "README.md")
    exec(compile(snippet, "README.md", "exec"), {})
    assert sorted(path.name for path in tmp_path.glob("*.mp4")) == ["boat.mp4", "night.mp4"]
    assert "at night" in (tmp_path / "night.vtt").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", [page for page in GUIDES if is_run_here(page)], ids=stem)
def test_guide_snippets_run(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """The snippets run from top to bottom in one namespace."""
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for snippet in snippets(page):
        exec(compile(snippet, page.name, "exec"), names)
    assert capsys.readouterr().out


def test_guides_contain_python():
    assert sum(len(snippets(page)) for page in GUIDES) >= 4


def test_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").split()) <= 900


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_linked_images_and_pages_exist(page: Path):
    text = re.sub(r"`[^`\n]*`", "", page.read_text(encoding="utf-8"))
    links = re.findall(r"\]\((?!https?:)([^)#\s]+)[^)]*\)", text)
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_readme_shows_the_demo():
    assert "](examples/demo.png)" in (ROOT / "README.md").read_text(encoding="utf-8")
