"""The block engine: loading, block plan, noise, sampling, sessions, stories."""
