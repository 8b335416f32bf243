"""The nodes: a model, a prompt of a schedule, a video, and the rest of an interrupted video."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import folder_paths
import torch
from comfy import model_management
from comfy_api.latest import ComfyExtension, InputImpl, io, ui

from sana_stream import Engine, Run, RunConfig

from .video import checkpoint_of, deliver, interrupted_videos, new_video, picture_file

CATEGORY = "sana-stream"
STORY = "a red boat on the sea at noon\na red boat on the sea at sunset"
LAST, ALL = "last frame", "all frames"
EngineType = io.Custom("SANA_STREAM_ENGINE")


class SanaStreamExtension(ComfyExtension):
    """The nodes of this package."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [SanaStreamModel, SanaStreamPrompt, SanaStreamVideo, SanaStreamResume]


class SanaStreamModel(io.ComfyNode):
    """Loads a model; ComfyUI keeps it until an input changes."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SanaStreamModel",
            display_name="SANA Stream Model",
            category=CATEGORY,
            description="Loads a model for long videos.",
            inputs=[
                io.String.Input(
                    "model",
                    default="pocket",
                    tooltip="pocket (in the package), a folder, a hub id, or a .pth file",
                ),
                io.Combo.Input("device", options=["auto", "cuda", "cpu", "mps"], default="auto"),
                io.Combo.Input(
                    "dtype", options=["auto", "bfloat16", "float16", "float32"], default="auto"
                ),
                io.Combo.Input(
                    "quantize",
                    options=["none", "int8", "fp8", "nvfp4"],
                    default="none",
                    tooltip="of the transformer and the text encoder; needs sana-stream[quant]",
                ),
                io.String.Input(
                    "decoder", default="", optional=True, tooltip="tiny=FILE or causal=FOLDER"
                ),
            ],
            outputs=[EngineType.Output(display_name="engine")],
        )

    @classmethod
    @torch.inference_mode(False)  # its weights are used by threads that are not in that mode
    def execute(
        cls, model: str, device: str, dtype: str, quantize: str, decoder: str = ""
    ) -> io.NodeOutput:
        if device != "cpu":
            model_management.unload_all_models()  # ComfyUI does not count this model's memory
        chosen = None if quantize == "none" else quantize
        return io.NodeOutput(
            Engine.load(
                model,
                device,
                dtype,
                quantize=chosen,
                quantize_text=chosen,
                decoder=decoder.strip() or None,
            )
        )


class SanaStreamPrompt(io.ComfyNode):
    """Adds a prompt to a story, so that a chain of these nodes is a prompt schedule."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SanaStreamPrompt",
            display_name="SANA Stream Prompt",
            category=CATEGORY,
            description="Adds a prompt to a story. Connect the stories one after another.",
            inputs=[
                io.String.Input("prompt", multiline=True, default="night falls"),
                io.Float.Input(
                    "start",
                    default=-1.0,
                    min=-1.0,
                    max=1e6,
                    step=0.1,
                    tooltip="seconds; -1: prompts without a start share the length evenly",
                ),
                io.Int.Input(
                    "blend",
                    default=0,
                    min=0,
                    max=1000,
                    tooltip="blocks over which the prompt is blended in; 0: a hard change",
                ),
                io.String.Input("story", force_input=True, optional=True),
            ],
            outputs=[io.String.Output(display_name="story")],
        )

    @classmethod
    def execute(cls, prompt: str, start: float, blend: int = 0, story: str = "") -> io.NodeOutput:
        text = " ".join(prompt.split())
        if not text:
            raise ValueError("prompt is empty: write what the video shows")
        # the backslash: it is text, also where it looks like a time
        line = f"~{blend} {text}" if blend else rf"\{text}"
        if start >= 0:
            minutes, seconds = divmod(round(start, 3), 60)
            line = f"{minutes:.0f}:{seconds:06.3f} {line}"
        return io.NodeOutput(f"{story}\n{line}" if story.strip() else line)


def _frames_input() -> io.Combo.Input:
    return io.Combo.Input(
        "frames",
        options=[LAST, ALL],
        default=LAST,
        tooltip="what the output images holds; all frames take 12 bytes a pixel of memory",
    )


def _video_outputs() -> list[Any]:
    return [
        io.Video.Output(display_name="video"),
        io.Image.Output(display_name="images"),
        io.String.Output(display_name="path"),
    ]


