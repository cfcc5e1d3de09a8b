from __future__ import annotations

import asyncio
import base64
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import telnyx
from telnyx.lib import WebhookVerificationError, verify_webhook_signature

from tests.simulator.exchange.telnyx_customer import (
    QUICK,
    STATE,
    THEM,
    US,
    Customer,
    customer,
    run,
)
from tests.simulator.mediaserver import MediaServer, media_server
from voicecall.clock import ManualClock
from voicecall.simulator.exchange.faults import Fault
from voicecall.simulator.exchange.party import SimpleParty
from voicecall.simulator.exchange.telnyx import COMMANDS, TelnyxExchange, TelnyxHabits
from voicecall.simulator.wire.telnyx import TelnyxOptions

if TYPE_CHECKING:
    from voicecall.simulator.exchange.telnyx_call import TelnyxCall

pytestmark = pytest.mark.socket

RTP = {
    "stream_track": "inbound_track",
    "stream_codec": "PCMU",
    "stream_bidirectional_mode": "rtp",
    "stream_bidirectional_codec": "PCMU",
}


# --- REST --------------------------------------------------------------------------------------


def test_a_dial_is_answered_at_once_with_the_ids_of_a_call_that_is_not_alive_yet() -> None:
    async def case() -> None:
        async with customer() as us:
            answer = await us.client.calls.dial(**us.parameters())
            assert answer.data is not None
            call = us.exchange.calls[answer.data.call_control_id]
            assert answer.data.call_control_id.startswith("v3:")
            assert answer.data.call_leg_id == call.leg_id
            assert answer.data.call_session_id == call.session_id
            assert answer.data.client_state == STATE
            assert answer.data.is_alive is False
            assert us.exchange.dials == 1

    run(case)


def test_the_same_dial_within_a_minute_is_the_same_call() -> None:
    async def case() -> None:
        clock = ManualClock()
        async with customer(clock=clock) as us:
            first = await us.dial(command_id="c-1")
            assert await us.dial(command_id="c-1") is first
            assert us.exchange.dials == 1
            assert await us.dial(command_id="c-2") is not first
            clock.advance_ms(60_000)
            assert await us.dial(command_id="c-1") is not first
            assert us.exchange.dials == 3

    run(case)


def test_a_wrong_key_is_refused_and_nothing_done() -> None:
    async def case() -> None:
        async with customer() as us:
            us.client.api_key = "KEY_of_somebody_else"
            request = us.client.calls.dial(**us.parameters())
            assert await us.refusal(request) == (401, "10009", None)
            assert us.exchange.dials == 0

    run(case)


