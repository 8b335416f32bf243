"""A fleet of GPUs in virtual time, for `simulate_fleet.py`: open `simulation.py` first."""
