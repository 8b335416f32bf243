"""From a name on the command line to networks in memory.

Open `locate.py` first, then `model.py`.
"""
