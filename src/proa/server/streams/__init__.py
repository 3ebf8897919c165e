"""Connections that carry a container's bytes: pumping, framing, waiting for containers to start."""
