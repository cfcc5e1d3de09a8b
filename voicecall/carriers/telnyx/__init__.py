"""Telnyx Call Control and media streaming."""
