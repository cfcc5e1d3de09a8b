"""The one place the version is written; the changelog's top entry has to match it."""

__version__ = "0.1.0"
