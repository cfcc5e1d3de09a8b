"""Phone calls for software."""

from __future__ import annotations

from voicecall._version import __version__

__all__ = ["__version__"]
