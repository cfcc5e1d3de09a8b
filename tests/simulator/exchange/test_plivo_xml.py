"""Reading and doing Plivo XML, as strictly as Plivo's documentation has it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest
from plivo import plivoxml

from voicecall.ports import PCM16_8K, ULAW_8K, AudioFormat
from voicecall.simulator.exchange import plivo_xml as xml

pytestmark = pytest.mark.unit

ACTION = "https://voice.example.org/input?callId=7"
MEDIA = "wss://voice.example.org/voice/stream/f00d?a=1"


@dataclass
class Stage:
    """A call that notes what is done on it, and hears what it is told to."""

    hears: list[xml.Heard] = field(default_factory=list)
    done: list[object] = field(default_factory=list)

    async def prompt(self, element: xml.Prompt) -> None:
        self.done.append(element)

    async def press(self, element: xml.Dtmf) -> None:
        self.done.append(element)

    async def get_input(self, element: xml.GetInput) -> xml.Heard:
        self.done.append(element)
        return self.hears.pop(0) if self.hears else xml.Heard()

    async def stream(self, element: xml.Stream) -> None:
        self.done.append(element)

    async def dial(self, element: xml.Dial) -> str:
        self.done.append(element)
        return "busy"

    def hang_up_later(self, after_s: int) -> None:
        self.done.append(after_s)

    def report(self, ask: xml.Ask) -> None:
        self.done.append(ask)


def document(*elements: str) -> bytes:
    return f"<Response>{''.join(elements)}</Response>".encode()


def perform(text: bytes, *hears: xml.Heard) -> tuple[xml.Ending, list[object]]:
    stage = Stage(list(hears))
    return asyncio.run(xml.perform(xml.read(text), stage)), stage.done


def get_input(*inside: str, **attributes: str) -> str:
    usual = {"action": ACTION, "inputType": "dtmf speech"}
    written = "".join(f' {name}="{value}"' for name, value in (usual | attributes).items())
    return f"<GetInput{written}>{''.join(inside)}</GetInput>"


def stream(url: str = MEDIA, **attributes: str) -> str:
    usual = {"bidirectional": "true", "contentType": "audio/x-mulaw;rate=8000"}
    written = "".join(f' {name}="{value}"' for name, value in (usual | attributes).items())
    return f"<Stream{written}>{url.replace('&', '&amp;')}</Stream>"


# --- doing -------------------------------------------------------------------------------------


def test_elements_are_done_in_order_and_then_the_document_has_run_out() -> None:
    ending, done = perform(
        document(
            '<Speak voice="MAN" language="de-DE"> Guten Tag. </Speak>',
            '<Wait length="3"/>',
            "<DTMF>1w2W#</DTMF>",
            '<Play loop="0">https://example.org/a.mp3</Play>',
            stream(),
        )
    )
    assert done == [
        xml.Speak("Guten Tag."),
        xml.Wait(3),
        xml.Dtmf("1w2W#"),
        xml.Play("https://example.org/a.mp3", 0),
        xml.Stream(MEDIA),
    ]
    assert ending is None


@pytest.mark.parametrize(
    ("element", "ending"),
    [
        ("<Hangup/>", xml.Hangup()),
        ('<Hangup reason="busy"/>', xml.Hangup("busy")),
        ('<Hangup reason="rejected"/>', xml.Hangup("rejected")),
        (f"<Redirect>{ACTION}</Redirect>", xml.Ask("redirect", ACTION)),
        (f'<Redirect method="GET">{ACTION}</Redirect>', xml.Ask("redirect", ACTION, "GET")),
    ],
)
def test_nothing_after_an_element_that_leaves_the_document_is_done(
    element: str, ending: xml.Ending
) -> None:
    assert perform(document(element, "<Speak>too late</Speak>")) == (ending, [])


def test_after_a_dial_the_document_goes_on_unless_there_is_an_action() -> None:
    dial = '<Dial callerId="15550000009"{}><{}>{}</{}></Dial>'
    number = dial.format("", "Number", "+15550000001", "Number")
    assert perform(document(number, "<Wait/>")) == (
        None,
        [xml.Dial("+15550000001"), xml.Wait()],
    )
    user = dial.format(f' action="{ACTION}"', "User", "sip:a@b.example", "User")
    ending, done = perform(document(user))
    assert done == [xml.Dial("sip:a@b.example", ACTION)]
    assert ending == xml.Ask("action", ACTION, "POST", {"DialStatus": "busy"})


def test_what_follows_a_scheduled_hangup_is_done_meanwhile() -> None:
    ending, done = perform(document('<Hangup schedule="60"/>', "<Speak>hurry</Speak>"))
    assert (ending, done) == (None, [60, xml.Speak("hurry")])


def test_words_are_taken_to_the_action() -> None:
    ending, done = perform(document(get_input("<Speak>yes?</Speak>")), xml.Heard(words="hello"))
    assert done[0] == xml.Speak("yes?")
    assert isinstance(ending, xml.Ask)
    assert (ending.kind, ending.url, ending.method) == ("action", ACTION, "POST")
    fields = ending.fields
    assert (fields["InputType"], fields["Speech"], fields["Digits"]) == ("speech", "hello", "")
    assert 0 < float(fields["SpeechConfidenceScore"]) <= 1


def test_keys_are_taken_to_the_action() -> None:
    ending, _ = perform(document(get_input(method="GET")), xml.Heard(digits="42"))
    assert isinstance(ending, xml.Ask)
    assert ending.method == "GET"
    fields = ending.fields
    assert (fields["InputType"], fields["Speech"], fields["Digits"]) == ("dtmf", "", "42")


def test_silence_goes_on_with_the_next_element() -> None:
    ending, done = perform(document(get_input(), "<Speak>nobody there</Speak>"))
    assert (ending, done[1]) == (None, xml.Speak("nobody there"))


def test_an_action_without_redirect_is_told_and_takes_nothing_over() -> None:
    ending, done = perform(
        document(get_input(redirect="false"), "<Wait/>"), xml.Heard(words="hello")
    )
    assert isinstance(done[1], xml.Ask)
    assert (ending, done[1].url, done[2]) == (None, ACTION, xml.Wait(1))


# --- reading -----------------------------------------------------------------------------------


def test_a_listener_has_the_documented_defaults() -> None:
    (element,) = xml.read(document(get_input(inputType="speech"))).elements
    assert element == xml.GetInput(ACTION, speech=True, timeout_s=15, num_digits=32)
    assert element.finish_on_key == "#"


def test_a_listener_may_have_no_key_that_ends_the_input() -> None:
    for said in ("none", ""):
        (element,) = xml.read(document(get_input(finishOnKey=said))).elements
        assert isinstance(element, xml.GetInput)
        assert element.finish_on_key == ""


@pytest.mark.parametrize(
    ("content_type", "audio"),
    [
        ("audio/x-mulaw;rate=8000", ULAW_8K),
        ("audio/x-l16;rate=8000", PCM16_8K),
        ("audio/x-l16;rate=16000", AudioFormat("pcm16", 16000)),
    ],
)
def test_a_stream_is_coded_as_it_says(content_type: str, audio: AudioFormat) -> None:
    (element,) = xml.read(document(stream(contentType=content_type))).elements
    assert isinstance(element, xml.Stream)
    assert element.audio == audio


def test_a_stream_has_everything_that_it_was_given() -> None:
    written = stream(
        keepCallAlive="true",
        extraHeaders="request=abc,b=2",
        streamTimeout="30",
        statusCallbackUrl=ACTION,
        statusCallbackMethod="GET",
    )
    (element,) = xml.read(document(written)).elements
    assert element == xml.Stream(
        MEDIA,
        keep_call_alive=True,
        extra_headers="request=abc,b=2",
        timeout_s=30,
        status_url=ACTION,
        status_method="GET",
    )


def test_only_a_hangup_with_a_reason_at_the_very_beginning_refuses_a_call() -> None:
    assert xml.read(document('<Hangup reason="busy"/>')).refusal == xml.Hangup("busy")
    for elements in ("<Hangup/>", '<Wait/><Hangup reason="busy"/>', ""):
        assert xml.read(document(elements)).refusal is None
    assert xml.read(document('<Hangup reason="busy" schedule="5"/>')).refusal is None


def test_an_unknown_attribute_is_only_remarked_upon() -> None:
    read = xml.read(document('<Wait seconds="3"/>'))
    assert read.elements == (xml.Wait(1),)
    assert read.remarks == ("<Wait> has no attribute seconds",)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{}",
        b"<Response>",
        b"<Response/><Response/>",
        b"<Reply/>",
        b'<!DOCTYPE a [<!ENTITY b "c">]><Response>&b;</Response>',
        b"<Response><!-- \xff --></Response>",
        document(" " * xml.MAX_DOCUMENT_OCTETS),
    ],
    ids=["empty", "json", "open", "two", "another root", "doctype", "no text", "long"],
)
def test_what_is_no_document_is_refused(text: bytes) -> None:
    with pytest.raises(xml.XmlError):
        xml.read(text)


@pytest.mark.parametrize(
    "element",
    [
        "<Say>hello</Say>",
        "<Reject/>",
        "<Pause/>",
        "<speak>hello</speak>",
        "<Dial/>",
        "<Dial>15550000001</Dial>",
        "<Dial><Number>15550000001</Number><Number>15550000002</Number></Dial>",
        "<Dial><Number>somebody</Number></Dial>",
        "<Dial><User>15550000001</User></Dial>",
        '<Dial timeout="0"><Number>15550000001</Number></Dial>',
        '<Dial action="/next"><Number>15550000001</Number></Dial>',
        '<Speak voice="alice">hello</Speak>',
        '<Speak language="hi-IN">hello</Speak>',
        f"<Speak>{'a' * 3001}</Speak>",
        '<Speak loop="-1">hello</Speak>',
        "<Play>hello</Play>",
        '<Wait length="0"/>',
        '<Wait length="1.5"/>',
        "<DTMF>12x</DTMF>",
        "<DTMF/>",
        '<DTMF async="perhaps">1</DTMF>',
        "<Redirect/>",
        "<Redirect>/voice</Redirect>",
        '<Redirect method="PUT">https://example.org</Redirect>',
        '<Hangup reason="tired"/>',
        '<Hangup schedule="soon"/>',
        "<GetInput/>",
        get_input(inputType=""),
        get_input(inputType="speech dtmf"),
        get_input(action="/voice"),
        get_input(executionTimeout="4"),
        get_input(executionTimeout="61"),
        get_input(digitEndTimeout="1"),
        get_input(finishOnKey="##"),
        get_input(numDigits="33"),
        get_input("<Redirect>https://example.org</Redirect>"),
        stream(""),
        stream("https://example.org"),
        stream(f"wss://example.org/{'a' * 2048}"),
        stream(bidirectional="false"),
        stream(audioTrack="both"),
        stream(contentType="audio/x-mulaw;rate=16000"),
        stream(extraHeaders="a_b=1"),
        stream(extraHeaders="a=1;b=2"),
        stream(extraHeaders=f"a={'1' * 512}"),
        stream(streamTimeout="0"),
        stream(statusCallbackUrl="nowhere"),
        "<Stream>wss://example.org</Stream>",
    ],
)
def test_what_plivo_does_not_document_makes_the_document_invalid(element: str) -> None:
    with pytest.raises(xml.XmlError):
        xml.read(document("<Wait/>", element))


def test_another_voice_may_speak_other_languages() -> None:
    (element,) = xml.read(
        document('<Speak voice="Polly.Aditi" language="hi-IN">namaste</Speak>')
    ).elements
    assert element == xml.Speak("namaste")


def test_what_the_official_sdk_writes_is_read() -> None:
    whole = plivoxml.ResponseElement()
    listener = plivoxml.GetInputElement(
        action=ACTION,
        method="POST",
        input_type="dtmf speech",
        execution_timeout=20,
        digit_end_timeout=3,
        speech_end_timeout=2,
        finish_on_key="*",
        num_digits=4,
        language="en-US",
        log=False,
    )
    listener.add(plivoxml.SpeakElement("Say or press something.", voice="WOMAN", language="en-US"))
    whole.add(listener)
    whole.add(plivoxml.WaitElement(length=2))
    whole.add(plivoxml.DTMFElement("12", async_=False))
    whole.add(
        plivoxml.StreamElement(
            MEDIA,
            bidirectional=True,
            keepCallAlive=True,
            contentType="audio/x-l16;rate=16000",
            extraHeaders="a=1",
        )
    )
    whole.add(plivoxml.RedirectElement(ACTION))
    whole.add(plivoxml.HangupElement(reason="busy", schedule=5))
    assert xml.read(whole.to_string(False).encode()).elements == (
        xml.GetInput(
            ACTION,
            prompts=(xml.Speak("Say or press something."),),
            speech=True,
            dtmf=True,
            timeout_s=20,
            finish_on_key="*",
            num_digits=4,
        ),
        xml.Wait(2),
        xml.Dtmf("12", aside=False),
        xml.Stream(
            MEDIA, keep_call_alive=True, audio=AudioFormat("pcm16", 16000), extra_headers="a=1"
        ),
        xml.Redirect(ACTION),
        xml.Hangup("busy", 5),
    )
