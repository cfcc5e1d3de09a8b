from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from tests.carriers.plivo.requests import AUTH_ID, AUTH_TOKEN, CALL, CALL_ID, REQUEST, URL
from tests.carriers.plivo.rest_server import Reply, RestServer, reply
from voicecall.call.record import CallRecord, CallState, Direction
from voicecall.carriers import _prompts
from voicecall.carriers._prompts import Prompts
from voicecall.carriers.plivo import client as client_module
from voicecall.carriers.plivo.client import Dialing, PlivoCarrier
from voicecall.carriers.plivo.instructions import Instructions
from voicecall.carriers.plivo.names import CallNames
from voicecall.carriers.plivo.rest import Account, Timeouts
from voicecall.clock import SystemClock
from voicecall.errors import CarrierError, ConfigError
from voicecall.ports import CarrierStatus, DialRequest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

pytestmark = pytest.mark.socket

TO, FROM = "+15550002222", "+15550001111"
DIAL = DialRequest(
    call_id=CALL_ID,
    to=TO,
    from_number=FROM,
    mode="conversation",
    stream_url="wss://voice.example.org/voice/stream/f00d",
    ring_timeout_ms=30_500,
)
OVER = CallRecord(CALL_ID, "plivo", Direction.OUTBOUND, CallState.COMPLETED, FROM, TO, "s", 0)
MOVED = reply(202, message="call transferred")
FIRED = reply(201, message="call fired", request_uuid=REQUEST, api_id="a")
GONE = reply(404, error="not found")
DONE = Reply(204, b"")


class Case:
    """A carrier and the server it asks."""

    def __init__(self, server: RestServer, dialing: Dialing | None, timeouts: Timeouts) -> None:
        self.server = server
        self.names = CallNames()
        self.prompts = Prompts()
        self.told = Instructions(lambda: URL, names=self.names, prompts=self.prompts)
        self.carrier = PlivoCarrier(
            Account(AUTH_ID, AUTH_TOKEN, server.url),
            self.told,
            names=self.names,
            clock=SystemClock(),
            dialing=dialing,
            timeouts=timeouts,
        )


@asynccontextmanager
async def asking(
    *replies: Reply, dialing: Dialing | None = None, read_s: float = 2.0, **seconds: float
) -> AsyncIterator[Case]:
    timeouts = Timeouts(connect_s=2.0, read_s=read_s, **seconds)
    async with RestServer(*replies) as server, asyncio.timeout(15):
        case = Case(server, dialing, timeouts)
        try:
            yield case
        finally:
            server.released.set()
            await case.carrier.close()


def run(case: Callable[[], Awaitable[None]]) -> None:
    async def whole() -> None:
        await case()

    asyncio.run(whole())


# --- dial ------------------------------------------------------------------------------------


def test_a_dial_is_one_request_with_our_id_in_every_url() -> None:
    async def case() -> None:
        async with asking(FIRED) as it:
            assert await it.carrier.dial(DIAL) == REQUEST
            assert it.server.seen() == [("POST", "Call/")]
            sent = it.server.received[0].body
        assert (sent["to"], sent["from"], sent["ring_timeout"]) == (TO, FROM, 31)
        for name in ("answer", "ring", "hangup"):
            url = urlsplit(sent[f"{name}_url"])
            assert dict(parse_qsl(url.query)) == {"callId": CALL_ID}
            assert sent[f"{name}_method"] == "POST"
        assert sent["hangup_url"].endswith("#rc=5&rp=all")
        assert not {"send_digits", "time_limit", "machine_detection"} & sent.keys()
        assert "machine_detection_url" not in sent

    run(case)


def test_a_dial_takes_keys_a_limit_and_what_to_do_about_machines() -> None:
    async def case(wanted: Any, said: str) -> None:
        dialing = Dialing(machine_detection=wanted, max_duration_s=300)
        async with asking(FIRED, dialing=dialing) as it:
            keys = DialRequest(CALL_ID, TO, FROM, "notify", None, 1000, "1w2#")
            await it.carrier.dial(keys)
            sent = it.server.received[0].body
        assert (sent["send_digits"], sent["time_limit"]) == ("1w2#", 300)
        assert sent["machine_detection"] == said
        assert sent["machine_detection_url"] == f"{URL}?callId={CALL_ID}"

    asyncio.run(case("hint", "true"))
    asyncio.run(case("hangup", "hangup"))


