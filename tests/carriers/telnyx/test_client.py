from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from tests.carriers.telnyx.api import CALL, DONE, PLACED, Api, answer, api, refusal, run
from voicecall.call.events import CallErrored, CallEvent
from voicecall.call.record import CallRecord, CallState, Direction
from voicecall.carriers.telnyx import client
from voicecall.carriers.telnyx.client import TelnyxCarrier
from voicecall.carriers.telnyx.markup import ClientState
from voicecall.clock import ManualClock
from voicecall.errors import CarrierError, InvalidRequest, StoreError
from voicecall.ports import CarrierStatus, DialRequest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.socket

STREAM = "wss://calls.example/voice/stream/0123456789abcdef"
REQUEST = DialRequest("c-1", "+13125550002", "+13125550001", "notify", STREAM, 30_000)
STATE = ClientState("c-1", Direction.OUTBOUND, streams=True)
WAITING = CallRecord(
    "c-2",
    "telnyx",
    Direction.INBOUND,
    CallState.INITIATED,
    "+1",
    "+2",
    "s",
    0,
    provider_call_id=CALL,
)


class Urls:
    def issue(self, call_id: str) -> str:
        return f"wss://calls.example/voice/stream/of-{call_id}"

    def revoke(self, call_id: str) -> None:
        raise AssertionError(call_id)


class Emitted:
    def __init__(self, fails_with: Exception | None = None) -> None:
        self.events: list[CallEvent] = []
        self.any = asyncio.Event()
        self._fails_with = fails_with

    async def __call__(self, event: CallEvent) -> None:
        self.events.append(event)
        self.any.set()
        if self._fails_with is not None:
            raise self._fails_with


@asynccontextmanager
async def carrier(
    served: Api, emitted: Emitted | None = None, **settings: Any
) -> AsyncIterator[TelnyxCarrier]:
    made = TelnyxCarrier(
        served.settings(**settings),
        clock=ManualClock(),
        emit=emitted or Emitted(),
        urls=Urls(),
        timeout_s=3,
    )
    try:
        yield made
    finally:
        await made.close()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "_PICK_UP_DELAYS_S", (0.01, 0.01))


# --- every carrier's -------------------------------------------------------------------------


def test_a_call_is_placed_and_named() -> None:
    async def case() -> None:
        async with api(answer(PLACED)) as served, carrier(served) as telnyx:
            telnyx.report_to("https://calls.example/voice/webhook")
            assert telnyx.name == "telnyx"
            assert await telnyx.dial(REQUEST) == CALL
            (sent,) = served.sent
            assert (sent.method, sent.path) == ("POST", "/v2/calls")
            assert sent.body["from"] == "+13125550001"
            assert sent.body["to"] == "+13125550002"
            assert sent.body["command_id"] == "c-1"
            assert sent.body["stream_url"] == STREAM
            assert sent.body["webhook_url"] == "https://calls.example/voice/webhook"
            state = ClientState.decode(sent.body["client_state"])
            assert state == ClientState("c-1", Direction.OUTBOUND, streams=True)

    run(case)


@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"<html>", {"data": None}, {"data": {"call_control_id": 5}}, [], {"data": {}}],
)
def test_an_accepted_call_without_a_name_is_an_error_and_no_second_dial(body: object) -> None:
    async def case() -> None:
        async with api(answer(body), answer(PLACED)) as served, carrier(served) as telnyx:
            with pytest.raises(CarrierError, match="may have been placed") as failure:
                await telnyx.dial(REQUEST)
            assert not failure.value.retryable
            assert failure.value.code == "carrier_refused"
            assert len(served.sent) == 1

    run(case)


def test_what_telnyx_cannot_do_is_refused_before_it_is_asked() -> None:
    async def case() -> None:
        async with api(answer(PLACED)) as served, carrier(served) as telnyx:
            with pytest.raises(InvalidRequest, match="64 keys"):
                await telnyx.dial(replace(REQUEST, dtmf_sequence="1" * 65))
            assert not served.sent

    run(case)


