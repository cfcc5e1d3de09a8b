"""Speech to text, one engine a module."""
