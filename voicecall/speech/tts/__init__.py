"""Text to speech, one engine a module."""