@pytest.mark.parametrize(
    "said", [answer(DONE), refusal(422, "90018"), refusal(404, "10005"), refusal(422, "90015")]
)
def test_hanging_up_a_call_that_is_over_is_a_success(said: bytes) -> None:
    async def case() -> None:
        async with api(said) as served, carrier(served) as telnyx:
            await telnyx.hang_up(CALL)
            assert served.sent[0].path == f"/v2/calls/{CALL}/actions/hangup"
            assert served.sent[0].body in (None, {})

    run(case)


@pytest.mark.parametrize(
    ("said", "retryable"),
    [
        (refusal(500), True),
        (b"", True),
        (refusal(429, "10011", retry_after="0"), True),
        (refusal(401, "10009"), False),
        (refusal(422, "10011"), False),
    ],
)
def test_a_hang_up_that_failed_says_whether_to_try_again(said: bytes, retryable: bool) -> None:
    async def case() -> None:
        async with api(said) as served, carrier(served) as telnyx:
            with pytest.raises(CarrierError) as failure:
                await telnyx.hang_up(CALL)
            assert failure.value.retryable is retryable
            assert len(served.sent) == 1

    run(case)


def test_keys_are_sent_and_a_call_that_is_over_is_an_error() -> None:
    async def case() -> None:
        async with (
            api(answer(DONE), refusal(422, "90018")) as served,
            carrier(served) as telnyx,
        ):
            await telnyx.send_dtmf(CALL, "1w2#")
            assert served.sent[0].body == {"digits": "1w2#"}
            with pytest.raises(CarrierError, match="90018"):
                await telnyx.send_dtmf(CALL, "1")

    run(case)


ALIVE = {"call_control_id": CALL, "is_alive": True}


@pytest.mark.parametrize(
    ("said", "status"),
    [
        (answer({"data": ALIVE}), CarrierStatus(alive=True)),
        # While a call is being dialled Telnyx calls it not alive.
        (answer({"data": ALIVE | {"is_alive": False}}), CarrierStatus(alive=False)),
        (
            answer({"data": ALIVE | {"is_alive": False, "end_time": "2026-01-01T00:00:00Z"}}),
            CarrierStatus(alive=False, end_reason=CallState.COMPLETED),
        ),
        (refusal(422, "90018"), CarrierStatus(alive=False, end_reason=CallState.COMPLETED)),
        (refusal(404, "10005"), CarrierStatus(alive=False)),
        (refusal(422, "90015"), CarrierStatus(alive=False)),
        (answer(b"<html>"), CarrierStatus(alive=False)),
    ],
)
def test_a_call_is_looked_up(said: bytes, status: CarrierStatus) -> None:
    async def case() -> None:
        async with api(said) as served, carrier(served) as telnyx:
            assert await telnyx.status(CALL) == status

    run(case)


def test_a_look_up_that_failed_is_no_status() -> None:
    async def case() -> None:
        async with api(refusal(500)) as served, carrier(served) as telnyx:
            with pytest.raises(CarrierError) as failure:
                await telnyx.status(CALL)
            assert failure.value.retryable

    run(case)


# --- inbound calls ---------------------------------------------------------------------------


def test_an_inbound_call_is_picked_up_once_with_its_stream() -> None:
    async def case() -> None:
        async with api(answer(DONE)) as served, carrier(served) as telnyx:
            for _ in range(3):
                telnyx.pick_up(WAITING)
            await served.arrived.wait()
            await asyncio.gather(*telnyx._tasks)
            (sent,) = served.sent
            assert sent.path == f"/v2/calls/{CALL}/actions/answer"
            assert sent.body["stream_url"].endswith("/of-c-2")
            assert sent.body["stream_bidirectional_mode"] == "rtp"
            state = ClientState.decode(sent.body["client_state"])
            assert state == ClientState("c-2", Direction.INBOUND, streams=True)

    run(case)


