"""The life of calls at the simulated Plivo: ringing, documents, input, media, machines, ends."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from plivo.utils import validate_v3_signature

from tests.simulator.exchange.plivo_customer import (
    FROM,
    TO,
    Customer,
    Sdk,
    customer,
    response,
    run,
    sdk,
    stream,
)
from tests.simulator.mediaserver import MediaServer, media_server
from voicecall.simulator.exchange import Fault, HttpResponse, Keys, SimpleParty
from voicecall.simulator.exchange.plivo import PlivoExchange
from voicecall.simulator.exchange.plivo_xml import Ask

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from voicecall.simulator.exchange import Party
    from voicecall.simulator.exchange.plivo_line import PlivoLine

pytestmark = pytest.mark.socket

HELLO = response("<Speak>hello</Speak>")
HOLD = response('<Wait length="3600"/>')


class World:
    """A simulated Plivo, its customer, and who is called.

    Attributes:
        there: the customer.
        party: who is called.
        exchange: the carrier.
        sdk: the vendor's client.
    """

    def __init__(
        self, there: Customer, party: SimpleParty, exchange: PlivoExchange, kit: Sdk
    ) -> None:
        self.there = there
        self.party = party
        self.exchange = exchange
        self.sdk = kit

    @property
    def line(self) -> PlivoLine:
        (line,) = self.exchange.calls.values()
        return line

    async def dial(self, **parameters: Any) -> PlivoLine:
        await self.sdk.dial(self.there, **parameters)
        return self.line

    async def call_in(self) -> PlivoLine:
        return await self.exchange.call_in(
            FROM, TO, f"{self.there.url}/answer", hangup_url=f"{self.there.url}/hangup"
        )


@asynccontextmanager
async def world(
    party: SimpleParty | None = None,
    *,
    pace: float = 0.001,
    **documents: str | HttpResponse | list[str | HttpResponse],
) -> AsyncIterator[World]:
    callee = party or SimpleParty()

    def reach(_: PlivoLine) -> Party:
        return callee

    async with (
        customer(**documents) as there,
        PlivoExchange(reach, pace=pace) as exchange,
        sdk(exchange) as kit,
    ):
        yield World(there, callee, exchange, kit)


def ended(farewell: dict[str, str]) -> tuple[str, str, str]:
    return farewell["CallStatus"], farewell["HangupCauseCode"], farewell["HangupSource"]


# --- from ringing to the end -------------------------------------------------------------------


def test_a_call_rings_is_answered_does_as_told_and_ends() -> None:
    async def case() -> None:
        async with world(answer=HELLO) as it:
            line = await it.dial()
            assert ended(await it.there.end()) == ("completed", "4010", "Plivo")
            assert it.party.heard == ["hello"]
            told = [
                (asked.path, asked.fields["Event"], asked.fields["CallStatus"])
                for asked in sorted(it.there.asked, key=lambda asked: asked.path)
            ]
            assert told == [
                ("/answer", "StartApp", "in-progress"),
                ("/hangup", "Hangup", "completed"),
                ("/ring", "Ring", "ringing"),
            ]
            assert {asked.fields["CallUUID"] for asked in it.there.asked} == {line.provider_call_id}

    run(case)


@pytest.mark.parametrize(
    ("party", "parameters", "end"),
    [
        (SimpleParty("busy"), {}, ("busy", "3010", "Carrier")),
        (SimpleParty("reject"), {}, ("busy", "3020", "Carrier")),
        (SimpleParty("no-answer"), {}, ("no-answer", "3000", "Carrier")),
        (SimpleParty(ring_s=None), {"ring_timeout": 0}, ("timeout", "6010", "Plivo")),
        (SimpleParty(ring_s=None), {"hangup_on_ring": 0}, ("failed", "6000", "Plivo")),
    ],
    ids=["busy", "reject", "no answer", "ring timeout", "hang up on ring"],
)
def test_a_call_that_is_not_answered_says_why(
    party: SimpleParty, parameters: dict[str, int], end: tuple[str, str, str]
) -> None:
    async def case() -> None:
        async with world(party, answer=HELLO) as it:
            await it.dial(**parameters)
            farewell = await it.there.end()
            assert ended(farewell) == end
            assert farewell["Duration"] == "0"
            assert it.there.at("/answer") == []

    run(case)


def test_a_call_ends_when_its_time_is_over() -> None:
    async def case() -> None:
        async with world(answer=HOLD) as it:
            await it.dial(time_limit=1)
            farewell = await it.there.end()
            assert ended(farewell) == ("completed", "6000", "Plivo")
            assert farewell["HangupCauseName"] == "Scheduled Hangup"

    run(case)


def test_keys_are_sent_when_the_call_is_answered() -> None:
    async def case() -> None:
        async with world(answer=response('<Wait length="30"/>', "<Hangup/>")) as it:
            await it.dial(send_digits="1w2W#")
            assert ended(await it.there.end()) == ("completed", "4000", "Answer XML")
            assert it.party.keys_heard == "12#"

    run(case)


def test_an_inbound_call_is_answered_by_the_first_document() -> None:
    async def case() -> None:
        async with world(answer=HELLO) as it:
            await it.call_in()
            assert ended(await it.there.end()) == ("completed", "4010", "Plivo")
            (asked,) = it.there.at("/answer")
            told = asked.fields
            assert (told["CallStatus"], told["Event"]) == ("ringing", "StartApp")
            assert (told["Direction"], told["From"], told["To"]) == ("inbound", FROM[1:], TO[1:])
            assert it.party.heard == ["hello"]
            assert it.exchange.dials == 0

    run(case)


@pytest.mark.parametrize(("reason", "code"), [("busy", "3010"), ("rejected", "3020")])
def test_an_inbound_call_is_refused_by_a_hangup_with_a_reason(reason: str, code: str) -> None:
    async def case() -> None:
        async with world(answer=response(f'<Hangup reason="{reason}"/>')) as it:
            line = await it.call_in()
            assert ended(await it.there.end()) == ("busy", code, "Answer XML")
            assert not line.answered

    run(case)


def test_the_end_of_an_inbound_call_is_told_to_its_answer_url_without_another() -> None:
    async def case() -> None:
        async with world(answer=HELLO) as it:
            await it.exchange.call_in(FROM, TO, f"{it.there.url}/answer")
            _, farewell = await it.there.until("/answer", 2)
            assert farewell.fields["Event"] == "Hangup"

    run(case)


def test_who_is_called_may_hang_up() -> None:
    async def case() -> None:
        party = SimpleParty(words=["bye"], stays=0.0)
        document = response(
            '<GetInput action="{url}/input" inputType="speech" executionTimeout="5"/>'
        )
        async with world(party) as it:
            it.there.documents["/answer"] = [document.format(url=it.there.url)]
            it.there.documents["/input"] = it.there.documents["/answer"]
            await it.dial()
            assert ended(await it.there.end()) == ("completed", "4000", "Callee")
            assert [asked.fields["Speech"] for asked in it.there.at("/input")] == ["bye"]

    run(case)


# --- documents ---------------------------------------------------------------------------------


def test_a_redirect_and_an_action_are_asked_what_to_do_next() -> None:
    async def case() -> None:
        party = SimpleParty(words=["Hello there.", Keys("12#3")])
        async with world(party, last=response("<Speak>bye</Speak>")) as it:
            url = it.there.url
            listen = (
                f'<GetInput action="{url}/{{}}?callId=1" inputType="dtmf speech">'
                "<Speak>yes?</Speak></GetInput>"
            )
            it.there.documents |= {
                "/answer": [response(f"<Redirect>{url}/next</Redirect>", "<Hangup/>")],
                "/next": [response(listen.format("words"))],
                "/words": [response(listen.format("keys"))],
                "/keys": [
                    response("<DTMF async='false'>9</DTMF>", f"<Redirect>{url}/last</Redirect>")
                ],
            }
            await it.dial()
            assert ended(await it.there.end()) == ("completed", "4010", "Plivo")
            (words,), (keys,) = it.there.at("/words"), it.there.at("/keys")
            assert (words.fields["InputType"], words.fields["Speech"]) == ("speech", "Hello there.")
            assert (keys.fields["InputType"], keys.fields["Digits"]) == ("dtmf", "12")
            assert words.query == "callId=1"
            assert it.there.at("/next")[0].fields["Event"] == "Redirect"
            assert it.party.heard == ["yes?", "yes?", "bye"]
            assert it.party.keys_heard == "9"

    run(case)


def test_silence_lasts_as_long_as_plivo_listens_and_goes_on_below() -> None:
    async def case() -> None:
        async with world(pace=0.01) as it:
            it.there.documents["/answer"] = [
                response(
                    f'<GetInput action="{it.there.url}/input" inputType="speech" '
                    'executionTimeout="20"/>',
                    "<Speak>nobody?</Speak>",
                )
            ]
            began = asyncio.get_running_loop().time()
            await it.dial()
            await it.there.end()
            assert asyncio.get_running_loop().time() - began >= 0.2
            assert it.there.at("/input") == []
            assert it.party.heard == ["nobody?"]

    run(case)


def test_keys_are_not_heard_where_only_words_are_listened_for() -> None:
    async def case() -> None:
        async with world(SimpleParty(words=[Keys("1")])) as it:
            it.there.documents["/answer"] = [
                response(f'<GetInput action="{it.there.url}/input" inputType="speech"/>')
            ]
            await it.dial()
            await it.there.end()
            assert it.there.at("/input") == []

    run(case)


def test_an_action_that_takes_nothing_over_is_told_as_well() -> None:
    async def case() -> None:
        party = SimpleParty(words=["hello"])
        async with world(party, input=HttpResponse(500)) as it:
            it.there.documents["/answer"] = [
                response(
                    f'<GetInput action="{it.there.url}/input" inputType="speech" '
                    'redirect="false"/>',
                    '<Wait length="500"/>',
                )
            ]
            await it.dial()
            assert (await it.there.until("/input"))[0].fields["Speech"] == "hello"
            assert ended(await it.there.end()) == ("completed", "4010", "Plivo")

    run(case)


@pytest.mark.parametrize(
    ("document", "code", "name"),
    [
        (HttpResponse(404), "7011", "Error Reaching Answer URL"),
        ("", "8011", "Invalid Answer XML"),
        ('{"error": "no"}', "8011", "Invalid Answer XML"),
        (response("<Say>hello</Say>"), "8011", "Invalid Answer XML"),
        (response(), "4010", "End Of XML Instructions"),
    ],
    ids=["status", "empty", "json", "unknown element", "nothing to do"],
)
def test_a_document_that_cannot_be_done_ends_the_call(
    document: str | HttpResponse, code: str, name: str
) -> None:
    async def case() -> None:
        async with world(answer=document) as it:
            line = await it.dial()
            farewell = await it.there.end()
            assert (farewell["HangupCauseCode"], farewell["HangupCauseName"]) == (code, name)
            assert bool(line.log) == (code != "4010")

    run(case)


def test_a_later_url_that_fails_is_named() -> None:
    async def case() -> None:
        async with world(next=HttpResponse(503)) as it:
            it.there.documents["/answer"] = [response(f"<Redirect>{it.there.url}/next</Redirect>")]
            await it.dial()
            farewell = await it.there.end()
            assert farewell["HangupCauseName"] == "Error Reaching Redirect URL"

    run(case)


def test_the_fallback_is_asked_when_the_answer_url_fails() -> None:
    async def case() -> None:
        async with world(answer=HttpResponse(500), fallback=HELLO) as it:
            await it.dial(fallback_url=f"{it.there.url}/fallback", fallback_method="GET")
            assert ended(await it.there.end()) == ("completed", "4010", "Plivo")
            (asked,) = it.there.at("/fallback")
            assert (asked.method, asked.fields["Event"]) == ("GET", "StartApp")

    run(case)


def test_the_customers_patience_in_a_fragment_is_kept_and_not_sent() -> None:
    async def case() -> None:
        hangup: list[str | HttpResponse] = [HttpResponse(500), HttpResponse(500), "ok"]
        async with world(answer=HELLO, hangup=hangup) as it:
            await it.dial(hangup_url=f"{it.there.url}/hangup?a=1#rc=5&rp=5xx")
            tries = await it.there.until("/hangup", 3)
            await it.exchange.webhooks.idle()
            assert [asked.query for asked in tries] == ["a=1"] * 3
            assert len(it.there.at("/hangup")) == 3
            assert len({asked.fields["HangupCauseCode"] for asked in tries}) == 1

    run(case)


def test_a_scheduled_hangup_ends_the_call_in_the_midst_of_things() -> None:
    async def case() -> None:
        document = response('<Hangup schedule="0"/>', '<Speak loop="0">and again</Speak>')
        async with world(answer=document) as it:
            await it.dial()
            assert ended(await it.there.end()) == ("completed", "6000", "Plivo")

    run(case)


# --- machines ----------------------------------------------------------------------------------


def test_a_machine_is_told_of_while_the_call_goes_on() -> None:
    async def case() -> None:
        async with world(SimpleParty("machine"), answer=HOLD) as it:
            await it.dial(machine_detection="true", machine_detection_url=f"{it.there.url}/machine")
            (told,) = await it.there.until("/machine")
            assert told.fields["Event"] == "MachineDetection"
            assert (told.fields["Machine"], told.fields["IfMachine"]) == ("true", "true")
            assert it.line.live
            assert "Machine" not in (await it.there.until("/answer"))[0].fields

    run(case)


def test_without_a_url_the_call_waits_for_the_finding() -> None:
    async def case() -> None:
        async with world(SimpleParty("machine"), answer=HELLO) as it:
            await it.dial(machine_detection="true")
            (asked,) = await it.there.until("/answer")
            assert asked.fields["Machine"] == "true"

    run(case)


@pytest.mark.parametrize("beside", [True, False])
def test_a_machine_may_be_hung_up_on(*, beside: bool) -> None:
    async def case() -> None:
        async with world(SimpleParty("machine"), answer=HOLD) as it:
            url = f"{it.there.url}/machine" if beside else None
            await it.dial(machine_detection="hangup", machine_detection_url=url)
            farewell = await it.there.end()
            assert ended(farewell) == ("completed", "9100", "Plivo")
            assert farewell["Machine"] == "true"
            assert len(it.there.at("/machine")) == beside

    run(case)


def test_nobody_is_told_of_a_person() -> None:
    async def case() -> None:
        async with world(answer=response('<Wait length="20"/>')) as it:
            await it.dial(machine_detection="true", machine_detection_url=f"{it.there.url}/machine")
            assert "Machine" not in await it.there.end()
            assert it.there.at("/machine") == []

    run(case)


# --- media -------------------------------------------------------------------------------------


@asynccontextmanager
async def streaming(
    party: SimpleParty | None = None, *after: str, **attributes: str
) -> AsyncIterator[tuple[World, MediaServer]]:
    """A call whose document streams, and then goes on with `after`."""
    async with media_server() as media, world(party) as it:
        told = {"statusCallbackUrl": f"{it.there.url}/stream"}
        it.there.documents["/answer"] = [response(stream(media.url, **(told | attributes)), *after)]
        yield it, media


async def stream_events(it: World, count: int) -> list[str]:
    return [asked.fields["Event"] for asked in await it.there.until("/stream", count)]


def test_a_stream_names_the_call_and_carries_its_headers() -> None:
    async def case() -> None:
        async with streaming(extraHeaders="request=abc,b=2") as (it, media):
            line = await it.dial()
            await media.wait_for("start")
            (start,) = media.of("start")
            assert start["start"]["callId"] == line.provider_call_id
            assert start["start"]["accountId"] == it.exchange.auth_id
            assert start["start"]["mediaFormat"] == {
                "encoding": "audio/x-mulaw",
                "sampleRate": 8000,
            }
            assert start["extra_headers"] == "request=abc,b=2"
            await media.wait_for("media", 3)
            (told,) = await it.there.until("/stream")
            assert told.fields["Event"] == "StartStream"
            assert told.fields["StreamID"] == start["start"]["streamId"] == line.stream_id

    run(case)


def test_the_official_sdk_accepts_the_signature_of_a_media_socket() -> None:
    async def case() -> None:
        async with streaming() as (it, media):
            await it.dial()
            await media.wait_for("start")
            request = media.connections[-1].request
            assert request is not None
            assert validate_v3_signature(
                "GET",
                media.url.replace("ws://", "http://"),
                request.headers["X-Plivo-Signature-V3-Nonce"],
                it.exchange.auth_token,
                request.headers["X-Plivo-Signature-V3"],
            )

    run(case)


def test_what_follows_a_stream_is_done_when_the_server_closes_the_socket() -> None:
    async def case() -> None:
        async with streaming(None, "<Speak>the bot is gone</Speak>") as (it, media):
            await it.dial()
            await media.wait_for("start")
            assert it.party.heard == []
            await media.connections[-1].close()
            assert ended(await it.there.end()) == ("completed", "4010", "Plivo")
            assert it.party.heard == ["the bot is gone"]
            assert await stream_events(it, 2) == ["StartStream", "StopStream"]

    run(case)


def test_without_keep_call_alive_the_document_goes_on_beside_the_stream() -> None:
    async def case() -> None:
        after = ("<Speak>at once</Speak>", '<Wait length="300"/>')
        async with streaming(None, *after, keepCallAlive="false") as (it, media):
            await it.dial()
            assert ended(await it.there.end()) == ("completed", "4010", "Plivo")
            assert it.party.heard == ["at once"]
            assert len(media.of("start")) == 1
            assert await stream_events(it, 2) == ["StartStream", "StopStream"]

    run(case)


def test_a_party_that_hangs_up_ends_stream_and_call() -> None:
    async def case() -> None:
        async with streaming(SimpleParty(stays=0.1)) as (it, media):
            await it.dial()
            assert ended(await it.there.end()) == ("completed", "4000", "Callee")
            await media.ended.wait()
            assert await stream_events(it, 2) == ["StartStream", "StopStream"]

    run(case)


def test_a_stream_ends_when_its_time_is_over() -> None:
    async def case() -> None:
        async with streaming(None, "<Speak>time is up</Speak>", streamTimeout="1") as (it, _):
            await it.dial()
            await it.there.end()
            assert it.party.heard == ["time is up"]

    run(case)


def test_a_socket_that_cannot_be_opened_is_tried_three_times() -> None:
    async def case() -> None:
        async with world() as it:
            refusing = it.there.url.replace("http://", "ws://")
            it.there.documents["/answer"] = [
                response(
                    stream(f"{refusing}/media", statusCallbackUrl=f"{it.there.url}/stream"),
                    "<Speak>sorry</Speak>",
                )
            ]
            async with customer() as unconcerned:
                del unconcerned
                await it.dial()
                await it.there.end()
            assert it.party.heard == ["sorry"]
            (told,) = await it.there.until("/stream")
            assert told.fields["Event"] == "DroppedStream"
            assert told.fields["StatusReason"] == "connection_failed"
            assert len(it.there.at("/media")) == 3
            it.there.unsigned.clear()

    run(case)


def test_after_a_socket_broke_the_document_may_connect_another() -> None:
    async def case() -> None:
        async with streaming() as (it, media):
            again = it.there.documents["/answer"][0]
            assert isinstance(again, str)
            redirect = f"<Redirect>{it.there.url}/again</Redirect></Response>"
            it.there.documents["/again"] = [again]
            it.there.documents["/answer"] = [again.replace("</Response>", redirect)]
            it.exchange.faults.add("socket", Fault("drop", delay_s=0.1))
            line = await it.dial()
            await media.wait_for("start", 2)
            first, second = media.of("start")
            assert first["start"]["streamId"] != second["start"]["streamId"]
            events = await stream_events(it, 3)
            assert events == ["StartStream", "DroppedStream", "StartStream"]
            assert line.live

    run(case)


def test_after_a_drop_for_good_no_other_socket_is_connected() -> None:
    async def case() -> None:
        async with streaming() as (it, media):
            once = it.there.documents["/answer"][0]
            assert isinstance(once, str)
            twice = once.replace("</Response>", once.removeprefix("<Response>"))
            it.there.documents["/answer"] = [twice]
            it.exchange.faults.add("socket", Fault("drop-for-good", delay_s=0.1))
            await it.dial()
            await it.there.end()
            assert len(media.of("start")) == 1
            events = await stream_events(it, 3)
            assert events == ["StartStream", "DroppedStream", "DroppedStream"]

    run(case)


def test_another_socket_of_the_same_call_may_take_over() -> None:
    async def case() -> None:
        async with streaming() as (it, media):
            it.exchange.faults.add("socket", Fault("second", delay_s=0.1))
            await it.dial()
            await media.wait_for("start", 2)
            assert len(media.connections) == 2
            assert it.line.live

    run(case)


def test_a_second_stream_at_the_same_time_is_not_connected() -> None:
    async def case() -> None:
        async with streaming(keepCallAlive="false") as (it, media):
            once = it.there.documents["/answer"][0]
            assert isinstance(once, str)
            twice = once.replace("</Response>", "") + once.removeprefix("<Response>")
            hold = twice.replace("</Response>", '<Wait length="200"/></Response>')
            it.there.documents["/answer"] = [hold]
            line = await it.dial()
            await it.there.end()
            assert len(media.of("start")) == 1
            assert any("second stream" in entry for entry in line.log)

    run(case)


# --- somebody else -----------------------------------------------------------------------------

DIAL = response("<Dial><Number>15550000003</Number></Dial>")


@pytest.mark.parametrize("first", ["party", "far end", "another document"])
def test_a_call_that_is_handed_on_lasts_until_one_of_both_hangs_up(first: str) -> None:
    async def case() -> None:
        async with world(answer=DIAL, next=HELLO) as it:
            line = await it.dial()
            await until_handed_on(line)
            assert line.handed_on == ["15550000003"]
            assert not line.ended.is_set()
            if first == "party":
                line.hang_up("party")
            elif first == "far end":
                line.far_end_left.set()
            else:
                line.transfer(Ask("transfer", f"{it.there.url}/next"))
            farewell = await it.there.end()
            assert farewell["CallStatus"] == "completed"
            assert it.party.heard == (["hello"] if first == "another document" else [])

    run(case)


def test_after_somebody_who_does_not_pick_up_the_document_goes_on() -> None:
    async def case() -> None:
        document = response("<Dial><Number>15550000003</Number></Dial>", "<Speak>Nobody.</Speak>")
        async with world(SimpleParty(ring_s=0.01), answer=document) as it:
            line = await it.dial()
            line.far_end = "busy"
            await it.there.end()
            assert it.party.heard == ["Nobody."]

    run(case)


async def until_handed_on(line: PlivoLine) -> None:
    while not line.handed_on:  # noqa: ASYNC110  (of this nothing is told)
        await asyncio.sleep(0.005)
