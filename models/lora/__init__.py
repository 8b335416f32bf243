"""Low-rank updates of weights (LoRA).

Open `stack.py` first.
"""
