"""The parts of the page around a stream: start screen, words, pictures, films, wall, sharing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from sana_stream.streaming.run.recordings import Recordings
from sana_stream.streaming.video_format import Metadata

from ..blocks import make_block
from ..http_client import VIDEO
from .browser import ABSENT, WHY_ABSENT, Browser
from .test_browser import serving

pytestmark = [pytest.mark.programs, pytest.mark.skipif(ABSENT, reason=WHY_ABSENT)]

PICTURE = """
const canvas = document.createElement("canvas");
canvas.width = 30;
canvas.height = 20;
return new Promise((done) => canvas.toBlob((blob) => {
  const data = new DataTransfer();
  data.items.add(new File([blob], "a <b>boat</b>.png", {type: "image/png"}));
  const input = document.getElementById("picture-file");
  input.files = data.files;
  input.dispatchEvent(new Event("change"));
  done(true);
}));
"""
TEXTS = "[...document.querySelectorAll('{}')].map((each) => each.textContent)"


@pytest.fixture
def films(tmp_path: Path) -> Path:
    """A folder with three finished films."""
    recordings = Recordings(tmp_path, keep=True, limit=None)
    for number in (1, 2, 3):
        _, file = recordings.begin(number, VIDEO, Metadata("A day"), lambda _: None)
        file.write(make_block(0, 0, 17, f"<i>film {number}</i>"))
        file.close()
    recordings.close()
    return tmp_path


@pytest.fixture
def url(films: Path) -> Iterator[str]:
    arguments = ("--films", str(films), "--jobs", "--second", "--host", "0.0.0.0", "--blocks", "9")
    with serving(*arguments) as url:
        yield url.replace("0.0.0.0", "127.0.0.1")


def check_accessible(browser: Browser) -> None:
    """Let axe check the page, where it is installed."""
    if (spec := find_spec("axe_core_python")) is None or spec.origin is None:
        return
    axe = Path(spec.origin).with_name("axe.min.js").read_text()
    found = browser.run(axe + "; return axe.run({resultTypes: ['violations']})")
    faults = [
        (fault["id"], node["html"][:200], node["failureSummary"][:400])
        for fault in found["violations"]
        for node in fault["nodes"]
    ]
    assert faults == [], json.dumps(faults, indent=1)


def click(browser: Browser, selector: str) -> None:
    browser.run(f"document.querySelector({selector!r}).click()")


@pytest.mark.parametrize(("width", "height", "dark"), [(1440, 900, False), (390, 844, True)])
def test_a_film_begins_is_shared_and_deleted(
    url: str, films: Path, width: int, height: int, dark: bool
) -> None:
    with Browser(width, height, dark) as browser:
        browser.open(url)
        click_new(browser)
        browser.wait("document.querySelectorAll('#start img').length === 6")
        browser.wait("document.querySelectorAll('#gallery-films li').length === 3")
        browser.press("a red boatt sails", "#prompt")
        browser.wait("document.querySelector('#word-notes button')")
        assert browser.run(f"return {TEXTS.format('.marks mark')}") == ["boatt"]
        check_accessible(browser)
        click(browser, "#word-notes button")
        assert browser.run("return document.getElementById('prompt').value") == "a red boat sails"
        browser.wait("!document.querySelector('#word-notes p')")
        check_share(browser)
        check_deletion(browser, films)
        click(browser, "#start li:nth-child(3) button")
        browser.wait("location.pathname === '/streams/1/'")
        browser.wait("document.querySelector('video').currentTime > 0.2")
        click(browser, "#add")  # each box for a prompt marks unknown words
        browser.press("a zebraa", "#cue-prompt")
        browser.wait("document.querySelector('#cue .word-notes p')")
        browser.press("\ue00c", "#cue-prompt")
        assert browser.run("return document.title") == "A harbour"
        unknown = "document.getElementById('notice').textContent.startsWith('This model does not')"
        browser.wait(unknown)
        browser.wait("document.getElementById('caption').textContent")
        running = browser.run("return document.getElementById('caption').textContent")
        browser.press(running + "\ue007", "#prompt")
        browser.wait("document.getElementById('answer').textContent.includes('running already')")
        browser.run(PICTURE)
        browser.wait("document.getElementById('picture-chip').offsetHeight")
        assert "a <b>boat</b>.png" in browser.run(f"return {TEXTS.format('#picture-chip')}")[0]
        check_accessible(browser)
        click(browser, "#send")
        browser.wait("document.getElementById('notice').textContent.includes('a picture of')")
        assert browser.run("return document.getElementById('picture-chip').hidden")


def click_new(browser: Browser) -> None:
    """Ask for another stream next to the one that runs."""
    browser.wait("document.body.dataset.state === 'starting'")
    click(browser, "#new")


def check_share(browser: Browser) -> None:
    """Both addresses have a QR code that is not empty."""
    browser.wait("!document.getElementById('share').hidden")
    click(browser, "#share")
    inks = browser.run("""return [...document.querySelectorAll("dialog .qr")].map((canvas) => {
      const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
      return data.filter((value, i) => i % 4 === 0 && value === 0).length / (data.length / 4);
    })""")
    assert len(inks) == 2
    assert all(0.2 < ink < 0.6 for ink in inks)
    check_accessible(browser)
    browser.press("\ue00c")
    browser.wait("!document.querySelector('dialog')")


def check_deletion(browser: Browser, films: Path) -> None:
    """A film is deleted after a question only, and its name is shown as text."""
    names = browser.run(f"return {TEXTS.format('#gallery .name')}")
    assert names == ["<i>film 3</i>", "<i>film 2</i>", "<i>film 1</i>"]
    delete = "#gallery li:nth-child(2) .danger"
    click(browser, delete)
    click(browser, "dialog[open] button[value=no]")
    assert len(list(films.glob("*.mp4"))) == 3
    click(browser, delete)
    click(browser, "dialog[open] button[value=yes]")
    browser.wait("document.querySelectorAll('#gallery-films li').length === 2")
    assert not (films / "stream-0002.mp4").exists()
    click(browser, "#gallery .watch")
    browser.wait("document.querySelector('dialog[open] video').readyState > 1")
    click(browser, "dialog[open] .film > .buttons button")


def test_other_streams_play_next_to_the_one_on_the_stage() -> None:
    with serving("--second") as url, Browser() as browser:
        browser.open(f"{url}streams/1/")
        browser.wait("document.querySelector('#wall video')?.currentTime > 0.2")
        assert browser.run(f"return {TEXTS.format('#wall .name')}") == ["A harbour"]
        browser.run("document.querySelector('#wall').style.marginTop = '9999px'")
        browser.wait("document.querySelector('#wall .still')")
        browser.run("document.querySelector('#wall').style.marginTop = 0")
        browser.wait("!document.querySelector('#wall .still')")
        check_accessible(browser)
        click(browser, "#wall a")
        browser.wait("location.pathname === '/streams/2/'")
