"""The command `sana-stream`. Open `main.py` first, then `options.py`."""