def test_a_sip_address_can_be_called() -> None:
    async def case() -> None:
        async with asking(FIRED) as it:
            to = "sip:somebody@phone.plivo.com"
            await it.carrier.dial(DialRequest(CALL_ID, to, FROM, "notify", None, 1000))
            assert it.server.received[0].body["to"] == to

    run(case)


@pytest.mark.parametrize("to", [f"{TO}<{FROM}", FROM])
def test_what_would_not_be_one_call_to_somebody_else_is_not_asked_for(to: str) -> None:
    async def case() -> None:
        async with asking(FIRED) as it:
            with pytest.raises(CarrierError) as refusal:
                await it.carrier.dial(DialRequest(CALL_ID, to, FROM, "notify", None, 1000))
            assert refusal.value.code == "carrier_refused"
            assert it.server.received == []

    run(case)


@pytest.mark.parametrize("status", [302, 307, 400, 401, 403, 404, 422, 500, 502, 503, 504])
def test_a_refused_dial_is_not_repeated(status: int) -> None:
    async def case() -> None:
        said = f"no calls from {FROM} with {AUTH_TOKEN} of {AUTH_ID}"
        async with asking(reply(status, error=said)) as it:
            with pytest.raises(CarrierError) as refusal:
                await it.carrier.dial(DIAL)
            assert it.server.seen() == [("POST", "Call/")]
        error = refusal.value
        assert (error.status, error.retryable, error.code) == (status, False, "carrier_refused")
        assert str(error) == (
            f"plivo refused a dial with HTTP {status}: no calls from *** with *** of ***"
        )

    run(case)


@pytest.mark.parametrize("broken", [Reply(drop=True), Reply(hang=True)])
def test_a_dial_without_an_answer_is_not_repeated(broken: Reply) -> None:
    async def case() -> None:
        async with asking(broken, read_s=0.3) as it:
            with pytest.raises(CarrierError, match="could not be reached for a dial") as refusal:
                await it.carrier.dial(DIAL)
            assert it.server.seen() == [("POST", "Call/")]
            assert it.server.url not in str(refusal.value)
        error = refusal.value
        assert (error.status, error.retryable, error.code) == (None, False, "carrier_unreachable")

    run(case)


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"{}", b"[]", b'{"request_uuid": ["a", "b"]}', b'{"request_uuid": ""}']
)
def test_a_dial_that_is_accepted_without_a_name_is_an_error(body: bytes) -> None:
    async def case() -> None:
        async with asking(Reply(201, body)) as it:
            with pytest.raises(CarrierError, match="without naming it"):
                await it.carrier.dial(DIAL)
            assert len(it.server.received) == 1

    run(case)


def test_nobody_there_is_an_error() -> None:
    async def case() -> None:
        async with asking(FIRED) as it:
            it.server._server.close()
            with pytest.raises(CarrierError, match="could not be reached") as refusal:
                await it.carrier.dial(DIAL)
            assert refusal.value.status is None

    run(case)


def test_a_dial_in_a_dead_time_is_refused_unasked() -> None:
    async def case() -> None:
        async with asking(Reply(429, b"{}", {"Retry-After": "30"})) as it:
            for _ in range(3):
                with pytest.raises(CarrierError, match="too many requests") as refusal:
                    await it.carrier.dial(DIAL)
                assert (refusal.value.status, refusal.value.retryable) == (429, True)
            assert len(it.server.received) == 1

    run(case)


def test_a_dial_goes_through_when_the_dead_time_is_over() -> None:
    async def case() -> None:
        async with asking(Reply(429, b"{}", {"Retry-After": "0"}), FIRED) as it:
            assert await it.carrier.dial(DIAL) == REQUEST

    run(case)


