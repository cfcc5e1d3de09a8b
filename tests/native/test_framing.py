"""Messages found in JSON without a parser, against a twin that has one."""

import base64
import random

import orjson
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from tests.fuzz.mutation import mutated
from tests.native import messages
from tests.native.messages import media_message
from tests.native.reference import framing as reference
from tests.native.reference import g711
from voicecall._codec import (
    WireFormat,
    media_to_pcm16,
    parse_media,
    read_rare_count,
    read_rare_media,
)
from voicecall.errors import CodecError
from voicecall.ports import Encoding

pytestmark = pytest.mark.native

LENGTHS = (0, 1, 2, 3, 23, 24, 25, 159, 160, 161, 320, 5760)
CHANCE = st.randoms(use_true_random=False)


def octets_of(length: int) -> bytes:
    return bytes((i * 151 + i // 7) % 256 for i in range(length))


def with_media(members: str) -> bytes:
    return f'{{"event":"media","media":{{{members}}}}}'.encode()


# --- in: what carriers send ------------------------------------------------------------------


@pytest.mark.parametrize("dialect", messages.DIALECTS)
@pytest.mark.parametrize("length", LENGTHS)
def test_what_carriers_send_is_understood_without_a_parser(dialect: str, length: int) -> None:
    said = parse_media(media_message(octets_of(length), 7, dialect))
    timestamp = 1705312200000 if dialect == "plivo" else 140
    assert said == (7, 7, timestamp, octets_of(length))


@settings(deadline=None)
@given(
    source=CHANCE,
    dialect=st.sampled_from(messages.DIALECTS),
    audio=st.binary(max_size=200),
    number=st.integers(0, 10**18 - 1),
)
def test_keys_in_any_order_white_space_anywhere_and_extra_keys_need_no_parser(
    source: random.Random, dialect: str, audio: bytes, number: int
) -> None:
    message = media_message(audio, number % 10**16, dialect, source)
    said = parse_media(message)
    assert said is not None
    assert said == reference.parse_media(message)


def test_custom_parameters_that_plivo_repeats_as_json_in_a_string_need_no_parser() -> None:
    for headers in (r"{\"a\":\"b\\c\"}", r"\b\f\n\r\t\/", ""):
        message = with_media('"payload":"AAAA"')[:-1] + f',"extra_headers":"{headers}"}}'.encode()
        assert orjson.loads(message)["event"] == "media"
        assert parse_media(message) == (-1, -1, -1, bytes(3))


@settings(deadline=None)
@given(source=CHANCE)
def test_nothing_is_ever_read_that_a_parser_reads_otherwise(source: random.Random) -> None:
    message = messages.any_message(source)
    said = parse_media(message)
    assert said is None or said == reference.parse_media(message)


@settings(deadline=None)
@given(source=CHANCE)
def test_nor_in_messages_that_were_tampered_with(source: random.Random) -> None:
    message = mutated(messages.any_message(source), source, [name.encode() for name in '"{}[],:\\'])
    said = parse_media(message)
    assert said is None or said == reference.parse_media(message)


def test_every_truncation_is_left_to_a_parser() -> None:
    for dialect in messages.DIALECTS:
        whole = media_message(octets_of(20), 1, dialect, random.Random(2)).rstrip()
        for length in range(len(whole)):
            assert parse_media(whole[:length]) is None


def test_every_single_octet_that_is_changed_is_noticed_as_a_parser_does() -> None:
    whole = media_message(octets_of(20))
    for at in range(len(whole)):
        for octet in (0x00, 0x0A, 0x20, 0x22, 0x2B, 0x30, 0x3D, 0x41, 0x5C, 0x7D, 0x7F, 0x80, 0xFF):
            message = whole[:at] + bytes([octet]) + whole[at + 1 :]
            said = parse_media(message)
            assert said is None or said == reference.parse_media(message), message


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b" ",
        b"null",
        b"[]",
        b"{}",
        b'"event"',
        b"\xef\xbb\xbf" + media_message(b""),
        media_message(b"") + b"x",
        media_message(b"") + b"\x00",
        media_message(b"") * 2,
        with_media(""),
        with_media('"track":"inbound"'),
        with_media('"payload":"AAAA","payload":"AAAA"'),
        with_media('"payload":"AAAA","track":"inbound","track":"inbound"'),
        with_media('"payload":"AAAA",'),
        with_media('"payload":"AAAA" "x":1'),
        with_media('"payload":"AAA"'),
        with_media('"payload":"AAAA="'),
        with_media('"payload":"AA\nA"'),
        with_media('"payload":"AAA\\/"'),
        with_media('"pay\\u006coad":"AAAA"'),
        with_media('"payload":AAAA'),
        with_media('"payload":null'),
        with_media('"payload":"AAAA","track":"outbound"'),
        with_media('"payload":"AAAA","track":""'),
        with_media('"payload":"AAAA","track":null'),
        with_media('"payload":"AAAA","chunk":""'),
        with_media('"payload":"AAAA","chunk":-1'),
        with_media('"payload":"AAAA","chunk":01'),
        with_media('"payload":"AAAA","chunk":1.0'),
        with_media('"payload":"AAAA","chunk":1e1'),
        with_media('"payload":"AAAA","chunk":"1 "'),
        with_media('"payload":"AAAA","chunk":1000000000000000000'),
        with_media('"payload":"AAAA","x":tru'),
        with_media('"payload":"AAAA","x":truely'),
        with_media('"payload":"AAAA","x":[1]'),
        with_media('"payload":"AAAA","x":"\\x"'),
        with_media('"payload":"AAAA","x":"\\u00"'),
        with_media('"payload":"AAAA","x":"\t"'),
        with_media('"payload":"AAAA","x":"\\'),
        b'{"event":"mark","media":{"payload":"AAAA"}}',
        b'{"event":"media","event":"media","media":{"payload":"AAAA"}}',
        b'{"event":"media","media":{"payload":"AAAA"},"media":{"payload":"AAAA"}}',
        b'{"media":{"payload":"AAAA"}}',
        b'{"event":"media","payload":"AAAA"}',
        b'{"event":"media","media":"payload"}',
        b'{"event":"media","media":{"payload":"AAAA"',
        b'{"event":"media","media":{"payload":"',
        b'{"event":"media","media":{"payload":"AAAA"},"sequenceNumber":1,"sequence_number":1}',
    ],
)
def test_everything_else_is_left_to_a_parser(message: bytes) -> None:
    assert parse_media(message) is None


