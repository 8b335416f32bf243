"""Live commands, the job queue and pacing.

Open `live_control.py` first.
"""
