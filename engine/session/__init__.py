"""One stream: block after block, prompt switches, rewind, drift.

Open `session.py` first.
"""