def test_the_largest_counts_are_read_exactly() -> None:
    last = 10**18 - 1
    for value in (f"{last}", f'"{last}"', f'"{0:018}"'):
        said = parse_media(with_media(f'"payload":"","chunk":{value},"timestamp":0'))
        assert said == (-1, int(value.strip('"')), 0, b"")


def test_text_and_other_types_are_refused() -> None:
    for wrong in ("text", bytearray(b"{}"), None):
        with pytest.raises(TypeError):
            parse_media(wrong)  # type: ignore[arg-type]  # on purpose


# --- in: to linear PCM -----------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["ulaw", "alaw", "pcm16"])
@pytest.mark.parametrize("length", [0, 1, 2, 159, 160, 161, 320])
def test_audio_is_decoded_by_the_lines_codec(encoding: Encoding, length: int) -> None:
    octets = octets_of(length)
    pcm = media_to_pcm16(media_message(octets), encoding)
    if encoding == "pcm16":
        assert pcm == (None if length % 2 else octets)
        return
    expand = g711.ulaw_expand if encoding == "ulaw" else g711.alaw_expand
    expected = b"".join(expand(code).to_bytes(2, "little", signed=True) for code in octets)
    assert pcm == expected


def test_more_than_8_kib_is_not_decoded_in_one_call() -> None:
    assert len(media_to_pcm16(media_message(bytes(8100))) or b"") == 16200
    for length in (8192, 20000, 49152):
        assert media_to_pcm16(media_message(bytes(length))) is None
        assert parse_media(media_message(bytes(length))) is not None


def test_an_unknown_encoding_is_refused() -> None:
    with pytest.raises(CodecError, match="opus"):
        media_to_pcm16(media_message(b""), "opus")  # type: ignore[arg-type]  # on purpose
    with pytest.raises(CodecError, match="opus"):
        WireFormat(b"", b"", b"", b"", b"").media_from_pcm16(b"", "opus")  # type: ignore[arg-type]  # on purpose


