"""A server that makes several streams at once with one engine.

Open `server.py` first.
"""