def test_a_dial_that_comes_through_after_it_was_given_up_is_ended(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING, "voicecall.carriers.plivo")
    slow = Reply(201, FIRED.body, hang=True)

    async def case() -> None:
        async with asking(slow, GONE, DONE, read_s=10, dial_s=0.2) as it:
            with pytest.raises(CarrierError, match="did not answer a dial in time") as refusal:
                await it.carrier.dial(DIAL)
            assert not refusal.value.retryable
            it.server.released.set()
            for _ in range(3):
                await it.server.arrived.acquire()
            assert it.server.seen() == [
                ("POST", "Call/"),
                ("DELETE", f"Call/{REQUEST}/"),
                ("DELETE", f"Request/{REQUEST}/"),
            ]

    run(case)
    assert "a dial came through too late" in caplog.messages


def test_a_dial_that_is_cancelled_while_it_waits_is_ended() -> None:
    async def case() -> None:
        async with asking(Reply(201, FIRED.body, hang=True), DONE, read_s=10) as it:
            dial = asyncio.create_task(it.carrier.dial(DIAL))
            await it.server.arrived.acquire()
            dial.cancel()
            with pytest.raises(asyncio.CancelledError):
                await dial
            it.server.released.set()
            await it.server.arrived.acquire()
            assert it.server.seen()[1:] == [("DELETE", f"Call/{REQUEST}/")]

    run(case)


def test_a_dial_that_no_thread_has_begun_with_is_never_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client_module, "_THREADS", 1)

    async def case() -> None:
        async with asking(Reply(200, FIRED.body, hang=True), read_s=10) as it:
            first = asyncio.create_task(it.carrier.status(CALL))
            await it.server.arrived.acquire()
            second = asyncio.create_task(it.carrier.dial(DIAL))
            await asyncio.sleep(0)
            second.cancel()
            await asyncio.gather(second, return_exceptions=True)
            it.server.released.set()
            await first
            assert {method for method, _ in it.server.seen()} == {"GET"}

    run(case)


def test_too_many_requests_at_once_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "_MAX_REQUESTS", 1)

    async def case() -> None:
        async with asking(Reply(201, FIRED.body, hang=True), read_s=10) as it:
            first = asyncio.create_task(it.carrier.dial(DIAL))
            await it.server.arrived.acquire()
            with pytest.raises(CarrierError, match="under way") as refusal:
                await it.carrier.dial(DIAL)
            assert refusal.value.retryable
            it.server.released.set()
            assert await first == REQUEST
            assert await it.carrier.dial(DIAL) == REQUEST

    run(case)


# --- hang-up ---------------------------------------------------------------------------------


def test_a_call_is_ended_by_plivos_name_of_it() -> None:
    async def case() -> None:
        async with asking(DONE) as it:
            it.names.learn(REQUEST, CALL)
            await it.carrier.hang_up(REQUEST)
            assert it.server.seen() == [("DELETE", f"Call/{CALL}/")]

    run(case)


def test_a_call_that_is_over_is_a_success() -> None:
    async def case() -> None:
        async with asking(GONE) as it:
            await it.carrier.hang_up(CALL)
            it.names.learn(REQUEST, CALL)
            await it.carrier.hang_up(REQUEST)
            assert it.server.seen() == [
                ("DELETE", f"Call/{CALL}/"),
                ("DELETE", f"Request/{CALL}/"),
                ("DELETE", f"Call/{CALL}/"),
            ]

    run(case)


def test_a_call_that_is_still_a_request_is_cancelled() -> None:
    async def case() -> None:
        async with asking(GONE, DONE) as it:
            await it.carrier.hang_up(REQUEST)
            assert it.server.seen()[-1] == ("DELETE", f"Request/{REQUEST}/")

    run(case)


def test_a_request_that_becomes_a_call_meanwhile_is_ended_by_its_new_name() -> None:
    async def case() -> None:
        async with asking(GONE, Reply(404, GONE.body, hang=True), DONE) as it:
            hanging_up = asyncio.create_task(it.carrier.hang_up(REQUEST))
            for _ in range(2):
                await it.server.arrived.acquire()
            it.names.learn(REQUEST, CALL)
            it.server.released.set()
            await hanging_up
            assert it.server.seen()[1:] == [
                ("DELETE", f"Request/{REQUEST}/"),
                ("DELETE", f"Call/{CALL}/"),
            ]

    run(case)


