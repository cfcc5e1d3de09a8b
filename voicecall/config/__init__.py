"""Configuration: found and read once at the edge, then passed down as frozen models."""
