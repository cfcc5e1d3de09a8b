"""Messages as carriers send them, in every spelling that JSON allows, and some they never send."""

import base64
import random
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import orjson

Count = int | str | None
Items = list[tuple[str, str]]  # names and JSON text

SPACE = (" ", "\n", "\t", "\r", "  ", "\r\n")
# What a message may carry besides: scalars that nobody reads.
EXTRAS = (
    ("account", '"AC0123"'),
    ("extra_headers", '"session=abc"'),
    ("extra_headers", '""'),
    ("extra_headers", r'"{\"token\":\"a\\b\",\"url\":\"ws:\/\/x\"}"'),
    ("sampleRate", "8000"),
    ("last", "false"),
    ("first", "true"),
    ("note", "null"),
)


def text(value: object) -> str:
    return orjson.dumps(value).decode()


def dialect_items(dialect: str, audio: bytes, number: int) -> tuple[Items, Items]:
    """The fields of one audio message and of its `media`, as the carrier's documents show them."""
    payload = text(base64.b64encode(audio).decode())
    track = ("track", '"inbound"')
    if dialect == "twilio":
        return (
            [("event", '"media"'), ("sequenceNumber", text(str(number))), ("streamSid", '"MZ0"')],
            [
                track,
                ("chunk", text(str(number))),
                ("timestamp", text(str(20 * number))),
                ("payload", payload),
            ],
        )
    if dialect == "telnyx":
        return (
            [("event", '"media"'), ("sequence_number", text(str(number))), ("stream_id", '"2f1c"')],
            [
                track,
                ("chunk", text(str(number))),
                ("timestamp", text(str(20 * number))),
                ("payload", payload),
            ],
        )
    return (
        [
            ("event", '"media"'),
            ("sequenceNumber", text(number)),
            ("streamId", '"2222"'),
            ("extra_headers", '"session=abc"'),
        ],
        [track, ("timestamp", '"1705312200000"'), ("chunk", text(number)), ("payload", payload)],
    )


DIALECTS = ("twilio", "telnyx", "plivo")


def space(source: random.Random) -> str:
    return source.choice(SPACE) if source.random() < 0.2 else ""


def object_of(items: Iterable[tuple[str, str]], source: random.Random | None = None) -> str:
    """A JSON object; with a source of chance, keys in any order and white space anywhere."""
    if source is None:
        return "{" + ",".join(f'"{name}":{value}' for name, value in items) + "}"
    shuffled = list(items)
    source.shuffle(shuffled)
    pairs = [
        f'{space(source)}"{name}"{space(source)}:{space(source)}{value}{space(source)}'
        for name, value in shuffled
    ]
    return "{" + ",".join(pairs) + "}"


def media_message(
    audio: bytes,
    number: int = 1,
    dialect: str = "twilio",
    source: random.Random | None = None,
) -> bytes:
    """An audio message that has to be understood without a JSON parser."""
    top, media = dialect_items(dialect, audio, number)
    if source is not None:
        present = {name for name, _ in top + media}
        for items in (top, media):
            extra = source.choice(EXTRAS)
            if source.random() < 0.3 and extra[0] not in present:
                items.append(extra)
    whole = object_of([*top, ("media", object_of(media, source))], source)
    return whole.encode() if source is None else f"{space(source)}{whole}{space(source)}".encode()


def escaped(audio: bytes, source: random.Random) -> bytes:
    """A Twilio message some of whose characters are written as escapes."""

    def spelled(char: str) -> str:
        if source.random() > 0.1:
            return char
        return r"\/" if char == "/" else f"\\u{ord(char):04x}"

    payload = "".join(map(spelled, base64.b64encode(audio).decode()))
    key = "".join(map(spelled, "payload"))
    media = f'{{"track":"inbound","chunk":"1","timestamp":"0","{key}":"{payload}"}}'
    return f'{{"event":"media","streamSid":"MZ0","media":{media}}}'.encode()


ODD_VALUES = (
    '"7"',
    "7",
    '"007"',
    "007",
    "-1",
    "1.5",
    "1e3",
    '""',
    '"x"',
    "true",
    "null",
    "[]",
    "{}",
    '{"a":1}',
    '"\\u0041"',
    '"outbound"',
    '"inbound_track"',
    '"media"',
    '"mark"',
    '"caf\u00e9"',
    "999999999999999999",
    "1000000000000000000",
    '"99999999999999999999"',
    "18446744073709551616",
    '"AAAA="',
    '"AA="',
    '"A==="',
    '"AAA\\/"',
)
NAMES = ("event", "media", "track", "chunk", "timestamp", "payload", "sequenceNumber", "x")
OUTSIDE = (*NAMES, "sequence_number")


def odd_message(source: random.Random) -> bytes:
    """About the right shape: keys missing, repeated, and with all kinds of values."""
    top, media = dialect_items(source.choice(DIALECTS), source.randbytes(source.randrange(9)), 1)
    for items, names in ((top, OUTSIDE), (media, NAMES)):
        for _ in range(source.randrange(3)):
            alter(items, names, source)
    whole = [*top, ("media", object_of(media, source))]
    if source.random() < 0.1:
        whole.append(("media", object_of(media, source)))
    return object_of(whole, source).encode()


def alter(items: Items, names: Sequence[str], source: random.Random) -> None:
    if items and source.random() < 0.3:
        items.pop(source.randrange(len(items)))
    else:
        items.append((source.choice(names), source.choice(ODD_VALUES)))


Spelling = Callable[[random.Random], bytes]


def any_message(source: random.Random) -> bytes:
    audio = source.randbytes(source.choice((0, 1, 2, 3, 20, 159, 160, 161, 320)))
    spellings: tuple[Spelling, ...] = (
        lambda source: media_message(audio, source.randrange(99), source.choice(DIALECTS), source),
        lambda source: escaped(audio, source),
        odd_message,
    )
    return source.choice(spellings)(source)


def message_of(event: str, **fields: Any) -> bytes:
    return orjson.dumps({"event": event, **fields})