class SanaStreamVideo(io.ComfyNode):
    """Makes a story into a video in ComfyUI's output folder."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SanaStreamVideo",
            display_name="SANA Stream Video",
            category=CATEGORY,
            description="Makes a long video from a story, with a preview after each block. Cancel"
            " keeps what is made; SANA Stream Resume continues it.",
            inputs=[
                EngineType.Input("engine"),
                io.String.Input(
                    "story",
                    multiline=True,
                    default=STORY,
                    tooltip="a prompt a line, each with a start such as 0:12 or none, or"
                    " the path of a prompt file",
                ),
                io.Float.Input(
                    "seconds",
                    default=0.0,
                    min=0.0,
                    max=1e6,
                    step=0.5,
                    tooltip="length of the video; 0: 10 seconds a prompt",
                ),
                io.Int.Input("width", default=0, min=0, max=8192, tooltip="0: the model's own"),
                io.Int.Input("height", default=0, min=0, max=8192, tooltip="0: the model's own"),
                io.Int.Input("seed", default=0, min=0, max=2**63 - 1, control_after_generate=True),
                io.Int.Input("steps", default=0, min=0, max=1000, tooltip="0: the model's own"),
                io.Float.Input(
                    "guidance",
                    default=0.0,
                    min=0.0,
                    max=1000.0,
                    step=0.1,
                    tooltip="strength of classifier-free guidance; 1: none; 0: the model's own",
                ),
                _frames_input(),
                io.String.Input("filename_prefix", default="video/sana-stream"),
                io.String.Input("negative_prompt", multiline=True, default="", optional=True),
                io.Image.Input("image", optional=True, tooltip="the first frame"),
            ],
            outputs=_video_outputs(),
            is_output_node=True,
        )

    @classmethod
    @torch.inference_mode(False)
    def execute(
        cls,
        engine: Engine,
        story: str,
        seconds: float,
        width: int,
        height: int,
        seed: int,
        steps: int,
        guidance: float,
        frames: str,
        filename_prefix: str,
        negative_prompt: str = "",
        image: torch.Tensor | None = None,
    ) -> io.NodeOutput:
        if (width == 0) != (height == 0):
            raise ValueError(f"width {width}, height {height}: give both, or 0 for both")
        path = new_video(filename_prefix)
        with picture_file(image) as picture:
            config = RunConfig(
                story,
                [path],
                seconds=seconds or None,
                size=(width, height) if width else None,
                seed=seed,
                steps=steps or None,
                guidance=guidance or None,
                negative_prompt=negative_prompt.strip() or None,
                image=picture,
                checkpoint=True,
                directed=False,
            )
            images = deliver(Run(engine, config), keep=frames == ALL)
        return _shown(path, images)


class SanaStreamResume(io.ComfyNode):
    """Continues a video that was cancelled or interrupted, as if it had not been."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SanaStreamResume",
            display_name="SANA Stream Resume",
            category=CATEGORY,
            description="Continues an interrupted video of the output folder. R refreshes the"
            " list.",
            inputs=[
                EngineType.Input("engine"),
                io.Combo.Input("video", options=interrupted_videos()),
                _frames_input(),
            ],
            outputs=_video_outputs(),
            is_output_node=True,
        )

    @classmethod
    def validate_inputs(cls, video: str) -> bool | str:
        if video not in interrupted_videos():
            return f"{video} is not an interrupted video of the output folder: refresh the list"
        return True

    @classmethod
    def fingerprint_inputs(cls, video: str, **_: Any) -> float:
        """The time of its checkpoint: an interrupted node is executed again."""
        return checkpoint_of(video).stat().st_mtime if checkpoint_of(video).exists() else 0.0

    @classmethod
    @torch.inference_mode(False)
    def execute(cls, engine: Engine, video: str, frames: str) -> io.NodeOutput:
        path = Path(folder_paths.get_output_directory(), video)
        images = deliver(Run.resume(engine, path), keep=False)
        if frames == ALL:  # also those from before the interruption
            images = InputImpl.VideoFromFile(os.fspath(path)).get_components().images
        return _shown(path, images)


def _shown(path: Path, images: torch.Tensor) -> io.NodeOutput:
    """The outputs of a node, and the video below it."""
    folder = os.path.relpath(path.parent, folder_paths.get_output_directory())
    saved = ui.SavedResult(path.name, "" if folder == "." else folder, io.FolderType.output)
    video = InputImpl.VideoFromFile(os.fspath(path))
    return io.NodeOutput(video, images, os.fspath(path), ui=ui.PreviewVideo([saved]))
