"""Sessions over a WebSocket: a client starts a stream, receives its blocks and changes its prompt.

The protocol is that of vLLM-Omni's `/v1/realtime/video`. Open `endpoint.py` first.
"""