@pytest.mark.parametrize(("status", "retryable"), [(500, True), (503, True), (401, False)])
def test_a_refused_hang_up_says_whether_to_try_again(status: int, *, retryable: bool) -> None:
    async def case() -> None:
        async with asking(reply(status, error="no")) as it:
            with pytest.raises(CarrierError, match="refused a hang-up") as refusal:
                await it.carrier.hang_up(CALL)
            assert (refusal.value.status, refusal.value.retryable) == (status, retryable)

    run(case)


@pytest.mark.parametrize("broken", [Reply(drop=True), Reply(hang=True)])
def test_a_hang_up_without_an_answer_may_be_tried_again(broken: Reply) -> None:
    async def case() -> None:
        async with asking(broken, read_s=0.3) as it:
            with pytest.raises(CarrierError) as refusal:
                await it.carrier.hang_up(CALL)
            assert (refusal.value.status, refusal.value.retryable) == (None, True)

    run(case)


def test_a_hang_up_waits_until_plivo_takes_requests_again() -> None:
    async def case() -> None:
        async with asking(Reply(429, b"{}", {"Retry-After": "1"}), DONE) as it:
            loop = asyncio.get_running_loop()
            begun = loop.time()
            await it.carrier.hang_up(CALL)
            assert loop.time() - begun >= 0.9
            assert len(it.server.received) == 2

    run(case)


def test_a_hang_up_does_not_wait_longer_than_it_may() -> None:
    async def case() -> None:
        async with asking(Reply(429, b"{}", {"Retry-After": "60"})) as it:
            with pytest.raises(CarrierError, match="too many requests") as refusal:
                await it.carrier.hang_up(CALL)
            assert (refusal.value.status, refusal.value.retryable) == (429, True)

    run(case)


def test_a_hang_up_has_a_deadline() -> None:
    async def case() -> None:
        async with asking(Reply(hang=True), request_s=0.2) as it:
            with pytest.raises(CarrierError, match="in time") as refusal:
                await it.carrier.hang_up(CALL)
            assert refusal.value.retryable

    run(case)


@pytest.mark.parametrize("name", ["", "../Account", "a/b", "a?b", "x" * 65])
def test_a_name_that_is_none_is_never_part_of_a_path(name: str) -> None:
    async def case() -> None:
        async with asking(DONE) as it:
            for ask in (it.carrier.hang_up, it.carrier.status):
                with pytest.raises(CarrierError, match="no such call"):
                    await ask(name)
            assert it.server.received == []

    run(case)


# --- keys ------------------------------------------------------------------------------------


def test_keys_are_sent_as_they_are() -> None:
    async def case() -> None:
        async with asking(reply(202, message="digits sent")) as it:
            it.names.learn(REQUEST, CALL)
            await it.carrier.send_dtmf(REQUEST, "1w2W#")
            assert it.server.seen() == [("POST", f"Call/{CALL}/DTMF/")]
            assert it.server.received[0].body["digits"] == "1w2W#"

    run(case)


@pytest.mark.parametrize("status", [404, 500, 429])
def test_refused_keys_are_not_sent_again(status: int) -> None:
    async def case() -> None:
        async with asking(reply(status, error="no")) as it:
            with pytest.raises(CarrierError) as refusal:
                await it.carrier.send_dtmf(CALL, "1")
            assert refusal.value.status == status
            assert len(it.server.received) == 1

    run(case)


# --- handing calls on ------------------------------------------------------------------------

DESK = "+15550003333"


def asked_of(url: str) -> str:
    query = dict(parse_qsl(urlsplit(url).query))
    assert url.partition("?")[0] == URL
    assert query.keys() == {"transfer"}
    return query["transfer"]


def test_a_call_asks_whom_it_is_handed_on_to() -> None:
    async def case() -> None:
        async with asking(MOVED) as it:
            it.names.learn(REQUEST, CALL)
            await it.carrier.transfer(REQUEST, DESK)
            assert it.server.seen() == [("POST", f"Call/{CALL}/")]
            sent = it.server.received[0].body
            assert (sent["legs"], sent["aleg_method"]) == ("aleg", "POST")
            transfer_id = asked_of(sent["aleg_url"])
            assert DESK[1:] not in sent["aleg_url"]
            for _ in range(2):
                told = it.told.next(OVER, CALL, transfer_id=transfer_id)
                assert f"<Dial><Number>{DESK}</Number></Dial>".encode() in told

    run(case)


