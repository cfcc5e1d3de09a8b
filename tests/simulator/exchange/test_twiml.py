"""Reading and doing TwiML, as strictly as Twilio's documentation has it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest
from twilio.twiml.voice_response import Connect, VoiceResponse

from voicecall.simulator.exchange import twiml

pytestmark = pytest.mark.unit


@dataclass
class Stage:
    """A call that notes what is done on it, and hears what it is told to."""

    hears: list[twiml.Heard] = field(default_factory=list)
    done: list[object] = field(default_factory=list)

    async def prompt(self, verb: twiml.Prompt) -> None:
        self.done.append(verb)

    async def gather(self, verb: twiml.Gather) -> twiml.Heard:
        self.done.append(verb)
        return self.hears.pop(0) if self.hears else twiml.Heard()

    async def stream(self, verb: twiml.Stream) -> None:
        self.done.append(verb)

    async def dial(self, verb: twiml.Dial) -> str:
        self.done.append(verb)
        return "busy"


def document(*verbs: str) -> bytes:
    return f"<Response>{''.join(verbs)}</Response>".encode()


def perform(text: bytes, *hears: twiml.Heard) -> tuple[twiml.Ending, list[object]]:
    stage = Stage(list(hears))
    return asyncio.run(twiml.perform(twiml.read(text), stage)), stage.done


def test_verbs_are_done_in_order_and_the_call_ends_after_the_last() -> None:
    ending, done = perform(
        document("<Say> Good <break/>day. </Say>", "<Pause/>", '<Play digits="1w2#"/>')
    )
    assert done == [twiml.Say("Good day."), twiml.Pause(1), twiml.Play("1w2#")]
    assert ending == twiml.Hangup()


@pytest.mark.parametrize(
    ("verb", "ending"),
    [
        ("<Hangup/>", twiml.Hangup()),
        ("<Reject/>", twiml.Reject("rejected")),
        ('<Reject reason="busy"/>', twiml.Reject("busy")),
        ("<Redirect> /next?a=1&amp;b=2 </Redirect>", twiml.Ask("/next?a=1&b=2")),
        ('<Redirect method="get">/next</Redirect>', twiml.Ask("/next", "GET")),
    ],
)
def test_nothing_is_done_after_a_verb_that_leaves_the_document(
    verb: str, ending: twiml.Ending
) -> None:
    assert perform(document(verb, "<Say>never</Say>")) == (ending, [])


def test_words_that_were_gathered_go_to_the_action() -> None:
    text = document('<Gather input="dtmf speech" action="/heard"><Say>Yes?</Say></Gather>')
    ending, done = perform(text, twiml.Heard(words="good day"))
    assert ending == twiml.Ask("/heard", "POST", {"SpeechResult": "good day", "Confidence": "0.95"})
    assert done[0] == twiml.Say("Yes?")


def test_keys_that_were_gathered_go_to_the_action() -> None:
    ending, _ = perform(document('<Gather method="GET"/>'), twiml.Heard(digits="42"))
    assert ending == twiml.Ask("", "GET", {"Digits": "42"})


def test_a_gather_that_hears_nothing_falls_through() -> None:
    ending, _ = perform(document('<Gather action="/heard"/>', "<Redirect>/again</Redirect>"))
    assert ending == twiml.Ask("/again")


def test_a_gather_can_ask_even_if_it_hears_nothing() -> None:
    text = document('<Gather input="speech" action="/heard" actionOnEmptyResult="true"/>')
    ending, _ = perform(text)
    assert ending == twiml.Ask("/heard", "POST", {"SpeechResult": ""})


def test_after_a_stream_the_document_goes_on_unless_there_is_an_action() -> None:
    stream = '<Stream url="wss://media.example.com/a"/>'
    assert perform(document(f"<Connect>{stream}</Connect>", "<Redirect>/on</Redirect>"))[
        0
    ] == twiml.Ask("/on")
    assert perform(document(f'<Connect action="/done">{stream}</Connect>'))[0] == twiml.Ask("/done")


@pytest.mark.parametrize(
    ("inside", "to"),
    [
        ("+15550000001", "+15550000001"),
        ("<Number> +15550000001 </Number>", "+15550000001"),
        ('<Sip username="me">sip:a@b.example?x=1&amp;y=2</Sip>', "sip:a@b.example?x=1&y=2"),
    ],
)
def test_after_a_dial_the_document_goes_on_unless_there_is_an_action(inside: str, to: str) -> None:
    ending, done = perform(document(f'<Dial callerId="+1555">{inside}</Dial>', "<Pause/>"))
    assert (ending, done) == (twiml.Hangup(), [twiml.Dial(to), twiml.Pause()])
    ending, _ = perform(document(f'<Dial action="/after" method="GET">{inside}</Dial>'))
    assert ending == twiml.Ask("/after", "GET", {"DialCallStatus": "busy"})


def test_what_the_vendors_own_builder_writes_is_read() -> None:
    response = VoiceResponse()
    connect = Connect()
    stream = connect.stream(
        url="wss://media.example.com/a",
        name="bot",
        status_callback="https://example.com/stream",
        status_callback_method="GET",
    )
    stream.parameter(name="token", value="secret")
    response.append(connect)
    gather = response.gather(
        input="dtmf speech",
        action="https://example.com/heard",
        num_digits=4,
        finish_on_key="*",
        timeout=3,
        speech_timeout="auto",
        language="en-US",
    )
    gather.say("Your number?", voice="Polly.Joanna", language="en-US", loop=2)
    response.reject(reason="busy")
    read = twiml.read(str(response).encode())
    assert read.remarks == ()
    assert read.verbs == (
        twiml.Stream(
            url="wss://media.example.com/a",
            parameters={"token": "secret"},
            name="bot",
            status_url="https://example.com/stream",
            status_method="GET",
        ),
        twiml.Gather(
            prompts=(twiml.Say("Your number?", 2),),
            action="https://example.com/heard",
            speech=True,
            dtmf=True,
            timeout_s=3,
            finish_on_key="*",
            num_digits=4,
        ),
        twiml.Reject("busy"),
    )


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (b"", 12100),
        (b"hello", 12100),
        (b"<Response><Say>open</Response>", 12100),
        (b"<Reply/>", 12100),
        (b'<?xml version="1.0" encoding="klingon"?><Response/>', 12100),
        (b"\xff\xfe<Response/>", 12100),
        (b"<!DOCTYPE Response><Response/>", 12100),
        (document("<Dance/>"), 12200),
        (document("<say>lower case</say>"), 12200),
        (document("<Gather><Redirect>/on</Redirect></Gather>"), 12200),
        (document('<Gather input="smell"/>'), 12200),
        (document('<Gather finishOnKey="x"/>'), 12200),
        (document('<Pause length="-1"/>'), 12200),
        (document('<Pause length="long"/>'), 12200),
        (document('<Redirect method="PUT">/on</Redirect>'), 12200),
        (document('<Reject reason="tired"/>'), 12200),
        (document("<Play/>"), 12200),
        (document('<Play digits="1-2"/>'), 13420),
        (document("<Connect/>"), 12200),
        (document("<Dial/>"), 13223),
        (document("<Dial>somebody</Dial>"), 13223),
        (document("<Dial><Client>somebody</Client></Dial>"), 12200),
        (document("<Dial><Number>+15550001</Number><Number>+15550002</Number></Dial>"), 12200),
        (document('<Dial timeout="long">+15550001</Dial>'), 12200),
        (document('<Connect><Stream url="https://a.example/x"/></Connect>'), 31922),
        (document('<Connect><Stream url="ws://a.example/x"/></Connect>'), 31922),
        (document('<Connect><Stream url="/x"/></Connect>'), 31923),
        (document('<Connect><Stream url="wss://[/x"/></Connect>'), 31923),
        (
            document('<Connect><Stream url="wss://a.example/x" track="both_tracks"/></Connect>'),
            31941,
        ),
        (document("<Connect><Stream url='wss://a.example/x'><Say/></Stream></Connect>"), 12200),
        (document(f"<Say>{'a' * 70_000}</Say>"), 11750),
    ],
)
def test_a_document_that_twilio_would_not_do_is_refused_with_its_code(
    text: bytes, code: int
) -> None:
    with pytest.raises(twiml.TwimlError) as caught:
        twiml.read(text)
    assert caught.value.code == code


def test_entities_that_a_document_declares_are_never_expanded() -> None:
    levels = "".join(f'<!ENTITY a{n + 1} "{f"&a{n};" * 10}">' for n in range(9))
    bomb = f'<!DOCTYPE Response [<!ENTITY a0 "ha">{levels}]><Response><Say>&a9;</Say></Response>'
    with pytest.raises(twiml.TwimlError, match="document type"):
        twiml.read(bomb.encode())


@pytest.mark.parametrize(("octets", "fits"), [(499, True), (500, False)])
def test_a_parameter_is_shorter_than_500_characters(octets: int, *, fits: bool) -> None:
    value = "v" * (octets - len("token"))
    parameter = f'<Parameter name="token" value="{value}"/>'
    text = document(f'<Connect><Stream url="wss://a.example/x">{parameter}</Stream></Connect>')
    if fits:
        assert twiml.read(text).verbs == (twiml.Stream("wss://a.example/x", {"token": value}),)
        return
    with pytest.raises(twiml.TwimlError, match="500"):
        twiml.read(text)


def test_an_attribute_too_many_is_remarked_upon_and_ignored() -> None:
    read = twiml.read(document('<Say mood="merry">Hello</Say>'))
    assert read.verbs == (twiml.Say("Hello"),)
    assert read.remarks == (twiml.Remark(12200, "<Say> has no attribute mood"),)


def test_the_query_of_a_stream_is_dropped_as_twilio_drops_it() -> None:
    read = twiml.read(document('<Connect><Stream url="wss://a.example/x?token=1"/></Connect>'))
    assert read.verbs == (twiml.Stream("wss://a.example/x"),)
    assert [remark.code for remark in read.remarks] == [31920]


def test_a_server_on_this_machine_needs_no_certificate() -> None:
    read = twiml.read(document('<Connect><Stream url="ws://127.0.0.1:8080/x"/></Connect>'))
    assert read.verbs == (twiml.Stream("ws://127.0.0.1:8080/x"),)
