"""The web page, its server and its live video stream.

Open `app.py` first.
"""