@pytest.mark.parametrize(
    ("said", "status"),
    [(reply(404, error="no"), 404), (reply(500, error="no"), 500), (Reply(drop=True), None)],
)
def test_a_call_that_was_not_handed_on_leads_nowhere_else(said: Reply, status: int | None) -> None:
    async def case() -> None:
        async with asking(said) as it:
            with pytest.raises(CarrierError) as refusal:
                await it.carrier.transfer(CALL, DESK)
            assert (refusal.value.status, refusal.value.retryable) == (status, False)
            (sent,) = it.server.received
            transfer_id = asked_of(sent.body["aleg_url"])
            assert b"Dial" not in it.told.next(OVER, CALL, transfer_id=transfer_id)

    run(case)


# --- status ----------------------------------------------------------------------------------

LIVE = reply(200, call_uuid=CALL, call_status="in-progress", request_uuid=REQUEST)
RECORD = reply(
    200,
    call_uuid=CALL,
    call_direction="outbound",
    end_time="2026-01-01 00:00:00+00:00",
    hangup_cause_code=3000,
    hangup_cause_name="No Answer",
    hangup_source="Callee",
)


@pytest.mark.parametrize(
    ("replies", "status"),
    [
        ([LIVE], CarrierStatus(alive=True)),
        ([reply(200, call_status=["odd"])], CarrierStatus(alive=True)),
        ([GONE, reply(200, call_status="queued")], CarrierStatus(alive=True)),
        ([GONE, GONE, RECORD], CarrierStatus(alive=False, end_reason=CallState.NO_ANSWER)),
        ([GONE, GONE, GONE], CarrierStatus(alive=False)),
        ([GONE, GONE, reply(200, end_time=None)], CarrierStatus(alive=False)),
        (
            [reply(200, call_status="completed"), GONE, RECORD],
            CarrierStatus(alive=False, end_reason=CallState.NO_ANSWER),
        ),
    ],
)
def test_a_call_is_looked_up_where_it_may_be(replies: list[Reply], status: CarrierStatus) -> None:
    async def case() -> None:
        async with asking(*replies) as it:
            it.names.learn(REQUEST, CALL)
            assert await it.carrier.status(REQUEST) == status
            asked = [path for _, path in it.server.seen()]
        assert (
            asked
            == [
                f"Call/{CALL}/?status=live",
                f"Call/{REQUEST}/?status=queued",
                f"Call/{CALL}/?call_uuid={CALL}",
            ][: len(replies)]
        )

    run(case)


def test_a_look_up_that_fails_is_an_error_and_not_an_end() -> None:
    async def case() -> None:
        async with asking(GONE, reply(503)) as it:
            with pytest.raises(CarrierError, match="refused a look-up") as refusal:
                await it.carrier.status(CALL)
            assert refusal.value.retryable

    run(case)


# --- speech ----------------------------------------------------------------------------------


def test_what_is_said_is_said_once_plivo_says_so() -> None:
    async def case() -> None:
        async with asking(MOVED) as it:
            saying = asyncio.create_task(it.carrier.say(CALL, "Hello"))
            await it.server.arrived.acquire()
            request = it.server.received[0]
            assert it.server.seen() == [("POST", f"Call/{CALL}/")]
            assert (request.body["legs"], request.body["aleg_method"]) == ("aleg", "POST")
            assert request.body["aleg_url"] == URL
            prompt = it.prompts.next(CALL)
            assert prompt is not None
            assert prompt.text == "Hello"
            it.prompts.said(CALL, prompt.id)
            assert await saying is True

    run(case)


def test_something_newer_cuts_what_is_said() -> None:
    async def case() -> None:
        async with asking(MOVED) as it:
            older = asyncio.create_task(it.carrier.say(CALL, "Hello"))
            await it.server.arrived.acquire()
            newer = asyncio.create_task(it.carrier.say(CALL, "No, wait"))
            assert await older is False
            prompt = it.prompts.next(CALL)
            assert prompt is not None
            it.prompts.said(CALL, prompt.id)
            assert await newer is True

    run(case)


