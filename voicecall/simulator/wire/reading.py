"""Reading what the server sent with no more patience than a carrier has."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any

import orjson

from voicecall.simulator.wire import ProtocolBroken

if TYPE_CHECKING:
    from collections.abc import Collection

KEYS = frozenset("0123456789*#ABCD")
"""What a telephone has."""

_FILE_MAGIC = (b"RIFF", b"OggS", b"fLaC")


def read_event(message: bytes, *, binary: bool, known: Collection[str]) -> dict[str, Any]:
    """The message's JSON object, whose `event` is one of `known`.

    Raises:
        ProtocolBroken: it is binary, no JSON object, or of another event.
    """
    if binary:
        raise ProtocolBroken("a binary message", "binary")
    try:
        found = orjson.loads(message)
    except orjson.JSONDecodeError as error:
        raise ProtocolBroken("not JSON") from error
    if not isinstance(found, dict):
        raise ProtocolBroken("not a JSON object")
    event = found.get("event")
    if not isinstance(event, str) or event not in known:
        raise ProtocolBroken("no such event")
    return found


def require_exactly(found: dict[str, Any], wanted: Collection[str], where: str) -> None:
    """See that `found` has the fields `wanted` and no other.

    Raises:
        ProtocolBroken: it has not; names them.
    """
    extra = found.keys() - set(wanted)
    require(found, wanted, where)
    if extra:
        raise ProtocolBroken(f"{where} has extra {', '.join(sorted(extra))}")


def require(found: dict[str, Any], wanted: Collection[str], where: str) -> None:
    """See that `found` has the fields `wanted`, whatever else it has.

    Raises:
        ProtocolBroken: it lacks some; names them.
    """
    missing = set(wanted) - found.keys()
    if missing:
        raise ProtocolBroken(f"{where} lacks {', '.join(sorted(missing))}")


def part(message: dict[str, Any], name: str) -> dict[str, Any]:
    """The object `name` inside `message`.

    Raises:
        ProtocolBroken: there is none.
    """
    require(message, {name}, "the message")
    found = message[name]
    if not isinstance(found, dict):
        raise ProtocolBroken(f"{name} is not an object")
    return found


def string(found: dict[str, Any], key: str, where: str) -> str:
    """The non-empty text `key` of `found`.

    Raises:
        ProtocolBroken: there is none.
    """
    require(found, {key}, where)
    value = found[key]
    if not isinstance(value, str) or not value:
        raise ProtocolBroken(f"{where}.{key} is not a text, or empty")
    return value


def keys(found: dict[str, Any], key: str, where: str) -> str:
    """The keys of a telephone that `found` names as `key`.

    Raises:
        ProtocolBroken: there are none, or others among them.
    """
    value = string(found, key, where)
    if not set(value) <= KEYS:
        raise ProtocolBroken(f"{where}.{key} is not of the keys 0-9, *, # and A-D")
    return value


def payload(media: dict[str, Any]) -> bytes:
    """The audio of a `media` object.

    Raises:
        ProtocolBroken: it is no base64, or a file instead of bare audio.
    """
    text = string(media, "payload", "media")
    try:
        audio = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ProtocolBroken("media.payload is not base64", "audio") from error
    if audio.startswith(_FILE_MAGIC):
        raise ProtocolBroken("media.payload is a file, not bare audio", "audio")
    return audio
