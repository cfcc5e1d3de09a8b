"""Plivo Voice and audio streaming."""
