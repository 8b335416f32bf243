"""A loaded model that starts and resumes sessions: the entry point of the library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from sana_stream._arguments import ARGUMENTS, shown
from sana_stream.errors import ConfigError

from .loading.model import LoadedModel
from .media.inputs import Picture, Video
from .noise import NoiseSource, check_noise
from .session.clips import check_clip
from .session.conditioning import start_from_image, start_from_video
from .session.drift import DriftGuard
from .session.session import Session
from .session.settings import check_prompt, resolve_settings
from .snapshot.check import check_state_shapes
from .snapshot.file import load_snapshot
from .snapshot.snapshot import SessionSettings, Snapshot, initial_snapshot


class Engine(LoadedModel):
    """A loaded model that starts and resumes sessions.

    Sessions share its networks. It keeps no state of any session.
    """

    def session(
        self,
        prompt: str,
        seed: int = 0,
        height: int | None = None,
        width: int | None = None,
        block_frames: int | None = None,
        timesteps: Sequence[float] | None = None,
        guidance: float | None = None,
        negative_prompt: str | None = None,
        memory: str | None = None,
        noise: NoiseSource | None = None,
        *,
        aspect: str | float | None = None,
        steps: int | None = None,
        solver: str | None = None,
        flow_shift: float | None = None,
        image: Picture | None = None,
        video: Video | None = None,
        settings: SessionSettings | None = None,
    ) -> Session:
        """Start a stream. What is not given comes from the checkpoint's preset.

        A model without a state of earlier blocks (SANA-Video 2.0) makes one clip: the session ends
        after its first block.

        Args:
            prompt: used unchanged, appended to the model's instruction text; or several at
                weights that add up to 1: `a boat :0.7 | a train :0.3`.
            seed: 0 to 2**63 - 1; the same seed gives the same stream.
            height, width: pixels.
            aspect: width / height, or text such as "16:9", in place of height and width: the
                nearest of the sizes that the model was trained with, or its area in this shape.
            block_frames: latent frames a block; the first block has one more.
            timesteps: descending, e.g. (1000, 960, 889, 727).
            guidance: strength of classifier-free guidance, 0 to 1000; 1.0 is none.
            negative_prompt: what guidance leads away from; without effect at guidance 1.0.
            memory: "cumulative", "window=W", "window=W,sink=K" or "decay=G".
            noise: `(block_index, step_index, shape) -> tensor` in place of the seed's noise.
            steps: number of timesteps, in place of `timesteps`.
            solver: "renoise" for distilled models, "euler", "dpm++" or "unipc" for the others.
            flow_shift: how far the timesteps are moved towards noise; 1 is evenly spaced.
            image: the stream's first frame, scaled and cropped to its size: the path of a file, a
                Pillow image, or pixels uint8 (H, W, 3).
            video: a clip to continue, the path of a file or pixels uint8 (T, H, W, 3): its last
                whole blocks count as the stream's first ones, and `next_start` is after them.
            settings: what `resolve_settings` returned, in place of all other settings; only
                `prompt`, `negative_prompt`, `noise`, `image` and `video` go with it.

        Raises:
            ConfigError: a setting that cannot be used; nothing has run yet.
        """
        preset = self.preset
        prompt = check_prompt(prompt)
        negative = preset.negative_prompt if negative_prompt is None else negative_prompt
        negative = ARGUMENTS.text("negative_prompt", negative, empty=True)
        noise = check_noise(noise)
        if image is not None and video is not None:
            raise ConfigError("an image and a video are given; a stream begins with one of them")
        check_clip(
            preset,
            self.transformer.config,
            memory=memory,
            image=image is not None,
            video=video is not None,
        )
        given = {
            "height": height,
            "width": width,
            "aspect": aspect,
            "block_frames": block_frames,
            "timesteps": timesteps,
            "guidance": guidance,
            "memory": memory,
            "steps": steps,
            "solver": solver,
            "flow_shift": flow_shift,
        }
        if settings is None:
            settings = resolve_settings(preset, self.size_multiple, seed=seed, **given)
        else:
            _refuse_both(settings, given | {"seed": seed or None})
        if image is not None:
            settings = settings.for_image()
        snapshot = initial_snapshot(self, settings, prompt, negative)
        if image is not None:
            snapshot = start_from_image(self, snapshot, image)
        if video is not None:
            snapshot = start_from_video(self, snapshot, video)
        return Session(self, snapshot, noise)

    def session_from(self, snapshot: Snapshot, noise: NoiseSource | None = None) -> Session:
        """Resume from a snapshot; the stream continues exactly as the one it was taken from.

        Args:
            snapshot: what `Session.snapshot` returned.
            noise: as for `session`.

        Raises:
            ConfigError: not a snapshot, or one of a model with other shapes.
        """
        if not isinstance(snapshot, Snapshot):
            raise ConfigError(f"snapshot {shown(snapshot)}: give what Session.snapshot returned")
        check_state_shapes(snapshot, self)
        return Session(self, snapshot, noise)

    def resume(self, path: str | Path, noise: NoiseSource | None = None) -> Session:
        """Resume from a file that `Session.save` wrote; its prompts are embedded again.

        Args:
            path: the checkpoint file.
            noise: as for `session`.

        Raises:
            SnapshotError: the file is damaged, not a checkpoint, of a newer version or of another
                model.
        """
        noise = check_noise(noise)
        return self.session_from(load_snapshot(ARGUMENTS.path("path", path), self), noise)

    def drift_guard(self, session: Session, action: str, given: bool = False) -> DriftGuard:
        """The guard of a session's blocks.

        Args:
            session: of this engine.
            action, given: as for `DriftGuard`.

        Raises:
            ConfigError: an unknown action, or one that the session's memory does not support.
        """
        return DriftGuard(session, self, action, given=given)


def _refuse_both(settings: object, given: Mapping[str, object]) -> None:
    if not isinstance(settings, SessionSettings):
        raise ConfigError(f"settings {shown(settings)}: give what resolve_settings returned")
    if names := [name for name, value in given.items() if value is not None]:
        raise ConfigError(f"settings and {', '.join(names)} are given; leave one of them out")
