"""`sana-stream` as a process that stops before a block until a file appears: BLOCK FILE WORDS..."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from sana_stream.cli.main import main
from sana_stream.engine.session.session import Session
from sana_stream.streaming.run.model import RunModel


def hold(block: int, release: Path) -> None:
    """Block every session of this process before `block` until the file `release` exists.

    Before block -1 the model is not loaded. While a block is held there is a file `held`.
    """
    decode, load = Session.decode, RunModel.load

    def held_load(model: RunModel, config: Any) -> Any:
        while block < 0 and not release.exists():
            time.sleep(0.01)
        return load(model, config)

    def held(session: Session, latent_block: Any, before: Any) -> Any:
        while latent_block.span.index == block and not release.exists():
            release.with_name("held").touch()
            time.sleep(0.01)
        return decode(session, latent_block, before)

    setattr(Session, "decode", held)  # noqa: B010 - with a parameter of another name
    setattr(RunModel, "load", held_load)  # noqa: B010


if __name__ == "__main__":
    hold(int(sys.argv[1]), Path(sys.argv[2]))
    sys.exit(main(sys.argv[3:]))
