"""Muxing blocks into MP4, Matroska, MPEG-TS and raw video.

Open `registry.py` first.
"""
