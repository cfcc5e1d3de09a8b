"""Inputs worth keeping, one file each under `corpus/<target>/`."""

import hashlib
from pathlib import Path

FOLDER = Path(__file__).with_name("corpus")


def inputs_of(name: str) -> list[bytes]:
    """All inputs of a target, in a fixed order."""
    return [path.read_bytes() for path in sorted((FOLDER / name).glob("*")) if path.is_file()]


def keep(name: str, data: bytes) -> Path:
    """Store an input under the name its content gives it."""
    path = FOLDER / name / hashlib.sha256(data).hexdigest()[:16]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path
