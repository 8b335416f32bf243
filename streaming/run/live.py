"""What directs a run while it lasts, and the page that shows it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

from sana_stream.engine.story.read import read_story
from sana_stream.engine.story.story import Story
from sana_stream.errors import ConfigError
from sana_stream.streaming.control.live_control import LiveControl, WatchedFile
from sana_stream.streaming.web.auth import AccessPolicy, Role
from sana_stream.streaming.web.films import Films
from sana_stream.streaming.web.health import Readiness
from sana_stream.streaming.web.live_feed import LiveFeed
from sana_stream.streaming.web.metrics import ServerMetrics
from sana_stream.streaming.web.options import ANY_ORIGIN, NO_OPTIONS, WebOptions
from sana_stream.streaming.web.registry import ActiveStream, StreamRegistry
from sana_stream.streaming.web.served_model import ANY_MODEL, ServedModel
from sana_stream.streaming.web.server import WebServer
from sana_stream.streaming.web.status import RunStatus, ShownPrompt
from sana_stream.streaming.web.v1.videos import KeptRecordings

from .config import RunConfig
from .messages import one_line
from .model_facts import word_finder
from .outputs import metadata_of, recording_of
from .plan import RunPlan
from .recorded_prompts import recorded_prompts

if TYPE_CHECKING:
    from sana_stream.streaming.audio import AudioTrack
    from sana_stream.streaming.control.job_queue import JobQueue
    from sana_stream.streaming.web.fleet import FleetStatus


logger = logging.getLogger(__name__)
IDLE_SECONDS = 60.0  # without a viewer, after which an endless unrecorded stream waits for one
_IDLE_POLL = 0.1  # seconds


def status_prompts(plan: RunPlan) -> tuple[ShownPrompt, ...]:
    """The prompts of a run as the page lists them."""
    return tuple(
        ShownPrompt(place.frame, place.cue.prompt, place.cue.blend)
        for place in plan.placements
        if place.frame is not None
    )


class WatchedStory:
    """A prompt file that may change while the run lasts.

    Args:
        path: of the file.
        resolve: places a story on the run's blocks; raises ConfigError for one that does not fit.
    """

    def __init__(self, path: str, resolve: Callable[[Story], RunPlan]) -> None:
        self._path = path
        self._file = WatchedFile(Path(path))
        self._resolve = resolve

    def changed(self) -> RunPlan | None:
        """The run with the new story; None where the file is unchanged or cannot be used."""
        if not self._file.changed():
            return None
        try:
            plan = self._resolve(read_story(self._path))
        except ConfigError as error:
            logger.warning("%s; the story stays as it was", one_line(error))
            return None
        logger.info("%s has changed and was read again", self._path)
        return plan


class LivePage:
    """Serves the page inside the context; shows every stream that begins.

    A given `token` is required on every address. Otherwise one is made where other machines can
    reach the page. Its addresses are logged.

    Args:
        host: the address to listen on.
        port: 0 is any free one.
        token: the secret in the page's address, or None.
        jobs: the queue that the page submits to, where it does.
        fleet: the replicas that make the streams, where they do.
        web: keys, origins and root path.
        ready: finds why no stream could be made now; default: whether the run can be watched.
        recordings: of the jobs; with them the videos API is served.

    Attributes:
        metrics: what the streams make.
        model: what clients may know of the model.
        films: the finished films, where they are kept.

    Raises:
        InvalidOutputError: the address cannot be used.
    """

    def __init__(
        self,
        host: str,
        port: int,
        token: str | None,
        jobs: JobQueue | None = None,
        fleet: FleetStatus | None = None,
        web: WebOptions = NO_OPTIONS,
        ready: Readiness | None = None,
        model: ServedModel = ANY_MODEL,
        films: Films | None = None,
        recordings: KeptRecordings | None = None,
    ) -> None:
        access = AccessPolicy.on(host, port, web)
        if token is not None:
            access = replace(access, control_token=token)
        self.metrics = ServerMetrics()
        self._streams = StreamRegistry(self.metrics.follow)
        self._server = WebServer(
            *(self._streams, access, jobs, fleet, ready, self.metrics, model, films), recordings
        )
        access = self._server.access
        logger.info("the page is at %s", access.url())
        if ANY_ORIGIN in web.cors_origins and access.control_token is None:
            logger.warning(
                "every web page that a user of this machine opens may direct the streams: name the "
                "origins in place of *, or require keys"
            )
        if access.view_token is not None:
            logger.info("to look on only: %s", access.url(Role.VIEW))

    def begin(
        self,
        plan: RunPlan,
        control: LiveControl,
        recording: Path | None,
        stream_id: int | None = None,
        audio: AudioTrack | None = None,
    ) -> ActiveStream:
        """Show the stream of a run that is about to begin; `recording` can be downloaded.

        Without a `stream_id` it gets the one after the last stream's. `audio` is its sound.
        """
        video = plan.video_format
        longest, made = plan.blocks.longest_block, plan.origin.frames
        feed = LiveFeed(video, longest, made, metadata_of(plan), audio)
        title, seed = plan.config.title, plan.config.seed
        status = RunStatus(
            *(video, title, seed, plan.frames, status_prompts(plan)),
            history_seconds=plan.config.history,
            guidance=plan.guidance,
        )
        if recording is not None and made:
            status.thumbnails.add_earlier(recording, made)
            earlier = recorded_prompts(recording, video.rate)
            status.add_earlier(
                ShownPrompt(each.start, each.title) for each in earlier if each.start < made
            )
        return self._streams.begin(feed, control, status, recording, stream_id)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.close()


@dataclass(frozen=True, slots=True)
class LiveSession:
    """What directs a run: its control, the story that may change, the page that shows it.

    Args:
        control: takes prompts and commands.
        resolve: places a changed story on the run's blocks, with a configuration.
        watched: the file of the story, if it may change.
        stream: the page.
        is_recorded: whether further blocks are recorded.
    """

    control: LiveControl
    resolve: Callable[[Story, RunConfig], RunPlan]
    watched: WatchedStory | None = None
    stream: ActiveStream | None = None
    is_recorded: Callable[[], bool] = lambda: True
    keeps_files: bool = True  # after the end of the program

    def wait_for_use(self) -> None:
        """Wait while nothing records the stream and it has had no viewer for a minute."""
        if not self.is_used():
            logger.info("the stream is neither recorded nor watched; a viewer resumes it")
        while not (self.is_used() or self.control.stop.wait(_IDLE_POLL)):
            pass

    def is_used(self) -> bool:
        """Whether the stream is recorded, or was watched in the last minute."""
        feed = self.feed
        return feed is None or self.is_recorded() or feed.watched_within(IDLE_SECONDS)

    @property
    def feed(self) -> LiveFeed | None:
        """The output that the page shows."""
        return None if self.stream is None else self.stream.feed

    @property
    def status(self) -> RunStatus | None:
        """The run's status on the page."""
        return None if self.stream is None else self.stream.status


@contextmanager
def open_live(
    plan: RunPlan,
    control: LiveControl,
    resolve: Callable[[Story, RunConfig], RunPlan],
    audio: AudioTrack | None = None,
) -> Iterator[LiveSession | None]:
    """Open everything that may direct the run; None when nothing may.

    Args:
        plan: of the run.
        control: takes prompts and commands.
        resolve: places a changed story on the run's blocks.
        audio: the sound of the page.

    Raises:
        InvalidOutputError: the page cannot be served.
    """
    config, stream, watched = plan.config, None, None
    if not (config.directed or config.live):
        yield None
        return
    with ExitStack() as opened:
        if config.web is not None:
            words = plan.vocabulary and word_finder(plan.vocabulary)
            page = opened.enter_context(
                LivePage(config.host, config.web, config.token, model=ServedModel(words))
            )
            stream = page.begin(plan, control, recording_of(config), audio=audio)
        if config.watch and config.prompt_file is not None:
            watched = WatchedStory(config.prompt_file, lambda story: resolve(story, config))
        yield LiveSession(control, resolve, watched, stream)
        if stream is not None:
            stream.status.finish()
