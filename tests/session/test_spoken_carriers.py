"""Whole calls without a media stream: our side of each carrier, and the simulated one, by HTTP."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from tests.hosting import run, until
from tests.session.fakes import FakeResponder, Identity
from voicecall.call.record import CallState, Direction
from voicecall.clock import SystemClock
from voicecall.config.schema import Config
from voicecall.manager.manager import CallManager
from voicecall.manager.settings import CallSettings
from voicecall.ports import HangUp, WebhookRequest
from voicecall.provider import Needs, provider
from voicecall.session.equipment import Equipment, SessionSettings
from voicecall.session.registry import Sessions
from voicecall.simulator import Callee
from voicecall.simulator.exchange.http import HttpRequest, HttpResponse, HttpServer
from voicecall.simulator.exchange.party import SimpleParty
from voicecall.simulator.exchange.plivo import PlivoExchange
from voicecall.simulator.exchange.telnyx import TelnyxExchange, TelnyxHabits
from voicecall.simulator.exchange.twilio import TwilioExchange
from voicecall.store.memory import MemoryCallStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from voicecall.call.events import CallEvent
    from voicecall.call.record import CallRecord

pytestmark = pytest.mark.socket

US, THEM = "+13125550001", "+13125550002"
CARRIERS = ["twilio", "telnyx", "plivo"]
REACTION_S = 0.05

AnyExchange = TwilioExchange | TelnyxExchange | PlivoExchange


class Polite(SimpleParty):
    """Says something only after having heard something new, and thought for a moment."""

    async def speak(self) -> str | None:
        while len(self.heard) <= len(self.said):  # noqa: ASYNC110  (a party has no events)
            await asyncio.sleep(0.005)
        await asyncio.sleep(REACTION_S)
        return await super().speak()


def exchange(carrier: str, party: SimpleParty) -> tuple[AnyExchange, dict[str, Any]]:
    """A simulated carrier, and how it is configured."""
    if carrier == "twilio":
        twilio = TwilioExchange(lambda _: party)
        return twilio, {"accountSid": twilio.account_sid, "authToken": twilio.auth_token}
    if carrier == "plivo":
        plivo = PlivoExchange(lambda _: party)
        return plivo, {"authId": plivo.auth_id, "authToken": plivo.auth_token}
    habits = TelnyxHabits(second_s=0.1, thinking_s=0.02, greeting_s=3.0)
    telnyx = TelnyxExchange(lambda _: party, habits=habits)
    return telnyx, {
        "apiKey": telnyx.api_key,
        "connectionId": telnyx.connection_id,
        "publicKey": telnyx.public_key,
    }


@dataclass
class Office:
    """As much of a server as calls without media take.

    Attributes:
        exchange: the simulated carrier.
        manager: the calls.
        url: where webhooks come to.
    """

    exchange: AnyExchange
    config: Config
    responder: FakeResponder
    url: str = ""
    failures: list[Exception] = field(default_factory=list)

    def __post_init__(self) -> None:
        clock = SystemClock()
        callee = Callee("off", None, clock)
        self.provider = provider(Needs(self.config, clock, None, self._emit), callee)
        settings = SessionSettings(notify_hangup_delay_ms=10)
        self.sessions = Sessions(
            lambda _: Equipment((), responder=self.responder, settings=settings),
            clock=clock,
            convert=Identity,
            voice=self.provider.voice,
        )
        self.manager = CallManager(
            CallSettings(
                from_number=US, inbound_policy="open", inbound_greeting="Welcome.", sip=False
            ),
            carrier=self.provider.carrier,
            store=MemoryCallStore(),
            clock=clock,
            conversations=self.sessions,
        )
        self.sessions.attach(self.manager, self.manager.learn_provider_id)

    async def _emit(self, event: CallEvent) -> None:
        await self.manager.apply(event)

    async def take(self, received: HttpRequest) -> HttpResponse:
        try:
            return await self._take(received)
        except Exception as error:
            self.failures.append(error)
            raise

    async def _take(self, received: HttpRequest) -> HttpResponse:
        parts = urlsplit(self.url)
        query = f"?{received.query}" if received.query else ""
        seen = WebhookRequest(
            received.method,
            f"{parts.scheme}://{parts.netloc}{received.path}{query}",
            received.headers,
            received.body,
            "127.0.0.1",
        )
        webhook = self.provider.webhook
        verified = webhook.verify(seen)
        record: CallRecord | None = None
        for event in webhook.parse(verified):
            await self.manager.apply(event)
            ids = (event.call_id, event.provider_call_id)
            found = (self.manager.find(call_id) for call_id in ids if call_id)
            record = record or next((each for each in found if each is not None), None)
        answer = webhook.answer(verified, record)
        return HttpResponse(answer.status, answer.body, answer.content_type)

    async def close(self) -> None:
        await self.manager.close(within_s=3)
        await self.sessions.close()
        await self.provider.carrier.close()


@asynccontextmanager
async def office(
    carrier: str, party: SimpleParty, responder: FakeResponder | None = None
) -> AsyncIterator[Office]:
    simulated, account = exchange(carrier, party)
    await simulated.start()
    base = simulated.api_url if isinstance(simulated, TelnyxExchange) else simulated.base_url
    config = Config.model_validate(
        {
            "provider": carrier,
            "fromNumber": US,
            carrier: {**account, "apiBaseUrl": base},
            "streaming": {"enabled": False},
        }
    )
    made = Office(simulated, config, responder or FakeResponder())
    try:
        async with HttpServer(made.take) as server:
            made.url = f"{server.url}/voice/webhook"
            made.provider.report_to(made.url)
            try:
                yield made
            finally:
                await made.close()
                await simulated.close()
    finally:
        await simulated.close()
    assert made.failures == []


def words(record: CallRecord) -> list[str]:
    return [entry.text for entry in record.transcript]


@pytest.mark.parametrize("carrier", CARRIERS)
def test_a_conversation_is_held_from_the_greeting_to_the_hang_up(carrier: str) -> None:
    async def case() -> None:
        party = Polite(words=["What time is it?", "Thank you, bye."])
        responder = FakeResponder(["It is ", "three."], ["Good bye.", HangUp()])
        async with office(carrier, party, responder) as it:
            record = await it.manager.initiate("Good day.", THEM, "conversation")
            await until(lambda: record.state.terminal)
            assert record.end_reason is CallState.HANGUP_BOT
            assert party.heard == ["Good day.", "It is three.", "Good bye."]
            assert words(record) == [
                "Good day.",
                "What time is it?",
                "It is three.",
                "Thank you, bye.",
                "Good bye.",
            ]
            assert record.metadata["turnCount"] == 2

    run(case())


@pytest.mark.parametrize("carrier", CARRIERS)
def test_a_notification_is_said_and_hung_up(carrier: str) -> None:
    async def case() -> None:
        party = SimpleParty(words=["Who is there?"])
        async with office(carrier, party) as it:
            record = await it.manager.initiate("Your car is ready.", THEM, "notify")
            await until(lambda: record.state.terminal)
            assert record.end_reason is CallState.HANGUP_BOT
            assert party.heard == ["Your car is ready."]
            # Nobody listened.
            assert party.said == []
            assert words(record) == ["Your car is ready."]

    run(case())


@pytest.mark.parametrize("carrier", CARRIERS)
def test_questions_are_answered_and_texts_said_on_request(carrier: str) -> None:
    async def case() -> None:
        party = Polite(words=["Hello.", "Bond."])
        async with office(carrier, party) as it:
            record = await it.manager.initiate("Good day.", THEM, "conversation")
            await until(lambda: words(record) == ["Good day.", "Hello."])
            assert await it.manager.ask(record.call_id, "Your name, please?") == "Bond."
            await it.manager.speak(record.call_id, "Thank you.")
            assert party.heard == ["Good day.", "Your name, please?", "Thank you."]
            await it.manager.end(record.call_id)
            assert record.end_reason is CallState.HANGUP_BOT

    run(case())


@pytest.mark.parametrize("carrier", CARRIERS)
def test_somebody_who_calls_is_greeted_and_answered(carrier: str) -> None:
    async def case() -> None:
        party = Polite(words=["Are you open?"])
        async with office(carrier, party, FakeResponder(["Yes."])) as it:
            await it.exchange.call_in(THEM, US, it.url)
            await until(it.manager.live)
            (record,) = it.manager.live()
            assert record.direction is Direction.INBOUND
            await until(lambda: words(record) == ["Welcome.", "Are you open?", "Yes."])
            assert party.heard == ["Welcome.", "Yes."]

    run(case())


@pytest.mark.parametrize("carrier", CARRIERS)
def test_a_long_text_is_heard_whole(carrier: str) -> None:
    async def case() -> None:
        party = SimpleParty(pace=0.0)
        text = "This is a sentence of a very long story. " * 120
        async with office(carrier, party) as it:
            record = await it.manager.initiate(text, THEM, "notify")
            await until(lambda: record.state.terminal)
            assert record.end_reason is CallState.HANGUP_BOT
            assert " ".join(party.heard) == text.strip()
            assert words(record) == [text.strip()]

    run(case())
