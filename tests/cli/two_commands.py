"""`sana-stream` for two commands in one process: WORDS... then WORDS..."""

from __future__ import annotations

import sys

from sana_stream.cli.process import leave_process, prepare_process

prepare_process()

from sana_stream.cli.main import main  # noqa: E402 - after the process is prepared, as in `entry`

words = sys.argv[1:]
cut = words.index("then")
for argv in (words[:cut], words[cut + 1 :]):
    code = main(argv)
    for stream in (sys.stdout, sys.stderr):
        stream.write(f"ended with {code}\n")
        stream.flush()
sys.exit(leave_process(0))
