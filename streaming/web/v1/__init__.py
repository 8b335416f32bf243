"""The videos API that clients of OpenAI's `/v1/videos` speak.

Open `routes.py` first.
"""
