"""The web page, its server and its live video.

Open `app.py` first.
"""
