"""One run: a session with its story, inputs, outputs and checkpoints.

Open `runner.py` first.
"""
