"""A film that is directed on the page of a real server, and the page's accessibility."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from ...command import start
from ..outputs.test_audio import write_sound
from .browser import ABSENT, TIMEOUT_SECONDS, WHY_ABSENT, Browser

pytestmark = [pytest.mark.programs, pytest.mark.skipif(ABSENT, reason=WHY_ABSENT)]

STATUS = "return fetch('status').then((answer) => answer.json())"
COMING = "[...document.querySelectorAll('#cues .coming')]"
OFFERED = "document.getElementById('cue-at').valueAsNumber"
ENTER, ESCAPE, DELETE, RIGHT = "\ue007", "\ue00c", "\ue017", "\ue014"
SHIFT = "\ue008"
HELD = """window.plain = fetch;
window.fetch = (path, options) =>
  options?.method !== "PUT" ? plain(path, options)
    : new Promise((done) => (window.release = done));"""
A_WHILE = "await new Promise((done) => setTimeout(done, 1300))"  # a status is published meanwhile


@contextlib.contextmanager
def serving(folder: Path, model: Path) -> Iterator[str]:
    """A server of the tiny model; gives its address."""
    argv = ("serve", "--port", "0", "--model", model, "--record", "films", "--streams", "2")
    write_sound(folder / "a.wav")
    process = start(
        *argv, "--audio", "a.wav", "--overcommit", "--checkpoint-every", "0.1s", cwd=folder
    )
    try:
        line = process.stderr.readline().decode()  # type: ignore[union-attr]
        assert "the page is at" in line, line
        yield line.split()[-1]
    finally:
        process.kill()
        process.communicate(timeout=TIMEOUT_SECONDS)


def status(browser: Browser) -> dict[str, Any]:
    return browser.run(STATUS)


def await_status(browser: Browser, condition: str) -> None:
    """Wait until the server's status `s` is as asked: the page shows a change before it is sent."""
    browser.wait(f"fetch('status').then((answer) => answer.json()).then((s) => {condition})")


def point(browser: Browser, script: str) -> tuple[int, int]:
    """The middle of an element, or another point, in the window."""
    x, y = browser.run(f"return (({script}))")
    return round(x), round(y)


AT = """(() => {{
  const box = document.getElementById("track").getBoundingClientRect();
  const ruler = [...document.querySelectorAll("#ruler span")].slice(0, 2);
  const seconds = (text) => text.split(":").reduce((sum, part) => sum * 60 + Number(part), 0);
  const [a, b] = ruler.map((tick) => [seconds(tick.textContent), tick.offsetLeft]);
  const pixels = (b[1] - a[1]) / (b[0] - a[0]);
  return [box.left + a[1] + ({0} - a[0]) * pixels, box.top + box.height * {1}];
}})()"""


