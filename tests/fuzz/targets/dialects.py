"""What the three carriers say on a media socket besides audio, through a leg in this process.

The first character chooses the carrier; then every line is one text message. A line that is `@SAY@`
has our side speak, `@CLEAR@` interrupt itself.
"""

import base64
from collections.abc import Sequence
from typing import Any

import orjson

from tests.fuzz import watch
from tests.fuzz.target import Target
from tests.media.plane import Call, Gate
from voicecall._codec import CallableOutlet
from voicecall.carriers._stream import (
    Dialect,
    StreamCleared,
    StreamComplaint,
    StreamDtmf,
    StreamMark,
    StreamMessage,
    StreamStopped,
)
from voicecall.carriers.plivo.stream import PlivoDialect
from voicecall.carriers.telnyx.stream import TelnyxDialect
from voicecall.carriers.twilio.stream import TwilioDialect
from voicecall.clock import ManualClock
from voicecall.errors import CodecError
from voicecall.media.admission import StreamTokens
from voicecall.media.leg import Leg
from voicecall.media.server import MediaServer, MediaSettings
from voicecall.ports import StreamStart

DIALECTS: tuple[Dialect, ...] = (TwilioDialect(), TelnyxDialect(), PlivoDialect())
CALL = "call-1"
KEYS = frozenset("0123456789*#ABCD")
CLOSES = {1008, 1013}
FAULTS_MAX = 20
LINES_MAX = 60
# 60 ms at 8 kHz, whatever it is coded as.
SPEECH = bytes([0x55]) * 960


class Carrier(Gate):
    """Knows one call, under whatever id its socket gives it."""

    def __init__(self) -> None:
        super().__init__()
        self.call = Call()

    def admit(self, call_id: str, start: StreamStart) -> Call | None:
        check_read(start)
        return self.call if call_id == CALL and start.provider_call_id != "other" else None


class Closed:
    """The socket of a leg: remembers how it was closed."""

    def __init__(self) -> None:
        self.closes: list[tuple[int, str]] = []

    def close(self, code: int, reason: str) -> None:
        self.closes.append((code, reason))


def check(data: bytes) -> None:
    dialect = DIALECTS[(data[:1] or b"0")[0] % len(DIALECTS)]
    watch.run(lambda: check_socket(dialect, data[1:].split(b"\n")[:LINES_MAX]))


async def check_socket(dialect: Dialect, lines: Sequence[bytes]) -> None:
    clock, carrier, socket = ManualClock(), Carrier(), Closed()
    tokens = StreamTokens(clock, 30_000)
    server = MediaServer(MediaSettings(), dialect=dialect, door=tokens, gate=carrier, clock=clock)
    leg = server.admit(tokens.issue(CALL).rpartition("/")[2], "203.0.113.7")
    assert isinstance(leg, Leg)
    sent: list[bytes] = []
    leg.stream.connect(CallableOutlet(sent.append))
    leg.opened(socket)
    try:
        for line in lines:
            clock.advance_ms(20)
            check_line(leg, carrier, line.replace(b"@CALL@", CALL.encode()), clock)
        assert len(socket.closes) <= 1
        assert {code for code, _ in socket.closes} <= CLOSES
        check_sent(dialect, leg.start, sent)
    finally:
        leg.on_disconnected()
        await server.close()
    assert server.admission.open == 0
    assert not list(server.legs())
    assert len(server.ticker) == 0
    assert set(carrier.call.digits) <= KEYS


def check_line(leg: Leg, carrier: Carrier, line: bytes, clock: ManualClock) -> None:
    """One message: taken, or counted as a fault; whatever it is, the socket's reader goes on."""
    if line in {b"@SAY@", b"@CLEAR@"}:
        if leg.path is not None and line == b"@SAY@":
            leg.stream.write(SPEECH, clock.now_ns())
            leg.stream.finish(clock.now_ns(), "m-1")
        elif leg.path is not None:
            leg.path.clear()
        return
    open_before = leg._socket is not None
    faults, digits = leg.stream.faults, len(carrier.call.digits)
    expected = reading(leg._server.dialect, line)
    leg.stream.receive(line, clock.now_ns())
    assert leg.stream.faults - faults in {0, 1}
    if expected is None or isinstance(expected, CodecError):
        assert len(carrier.call.digits) == digits
    if isinstance(expected, CodecError) and open_before:
        assert leg.stream.faults == faults + 1
    # One that says when it was pressed waits for those pressed before it.
    if isinstance(expected, StreamDtmf) and open_before and expected.pressed_at_ms is None:
        assert len(carrier.call.digits) - digits == (leg.path is not None)