# --- in: what a parser had to read -----------------------------------------------------------


@settings(deadline=None)
@given(source=CHANCE)
def test_the_slow_way_reads_what_the_twin_reads(source: random.Random) -> None:
    try:
        parsed = orjson.loads(messages.odd_message(source))
    except orjson.JSONDecodeError:
        reject()
    try:
        expected = reference.read_media(parsed)
    except reference.UnusableError:
        with pytest.raises(CodecError):
            read_rare_media(parsed)
        return
    if isinstance(expected, reference.OtherTrack):
        assert read_rare_media(parsed) == (-1, None)
    else:
        assert read_rare_media(parsed) == (expected.number, expected.octets)


@pytest.mark.parametrize(
    "value", [True, -1, 1.0, 10**18, "", "-1", "1.5", "\u0661", "1" * 19, [], {}]
)
def test_what_is_no_count_is_refused(value: object) -> None:
    with pytest.raises(CodecError, match="count"):
        read_rare_count(value)


@pytest.mark.parametrize(
    ("value", "count"), [(None, -1), (0, 0), ("007", 7), (10**18 - 1, 10**18 - 1)]
)
def test_counts_come_as_numbers_or_as_strings(value: object, count: int) -> None:
    assert read_rare_count(value) == count


# --- out -------------------------------------------------------------------------------------

TWILIO = WireFormat(
    b'{"event":"media","streamSid":"MZ0","media":{"payload":"',
    b'"}}',
    b'{"event":"mark","streamSid":"MZ0","mark":{"name":"',
    b'"}}',
    b'{"event":"clear","streamSid":"MZ0"}',
)


@pytest.mark.parametrize("length", LENGTHS)
def test_a_media_message_is_valid_json_around_the_audio(length: int) -> None:
    said = orjson.loads(TWILIO.media(octets_of(length)))
    payload = base64.b64encode(octets_of(length)).decode()
    assert said == {"event": "media", "streamSid": "MZ0", "media": {"payload": payload}}


@pytest.mark.parametrize("encoding", ["ulaw", "alaw", "pcm16"])
@pytest.mark.parametrize("samples", [0, 1, 159, 160, 161, 4096])
def test_linear_audio_is_coded_as_the_line_wants_it(encoding: Encoding, samples: int) -> None:
    pcm = octets_of(2 * samples)
    said = orjson.loads(TWILIO.media_from_pcm16(pcm, encoding))
    octets = base64.b64decode(said["media"]["payload"])
    if encoding == "pcm16":
        assert octets == pcm
        return
    compress = g711.ulaw_compress if encoding == "ulaw" else g711.alaw_compress
    assert octets == bytes(map(compress, memoryview(pcm).cast("h")))


def test_half_samples_and_too_many_are_refused() -> None:
    for octets in (1, 319, 8193, 8194):
        with pytest.raises(CodecError, match="PCM16"):
            TWILIO.media_from_pcm16(bytes(octets))


def test_a_mark_message_names_the_mark() -> None:
    said = orjson.loads(TWILIO.mark(b"u1.7"))
    assert said == {"event": "mark", "streamSid": "MZ0", "mark": {"name": "u1.7"}}
    for name in (b"", b'"', b"\\", b"\x00", b"\xc3\xa9", b"a" * 129):
        with pytest.raises(CodecError, match="mark"):
            TWILIO.mark(name)


def test_wording_of_more_than_1024_octets_is_refused() -> None:
    WireFormat(b"a" * 1000, b"b" * 24, b"a" * 1024, b"", b"c" * 1024)
    for part in range(5):
        wording = [b"", b"", b"", b"", b""]
        wording[part] = b"a" * 1025
        with pytest.raises(CodecError, match="1024"):
            WireFormat(*wording)


def test_wording_cannot_be_left_out() -> None:
    with pytest.raises(TypeError):
        WireFormat.__new__(WireFormat)
    with pytest.raises(TypeError):
        WireFormat(None, b"", b"", b"", b"")  # type: ignore[arg-type]  # on purpose
