"""One message, through the scanner and through a JSON parser."""

import random
from collections.abc import Sequence

import orjson

from tests.fuzz.target import Target
from tests.native import messages
from tests.native.reference import framing as reference
from voicecall._codec import media_to_pcm16, parse_media, read_rare_media, ulaw_decode
from voicecall.errors import CodecError


def check(data: bytes) -> None:
    said = parse_media(data)
    if said is not None:
        assert said == reference.parse_media(data)
    pcm = media_to_pcm16(data)
    if pcm is not None:
        assert said is not None
        assert pcm == ulaw_decode(said[3])
    check_slow_way(data)


def check_slow_way(data: bytes) -> None:
    """The reader behind the parser accepts exactly what the twin accepts."""
    try:
        parsed = orjson.loads(data)
    except orjson.JSONDecodeError:
        return
    if not isinstance(parsed, dict):
        return
    try:
        expected = reference.read_media(parsed)
    except reference.UnusableError:
        expected = None
    try:
        number, audio = read_rare_media(parsed)
    except CodecError:
        assert expected is None
        return
    if isinstance(expected, reference.Audio):
        assert (number, audio) == (expected.number, expected.octets)
    else:
        assert expected is not None
        assert audio is None


def seeds() -> Sequence[bytes]:
    source = random.Random(1)
    plain = [messages.media_message(bytes(8), 7, dialect) for dialect in messages.DIALECTS]
    return plain + [messages.any_message(source) for _ in range(100)]


TOKENS = (
    *(f'"{name}":'.encode() for name in messages.OUTSIDE),
    *(value.encode() for value in messages.ODD_VALUES),
    b'","',
    b"\\",
    b"{",
    b"}",
    b" ",
)
TARGET = Target(check=check, allowed=(), seeds=seeds, tokens=TOKENS)
