"""One run: a session with its story, inputs, outputs and checkpoints.

Open `runner.py` first. `RunConfig` (config.py) becomes a `RunPlan` (plan.py), which `Run` makes.
"""
