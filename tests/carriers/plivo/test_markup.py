from __future__ import annotations

from urllib.parse import parse_qsl, urlsplit
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plivo import plivoxml

from voicecall.carriers.plivo import markup
from voicecall.errors import CodecError
from voicecall.ports import ALAW_8K, PCM16_8K, ULAW_8K, AudioFormat

pytestmark = pytest.mark.unit

SOCKET = "wss://voice.example.org/voice/stream/f00d?a=1&b=<2>"
# Attributes as Plivo documents them.
DOCUMENTED = {
    "Stream": {
        *("bidirectional", "audioTrack", "streamTimeout", "statusCallbackUrl"),
        *("statusCallbackMethod", "contentType", "extraHeaders", "keepCallAlive"),
    },
    "Speak": {"voice", "language", "loop"},
    "GetInput": {
        *("action", "method", "inputType", "executionTimeout", "digitEndTimeout"),
        *("speechEndTimeout", "finishOnKey", "numDigits", "language", "speechModel", "hints"),
        *("interimSpeechResultsCallback", "interimSpeechResultsCallbackMethod", "log"),
        *("redirect", "profanityFilter"),
    },
    "Wait": {"length", "silence", "minSilence", "beep"},
    "Redirect": {"method"},
    "Dial": {
        *("action", "method", "hangupOnStar", "timeLimit", "timeout", "callerId", "callerName"),
        *("confirmSound", "confirmTimeout", "confirmKey", "dialMusic", "callbackUrl"),
        *("callbackMethod", "redirect", "digitsMatch", "digitsMatchBLeg", "sipHeaders"),
    },
    "Hangup": {"reason", "schedule"},
}


def read(*elements: str) -> list[ET.Element]:
    root = ET.fromstring(markup.document(*elements))  # noqa: S314  (our own document)
    assert root.tag == "Response"
    return list(root)


def test_a_stream_is_two_way_and_keeps_the_call() -> None:
    headers = {"request": "f00d", "more": "1"}
    (stream,) = read(markup.stream(SOCKET, status_url="https://x/?a&b", extra_headers=headers))
    assert stream.text == SOCKET
    assert stream.attrib == {
        "bidirectional": "true",
        "keepCallAlive": "true",
        "contentType": "audio/x-mulaw;rate=8000",
        "statusCallbackUrl": "https://x/?a&b",
        "extraHeaders": "request=f00d,more=1",
    }


@pytest.mark.parametrize(
    ("audio", "content_type"),
    [
        (ULAW_8K, "audio/x-mulaw;rate=8000"),
        (PCM16_8K, "audio/x-l16;rate=8000"),
        (AudioFormat("pcm16", 16000), "audio/x-l16;rate=16000"),
    ],
)
def test_a_stream_names_its_audio(audio: AudioFormat, content_type: str) -> None:
    (stream,) = read(markup.stream(SOCKET, audio=audio))
    assert stream.attrib["contentType"] == content_type


@pytest.mark.parametrize("audio", [ALAW_8K, AudioFormat("ulaw", 16000)])
def test_audio_that_plivo_does_not_stream_is_an_error(audio: AudioFormat) -> None:
    with pytest.raises(CodecError, match=f"does not stream {audio.encoding}"):
        markup.stream(SOCKET, audio=audio)


@pytest.mark.parametrize("headers", [{"a": "b-c"}, {"a b": "c"}, {"a": ""}, {"a": "1,b=2"}])
def test_extra_headers_have_letters_and_digits_only(headers: dict[str, str]) -> None:
    with pytest.raises(CodecError, match="letters and digits"):
        markup.stream(SOCKET, extra_headers=headers)


def test_extra_headers_have_at_most_512_octets() -> None:
    assert markup.stream(SOCKET, extra_headers={"a": "b" * 510})
    with pytest.raises(CodecError, match="longer than 512"):
        markup.stream(SOCKET, extra_headers={"a": "b" * 511})


def test_every_attribute_is_documented() -> None:
    elements = read(
        markup.stream(SOCKET, status_url="https://x", extra_headers={"a": "b"}),
        markup.speak("Hello", voice="Polly.Joanna", language="en-GB"),
        markup.get_input("https://x?a=1&b=2"),
        markup.wait(60),
        markup.redirect("https://x?a=1&b=2"),
        markup.dial("+15550001111"),
        markup.dial("sip:desk@example.com"),
        markup.hang_up(),
        markup.hang_up("rejected"),
        markup.hang_up("busy"),
    )
    for element in elements:
        assert element.attrib.keys() <= DOCUMENTED[element.tag]
    assert {element.tag for element in elements} == DOCUMENTED.keys()


def test_it_is_what_the_sdk_writes() -> None:
    response = plivoxml.ResponseElement()
    response.add(plivoxml.SpeakElement("You & <me>", voice="WOMAN", language="en-US"))
    response.add(plivoxml.WaitElement(length=60))
    response.add(plivoxml.RedirectElement("https://x?a=1&b=2", method="POST"))
    response.add(
        plivoxml.StreamElement(
            SOCKET, bidirectional=True, keepCallAlive=True, contentType="audio/x-mulaw;rate=8000"
        )
    )
    response.add(plivoxml.HangupElement(reason="rejected"))
    theirs = ET.fromstring(response.to_string(False))  # noqa: S314  (the SDK's document)
    ours = read(
        markup.speak("You & <me>"),
        markup.wait(60),
        markup.redirect("https://x?a=1&b=2"),
        markup.stream(SOCKET),
        markup.hang_up("rejected"),
    )
    assert [(each.tag, each.text, each.attrib) for each in ours] == [
        (each.tag, each.text, each.attrib) for each in theirs
    ]


@pytest.mark.parametrize("to", ["+15550001111", "sip:desk@example.com;a=1&b"])
def test_whom_to_dial_is_said_as_the_sdk_does(to: str) -> None:
    theirs = plivoxml.DialElement()
    add = theirs.add_user if to.startswith("sip:") else theirs.add_number
    add(to)
    response = plivoxml.ResponseElement()
    response.add(theirs)
    assert ET.canonicalize(response.to_string(False), strip_text=True) == ET.canonicalize(
        markup.document(markup.dial(to)), strip_text=True
    )


@given(st.text(), st.text())
def test_whatever_is_said_comes_out_as_it_was(text: str, url: str) -> None:
    said, listened, asked = read(
        markup.speak(text), markup.get_input(f"x{url}"), markup.redirect(f"x{url}")
    )
    assert (said.text or "") == legal(text)
    assert asked.text == listened.attrib["action"] == legal(f"x{url}")
    assert list(said) == []


def legal(text: str) -> str:
    """What XML can hold of `text` unchanged, and blanks for the rest."""
    return "".join(each if is_legal(ord(each)) else " " for each in text)


def is_legal(point: int) -> bool:
    if point < 0x20:
        return point in {0x09, 0x0A}
    return not 0xD800 <= point < 0xE000 and point not in {0xFFFE, 0xFFFF}


def test_an_answer_longer_than_plivo_reads_is_an_error() -> None:
    with pytest.raises(CodecError, match="longer than 100000"):
        markup.document(markup.speak("é" * 50_000))


def test_a_callback_brings_its_fields_back() -> None:
    url = markup.callback_url("https://x/y", {"callId": "a&b", "turn": None, "input": "1"})
    assert dict(parse_qsl(urlsplit(url).query)) == {"callId": "a&b", "input": "1"}
    assert markup.callback_url("https://x/y?z=1", {"a": "2"}) == "https://x/y?z=1&a=2"
    assert markup.callback_url("https://x/y", {"a": None}) == "https://x/y"