def test_what_is_said_can_be_stopped() -> None:
    async def case() -> None:
        async with asking(MOVED) as it:
            it.names.learn(REQUEST, CALL)
            saying = asyncio.create_task(it.carrier.say(REQUEST, "Hello"))
            await it.server.arrived.acquire()
            await it.carrier.stop_speaking(REQUEST)
            assert await saying is False
            assert it.server.seen() == [("POST", f"Call/{CALL}/")] * 2

    run(case)


def test_what_plivo_never_says_that_it_spoke_counts_as_cut(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_prompts, "SPEECH_S", 0.1)
    monkeypatch.setattr(_prompts, "SPEECH_S_PER_CHAR", 0.0)

    async def case() -> None:
        async with asking(MOVED) as it:
            assert await it.carrier.say(CALL, "Hello") is False
            assert len(it.prompts) == 0

    run(case)


def test_what_plivo_refuses_to_speak_is_forgotten() -> None:
    async def case() -> None:
        async with asking(reply(404, error="no")) as it:
            with pytest.raises(CarrierError, match="refused a transfer"):
                await it.carrier.say(CALL, "Hello")
            assert len(it.prompts) == 0

    run(case)


def test_a_long_text_is_said_piece_by_piece() -> None:
    async def case() -> None:
        async with asking(MOVED) as it:
            saying = asyncio.create_task(it.carrier.say(CALL, "word " * 1000))
            lengths = []
            for _ in range(2):
                await it.server.arrived.acquire()
                prompt = it.prompts.next(CALL)
                assert prompt is not None
                lengths.append(len(prompt.text))
                it.prompts.said(CALL, prompt.id)
            assert await saying is True
            assert lengths == [2999, 1999]

    run(case)


def test_a_call_that_asks_what_to_do_is_told_in_the_answer() -> None:
    async def case() -> None:
        async with asking(MOVED) as it:
            it.prompts.asks(CALL)
            saying = asyncio.create_task(it.carrier.say(CALL, "Hello"))
            await asyncio.sleep(0)
            prompt = it.prompts.next(CALL)
            assert prompt is not None
            it.prompts.said(CALL, prompt.id)
            assert await saying is True
            assert it.server.seen() == []

    run(case)


def test_plivo_listens_by_itself_and_closing_cuts_what_is_being_said() -> None:
    async def case() -> None:
        async with asking(MOVED) as it:
            await it.carrier.listen(CALL)
            assert it.server.seen() == []
            saying = asyncio.create_task(it.carrier.say(CALL, "Hello"))
            await it.server.arrived.acquire()
            await it.carrier.close()
            assert await saying is False

    run(case)


# --- beginning and end -----------------------------------------------------------------------


def test_it_is_called_plivo() -> None:
    async def case() -> None:
        async with asking(DONE) as it:
            assert it.carrier.name == "plivo"

    run(case)


def test_an_account_that_is_none_is_refused_at_the_start() -> None:
    names = CallNames()
    told = Instructions(lambda: URL, names=names, prompts=Prompts())
    with pytest.raises(ConfigError):
        PlivoCarrier(Account("MA", "x"), told, names=names, clock=SystemClock())


def test_a_closed_carrier_asks_nothing() -> None:
    async def case() -> None:
        async with asking(DONE) as it:
            await it.carrier.close()
            with pytest.raises(CarrierError, match="the server stops"):
                await it.carrier.hang_up(CALL)
            assert it.server.received == []

    run(case)


def test_closing_does_not_wait_for_ever(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(client_module, "_CLOSE_DEADLINE_S", 0.1)

    async def case() -> None:
        async with asking(Reply(hang=True), read_s=2) as it:
            ending = asyncio.create_task(it.carrier.hang_up(CALL))
            await it.server.arrived.acquire()
            await it.carrier.close()
            it.server.released.set()
            await asyncio.gather(ending, return_exceptions=True)

    run(case)
    assert "requests to plivo are still under way" in caplog.messages


def test_many_requests_at_once_do_not_mix() -> None:
    async def case() -> None:
        async with asking(DONE) as it:
            calls = [f"c-{number}" for number in range(64)]
            await asyncio.gather(*(it.carrier.hang_up(call) for call in calls))
            paths = sorted(path for _, path in it.server.seen())
            assert paths == sorted(f"Call/{call}/" for call in calls)

    run(case)
