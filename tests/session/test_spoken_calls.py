"""Whole calls without a media stream, over the webhooks and the instructions of real carriers.

Only the request that makes a call ask for instructions is missing: the phone at the end of the
line follows the instructions, and asks whenever it is made to.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import parse_qsl, urlsplit
from xml.etree import ElementTree as ET

import pytest

from tests.carriers.plivo import requests as plivo_requests
from tests.carriers.twilio import callbacks as twilio_callbacks
from tests.carriers.twilio.api import CALL as TWILIO_CALL
from tests.carriers.twilio.api import TOKEN
from tests.manager.fakes import FakeCarrier
from tests.session.fakes import FakeResponder, Identity, run, soon, until
from voicecall.call.record import CallState
from voicecall.carriers._prompts import Prompt, Prompts
from voicecall.carriers.plivo.instructions import Instructions as PlivoInstructions
from voicecall.carriers.plivo.names import CallNames
from voicecall.carriers.plivo.signature import SignatureVerifier as PlivoVerifier
from voicecall.carriers.plivo.webhook import PlivoWebhook
from voicecall.carriers.twilio.instructions import Instructions as TwilioInstructions
from voicecall.carriers.twilio.signature import SignatureVerifier as TwilioVerifier
from voicecall.carriers.twilio.webhook import TwilioWebhook
from voicecall.clock import SystemClock
from voicecall.manager.manager import CallManager
from voicecall.manager.settings import CallSettings
from voicecall.ports import HangUp
from voicecall.session.equipment import Equipment, SessionSettings
from voicecall.session.registry import Sessions
from voicecall.store.memory import MemoryCallStore

if TYPE_CHECKING:
    from voicecall.call.record import CallRecord
    from voicecall.ports import DialRequest, Webhook, WebhookRequest

pytestmark = pytest.mark.unit

CALLEE = "+15550000002"


class Vendor(Protocol):
    """What differs between carriers."""

    call: str
    webhook: Webhook
    prompts: Prompts
    url: str

    def request(self, url: str, fields: dict[str, str]) -> WebhookRequest: ...

    def asks(self) -> dict[str, str]: ...

    def says(self, words: str) -> dict[str, str]: ...


class Twilio:
    call = TWILIO_CALL
    url = twilio_callbacks.URL

    def __init__(self) -> None:
        self.prompts = Prompts()
        told = TwilioInstructions(self.url, urls=None, prompts=self.prompts)
        self.webhook = TwilioWebhook(TwilioVerifier(TOKEN), told, SystemClock())

    def request(self, url: str, fields: dict[str, str]) -> WebhookRequest:
        return twilio_callbacks.form(twilio_callbacks.COMMON | fields, url=url)

    def asks(self) -> dict[str, str]:
        return {"CallStatus": "in-progress"}

    def says(self, words: str) -> dict[str, str]:
        return {"CallStatus": "in-progress", "SpeechResult": words, "Confidence": "0.9"}


class Plivo:
    call = plivo_requests.CALL
    url = plivo_requests.URL

    def __init__(self) -> None:
        self.prompts = Prompts()
        self._asked = False
        names = CallNames()
        told = PlivoInstructions(lambda: self.url, names=names, prompts=self.prompts)
        verifier = PlivoVerifier(plivo_requests.AUTH_TOKEN)
        self.webhook = PlivoWebhook(verifier, told, names=names, clock=SystemClock())

    def request(self, url: str, fields: dict[str, str]) -> WebhookRequest:
        common = plivo_requests.OUTBOUND | {
            "RequestUUID": self.call,
            "ALegRequestUUID": self.call,
        }
        return plivo_requests.webhook(common | fields, url)

    def asks(self) -> dict[str, str]:
        event, self._asked = ("Redirect" if self._asked else "StartApp"), True
        return {"Event": event}

    def says(self, words: str) -> dict[str, str]:
        return {"InputType": "speech", "Digits": "", "Speech": words, "Event": "Redirect"}


class Line:
    """The carrier's calling side and the phone at the end of the line, in one.

    The phone speaks what it is told to at once, and then waits for somebody to say something.
    """

    def __init__(self, vendor: Vendor) -> None:
        self.vendor = vendor
        self.spoken: list[str] = []
        self.listening: list[str] = []
        self.manager: CallManager | None = None

    async def say(self, provider_call_id: str, text: str) -> bool:
        return await self.vendor.prompts.say(provider_call_id, text, self._push)

    async def stop_speaking(self, provider_call_id: str) -> None:
        self.vendor.prompts.cut(provider_call_id)

    async def listen(self, provider_call_id: str) -> None:
        pass

    async def _push(self, _: Prompt) -> None:
        self._asking = asyncio.create_task(self.ask(self.vendor.url))

    async def ask(self, url: str, fields: dict[str, str] | None = None) -> None:
        """The carrier asks, and the phone does what it is told."""
        assert self.manager is not None
        asked: str | None = url
        while asked:
            request = self.vendor.request(asked, fields or self.vendor.asks())
            verified = self.vendor.webhook.verify(request)
            record: CallRecord | None = None
            for event in self.vendor.webhook.parse(verified):
                await self.manager.apply(event)
            record = self.manager.find(self.vendor.call)
            answer = self.vendor.webhook.answer(verified, record)
            asked, fields = self._follow(answer.body), None

    def _follow(self, body: bytes) -> str | None:
        for verb in ET.fromstring(body):  # noqa: S314  (our own document)
            if verb.tag in {"Say", "Speak"}:
                self.spoken.append(verb.text or "")
            elif verb.tag in {"Gather", "GetInput"}:
                self.listening.append(verb.attrib["action"])
                return None
            elif verb.tag == "Redirect":
                return verb.text
        return None


class Dialler(FakeCarrier):
    """Names the one call that it places as the webhooks do."""

    def __init__(self, call: str) -> None:
        super().__init__()
        self._call = call

    async def dial(self, request: DialRequest) -> str:
        await super().dial(request)
        return self._call


@dataclass
class Call:
    """A call manager with one call on the line."""

    vendor: Vendor
    responder: FakeResponder = field(default_factory=FakeResponder)

    def __post_init__(self) -> None:
        self.line = Line(self.vendor)
        self.carrier = Dialler(self.vendor.call)
        settings = SessionSettings(notify_hangup_delay_ms=0)
        self.sessions = Sessions(
            lambda _: Equipment((), responder=self.responder, settings=settings),
            clock=SystemClock(),
            convert=Identity,
            voice=self.line,
        )
        self.manager = CallManager(
            CallSettings(from_number="+15550000001"),
            carrier=self.carrier,
            store=MemoryCallStore(),
            clock=SystemClock(),
            conversations=self.sessions,
        )
        self.sessions.attach(self.manager, self.manager.learn_provider_id)
        self.line.manager = self.manager

    async def answered(self, mode: Any = "conversation") -> CallRecord:
        record = await self.manager.initiate("Good day.", CALLEE, mode)
        await self.line.ask(f"{self.vendor.url}?callId={record.call_id}")
        return record

    async def says(self, words: str, url: str | None = None) -> None:
        told = url or self.line.listening[-1]
        await self.line.ask(told, self.vendor.says(words))

    async def close(self) -> None:
        await self.manager.close(within_s=2)
        await self.sessions.close()


def turn_of(url: str) -> str | None:
    return dict(parse_qsl(urlsplit(url).query)).get("turn")


@pytest.fixture(params=[Twilio, Plivo])
def vendor(request: pytest.FixtureRequest) -> Vendor:
    made: Vendor = request.param()
    return made


def test_a_conversation_is_held_from_the_greeting_to_the_hang_up(vendor: Vendor) -> None:
    async def case() -> None:
        responder = FakeResponder(["It is three."], ["Good bye.", HangUp()])
        call = Call(vendor, responder)
        record = await call.answered()
        await until(lambda: call.line.spoken == ["Good day."])
        await until(lambda: record.transcript)
        await call.says("What time is it?")
        await until(lambda: len(record.transcript) == 3)
        await call.says("Thank you, bye.")
        await until(lambda: record.state.terminal)
        assert record.end_reason is CallState.HANGUP_BOT
        assert call.line.spoken == ["Good day.", "It is three.", "Good bye."]
        assert [entry.text for entry in record.transcript] == [
            "Good day.",
            "What time is it?",
            "It is three.",
            "Thank you, bye.",
            "Good bye.",
        ]
        assert call.carrier.hung_up == [vendor.call]
        await call.close()

    run(case())


def test_a_notification_is_said_and_hung_up(vendor: Vendor) -> None:
    async def case() -> None:
        call = Call(vendor)
        record = await call.answered("notify")
        await soon(lambda: record.state.terminal)
        assert call.line.spoken == ["Good day."]
        assert call.line.listening == []
        assert record.end_reason is CallState.HANGUP_BOT
        await call.close()

    run(case())


def test_a_question_is_answered_by_words_of_its_own_turn_only(vendor: Vendor) -> None:
    async def case() -> None:
        call = Call(vendor, FakeResponder(["Not asked."], ["Nor this."]))
        record = await call.answered()
        await until(lambda: record.transcript)
        assert turn_of(call.line.listening[-1]) is None
        for number, name in enumerate(("Bond.", "Moneypenny.")):
            stale = call.line.listening[-1]
            asking = asyncio.create_task(call.manager.ask(record.call_id, f"Name {number}?"))
            await until(lambda: len(record.transcript) % 2 == 0)
            listens = call.line.listening[-1]
            assert turn_of(listens) == record.metadata["turnToken"]
            # What was heard before the question comes late.
            await call.says("Wrong.", stale)
            assert not asking.done()
            await call.says(name, listens)
            assert await asking == name
        assert call.manager.ignored["stale"] == 2
        assert [entry.text for entry in record.transcript][1:] == [
            "Name 0?",
            "Bond.",
            "Name 1?",
            "Moneypenny.",
        ]
        # Answers to questions of our user are none of the responder's business.
        assert call.responder.requests == []
        await call.close()

    run(case())


def test_what_is_spoken_on_request_is_said_to_its_end(vendor: Vendor) -> None:
    async def case() -> None:
        call = Call(vendor)
        record = await call.answered()
        await until(lambda: record.transcript)
        await call.manager.speak(record.call_id, "One more thing.")
        assert call.line.spoken == ["Good day.", "One more thing."]
        await call.close()

    run(case())