def test_a_call_that_somebody_else_placed_is_connected_once_and_stubbornly() -> None:
    async def case() -> None:
        async with api(refusal(500), answer(DONE)) as served, carrier(served) as telnyx:
            for _ in range(2):
                telnyx.connect(replace(WAITING, direction=Direction.OUTBOUND))
            await asyncio.gather(*telnyx._tasks)
            first, second = served.sent
            assert first.body == second.body
            assert first.path == f"/v2/calls/{CALL}/actions/streaming_start"
            assert first.body["stream_url"].endswith("/of-c-2")
            state = ClientState.decode(first.body["client_state"])
            assert state == ClientState("c-2", Direction.OUTBOUND, streams=True)

    run(case)


def test_picking_up_is_tried_again_with_the_same_command() -> None:
    async def case() -> None:
        emitted = Emitted()
        async with (
            api(refusal(500), b"", answer(DONE)) as served,
            carrier(served, emitted) as telnyx,
        ):
            telnyx.pick_up(WAITING)
            await asyncio.gather(*telnyx._tasks)
            assert len(served.sent) == 3
            assert len({sent.body["command_id"] for sent in served.sent}) == 1
            assert len({sent.body["stream_url"] for sent in served.sent}) == 1
            assert not emitted.events

    run(case)


@pytest.mark.parametrize(("said", "attempts"), [(refusal(500), 3), (refusal(403, "10010"), 1)])
def test_a_call_that_cannot_be_picked_up_is_ended(said: bytes, attempts: int) -> None:
    async def case() -> None:
        emitted = Emitted()
        async with api(said) as served, carrier(served, emitted) as telnyx:
            telnyx.pick_up(WAITING)
            await emitted.any.wait()
            assert len(served.sent) == attempts
            (event,) = emitted.events
            assert isinstance(event, CallErrored)
            assert (event.call_id, event.provider_call_id) == ("c-2", CALL)
            assert not event.retryable
            assert "answer the call" in event.message

    run(case)


def test_a_caller_who_gave_up_first_is_no_error() -> None:
    async def case() -> None:
        emitted = Emitted()
        async with api(refusal(422, "90018")) as served, carrier(served, emitted) as telnyx:
            telnyx.pick_up(WAITING)
            await asyncio.gather(*telnyx._tasks)
            assert len(served.sent) == 1
            assert not emitted.events

    run(case)


def test_an_event_that_is_not_taken_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def case() -> None:
        emitted = Emitted(StoreError("full"))
        async with api(refusal(403)) as served, carrier(served, emitted) as telnyx:
            telnyx.pick_up(WAITING)
            await asyncio.gather(*telnyx._tasks)

    with caplog.at_level(logging.ERROR, "voicecall"):
        run(case)
    assert "picking up broke" in caplog.text


def test_a_call_without_a_name_cannot_be_picked_up() -> None:
    async def case() -> None:
        async with api(answer(DONE)) as served, carrier(served) as telnyx:
            telnyx.pick_up(replace(WAITING, provider_call_id=None))
            assert not telnyx._tasks

    run(case)


def test_closing_ends_what_is_being_picked_up() -> None:
    async def case() -> None:
        async with api(None) as served:
            async with carrier(served) as telnyx:
                telnyx.pick_up(WAITING)
                await served.arrived.wait()
            assert not telnyx._tasks

    run(case)


def test_the_memory_of_calls_picked_up_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    async def case() -> None:
        async with api(answer(DONE)) as served, carrier(served) as telnyx:
            for number in range(5):
                telnyx.pick_up(replace(WAITING, provider_call_id=f"v3:{number}"))
            assert list(telnyx._picked_up) == ["v3:3", "v3:4"]

    monkeypatch.setattr(client, "_PICKED_UP_REMEMBERED", 2)
    run(case)


# --- without media streaming -----------------------------------------------------------------


