"""Videos made one at a time in the background, for programs that start and direct them by calls."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass, replace
from pathlib import Path
from queue import SimpleQueue
from threading import Lock, Thread, current_thread

from sana_stream._files import is_device_name
from sana_stream._text import find_control, safe_text
from sana_stream.engine.story.read import parse_story
from sana_stream.errors import ConfigError
from sana_stream.streaming.outputs.default_name import default_output

from .config import RunConfig
from .messages import one_line
from .model import describe_files
from .runner import Run


@dataclass(frozen=True)
class VideoStatus:
    """How far the newest video is.

    `state` is idle, loading, running, paused, complete, stopped or failed.
    """

    state: str = "idle"
    file: str | None = None
    prompt: str | None = None  # of the newest block
    waiting_prompt: str | None = None  # of the next block, where it was changed
    frames: int = 0
    seconds: float = 0.0  # of video
    total_seconds: float | None = None  # None: endless
    frames_per_second: float = 0.0  # of wall time
    error: str | None = None


class VideoMaker:
    """Makes one video at a time, in a thread; its methods may be called from any thread.

    Args:
        config: what all videos have in common, among it the model, which the first one loads.
        folder: where the videos are written.
    """

    def __init__(self, config: RunConfig, folder: Path) -> None:
        self._config, self._folder = config, folder
        self._model = describe_files(config)
        self._lock = Lock()  # of `start`
        self._run: Run | None = None
        self._thread: Thread | None = None
        self._error: BaseException | None = None
        self._loading = False

    def start(
        self,
        story: str,
        seconds: float | None = None,
        endless: bool = False,
        seed: int | None = None,
        name: str | None = None,
    ) -> VideoStatus:
        """Begin a video; returns before its first block.

        An endless video is made as fast as it plays, any other as fast as possible.

        Args:
            story: a prompt a line, each with a start time or none.
            seconds: its length. Default: 10 seconds a prompt.
            endless: until `stop`.
            seed: of the noise. Default: that of the configuration.
            name: a file name in the folder. Default: one made from the first prompt.

        Raises:
            ConfigError: a video is being made, or an argument cannot be used.
            SanaStreamError: as `Run` raises it.
        """
        if not self._lock.acquire(blocking=False):
            raise ConfigError("a video is being started: wait for it")
        try:
            if self._is_alive():
                raise ConfigError("a video is being made: stop it first, or change its prompt")
            config = self._video_config(story, seconds, endless, seed, name)
            run = Run.planned(self._model, config, config.read_story())
            self._load(run)
            self._begin(run)
        finally:
            self._lock.release()
        return self.status()

    def _video_config(
        self, text: str, seconds: float | None, endless: bool, seed: int | None, name: str | None
    ) -> RunConfig:
        story = parse_story(text, "the story")
        story.check_no_images()
        config = replace(
            self._config,
            story=story,
            outputs=(self._video_path(name, [cue.prompt for cue in story.cues]),),
            seconds=seconds,
            endless=endless,
            seed=self._config.seed if seed is None else seed,
            realtime=endless,
            directed=True,
            checkpoint=True,
        )
        config.check()
        return config

    def _video_path(self, name: str | None, prompts: list[str]) -> str:
        if name is None:
            return default_output(None, prompts, folder=self._folder)
        from sana_stream.streaming.containers.registry import BY_SUFFIX

        plain = os.path.basename(name) == name and not (is_device_name(name) or find_control(name))
        if not plain or Path(name).suffix.lower() not in BY_SUFFIX:
            raise ConfigError(
                f"name {safe_text(name, 80)}: give a file name without a folder, such as film.mp4"
            )
        return os.path.join(self._folder, name)

    def _load(self, run: Run) -> None:
        if self._model.engine is None:
            self._loading = True
            try:
                self._model = replace(self._model, engine=self._model.load(run.config))
            finally:
                self._loading = False

    def _begin(self, run: Run) -> None:
        """Enter the run in its thread, and raise what fails before that."""
        entered: SimpleQueue[BaseException | None] = SimpleQueue()
        Thread(target=self._make, args=(run, entered), name="video", daemon=True).start()
        if (refused := entered.get()) is not None:
            raise refused

    def _make(self, run: Run, entered: SimpleQueue[BaseException | None]) -> None:
        try:
            with run:
                self._run, self._thread, self._error = run, current_thread(), None
                entered.put(None)
                for _ in run:
                    pass
        except BaseException as error:  # of any kind: `start` or `status` reports it
            if self._run is run:
                self._error = error
            entered.put(error)

    def prompt(self, line: str) -> None:
        """Change the prompt from the next block on, or give a command of live control.

        Raises:
            ConfigError: no video is being made.
            CommandError: an unknown command, or a prompt that is too long.
        """
        if not line.strip():
            raise ConfigError("the prompt is empty: write what the video shows")
        self._running().control.submit(line, remote=True)

    def stop(self) -> VideoStatus:
        """End the video after the current block, complete its file and wait for that.

        Raises:
            ConfigError: no video is being made.
        """
        self._running().control.end()
        self.wait()
        return self.status()

    def wait(self) -> None:
        """Wait until the video ends."""
        if self._thread is not None:
            self._thread.join()

    def close(self) -> None:
        """End a video that is being made, as `stop` does."""
        if self._run is not None:
            self._run.control.end()
        self.wait()

    def status(self) -> VideoStatus:
        """How far the newest video is."""
        run = self._run
        if run is None or self._loading:
            return VideoStatus(state="loading" if self._loading else "idle")
        progress, error = run.progress, self._error
        return VideoStatus(
            state=self._state(run),
            file=run.config.targets[0],
            prompt=progress.prompt or None,
            waiting_prompt=run.control.waiting_prompt,
            frames=progress.frames,
            seconds=round(progress.seconds, 3),
            total_seconds=progress.total_seconds,
            frames_per_second=round(progress.speed, 2),
            error=None if error is None else one_line(error),
        )

    def _state(self, run: Run) -> str:
        if self._is_alive():
            return "paused" if run.control.paused else "running"
        if self._error is not None:
            return "failed"
        return "complete" if run.progress.complete else "stopped"

    def frame(self) -> bytes:
        """The newest frame as a PNG file.

        Raises:
            ConfigError: there is none.
        """
        from PIL import Image

        block = None if self._run is None else self._run.block
        if block is None:
            raise ConfigError("there is no frame yet: start a video, and wait for its first block")
        file = io.BytesIO()
        Image.fromarray(block.frames[-1]).save(file, "PNG")
        return file.getvalue()

    def _is_alive(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def _running(self) -> Run:
        if self._run is None or not self._is_alive():
            raise ConfigError("no video is being made: start one")
        return self._run
