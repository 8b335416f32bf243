"""Everything that the next block depends on, and its file.

Open `snapshot.py` first.
"""
