from __future__ import annotations

from urllib.parse import parse_qs, urlsplit
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twilio.twiml.voice_response import VoiceResponse

from voicecall.carriers.twilio import markup
from voicecall.errors import CodecError, ConfigError

pytestmark = pytest.mark.unit

STREAM = "wss://calls.example.com/voice/stream/f00d"
HOOK = "https://calls.example.com/voice/webhook"

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=80)
# What XML itself turns into something else: line ends, and characters it has no way to write.
plain = texts.filter(lambda text: text == markup._legal(text) and "\r" not in text)


def parsed(*verbs: str) -> list[ET.Element]:
    root = ET.fromstring(markup.document(*verbs))  # noqa: S314  (what we have written ourselves)
    assert root.tag == "Response"
    return list(root)


@given(texts)
def test_any_text_makes_well_formed_markup(text: str) -> None:
    (said,) = parsed(markup.say(text, voice=text))
    assert said.tag == "Say"


@given(plain)
def test_text_and_attributes_come_out_as_they_went_in(text: str) -> None:
    (said,) = parsed(markup.say(text, voice=text))
    assert (said.text or "") == text
    assert said.attrib == {"voice": text}


def test_characters_that_xml_cannot_hold_become_spaces() -> None:
    (said,) = parsed(markup.say("a\x00b\x0bc\ufffed\ud800e"))
    assert said.text == "a b c d e"


def test_a_stream_is_connected_with_what_twilio_documents_and_no_more() -> None:
    (connect,) = parsed(
        markup.connect_stream(STREAM, parameters={"token": "f00d"}, status_url=f"{HOOK}?a=1&b=2")
    )
    (stream,) = connect
    (parameter,) = stream
    assert (connect.tag, connect.attrib) == ("Connect", {})
    assert (stream.tag, stream.attrib) == (
        "Stream",
        {
            "url": STREAM,
            "statusCallback": f"{HOOK}?a=1&b=2",
            "statusCallbackMethod": "POST",
        },
    )
    assert (parameter.tag, parameter.attrib) == ("Parameter", {"name": "token", "value": "f00d"})


@pytest.mark.parametrize("url", [f"{STREAM}?token=1", f"{STREAM}#a", "https://a.example/x", "wss"])
def test_a_stream_url_that_twilio_would_cut_is_refused(url: str) -> None:
    with pytest.raises(CodecError):
        markup.connect_stream(url, parameters={})


def test_a_stream_parameter_that_is_too_long_is_refused() -> None:
    markup.connect_stream(STREAM, parameters={"token": "x" * 494})
    with pytest.raises(CodecError):
        markup.connect_stream(STREAM, parameters={"token": "x" * 495})


def test_listening_reports_every_key_and_word() -> None:
    (gather,) = parsed(markup.gather(f"{HOOK}?turn=1&once=2", language="de-DE"))
    assert gather.attrib == {
        "input": "dtmf speech",
        "action": f"{HOOK}?turn=1&once=2",
        "method": "POST",
        "language": "de-DE",
        "timeout": "5",
        "speechTimeout": "auto",
        "finishOnKey": "",
    }


def test_the_other_verbs_are_as_documented() -> None:
    verbs = parsed(
        markup.play_digits("1w2W#*"),
        markup.pause(3),
        markup.redirect(f"{HOOK}?a=1&b=2"),
        markup.hang_up(),
        markup.reject("busy"),
    )
    assert [(verb.tag, verb.attrib, verb.text) for verb in verbs] == [
        ("Play", {"digits": "1w2ww#*"}, None),
        ("Pause", {"length": "3"}, None),
        ("Redirect", {"method": "POST"}, f"{HOOK}?a=1&b=2"),
        ("Hangup", {}, None),
        ("Reject", {"reason": "busy"}, None),
    ]


@pytest.mark.parametrize("to", ["+15550001111", "sip:desk@example.com;a=1&b"])
def test_whom_to_dial_is_said_as_the_vendors_builder_does(to: str) -> None:
    response = VoiceResponse()
    dial = response.dial()
    (dial.sip if to.startswith("sip:") else dial.number)(to)
    assert str(response) == markup.document(markup.dial(to))


def test_a_document_that_twilio_would_not_read_is_refused() -> None:
    with pytest.raises(CodecError):
        markup.document(markup.say("ü" * 33_000))


@given(st.dictionaries(st.sampled_from(["callId", "turn", "once"]), st.none() | texts))
def test_what_a_callback_url_is_given_comes_back_from_its_query(
    fields: dict[str, str | None],
) -> None:
    for base in (HOOK, f"{HOOK}?fixed=1"):
        query = parse_qs(urlsplit(markup.callback_url(base, fields)).query, keep_blank_values=True)
        query.pop("fixed", None)
        assert query == {name: [value] for name, value in fields.items() if value}


@given(st.text("ab &<>", max_size=300), st.integers(5, 60))
def test_pieces_fit_when_escaped_and_lose_no_word(text: str, limit: int) -> None:
    pieces = markup.pieces(text, limit)
    assert all(0 < len(markup._text(piece)) <= limit for piece in pieces)
    assert "".join("".join(pieces).split()) == "".join(text.split())


def test_pieces_are_cut_between_words() -> None:
    assert markup.pieces("one two three", 8) == ["one two", "three"]
    assert markup.pieces("  ", 8) == []


def test_the_longest_piece_fits_into_an_inline_document() -> None:
    piece = markup.pieces("&" * 5000)[0]
    whole = markup.document(markup.say(piece), markup.redirect(f"{HOOK}?said={'0' * 32}"))
    assert len(whole) <= markup.MAX_INLINE_CHARS


@pytest.mark.parametrize(
    ("name", "voice"),
    [
        ("alloy", "Polly.Joanna"),
        ("Onyx", "Polly.Brian"),
        ("Polly.Vicki-Neural", "Polly.Vicki-Neural"),
        ("woman", "woman"),
        ("not-invented-yet", markup.DEFAULT_VOICE),
        (None, markup.DEFAULT_VOICE),
    ],
)
def test_voices_are_known_by_the_names_of_either_vendor(name: str | None, voice: str) -> None:
    assert markup.voice_named(name) == voice


def test_a_public_url_that_twilio_cannot_stream_to_is_refused_at_start() -> None:
    markup.check_stream_url("wss://calls.example.com/voice/stream")
    markup.check_stream_url("wss://calls.example.com:443/voice/stream")
    with pytest.raises(ConfigError) as refused:
        markup.check_stream_url("ws://calls.example.com:8080/voice/stream?x=1")
    assert len(refused.value.problems) == 3
