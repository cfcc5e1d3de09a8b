"""`python -m voicecall`."""

from __future__ import annotations

from voicecall.cli import main

if __name__ == "__main__":
    main(prog_name="voicecall")
