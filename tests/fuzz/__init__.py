"""Fuzzing of what strangers can reach, against slow twins; see `__main__.py`."""
