from __future__ import annotations

import pytest

from voicecall.carriers._stream import (
    audio_format,
    digit,
    mapping,
    remark,
    string_map,
    text,
)
from voicecall.errors import CodecError
from voicecall.ports import ULAW_8K, AudioFormat

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("media_format", "audio"),
    [
        (None, ULAW_8K),
        ({"encoding": "audio/x-mulaw", "sampleRate": 8000}, ULAW_8K),
        ({"encoding": "PCMU", "sample_rate": 8000, "channels": 1}, ULAW_8K),
        ({"encoding": "PCMA", "sample_rate": "8000"}, AudioFormat("alaw", 8000)),
        ({"encoding": "audio/x-alaw"}, AudioFormat("alaw", 8000)),
        ({"encoding": "L16", "sample_rate": 16000}, AudioFormat("pcm16", 16000)),
        ({"encoding": "audio/x-l16", "sampleRate": "16000"}, AudioFormat("pcm16", 16000)),
    ],
)
def test_a_media_format_is_read_in_every_spelling(media_format: object, audio: AudioFormat) -> None:
    assert audio_format(media_format, ULAW_8K) == audio


@pytest.mark.parametrize(
    "media_format",
    [
        "audio/x-mulaw",
        {},
        {"encoding": "OPUS"},
        {"encoding": 3},
        {"encoding": "PCMU", "sampleRate": 44100},
        {"encoding": "PCMU", "sampleRate": None},
        {"encoding": "PCMU", "sampleRate": [8000]},
        {"encoding": "PCMU", "sampleRate": 8000.0},
        {"encoding": "PCMU", "sampleRate": True},
        {"encoding": "PCMU", "sampleRate": "²"},
    ],
)
def test_a_format_that_is_not_spoken_is_an_error(media_format: object) -> None:
    with pytest.raises(CodecError):
        audio_format(media_format, ULAW_8K)


@pytest.mark.parametrize("key", list("0123456789*#ABCD"))
def test_every_key_of_a_telephone_is_a_digit(key: str) -> None:
    assert digit(key) == key


@pytest.mark.parametrize("value", [None, 5, "", "12", "a", "+", "٣"])
def test_anything_else_is_no_digit(value: object) -> None:
    with pytest.raises(CodecError):
        digit(value)


def test_required_values_are_checked_and_named() -> None:
    assert mapping({"a": 1}, "it") == {"a": 1}
    assert text("x", "it") == "x"
    wrongs: list[object] = [[], "x", None]
    for wrong in wrongs:
        with pytest.raises(CodecError, match="it is not an object"):
            mapping(wrong, "it")
    for missing in ("", 1, None):
        with pytest.raises(CodecError, match="it is missing"):
            text(missing, "it")


def test_parameters_are_the_strings_of_an_object() -> None:
    assert string_map({"a": "1", "b": 2, "c": None}) == {"a": "1"}
    assert string_map([{"name": "a"}]) == {}
    assert string_map(None) == {}


def test_a_remark_is_short_and_plain() -> None:
    assert remark("x" * 1000) == "x" * 200
    assert remark(100003) == "100003"
    assert remark({"x": 1}) == ""
    assert remark(None) == ""
