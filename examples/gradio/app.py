"""A web page that plays a video while it is generated, and takes new prompts meanwhile.

python examples/gradio/app.py

SANA_STREAM_MODEL names another model than the embedded one, SANA_STREAM_SECONDS the longest video.
"""

# The package gradio may be missing where types are checked.
# pyright: reportMissingImports=false, reportAttributeAccessIssue=false

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import gradio as gr

from sana_stream import Block, Engine, Run, RunConfig, SanaStreamError
from sana_stream.engine import Story
from sana_stream.streaming import StreamSpec, VideoFormat, open_output

MODEL = os.environ.get("SANA_STREAM_MODEL", "pocket")
LONGEST = float(os.environ.get("SANA_STREAM_SECONDS", "60"))
STORY = "a red boat on the sea at noon\na red boat on the sea at sunset"

Shown = tuple[str | None, str, str | None]  # a chunk of video, a line, the complete file
runs: dict[str, Run] = {}  # those that are being made, by the session of the page


@cache
def load_model() -> Engine:
    """The model, loaded with the first video."""
    return Engine.load(MODEL)


def generate(
    story: str, seconds: float | None, seed: float | None, request: gr.Request
) -> Iterator[Shown]:
    """Make a video; each block is a chunk that the page plays, the last item is the file."""
    session = str(request.session_hash)
    with tempfile.TemporaryDirectory() as folder:
        film = str(Path(folder, "film.mp4"))
        try:
            # text from a visitor is never the name of a file
            prompts = Story.of([line for line in story.splitlines() if line.strip()], "the story")
            prompts.check_no_images()
            length = min(seconds or LONGEST, LONGEST)  # an empty field is None
            config = RunConfig(prompts, [film], seconds=length, seed=int(seed or 0))
            with Run(load_model(), config) as run:
                runs[session] = run
                for progress in run:
                    assert run.block is not None
                    chunk = Path(folder, f"{progress.blocks:06}.ts")
                    write_chunk(run.block, run.plan.video_format, chunk)
                    line = f"{progress.seconds:.1f} s, {progress.speed:.1f} frames/s"
                    yield str(chunk), f"{line}: {progress.prompt}", None
                    chunk.unlink()  # the page has it
        except SanaStreamError as error:
            raise gr.Error(str(error), print_exception=False) from error
        finally:
            runs.pop(session, None)
        yield None, f"{run.progress.seconds:.1f} s of video", film


def write_chunk(block: Block, video: VideoFormat, path: Path) -> None:
    """Write a block as a video of its own, which begins at 0."""
    output = open_output(path, StreamSpec(video))
    output.write(replace(block, start=0))
    output.close()


def change_prompt(prompt: str, request: gr.Request) -> str:
    """Change the prompt of the visitor's video from its next block on."""
    run = runs.get(str(request.session_hash))
    if run is None:
        raise gr.Error("no video is being made: press Generate first", print_exception=False)
    try:
        run.control.prompt(prompt)
    except SanaStreamError as error:
        raise gr.Error(str(error), print_exception=False) from error
    return ""


def stop(request: gr.Request) -> None:
    """End the visitor's video after the current block."""
    if (run := runs.get(str(request.session_hash))) is not None:
        run.control.end()


def build_page() -> gr.Blocks:
    """The page; one video is made at a time, the others wait in Gradio's queue."""
    with gr.Blocks(title="sana-stream", delete_cache=(3600, 3600)) as page:
        gr.Markdown("# sana-stream\nThe video plays while it is generated, block by block.")
        with gr.Row():
            with gr.Column():
                story = gr.Textbox(STORY, label="Prompts, one a line", lines=4)
                seconds = gr.Slider(1, LONGEST, min(12, LONGEST), step=1, label="Seconds")
                seed = gr.Number(0, label="Seed", precision=0, minimum=0)
                with gr.Row():
                    begin = gr.Button("Generate", variant="primary")
                    end = gr.Button("Stop")
                prompt = gr.Textbox(label="New prompt, from the next block on; Enter sends it")
            with gr.Column():
                video = gr.Video(label="Video", streaming=True, autoplay=True)
                line = gr.Textbox(label="Progress", interactive=False)
                film = gr.File(label="Complete file")
        begin.click(
            generate,
            [story, seconds, seed],
            [video, line, film],
            concurrency_limit=1,
            api_name="generate",
        )
        prompt.submit(change_prompt, prompt, prompt, api_name="change_prompt")
        end.click(stop, api_name="stop")
        page.unload(stop)
    return page


if __name__ == "__main__":
    build_page().launch()
