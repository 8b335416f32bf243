"""What the command line asks for, as plain data."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import dataclass
from fractions import Fraction

from sana_stream.errors import ConfigError
from sana_stream.streaming.outputs.targets import STDOUT, check_outputs, default_output

from .live_options import DEFAULT_HOST


@dataclass(frozen=True, slots=True)
class Length:
    """The length asked for; nothing given is a length that follows from the story."""

    minutes: float | None = None
    seconds: float | None = None
    frames: int | None = None
    endless: bool = False


@dataclass(frozen=True, slots=True)
class Options:
    """One run; `None` stands for the default of the model or the output."""

    prompts: tuple[str, ...]
    prompt_file: str | None
    every: float | None  # seconds
    length: Length
    outputs: tuple[str, ...]
    overwrite: bool
    container: str | None
    codec: str | None
    crf: int | None
    preset: str | None
    nvenc: bool
    segment: float | None  # seconds
    window: int | None  # blocks
    interactive: bool
    watch: bool
    web: int | None  # the page's port
    host: str
    token: str | None
    realtime: bool | None
    history: float  # seconds
    size: tuple[int, int] | None  # width, height
    fps: Fraction | None
    seed: int
    guidance: float | None
    negative_prompt: str | None
    steps: int | tuple[float, ...] | None
    solver: str | None
    flow_shift: float | None
    model: str
    parts: str | None
    image: str | None
    video: str | None
    loras: tuple[tuple[str, float], ...]  # files, each with its scale
    quantize: str | None
    quantize_text: str | None
    device: str
    dtype: str
    memory: str | None
    block_frames: int | None
    decoder: str | None
    compile: bool
    graphs: bool
    decode_frames: int | None
    checkpoint_every: float  # seconds, 0 for none
    keep_checkpoint: bool
    guard: str
    quiet: bool
    debug: bool

    @classmethod
    def of(cls, args: Namespace) -> Options:
        """The options as parsed; `ConfigError` for what does not go together."""
        check_story(args)
        outputs = tuple(args.out or [default_output(args.prompt_file)])
        check_outputs(outputs, args.format, args.segment, args.window)
        check_live(args)
        live = args.interactive or args.watch or args.web is not None
        given = (args.minutes, args.seconds, args.frames)
        endless = args.endless or (live and given == (None, None, None))
        return cls(
            prompts=tuple(args.prompt or ()),
            prompt_file=args.prompt_file,
            every=args.every,
            length=Length(*given, endless),
            outputs=outputs,
            overwrite=args.overwrite,
            container=args.format,
            codec=args.codec,
            crf=args.crf,
            preset=args.preset,
            nvenc=args.nvenc,
            segment=args.segment,
            window=args.window,
            interactive=args.interactive,
            watch=args.watch,
            web=args.web,
            host=args.host,
            token=args.token,
            realtime=args.realtime,
            history=args.history,
            size=args.size,
            fps=args.fps,
            seed=args.seed,
            guidance=args.guidance,
            negative_prompt=args.negative_prompt,
            steps=args.steps,
            solver=args.solver,
            flow_shift=args.flow_shift,
            model=args.model,
            parts=args.parts,
            image=args.image,
            video=args.video,
            loras=tuple(args.lora or ()),
            quantize=args.quantize,
            quantize_text=args.quantize_text,
            device=args.device,
            dtype=args.dtype,
            memory=args.memory,
            block_frames=args.block_frames,
            decoder=args.decoder,
            compile=args.compile,
            graphs=args.graphs,
            decode_frames=args.decode_frames,
            checkpoint_every=args.checkpoint_every,
            keep_checkpoint=args.keep_checkpoint,
            guard=args.guard,
            quiet=args.quiet,
            debug=args.debug,
        )

    @property
    def live(self) -> bool:
        """Whether prompts may come in while the stream is made."""
        return self.interactive or self.watch or self.web is not None


def check_story(args: Namespace) -> None:
    """Refuse a command line without a prompt, with ConfigError."""
    if not args.prompt and args.prompt_file is None:
        raise ConfigError(
            'nothing to show: give --prompt "a red boat at dusk" or --prompt-file story.txt'
        )


def check_live(args: Namespace) -> None:
    """Refuse options for directing a run that cannot be combined, with ConfigError.

    Whether there is a file to watch is checked with the run.
    """
    if args.interactive and getattr(args, "prompt_file", None) == STDOUT:
        raise ConfigError("--interactive reads standard input, and so does --prompt-file -")
    if args.web is None and (args.token or args.host != DEFAULT_HOST):
        raise ConfigError("--host and --token are for the page: add --web")
