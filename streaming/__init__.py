"""Delivery of finished blocks: files, pipes, sockets, browsers."""
