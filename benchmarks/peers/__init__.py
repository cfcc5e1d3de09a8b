"""Other servers for the same load, each in a process and a pinned environment of its own.

See README.md here for what each of them does, and `run` for how to start one.
"""
