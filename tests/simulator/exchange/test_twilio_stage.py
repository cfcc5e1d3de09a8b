"""What the simulated Twilio does on a call: listening, and media over real sockets."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Self

import pytest
from twilio.request_validator import RequestValidator
from websockets.asyncio.server import serve

from tests.simulator.exchange.twilio_customer import (
    HANG_UP,
    LISTEN,
    Customer,
    customer,
    dial,
    exchange,
    over,
    response,
    run,
    sdk,
    statuses,
)
from voicecall.simulator.exchange import Fault, Keys, SimpleParty
from voicecall.simulator.exchange.twilio import AUTH_TOKEN, TwilioExchange

if TYPE_CHECKING:
    from websockets.asyncio.server import Server, ServerConnection

    from voicecall.simulator.exchange.party import Pickup
    from voicecall.simulator.exchange.twilio_line import TwilioLine

pytestmark = pytest.mark.socket

# --- instructions --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "fields"),
    [
        ("good day", {"SpeechResult": "good day", "Confidence": "0.95"}),
        (Keys("42#7"), {"Digits": "42"}),
    ],
)
def test_what_is_gathered_goes_to_the_action(words: str, fields: dict[str, str]) -> None:
    async def case() -> None:
        async with (
            customer(voice=LISTEN, heard=HANG_UP) as there,
            exchange(SimpleParty(words=[words])) as carrier,
            sdk(carrier) as client,
        ):
            await dial(client, there)
            await over(carrier)
            (asked,) = there.at("/heard")
            assert fields.items() <= asked.fields.items()
            assert asked.status == "in-progress"

    run(case)


@pytest.mark.parametrize(
    ("kind", "words"), [("speech", Keys("42")), ("dtmf", "good day"), ("dtmf", Keys("#"))]
)
def test_what_is_not_listened_for_is_not_heard(kind: str, words: str) -> None:
    async def case() -> None:
        document = response(f'<Gather input="{kind}" action="/heard"/>')
        async with (
            customer(voice=document) as there,
            exchange(SimpleParty(words=[words])) as carrier,
            sdk(carrier) as client,
        ):
            await dial(client, there)
            await over(carrier)
            assert there.at("/heard") == []

    run(case)


def test_silence_falls_through_to_what_follows() -> None:
    async def case() -> None:
        async with (
            customer(voice=[LISTEN, LISTEN, HANG_UP]) as there,
            exchange() as carrier,
            sdk(carrier) as client,
        ):
            await dial(client, there)
            await over(carrier)
            assert len(there.at("/voice")) == 3
            assert there.at("/heard") == []

    run(case)


def test_a_gather_of_as_many_keys_as_it_needs_takes_no_more() -> None:
    async def case() -> None:
        document = response('<Gather numDigits="3" finishOnKey="" action="/heard" method="GET"/>')
        async with (
            customer(voice=document, heard=HANG_UP) as there,
            exchange(SimpleParty(words=[Keys("1#345")])) as carrier,
            sdk(carrier) as client,
        ):
            await dial(client, there)
            await over(carrier)
            (asked,) = there.at("/heard")
            assert (asked.method, asked.fields["Digits"]) == ("GET", "1#3")

    run(case)


# --- media ---------------------------------------------------------------------------------------


class MediaServer:
    """Takes media sockets and does to each what it is told to: `stay`, `close` or `refuse`."""

    def __init__(self, *manners: str) -> None:
        self.starts: list[dict[str, Any]] = []
        self.stops: list[str] = []
        self.signatures: list[str] = []
        self.url = ""
        self._manners = list(manners)
        self._server: Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await serve(self._stream, "127.0.0.1", 0, compression=None)
        port = next(iter(self._server.sockets)).getsockname()[1]
        self.url = f"ws://127.0.0.1:{port}/media/abc"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    async def _stream(self, socket: ServerConnection) -> None:
        assert socket.request is not None
        self.signatures.append(socket.request.headers["x-twilio-signature"])
        manner = self._manners.pop(0)
        async for text in socket:
            message = json.loads(text)
            if message["event"] == "start":
                self.starts.append(message["start"])
            elif message["event"] == "stop":
                self.stops.append(message["streamSid"])
            elif message["event"] == "media" and manner == "close":
                await socket.close()
                return


def stream(url: str) -> str:
    return (
        f'<Connect><Stream url="{url}" name="bot" statusCallback="/stream">'
        '<Parameter name="token" value="secret"/></Stream></Connect>'
    )


def stream_events(there: Customer) -> list[str]:
    return [asked.fields["StreamEvent"] for asked in there.at("/stream")]


def test_media_are_connected_with_parameters_and_a_signed_handshake() -> None:
    async def case() -> None:
        async with (
            MediaServer("stay") as media,
            exchange(SimpleParty(stays=0.1)) as carrier,
            customer(voice=response(stream(media.url))) as there,
            sdk(carrier) as client,
        ):
            call = await dial(client, there)
            line = await over(carrier)
            (start,) = media.starts
            assert start["callSid"] == call.sid
            assert start["customParameters"] == {"token": "secret"}
            assert RequestValidator(AUTH_TOKEN).validate(media.url, {}, media.signatures[0])
            assert media.stops == [start["streamSid"]]
            assert stream_events(there) == ["stream-started", "stream-stopped"]
            told = there.at("/stream")[0].fields
            assert told["StreamSid"] == start["streamSid"]
            assert told["StreamName"] == "bot"
            assert told["Timestamp"].endswith("Z")
            assert (line.reason, statuses(there)[-1]) == ("party", "completed")

    run(case)


def test_the_document_goes_on_when_the_server_closes_the_socket() -> None:
    async def case() -> None:
        party = SimpleParty()
        async with MediaServer("close") as media, exchange(party) as carrier:
            document = response(stream(media.url), "<Say>Goodbye.</Say>")
            async with customer(voice=document) as there, sdk(carrier) as client:
                await dial(client, there)
                line = await over(carrier)
                assert party.heard == ["Goodbye."]
                assert any(entry.startswith("31921") for entry in line.log)

    run(case)


@pytest.mark.parametrize(("kind", "sockets"), [("drop", 2), ("second", 2)])
def test_a_socket_that_breaks_or_doubles_belongs_to_the_same_call(kind: Any, sockets: int) -> None:
    async def case() -> None:
        party = SimpleParty(stays=1.0)
        async with MediaServer("stay", "stay") as media, exchange(party) as carrier:
            carrier.faults.add("socket", Fault(kind, delay_s=0.1))
            document = response(stream(media.url), "<Redirect>/voice</Redirect>")
            async with customer(voice=document) as there, sdk(carrier) as client:
                call = await dial(client, there)
                line = await over(carrier)
                assert line.sockets == sockets
                assert {start["callSid"] for start in media.starts} == {call.sid}
                assert len({start["streamSid"] for start in media.starts}) == sockets
                # What broke is connected again by the document alone.
                assert len(there.at("/voice")) == (2 if kind == "drop" else 1)

    run(case)


def test_a_socket_that_breaks_for_good_leaves_media_out_of_reach() -> None:
    async def case() -> None:
        async with MediaServer("stay") as media, exchange() as carrier:
            carrier.faults.add("socket", Fault("drop-for-good", delay_s=0.1))
            document = response(stream(media.url), "<Redirect>/voice</Redirect>")
            async with (
                customer(voice=[document, document, HANG_UP]) as there,
                sdk(carrier) as client,
            ):
                await dial(client, there)
                line = await over(carrier)
                assert line.sockets == 1
                assert stream_events(there) == ["stream-started", "stream-stopped", "stream-error"]

    run(case)


def test_a_server_that_takes_no_media_is_reported_and_the_document_goes_on() -> None:
    async def case() -> None:
        party = SimpleParty()
        async with exchange(party) as carrier:
            document = response(stream("ws://127.0.0.1:9/media"), "<Say>Sorry.</Say>")
            async with customer(voice=document) as there, sdk(carrier) as client:
                await dial(client, there)
                line = await over(carrier)
                assert party.heard == ["Sorry."]
                assert stream_events(there) == ["stream-error"]
                assert there.at("/stream")[0].fields["StreamError"].startswith("31902")
                assert any(entry.startswith("31902") for entry in line.log)

    run(case)


def test_new_instructions_end_a_stream_in_order() -> None:
    async def case() -> None:
        party = SimpleParty()
        async with MediaServer("stay", "stay") as media, exchange(party) as carrier:
            document = response(stream(media.url))
            async with customer(voice=document) as there, sdk(carrier) as client:
                call = await dial(client, there)
                await there.until("/stream")
                keys = response('<Play digits="5"/>', "<Redirect>/voice</Redirect>")
                await client.calls(call.sid).update_async(twiml=keys)
                await there.until("/stream", 3)
                assert stream_events(there) == [
                    "stream-started",
                    "stream-stopped",
                    "stream-started",
                ]
                assert party.keys_heard == "5"
                assert media.stops == [media.starts[0]["streamSid"]]

    run(case)


# --- somebody else -------------------------------------------------------------------------------

DIAL = response("<Dial><Number>+15550000003</Number></Dial>")


@pytest.mark.parametrize("first", ["party", "far end"])
def test_a_call_that_is_handed_on_lasts_until_one_of_both_hangs_up(first: str) -> None:
    async def case() -> None:
        async with (
            MediaServer("stay") as media,
            exchange() as carrier,
            customer(voice=response(stream(media.url))) as there,
            sdk(carrier) as client,
        ):
            call = await dial(client, there)
            await there.until("/stream")
            await client.calls(call.sid).update_async(twiml=DIAL)
            await there.until("/stream", 2)
            line = carrier.calls[call.sid]
            assert media.stops
            assert line.handed_on == ["+15550000003"]
            assert not line.ended.is_set()
            if first == "party":
                line.hang_up("party")
            else:
                line.far_end_left.set()
            await over(carrier)
            assert statuses(there)[-1] == "completed"
            assert stream_events(there) == ["stream-started", "stream-stopped"]

    run(case)


@pytest.mark.parametrize("answer", ["busy", "no-answer", "reject"])
def test_after_somebody_who_does_not_pick_up_the_document_goes_on(answer: Pickup) -> None:
    async def case() -> None:
        party = SimpleParty()

        def reached(line: TwilioLine) -> SimpleParty:
            line.far_end = answer
            return party

        document = response("<Dial>+15550000003</Dial>", "<Say>Nobody is there.</Say>")
        async with (
            TwilioExchange(reached) as carrier,
            customer(voice=document) as there,
            sdk(carrier) as client,
        ):
            await dial(client, there)
            await over(carrier)
            assert party.heard == ["Nobody is there."]

    run(case)