@pytest.mark.parametrize(
    ("changes", "code", "field"),
    [
        ({"connection_id": "7"}, "10015", "connection_id"),
        ({"to": "13125550002"}, "10016", "to"),
        ({"from_": ""}, "10004", "from"),
        ({"timeout_secs": 4}, "10033", "timeout_secs"),
        ({"time_limit_secs": 59}, "10033", "time_limit_secs"),
        ({"answering_machine_detection": "maybe"}, "10032", "answering_machine_detection"),
        ({"client_state": "not base64"}, "10015", "client_state"),
        ({"stream_url": "https://calls.example"}, "10015", "stream_url"),
        ({"send_digits_on_answer": "x"}, "10015", "send_digits_on_answer"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_dial_that_makes_no_sense_is_refused(
    changes: dict[str, Any], code: str, field: str
) -> None:
    async def case() -> None:
        async with customer() as us:
            request = us.client.calls.dial(**us.parameters(**changes))
            assert await us.refusal(request) == (422, code, f"/{field}")
            assert us.exchange.dials == 0

    run(case)


def test_requests_beyond_the_limit_are_refused_for_the_rest_of_the_second() -> None:
    async def case() -> None:
        clock = ManualClock()
        habits = TelnyxHabits(requests_per_s=1)
        async with customer(habits=habits, clock=clock) as us:
            await us.dial()
            with pytest.raises(telnyx.RateLimitError) as caught:
                await us.dial()
            assert caught.value.response.headers["x-ratelimit-limit"] == "1"
            assert caught.value.response.headers["x-ratelimit-remaining"] == "0"
            assert caught.value.response.headers["x-ratelimit-reset"] == "1"
            clock.advance_ms(1000)
            await us.dial()
            assert us.exchange.dials == 2

    run(case)


def test_a_call_is_looked_up_for_ten_minutes_after_its_end() -> None:
    async def case() -> None:
        clock = ManualClock()
        async with customer(clock=clock) as us:
            call = await us.dial_answered()
            alive = await us.client.calls.retrieve_status(call.provider_call_id)
            assert alive.data is not None
            assert alive.data.is_alive
            assert alive.data.end_time is None
            clock.advance_ms(7000)
            await us.client.calls.actions.hangup(call.provider_call_id)
            await us.until("call.hangup")
            over = await us.client.calls.retrieve_status(call.provider_call_id)
            assert over.data is not None
            assert not over.data.is_alive
            assert over.data.end_time is not None
            assert over.data.call_duration == 7
            clock.advance_ms(600_000)
            request = us.client.calls.retrieve_status(call.provider_call_id)
            assert await us.refusal(request) == (404, "10005", None)

    run(case)


def test_a_call_that_never_was_is_unknown() -> None:
    async def case() -> None:
        async with customer() as us:
            calls = us.client.calls
            unknown = (422, "90015", "/call_control_id")
            assert await us.refusal(calls.retrieve_status("v3:nobody")) == unknown
            assert await us.refusal(calls.actions.hangup("v3:nobody")) == unknown

    run(case)


def bodies() -> dict[str, dict[str, Any]]:
    return {
        "answer": {},
        "reject": {"cause": "USER_BUSY"},
        "hangup": {},
        "transfer": {"to": THEM},
        "speak": {"payload": "hello", "voice": "female"},
        "playback_stop": {},
        "send_dtmf": {"digits": "1"},
        "streaming_start": {"stream_url": "ws://127.0.0.1:9/"},
        "streaming_stop": {},
        "transcription_start": {},
        "transcription_stop": {},
        "client_state_update": {"client_state": STATE},
    }


async def act(us: Customer, call: TelnyxCall, action: str) -> httpx.Response:
    async with httpx.AsyncClient(timeout=5) as client:
        return await client.request(
            COMMANDS[action].method,
            f"{us.exchange.api_url}/calls/{call.provider_call_id}/actions/{action}",
            json=bodies()[action],
            headers={"authorization": f"Bearer {us.exchange.api_key}"},
        )


# The code each command is refused with, where it is.
TAKEN_BY_STATE = {"bridging": "90034", "parked": "90034", "answered": None, "hangup": "90018"}
EXPECTED = {
    ("bridging", "answer"): "90033",
    ("bridging", "reject"): "90033",
    ("bridging", "hangup"): None,
    ("bridging", "client_state_update"): None,
    ("parked", "answer"): None,
    ("parked", "reject"): None,
    ("parked", "hangup"): None,
    ("parked", "client_state_update"): None,
    ("answered", "answer"): "90033",
    ("answered", "reject"): "90033",
}


@pytest.mark.parametrize("action", COMMANDS)
@pytest.mark.parametrize("state", ["bridging", "parked", "answered", "hangup"])
def test_every_command_is_taken_or_refused_by_where_the_call_stands(
    state: str, action: str
) -> None:
    async def case() -> None:
        async with customer(SimpleParty(ring_s=None if state == "bridging" else 0)) as us:
            call = await (us.call_in() if state == "parked" else us.dial(timeout_secs=600))
            if state in {"answered", "hangup"}:
                await us.until("call.answered")
            if state == "hangup":
                call.hang_up("party")
                await us.until("call.hangup")
            answer = await act(us, call, action)
            expected = EXPECTED.get((state, action), TAKEN_BY_STATE[state])
            if expected is None:
                assert answer.json() == {"data": {"result": "ok"}}
            else:
                assert answer.status_code == 422
                assert answer.json()["errors"][0]["code"] == expected

    run(case)


def test_an_unknown_action_or_address_or_method_is_no_resource() -> None:
    async def case() -> None:
        async with customer() as us:
            call = await us.dial()
            paths = {
                "calls": "GET",
                f"calls/{call.provider_call_id}/actions/sing": "POST",
                f"calls/{call.provider_call_id}/actions/client_state_update": "POST",
                "texml/calls": "POST",
            }
            key = {"authorization": f"Bearer {us.exchange.api_key}"}
            async with httpx.AsyncClient(base_url=us.exchange.api_url, headers=key) as client:
                for path, method in paths.items():
                    answer = await client.request(method, f"/{path}")
                    assert answer.status_code == 404
                    assert answer.json()["errors"][0]["code"] == "10005"

    run(case)


def test_a_body_that_is_not_json_is_a_bad_request() -> None:
    async def case() -> None:
        async with customer() as us, httpx.AsyncClient() as client:
            key = {"authorization": f"Bearer {us.exchange.api_key}"}
            answer = await client.post(f"{us.exchange.api_url}/calls", content=b"[", headers=key)
            assert answer.status_code == 400
            assert us.exchange.dials == 0

    run(case)


def test_the_same_command_is_done_once() -> None:
    async def case() -> None:
        party = SimpleParty()
        async with customer(party) as us:
            call = await us.dial_answered()
            for _ in range(2):
                await us.client.calls.actions.send_dtmf(
                    call.provider_call_id, digits="12w3", command_id="keys-1"
                )
            assert party.keys_heard == "123"
            await us.client.calls.actions.send_dtmf(call.provider_call_id, digits="4")
            assert party.keys_heard == "1234"

    run(case)


@pytest.mark.parametrize(
    ("fault", "seen", "dials"),
    [
        (Fault("status", status=500), telnyx.InternalServerError, 0),
        (Fault("status-after", status=503), telnyx.InternalServerError, 1),
        (Fault("status", status=429), telnyx.RateLimitError, 0),
        (Fault("hang"), telnyx.APITimeoutError, 0),
        (Fault("hang-after"), telnyx.APITimeoutError, 1),
        (Fault("reset"), telnyx.APIConnectionError, 0),
        (Fault("reset-after"), telnyx.APIConnectionError, 1),
    ],
    ids=lambda value: f"{value.kind}-{value.status}" if isinstance(value, Fault) else "",
)
def test_a_dial_goes_wrong_as_told(
    fault: Fault, seen: type[telnyx.TelnyxError], dials: int
) -> None:
    async def case() -> None:
        async with customer(timeout_s=0.5 if "hang" in fault.kind else 5) as us:
            us.exchange.faults.add("dial", fault)
            with pytest.raises(seen):
                await us.dial()
            assert us.exchange.dials == dials

    run(case)


# --- webhooks ----------------------------------------------------------------------------------


def test_webhooks_are_signed_as_the_vendors_verifier_expects() -> None:
    async def case() -> None:
        async with customer() as us:
            await us.dial_answered()
            for request in us.received:
                verify_webhook_signature(
                    request.body, dict(request.headers), us.exchange.public_key
                )
            forged = us.received[0].body.replace(b"call.", b"fall.")
            with pytest.raises(WebhookVerificationError):
                verify_webhook_signature(
                    forged, dict(us.received[0].headers), us.exchange.public_key
                )

    run(case)


def test_the_vendors_package_understands_every_webhook() -> None:
    async def case() -> None:
        async with customer(SimpleParty(words=["yes"])) as us:
            call = await us.dial_answered(answering_machine_detection="detect")
            actions = us.client.calls.actions
            await us.until("call.machine.detection.ended")
            await actions.start_streaming(call.provider_call_id, stream_url="ws://127.0.0.1:9/")
            await us.until("streaming.failed")
            call.press("5")
            await actions.start_transcription(call.provider_call_id)
            await us.until("call.transcription")
            await actions.speak(call.provider_call_id, payload="bye", voice="female")
            await us.until("call.speak.ended")
            await actions.hangup(call.provider_call_id)
            await us.until("call.hangup")
            for request in us.received:
                event: Any = us.client.webhooks.unsafe_unwrap(request.body.decode())
                # The package falls back to another event's class for what it cannot place.
                kind = request.body.decode().split('"event_type":"')[1].split('"')[0]
                assert event.data is not None
                assert event.data.event_type == kind

    run(case)


def test_a_webhook_says_whose_call_it_is_and_where_it_went() -> None:
    async def case() -> None:
        async with customer() as us:
            call = await us.dial()
            initiated = await us.until("call.initiated")
            assert initiated == {
                "call_control_id": call.provider_call_id,
                "call_leg_id": call.leg_id,
                "call_session_id": call.session_id,
                "client_state": STATE,
                "connection_id": us.exchange.connection_id,
                "direction": "outgoing",
                "from": US,
                "start_time": call.began_at,
                "state": "bridging",
                "to": THEM,
            }
            envelope = us.received[0].json()
            assert envelope["meta"] == {"attempt": 1, "delivered_to": us.webhook_url}
            assert envelope["data"]["record_type"] == "event"

    run(case)


def test_a_webhook_that_is_not_taken_is_sent_again_as_the_same_event() -> None:
    async def case() -> None:
        async with customer() as us:
            us.statuses += [500, 404, 302]
            await us.dial()
            await us.until("call.initiated", 4)
            await us.until("call.answered")
            first = us.events()[0]
            assert us.events()[:4] == [first] * 4
            attempts = [request.json()["meta"]["attempt"] for request in us.received[:4]]
            assert attempts == [1, 2, 3, 4]

    run(case)


def test_a_webhook_is_given_up_after_three_repeats() -> None:
    async def case() -> None:
        async with customer() as us:
            us.statuses += [500] * 4
            await us.dial_answered()
            assert us.kinds() == ["call.initiated"] * 4 + ["call.answered"]

    run(case)


def test_webhooks_may_overtake_each_other() -> None:
    async def case() -> None:
        async with customer(habits=TelnyxHabits(reorders=True)) as us, media_server() as server:
            call = await us.dial(stream_url=server.url, **RTP)
            await us.until("call.answered")
            assert us.kinds() == ["call.initiated", "streaming.started", "call.answered"]
            call.hang_up("party")
            await us.until("streaming.stopped")
            assert us.kinds()[3:] == ["call.hangup", "streaming.stopped"]
            moments = sorted(us.events(), key=lambda event: str(event["occurred_at"]))
            assert [event["event_type"] for event in moments] == [
                "call.initiated",
                "call.answered",
                "streaming.started",
                "streaming.stopped",
                "call.hangup",
            ]

    run(case)


# --- media -------------------------------------------------------------------------------------


async def streamed(us: Customer, server: MediaServer, **changes: Any) -> TelnyxCall:
    call = await us.dial(**({"stream_url": server.url} | RTP | changes))
    await server.wait_for("start")
    return call


def test_media_are_streamed_from_the_answer_on_and_both_ways() -> None:
    async def case() -> None:
        async with customer() as us, media_server() as server:
            call = await streamed(us, server)
            start = server.of("start")[0]["start"]
            assert start["call_control_id"] == call.provider_call_id
            assert start["call_session_id"] == call.session_id
            assert start["client_state"] == STATE
            assert start["media_format"] == {
                "encoding": "PCMU",
                "sample_rate": 8000,
                "channels": 1,
            }
            await server.wait_for("media", 3)
            await server.send(
                {"event": "media", "media": {"payload": base64.b64encode(bytes(160)).decode()}}
            )
            await server.send({"event": "mark", "mark": {"name": "said"}})
            await server.wait_for("mark")
            assert call.phone is not None
            assert call.phone.stats.frames_received == 1
            assert call.phone.stats.protocol_errors == 0
            assert us.kinds()[:3] == ["call.initiated", "call.answered", "streaming.started"]
            assert us.of("streaming.started")[0]["stream_url"] == server.url

    run(case)


@pytest.mark.parametrize(
    ("asked", "leg", "encoding", "rate_hz"),
    [
        ("default", "PCMA", "PCMA", 8000),
        ("PCMU", "PCMA", "PCMU", 8000),
        ("L16", "PCMU", "L16", 16_000),
    ],
)
def test_the_codec_is_the_legs_unless_another_is_asked_for(
    asked: str, leg: str, encoding: str, rate_hz: int
) -> None:
    async def case() -> None:
        habits = TelnyxHabits(leg_codec=leg)
        async with customer(habits=habits) as us, media_server() as server:
            await streamed(us, server, stream_codec=asked)
            assert server.of("start")[0]["start"]["media_format"] == {
                "encoding": encoding,
                "sample_rate": rate_hz,
                "channels": 1,
            }

    run(case)


def test_bare_audio_is_not_played_in_mp3_mode_which_is_what_nobody_asks_for() -> None:
    async def case() -> None:
        async with customer() as us, media_server() as server:
            call = await us.dial(stream_url=server.url)
            await server.wait_for("start")
            payload = base64.b64encode(bytes(160)).decode()
            await server.send({"event": "media", "media": {"payload": payload}})
            await server.wait_for("error")
            assert call.phone is not None
            assert call.phone.stats.frames_received == 0

    run(case)


def test_media_may_come_out_of_order() -> None:
    async def case() -> None:
        habits = TelnyxHabits(media=TelnyxOptions(swap_every=3))
        async with customer(habits=habits) as us, media_server() as server:
            await streamed(us, server)
            await server.wait_for("media", 4)
            chunks = [message["media"]["chunk"] for message in server.of("media")[:4]]
            assert chunks == ["1", "2", "4", "3"]

    run(case)


def test_a_key_is_reported_on_the_socket_and_by_webhook() -> None:
    async def case() -> None:
        async with customer() as us, media_server() as server:
            call = await streamed(us, server)
            assert call.phone is not None
            await call.phone.press("7")
            await server.wait_for("dtmf")
            assert (await us.until("call.dtmf.received"))["digit"] == "7"
            assert server.of("dtmf")[0]["dtmf"] == {"digit": "7"}

    run(case)


def test_closing_the_media_socket_does_not_end_the_call() -> None:
    async def case() -> None:
        async with customer() as us, media_server() as server:
            call = await streamed(us, server)
            await server.connections[0].close()
            await us.until("streaming.stopped")
            assert not call.ended.is_set()
            await us.client.calls.actions.start_streaming(
                call.provider_call_id,
                stream_url=server.url,
                custom_parameters=[{"name": "token", "value": "t"}],
            )
            await server.wait_for("start", 2)
            first, second = server.of("start")
            assert first["stream_id"] != second["stream_id"]
            assert second["start"]["custom_parameters"] == {"token": "t"}

    run(case)


def test_a_call_has_one_stream_and_it_can_be_stopped() -> None:
    async def case() -> None:
        async with customer() as us, media_server() as server:
            call = await streamed(us, server)
            actions = us.client.calls.actions
            request = actions.start_streaming(call.provider_call_id, stream_url=server.url)
            assert await us.refusal(request) == (422, "90045", None)
            await actions.stop_streaming(call.provider_call_id)
            await server.wait_for("stop")
            await us.until("streaming.stopped")
            assert not call.ended.is_set()
            await actions.start_streaming(call.provider_call_id, stream_url=server.url)
            await server.wait_for("start", 2)

    run(case)


def test_a_stream_that_cannot_be_connected_is_reported_and_the_call_goes_on() -> None:
    async def case() -> None:
        async with customer() as us:
            call = await us.dial(stream_url="ws://127.0.0.1:9/", **RTP)
            failed = await us.until("streaming.failed")
            assert failed["failure_reason"] == "connection_failed"
            assert failed["stream_type"] == "websocket"
            assert failed["stream_params"] == {
                "stream_url": "ws://127.0.0.1:9/",
                "track": "inbound_track",
            }
            assert "streaming.stopped" not in us.kinds()
            assert not call.ended.is_set()
            assert any("media socket" in entry for entry in call.log)

    run(case)


def test_a_socket_that_breaks_comes_back_without_a_word_by_webhook() -> None:
    async def case() -> None:
        async with customer() as us, media_server() as server:
            us.exchange.faults.add("socket", Fault("drop", delay_s=0.05))
            call = await streamed(us, server)
            await server.wait_for("start", 2)
            assert call.sockets == 2
            assert us.kinds() == ["call.initiated", "call.answered", "streaming.started"]

    run(case)


def test_the_end_of_the_call_ends_its_stream_in_order() -> None:
    async def case() -> None:
        async with customer(SimpleParty(stays=0.05)) as us, media_server() as server:
            await streamed(us, server)
            hangup = await us.until("call.hangup")
            await server.wait_for("stop")
            assert hangup["hangup_source"] == "callee"
            assert us.kinds()[-2:] == ["streaming.stopped", "call.hangup"]

    run(case)


def test_closing_the_exchange_ends_everything_twice_if_need_be() -> None:
    async def case() -> None:
        async with customer() as us, media_server() as server:
            call = await streamed(us, server)
            await us.exchange.close()
            await us.exchange.close()
            assert call.reason == "carrier"
            async with asyncio.timeout(5):
                await server.ended.wait()

    run(case)


def test_what_is_not_simulated_is_noted() -> None:
    async def case() -> None:
        async with customer(habits=QUICK) as us:
            call = await us.dial(record="record-from-answer")
            assert list(call.log) == ["the simulation ignores record"]

    run(case)


def test_calls_have_parties_of_their_own() -> None:
    async def case() -> None:
        parties: list[SimpleParty] = []

        def reach(call: TelnyxCall) -> SimpleParty:
            parties.append(SimpleParty())
            assert call.direction == "inbound"
            return parties[-1]

        async with TelnyxExchange(reach) as exchange:
            first = await exchange.call_in(THEM, US, "http://127.0.0.1:9/")
            second = await exchange.call_in(THEM, US, "http://127.0.0.1:9/")
            assert [first.party, second.party] == parties
            assert [party.line for party in parties] == [first, second]
            assert first.provider_call_id != second.provider_call_id

    run(case)
