"""What all examples take from the command line."""

from __future__ import annotations

import argparse
from pathlib import Path

from voicecall import Config, load_config

PHONES = Path(__file__).with_name("phones")


def arguments(description: str) -> argparse.ArgumentParser:
    """The option that every example has."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "--config", type=Path, help="a voicecall.json5; without it nobody but a simulated phone"
    )
    return parser


def dialling(description: str) -> argparse.ArgumentParser:
    """The options of examples that call somebody."""
    parser = arguments(description)
    parser.add_argument("--to", default="+15550001234", help="whom to call (%(default)s)")
    return parser


def configuration(path: Path | None, phone: str, **settings: str) -> Config:
    """The configuration in a file; without one, a phone on this machine that follows a script."""
    if path is not None:
        return load_config(path)
    return Config.model_validate(
        {
            "provider": "mock",
            "mock": {"persona": str(PHONES / phone)},
            # Any free port, for everything.
            "serve": {"port": 0},
            "streaming": {"port": 0},
            "outbound": {"notifyHangupDelaySec": 0.5},
            **settings,
        }
    )