def test_speaking_lasts_until_telnyx_has_said_it() -> None:
    async def case() -> None:
        async with api(answer(DONE)) as served, carrier(served) as telnyx:
            speaking = asyncio.create_task(telnyx.say(CALL, "a" * 3000 + " b"))
            while len(served.sent) < 2:
                served.arrived.clear()
                await served.arrived.wait()
            telnyx.spoken(CALL, "e1", completed=True)
            telnyx.spoken(CALL, "e1", completed=True)
            assert not speaking.done()
            telnyx.spoken(CALL, "e2", completed=True)
            assert await speaking is True
            assert served.actions() == ["speak", "speak"]
            assert not telnyx._prompts

    run(case)


@pytest.mark.parametrize("how", ["stop", "hang up", "report"])
def test_speech_that_is_cut_says_so(how: str) -> None:
    async def case() -> None:
        async with api(answer(DONE)) as served, carrier(served) as telnyx:
            speaking = asyncio.create_task(telnyx.say(CALL, "Hello"))
            await served.arrived.wait()
            if how == "stop":
                await telnyx.stop_speaking(CALL)
                assert served.sent[1].body == {"stop": "all"}
                assert served.actions() == ["speak", "playback_stop"]
            elif how == "hang up":
                await telnyx.hang_up(CALL)
            else:
                telnyx.spoken(CALL, "e1", completed=False)
            assert await speaking is False

    run(case)


def test_the_rest_of_a_long_text_is_not_sent_once_it_is_cut() -> None:
    async def case() -> None:
        async with api(answer(DONE)) as served, carrier(served) as telnyx:
            saying = asyncio.create_task(telnyx.say(CALL, "a" * 3000 + " b"))
            await served.arrived.wait()
            telnyx.spoken(CALL, "e1", completed=False)
            assert await saying is False
            assert served.actions() == ["speak"]
            assert len(telnyx._prompts) == 0

    run(case)


def test_a_report_faster_than_the_answer_is_not_lost() -> None:
    async def case() -> None:
        async with api(answer(DONE)) as served, carrier(served) as telnyx:
            speaking = asyncio.create_task(telnyx.say(CALL, "Hello"))
            await served.arrived.wait()
            telnyx.spoken(CALL, "e1", completed=True)
            assert await speaking is True

    run(case)


