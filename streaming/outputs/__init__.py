"""The places that receive a stream: files, playlists, pipes, connections.

Open `open.py` first.
"""