def reading(dialect: Dialect, line: bytes) -> StreamMessage | CodecError | None:
    """What the dialect by itself makes of a message; None where that decides nothing."""
    try:
        message = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(message, dict) or message.get("event") == "media":
        return None
    try:
        said = dialect.read(message)
    except CodecError as error:
        return error
    if said is not None:
        check_read(said)
    return said


def check_read(said: StreamMessage) -> None:
    """Every value is of the type that it is declared to be."""
    match said:
        case StreamStart(stream_id, provider_call_id, audio, token, parameters):
            assert isinstance(stream_id, str)
            assert stream_id
            assert isinstance(provider_call_id, str)
            assert audio.encoding in {"ulaw", "alaw", "pcm16"}
            assert audio.rate_hz in {8000, 16000}
            assert token is None or isinstance(token, str)
            for key, value in parameters.items():
                assert isinstance(key, str)
                assert isinstance(value, str)
        case StreamDtmf(digit):
            assert digit in KEYS
        case StreamMark(text) | StreamComplaint(text):
            assert isinstance(text, str)
            assert text
            assert len(text) <= 1000 or isinstance(said, StreamMark)
        case StreamCleared() | StreamStopped():
            pass


def check_sent(dialect: Dialect, start: StreamStart | None, sent: Sequence[bytes]) -> None:
    """Everything sent is a JSON object of our own making, whatever the carrier called itself."""
    assert start is not None or not sent
    for message in map(orjson.loads, sent):
        assert message["event"] in {
            "media",
            "mark",
            "clear",
            "playAudio",
            "checkpoint",
            "clearAudio",
        }
        if start is not None:
            named = {message.get("streamSid"), message.get("streamId")} - {None}
            assert named <= {start.stream_id}
        if "media" in message:
            check_audio(dialect, message["media"])
        elif message["event"] in {"mark", "checkpoint"}:
            assert message.get("mark", message)["name"] == "m-1"


def check_audio(dialect: Dialect, media: dict[str, Any]) -> None:
    assert set(base64.b64decode(media["payload"], validate=True)) <= {0x55, 0xFF, 0xD5, 0x00}
    if isinstance(dialect, PlivoDialect):
        assert media["contentType"] in {"audio/x-mulaw", "audio/x-l16"}


STARTS = (
    b'{"event":"start","streamSid":"MZ1","start":{"streamSid":"MZ1","callSid":"CA1","mediaFormat":'
    b'{"encoding":"audio/x-mulaw","sampleRate":8000},"customParameters":{"a":"b"}}}',
    b'{"event":"start","stream_id":"s1","start":{"call_control_id":"v3:1","media_format":'
    b'{"encoding":"PCMU","sample_rate":8000,"channels":1},"custom_parameters":{"a":"b"}}}',
    b'{"event":"start","start":{"streamId":"s1","callId":"c1","mediaFormat":'
    b'{"encoding":"audio/x-l16","sampleRate":16000}},"extra_headers":"a=1;b=2"}',
)
SAID = (
    (
        b'{"event":"dtmf","dtmf":{"track":"inbound_track","digit":"1"}}',
        b'{"event":"mark","mark":{"name":"m-1"}}',
        b'{"event":"stop","stop":{"callSid":"CA1"}}',
    ),
    (
        b'{"event":"dtmf","dtmf":{"digit":"#"}}',
        b'{"event":"mark","mark":{"name":"m-1"}}',
        b'{"event":"error","payload":{"code":100003,"title":"malformed_frame","detail":"no"}}',
    ),
    (
        b'{"event":"dtmf","dtmf":{"digit":"*"}}',
        b'{"event":"playedStream","name":"m-1"}',
        b'{"event":"playFailed","reason":"bad payload"}',
    ),
)


def seeds() -> Sequence[bytes]:
    return [
        str(index).encode() + b"\n".join((start, b"@SAY@", *said, b"@CLEAR@"))
        for index, (start, said) in enumerate(zip(STARTS, SAID, strict=True))
    ]


TOKENS = (
    *(line for said in SAID for line in said),
    *(f'"event":"{event}",'.encode() for event in ("start", "dtmf", "mark", "played", "stop")),
    b'"event":"media","media":{"payload":"/////w==","chunk":"1"}',
    b"\n@SAY@\n",
    b"\n@CLEAR@\n",
    b"\n{}",
    b"\n",
    b'"encoding":"audio/x-alaw"',
    b'"encoding":"L16"',
    b'"sampleRate":true',
    b'"sampleRate":1e999',
    b'"extra_headers":"{\\"token\\":1}"',
    b'"name":"\\u0000\\""',
    b'"digit":"12"',
    b"null",
    b"{}",
    b"[]",
)
TARGET = Target(check=check, allowed=(), seeds=seeds, tokens=TOKENS, guided=True)
