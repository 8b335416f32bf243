"""A headless Chromium, driven by the W3C WebDriver protocol."""

from __future__ import annotations

import base64
import contextlib
import json
import re
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil

ABSENT = not (shutil.which("chromedriver") and shutil.which("chromium"))
_PHONE = 600  # pixels; a narrower window is a phone, with touch and without a mouse
TIMEOUT_SECONDS = 120  # seconds for what a busy machine does late
WHY_ABSENT = "chromium and chromedriver are not installed (Debian: chromium, chromium-driver)"


class Browser:
    """One browser window of a size; `dark` is the colour scheme that the reader prefers."""

    def __init__(self, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self._driver = subprocess.Popen(
            ["chromedriver", "--port=0"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        try:
            self._open(width, height, dark)
        except BaseException:
            self._kill()
            raise

    def _open(self, width: int, height: int, dark: bool) -> None:
        self._base = f"http://127.0.0.1:{self._await_port()}"
        arguments = ["--headless=new", "--no-sandbox", "--mute-audio", "--disable-gpu"]
        arguments += ["--disable-dev-shm-usage", f"--user-data-dir={self._profile.name}"]
        options = {"args": [*arguments, "--autoplay-policy=no-user-gesture-required"]}
        wanted = {"alwaysMatch": {"browserName": "chrome", "goog:chromeOptions": options}}
        answer = self._call("POST", "/session", {"capabilities": wanted})
        self._base += f"/session/{answer['sessionId']}"
        phone = width < _PHONE
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": phone}
        self._emulate("setDeviceMetricsOverride", size)
        self._emulate("setTouchEmulationEnabled", {"enabled": phone})
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._emulate("setEmulatedMedia", {"features": [scheme]})

    def open(self, url: str) -> None:
        self._call("POST", "/url", {"url": url})

    def run(self, script: str) -> Any:
        """The value that a piece of JavaScript returns; promises are awaited."""
        return self._call("POST", "/execute/sync", {"script": script, "args": []})

    def wait(self, script: str, seconds: float = TIMEOUT_SECONDS) -> Any:
        """Wait until a JavaScript expression is true, and give its value."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            value = self.run(f"return {script}")
            if value:
                return value
            time.sleep(0.1)
        raise AssertionError(f"not so after {seconds} s: {script}\n{self.run(STATE)}")

    def press(self, keys: str, selector: str = "body") -> None:
        """Type into the element that a selector names."""
        found = self._call("POST", "/element", {"using": "css selector", "value": selector})
        self._call("POST", f"/element/{next(iter(found.values()))}/value", {"text": keys})

    def click(self, x: int, y: int) -> None:
        """Click on a point of the window."""
        self.drag((x, y), (x, y))

    def drag(self, begin: tuple[int, int], end: tuple[int, int], pointer: str = "mouse") -> None:
        """Press at a point of the window, move to another one, and release."""
        moves = [
            {"type": "pointerMove", "duration": 0, "x": x, "y": y, "origin": "viewport"}
            for x, y in (begin, ((begin[0] + end[0]) // 2, begin[1]), end)
        ]
        down, up = ({"type": f"pointer{name}", "button": 0} for name in ("Down", "Up"))
        steps = [moves[0], down, *(moves[1:] if begin != end else ()), up]
        source = {
            "type": "pointer",
            "id": pointer,
            "parameters": {"pointerType": pointer},
            "actions": steps,
        }
        self._call("POST", "/actions", {"actions": [source]})

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self._call("GET", "/screenshot")))

    def close(self) -> None:
        try:
            self._call("DELETE", "")
        finally:
            self._kill()

    def _kill(self) -> None:
        """End the driver and every process of the browser, which would hold the driver's pipe."""
        processes = psutil.Process(self._driver.pid).children(recursive=True)
        self._driver.kill()
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self._driver.communicate(timeout=TIMEOUT_SECONDS)
        self._profile.cleanup()

    def __enter__(self) -> Browser:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _await_port(self) -> int:
        assert self._driver.stdout
        for line in self._driver.stdout:
            found = re.search(r"started successfully on port (\d+)", line)
            if found:
                return int(found[1])
        raise AssertionError("chromedriver did not start")

    def _emulate(self, command: str, parameters: dict[str, Any]) -> None:
        body = {"cmd": f"Emulation.{command}", "params": parameters}
        self._call("POST", "/goog/cdp/execute", body)

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self._base + path, data, {"Content-Type": "application/json"}, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise AssertionError(error.read().decode()) from error


STATE = """
const v = document.querySelector("video");
return v && JSON.stringify({state: document.body.dataset.state, t: v.currentTime,
  paused: v.paused, ready: v.readyState, error: v.error && v.error.message,
  ranges: [...Array(v.buffered.length).keys()].map(i => [v.buffered.start(i), v.buffered.end(i)]),
  answer: document.getElementById("answer").textContent})
"""
