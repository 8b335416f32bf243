"""Outputs: files, image sequences, playlists, pipes and connections.

Open `open.py` first.
"""
