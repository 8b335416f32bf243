"""The live page in a real browser: the picture moves, prompts change it, servers come and go."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..blocks import colour
from ..outputs.test_sockets import free_port
from .browser import ABSENT, TIMEOUT_SECONDS, WHY_ABSENT, Browser

pytestmark = [pytest.mark.programs, pytest.mark.skipif(ABSENT, reason=WHY_ABSENT)]

MOVING = "document.querySelector('video').currentTime > {} && document.body.dataset.state"
# The average colour of the picture's right edge, which encodes the prompt.
COLOUR = """(() => {
  const video = document.querySelector("video"), canvas = document.createElement("canvas");
  canvas.width = canvas.height = 1;
  const brush = canvas.getContext("2d");
  brush.drawImage(video, video.videoWidth - 40, 60, 30, 150, 0, 0, 1, 1);
  return [...brush.getImageData(0, 0, 1, 1).data].slice(0, 3);
})()"""


@contextlib.contextmanager
def serving(*arguments: str, role: str = "at") -> Iterator[str]:
    """A server in a process of its own; gives its address, for `watch` the one to look on only."""
    command = [sys.executable, str(Path(__file__).parents[1] / "page_server.py"), *arguments]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr
    try:
        lines = [process.stderr.readline() for _ in range(1 if role == "at" else 2)]
        found = re.match(rf"{role} (\S+)", lines[-1])
        assert found, lines
        yield found[1]
    finally:
        process.kill()
        process.communicate(timeout=TIMEOUT_SECONDS)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as browser:
        yield browser


def distance(shown: list[int], prompt: str) -> int:
    """How far a colour is from that of a prompt, in the worst channel."""
    return int(abs(colour(prompt).astype(int) - shown).max())


def await_colour(browser: Browser, prompt: str) -> None:
    """Wait until the picture shows a prompt that the page lists as current."""
    until = time.monotonic() + 10
    while distance(shown := browser.run(f"return {COLOUR}"), prompt) >= 16:
        assert time.monotonic() < until, shown
        time.sleep(0.1)


def test_a_typed_prompt_changes_the_picture(browser: Browser) -> None:
    with serving() as url:
        browser.open(url)
        assert browser.wait(MOVING.format(1)) == "running"
        assert browser.run("return document.title") == "A harbour"
        dawn = "A red boat lies in the harbour at dawn"
        assert distance(browser.run(f"return {COLOUR}"), dawn) < 16
        browser.press("/", "body")
        assert browser.run("return document.activeElement.id") == "prompt"
        prompt = "Lanterns & <i>rain</i>"
        browser.run("document.getElementById('blend').value = -1")
        browser.press(prompt + "\ue007", "#prompt")  # not sent
        browser.run("document.getElementById('blend').value = 3")
        browser.press("\ue007", "#prompt")
        browser.wait("document.getElementById('notice').textContent === 'over 3 blocks'")
        browser.wait("document.querySelector('#cues .now').textContent.includes('Lanterns')")
        await_colour(browser, prompt)
        said = browser.wait("document.getElementById('answer').textContent.match(/^On .*/)")[0]
        waited = re.fullmatch(r"On screen (\d+\.\d) s after it was sent\.", said)
        assert waited
        assert float(waited[1]) > 0
        # What was typed is text, wherever it appears.
        browser.wait(f"document.querySelector('#caption').textContent === '{prompt}'")
        assert browser.run("return document.querySelectorAll('#cues i, #cues b').length") == 0
        # The arrow key brings it back.
        browser.press("\ue013", "#prompt")
        assert browser.run("return document.getElementById('prompt').value") == prompt


def test_a_second_viewer_joins_late_and_the_first_continues(browser: Browser) -> None:
    with serving() as url, Browser(390, 844, dark=True) as phone:
        browser.open(url)
        browser.wait(MOVING.format(2))
        phone.open(url)
        phone.wait("document.querySelector('video').currentTime > 3")
        times = [
            window.run("return document.querySelector('video').currentTime")
            for window in (browser, phone)
        ]
        assert abs(times[0] - times[1]) < 8
        browser.wait("document.getElementById('viewers').textContent === '2'")
        # A phone's width is enough: nothing to scroll sideways.
        width = "[document.documentElement.scrollWidth, window.innerWidth]"
        assert phone.run(f"return {width}") == [390, 390]
        dark, light = (
            window.run("return getComputedStyle(document.body).backgroundColor")
            for window in (phone, browser)
        )
        assert dark != light


def test_page_works_below_the_path_of_a_proxy(browser: Browser) -> None:
    with serving("--second", "--root-path", "/video/v2") as url:
        browser.open(f"{url}video/v2/")
        browser.wait(MOVING.format(0.5))
        browser.press("dusk\ue007", "#prompt")
        await_colour(browser, "dusk")
        asked = (
            "performance.getEntriesByType('resource').map((each) => new URL(each.name).pathname)"
        )
        paths = browser.run(f"return {asked}")
        assert {path for path in paths if not path.startswith("/video/v2/")} == set()
        assert "/video/v2/status" in paths
        browser.run("document.querySelector('#streams a').click()")
        browser.wait("location.pathname === '/video/v2/streams/1/'")


def test_each_stream_has_a_page_of_its_own(browser: Browser) -> None:
    with serving("--second") as url:
        browser.open(url)
        browser.wait(MOVING.format(0.5))
        links = "[...document.querySelectorAll('#streams a')].map((link) => link.textContent)"
        browser.wait(f"{links}.length === 2")
        assert browser.run(f"return {links}") == ["1 A night", "2 A harbour"]
        browser.run("document.querySelector('#streams a').click()")
        browser.wait(
            "location.pathname === '/streams/1/' && document.body.dataset.state === 'starting'"
        )
        browser.press("dusk\ue007", "#prompt")
        browser.wait("document.getElementById('answer').textContent.startsWith('Sent')")
        for number, prompt in ((1, "dusk"), (2, None)):
            status = f"fetch('/streams/{number}/status').then((answer) => answer.json())"
            found = browser.run(f"return {status}.then((status) => status.waiting_prompt)")
            assert found == prompt
        assert browser.run("return document.querySelector('[aria-current=page]').textContent") == (
            "1 A night"
        )


def test_a_killed_server_is_waited_for(browser: Browser) -> None:
    port = str(free_port())
    with serving("--port", port) as url:
        browser.open(url)
        browser.wait(MOVING.format(1))
    browser.wait("document.body.dataset.state === 'disconnected'")
    assert "Trying again" in browser.run("return document.getElementById('overlay').textContent")
    assert browser.run("return document.getElementById('send').disabled")
    with serving("--port", port):
        browser.wait("document.body.dataset.state === 'running'")
        now = browser.wait("document.querySelector('video').currentTime")
        browser.wait(f"document.querySelector('video').currentTime > {now} + 0.5")


def test_the_stream_is_paused_resumed_and_ended(browser: Browser) -> None:
    with serving() as url:
        browser.open(url)
        browser.wait(MOVING.format(1))
        browser.run("document.getElementById('pause').click()")
        browser.wait("document.body.dataset.state === 'paused'")
        browser.wait(
            "document.querySelector('video').buffered.end(0) -"
            " document.querySelector('video').currentTime < 0.3"
        )
        paused_at = browser.run("return document.querySelector('video').currentTime")
        browser.run("document.getElementById('pause').click()")
        browser.wait(MOVING.format(paused_at + 1))
        browser.run("document.getElementById('stop').click()")
        browser.run("document.querySelector('dialog [value=yes]').click()")
        browser.wait("document.body.dataset.state === 'finished'")
        assert browser.run("return document.getElementById('send').disabled")


def test_a_foreign_page_cannot_control(browser: Browser) -> None:
    with serving() as url, serving() as other:
        browser.open(other)
        browser.wait(MOVING.format(0.5))
        browser.run(
            f"return fetch('{url}command', {{method: 'POST', mode: 'no-cors', body: '/stop'}})"
            ".catch(() => 'refused')"
        )
        browser.open(url)
        assert browser.wait(MOVING.format(0.5)) == "running"


def test_streams_are_begun_from_the_page_one_after_the_other(browser: Browser) -> None:
    with serving("--jobs", "--blocks", "3") as url:
        browser.open(url)
        browser.wait("document.body.dataset.state === 'empty'")
        assert browser.run("return document.getElementById('send').textContent") == "Start"
        overlay = browser.run("return document.getElementById('overlay').textContent")
        assert overlay.startswith("Write a prompt")
        assert not browser.run("return document.querySelector('video').controls")
        assert browser.run("return document.getElementById('stop').hidden")
        for story in ("A red fox", "A blue whale"):
            browser.press(story + "\ue007", "#prompt")
            browser.wait(
                f"document.querySelector('#caption').textContent === '{story}'"
                " && document.body.dataset.state === 'finished'"
                " && document.querySelector('video').currentTime > 2"
            )
            assert distance(browser.run(f"return {COLOUR}"), story) < 16


def test_a_browser_that_cannot_play_shows_what_can(browser: Browser) -> None:
    with serving("--jobs") as url:
        browser.open(url)
        browser.run("MediaSource.isTypeSupported = () => false; delete window.ManagedMediaSource")
        browser.wait("document.body.dataset.state === 'empty'")
        browser.press("A red fox\ue007", "#prompt")
        browser.wait("document.getElementById('overlay').textContent.includes('cannot play')")
        assert browser.run("return document.body.dataset.state") == "running"


SIZE = "(() => {const {width, height} = document.getElementById('screen').getBoundingClientRect();"
SIZE += " return [width, height];})()"


def test_the_picture_is_as_large_as_is_asked_for() -> None:
    """Next to the controls it is at most three times its size; sharp pixels are whole ones."""
    with serving() as url, Browser(2600, 1900) as browser:
        browser.open(url)
        browser.wait(MOVING.format(0.3))
        assert browser.run(f"return {SIZE}") == [3 * 384, 3 * 256]
        browser.press("t", "body")
        width, height = browser.run(f"return {SIZE}")
        assert width > 4 * 384
        assert abs(width / height - 1.5) < 0.01
        browser.press("s", "body")
        width, height = browser.run(f"return {SIZE}")
        assert (width % 384, height % 256, width / height) == (0, 0, 1.5)
        assert (
            browser.run("return getComputedStyle(document.querySelector('video')).imageRendering")
            == "pixelated"
        )
        browser.open(url)  # both are remembered
        browser.wait(MOVING.format(0.3))
        assert browser.run(f"return {SIZE}") == [width, height]
        assert browser.run("return document.body.dataset.mode") == "theatre"
        browser.press("?", "body")
        browser.wait("document.querySelector('dialog kbd')")


def test_who_may_only_look_on_sees_no_controls(browser: Browser) -> None:
    with serving("--host", "0.0.0.0", role="watch") as url:
        browser.open(url.replace("0.0.0.0", "127.0.0.1"))
        browser.wait(MOVING.format(0.3))
        browser.wait("document.querySelector('#film img')")
        shown = browser.run(
            "return [...document.querySelectorAll('button, textarea, input, a')]"
            ".filter((each) => each.checkVisibility()).map((each) => each.id)"
        )
        allowed = {"play", "sharp", "theatre", "full", "help", "share", "live"}
        allowed |= {"zoom-in", "zoom-out"}
        assert set(shown) <= allowed
        assert {"play", "zoom-in"} <= set(shown)
        browser.run("document.querySelector('#cues [role=option]').click()")
        assert browser.run("return document.querySelectorAll(':popover-open button').length") == 0