def test_a_film_is_directed_by_pointer_and_keyboard(tmp_path: Path, tiny_folder: Path) -> None:
    with serving(tmp_path, tiny_folder) as url, Browser(1440, 900) as browser:
        browser.open(url)
        browser.wait("document.body.dataset.state === 'empty'")
        browser.run("document.getElementById('settings').open = true")
        browser.press("300", "#length")
        browser.press("7", "#seed")
        browser.press("a red boat" + ENTER, "#prompt")
        browser.wait("document.body.dataset.state === 'running'")
        browser.wait(f"document.querySelector('#film img') && {COMING}.length === 0")
        assert status(browser)["seed"] == 7
        # Its sound is off at first.
        browser.press("m", "body")
        browser.wait("!document.getElementById('video').muted")
        browser.run("document.getElementById('sound').click()")
        browser.wait("document.getElementById('video').muted")
        assert status(browser)["total_seconds"] == 300
        # A prompt is typed at a place of the strip that is still to come.
        browser.click(*point(browser, AT.format(20, 0.75)))
        browser.press("the moon rises" + ENTER, "#cue-prompt")
        browser.wait(f"{COMING}.length === 1")
        browser.wait("document.getElementById('answer').textContent.includes('0:20')")
        (cue,) = status(browser)["coming"]
        assert (cue["prompt"], abs(cue["start"] / 16 - 20) < 1) == ("the moon rises", True)
        # Its edge is dragged ten seconds further, to the block that begins there. It is shown there
        # at once, whatever the server says before its answer, and not where it was refused.
        browser.run(HELD)
        browser.drag(point(browser, AT.format(20.2, 0.3)), point(browser, AT.format(30.2, 0.3)))
        label = f"{COMING}[0].getAttribute('aria-label')"
        assert browser.run(f"{A_WHILE}; return {label}").startswith("0:30")
        browser.run("release(new Response('it is too late', { status: 409 }))")
        browser.wait("document.getElementById('answer').textContent.includes('it is too late')")
        assert browser.run(f"return {label}").startswith("0:20")
        browser.run("window.fetch = plain")
        browser.drag(point(browser, AT.format(20.2, 0.3)), point(browser, AT.format(30.2, 0.3)))
        browser.wait("document.getElementById('answer').textContent.includes('0:30')")
        await_status(browser, "s.coming[0].start > 460")
        # By keyboard it is moved by a second, gets a blend, and another one is added and deleted.
        before = status(browser)["coming"][0]["start"]
        browser.run(f"{COMING}[0].focus()")
        browser.press(SHIFT + RIGHT + SHIFT, "#cues .coming")
        await_status(browser, f"s.coming[0].start > {before}")
        browser.press(ENTER, "#cues .coming")
        browser.wait("document.activeElement.id === 'cue-prompt'")
        browser.run("document.getElementById('cue-blend').value = 3")
        browser.press(ENTER, "#cue-prompt")
        await_status(browser, "s.coming[0].transition_blocks === 3")
        # The time that is offered for it stays ahead of the film while it is typed.
        browser.run("document.getElementById('add').click()")
        offered = browser.run(f"return {OFFERED}")
        browser.wait(f"{OFFERED} > {offered}")
        browser.press("the sun" + ENTER, "#cue-prompt")
        browser.wait(
            f"{COMING}.length === 2 || {COMING}.length === 1 && "
            "document.querySelector('#cues .now').textContent === 'the sun'"
        )
        browser.press(DELETE, "#cues .coming:last-child")
        await_status(browser, "s.coming.every((cue) => cue.prompt !== 'the moon rises')")
        # A moment of the past is returned to: what came after it is left.
        await_status(browser, "s.seconds > 3")
        browser.click(*point(browser, AT.format(1.3, 0.75)))
        browser.wait("document.querySelector('#moment:popover-open')")
        browser.run("document.querySelector('#moment button').click()")
        browser.wait("document.querySelector('#film .left-out')")
        await_status(browser, "s.left_out.length > 0")
        left = status(browser)["left_out"][0]
        assert left[0] <= 1.3 * 16 < left[1]
        assert "Sent" not in browser.run("return document.getElementById('answer').textContent")
        browser.run("document.getElementById('stop').click()")
        browser.run("document.querySelector('dialog [value=yes]').click()")
        browser.wait("document.body.dataset.state === 'finished'")


def test_a_film_is_branched_on_its_page(tmp_path: Path, tiny_folder: Path) -> None:
    with serving(tmp_path, tiny_folder) as url, Browser(1024, 768) as browser:
        browser.open(url)
        browser.wait("document.body.dataset.state === 'empty'")
        browser.run(
            "document.getElementById('share').click()"
        )  # only this machine reaches the page
        assert "--host 0.0.0.0" in browser.run(
            "return document.querySelector('dialog').textContent"
        )
        browser.press(ESCAPE)
        browser.press("a red boat" + ENTER, "#prompt")
        browser.wait("document.querySelectorAll('#film img').length")
        browser.wait("!document.getElementById('branch').hidden")
        browser.run("document.getElementById('branch').click()")
        browser.press(" sails", "#branch-prompt")
        browser.run("document.querySelector('dialog form').requestSubmit()")
        browser.wait("location.pathname.endsWith('/streams/2/')")
        browser.wait("document.querySelector('#caption').textContent === 'a red boat sails'")


VIEWS = [(1440, 900, False), (390, 844, True)]


@pytest.mark.skipif(find_spec("axe_core_python") is None, reason="axe-core-python is not installed")
def test_the_page_is_accessible(tmp_path: Path, tiny_folder: Path) -> None:
    """axe finds no fault: on the empty page, while a film is made, with a card, with a dialog."""
    spec = find_spec("axe_core_python")
    assert spec is not None
    assert spec.origin is not None
    axe = Path(spec.origin).with_name("axe.min.js").read_text()

    def check(browser: Browser) -> None:
        found = browser.run(axe + "; return axe.run({resultTypes: ['violations']})")
        faults = [
            (fault["id"], node["html"][:200], node["failureSummary"][:400])
            for fault in found["violations"]
            for node in fault["nodes"]
        ]
        assert faults == [], json.dumps(faults, indent=1)

    with serving(tmp_path, tiny_folder) as url:
        for width, height, dark in VIEWS:
            with Browser(width, height, dark) as browser:
                browser.open(url)
                browser.wait("document.body.dataset.state !== 'connecting'")
                check(browser)
                if browser.run("return document.body.dataset.state") == "empty":
                    browser.press("a red boat" + ENTER, "#prompt")
                browser.wait("document.querySelector('#film img')")
                browser.run("document.getElementById('settings').open = true")
                browser.run("document.getElementById('add').click()")
                check(browser)
                browser.press(ESCAPE, "#cue-prompt")
                browser.run("document.getElementById('help').click()")
                check(browser)