def test_a_report_that_never_comes_is_not_waited_for_forever(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def case() -> None:
        async with api(answer(DONE)) as served, carrier(served) as telnyx:
            assert await telnyx.say(CALL, "Hello") is False
            assert len(telnyx._prompts) == 0

    monkeypatch.setattr(client, "_SPEECH_GRACE_S", 0.05)
    monkeypatch.setattr(client, "_SPEECH_S_PER_CHAR", 0.0)
    run(case)
    assert "no report" in caplog.text


def test_a_text_that_is_refused_leaves_nothing_behind() -> None:
    async def case() -> None:
        async with api(refusal(422, "90034")) as served, carrier(served) as telnyx:
            with pytest.raises(CarrierError, match="until the call is answered"):
                await telnyx.say(CALL, "Hello")
            assert len(telnyx._prompts) == 0
            assert await telnyx.say(CALL, " ") is True
            assert len(served.sent) == 1

    run(case)


def test_listening_again_changes_nothing() -> None:
    async def case() -> None:
        async with api(answer(DONE), refusal(422, "90054")) as served, carrier(served) as telnyx:
            for _ in range(2):
                await telnyx.listen(CALL)
            assert served.sent[0].body["transcription_tracks"] == "inbound"
            # What webhooks bring back stays as it was.
            assert "client_state" not in served.sent[0].body
            assert served.actions() == ["transcription_start"] * 2

    run(case)


def test_listening_that_is_refused_is_an_error() -> None:
    async def case() -> None:
        async with api(refusal(422, "90034")) as served, carrier(served) as telnyx:
            with pytest.raises(CarrierError, match="transcribe the call"):
                await telnyx.listen(CALL)

    run(case)


def test_media_of_an_answered_call_are_streamed_and_transcription_ended() -> None:
    async def case() -> None:
        async with api(answer(DONE)) as served, carrier(served) as telnyx:
            await telnyx.start_stream(CALL, STATE, STREAM)
            await telnyx.stop_listening(CALL)
            assert served.actions() == ["streaming_start", "transcription_stop"]
            assert served.sent[0].body["stream_bidirectional_mode"] == "rtp"

    run(case)


# --- handing calls on ------------------------------------------------------------------------

DESK = "+13125550003"


def test_a_call_is_handed_on_with_one_command() -> None:
    async def case() -> None:
        async with (
            api(answer(DONE)) as served,
            carrier(served, from_number="+13125550001") as telnyx,
        ):
            await telnyx.transfer(CALL, DESK)
            (sent,) = served.sent
            assert sent.path == f"/v2/calls/{CALL}/actions/transfer"
            assert (sent.body["to"], sent.body["from"]) == (DESK, "+13125550001")
            # Its media are streamed, and that ends with our closing the socket.
            assert not telnyx._tasks

    run(case)


@pytest.mark.parametrize(
    ("said", "retryable"),
    [
        (refusal(422, "90018"), False),
        (refusal(500), False),
        (b"", False),
        (refusal(429, "10011", retry_after="0"), True),
    ],
)
def test_a_call_that_was_not_handed_on_stays_ours(said: bytes, retryable: bool) -> None:
    async def case() -> None:
        async with api(said) as served, carrier(served) as telnyx:
            with pytest.raises(CarrierError, match="hand the call on") as failure:
                await telnyx.transfer(CALL, DESK)
            assert failure.value.retryable is retryable
            # It may have been handed on all the same, and they did not pick up.
            telnyx.far_end_left(CALL)
            assert not telnyx._tasks
            assert len(served.sent) == 1

    run(case)


def test_a_call_that_nobody_took_over_is_hung_up_stubbornly_and_once() -> None:
    async def case() -> None:
        async with (
            api(answer(DONE), refusal(500), answer(DONE)) as served,
            carrier(served) as telnyx,
        ):
            await telnyx.transfer(CALL, DESK)
            for _ in range(2):
                telnyx.far_end_left(CALL)
            await asyncio.gather(*telnyx._tasks)
            assert served.actions() == ["transfer", "hangup", "hangup"]

    run(case)


def test_a_call_that_somebody_took_over_is_telnyxs_to_end() -> None:
    async def case() -> None:
        async with api(answer(DONE)) as served, carrier(served) as telnyx:
            await telnyx.transfer(CALL, DESK)
            telnyx.far_end_joined(CALL)
            telnyx.far_end_left(CALL)
            assert not telnyx._tasks
            assert served.actions() == ["transfer"]

    run(case)


def test_a_call_that_cannot_be_let_go_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def case() -> None:
        async with api(answer(DONE), refusal(403, "10010")) as served, carrier(served) as telnyx:
            await telnyx.transfer(CALL, DESK)
            telnyx.far_end_left(CALL)
            await asyncio.gather(*telnyx._tasks)
            assert served.actions() == ["transfer", "hangup"]

    with caplog.at_level(logging.WARNING, "voicecall"):
        run(case)
    assert "nobody to talk to" in caplog.text


@pytest.mark.parametrize("said", [answer(DONE), refusal(403, "10010")])
def test_what_is_said_after_a_call_was_handed_on_is_not_transcribed(said: bytes) -> None:
    async def case() -> None:
        async with api(answer(DONE), said) as served:
            telnyx = TelnyxCarrier(
                served.settings(), clock=ManualClock(), emit=Emitted(), timeout_s=3
            )
            await telnyx.transfer(CALL, DESK)
            await asyncio.gather(*telnyx._tasks)
            assert served.actions() == ["transfer", "transcription_stop"]
            await telnyx.close()

    run(case)
