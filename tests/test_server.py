"""Whole calls over real sockets: control plane, mock carrier, media plane and conversation."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.hosting import (
    CALLEE,
    TOKEN,
    Hand,
    Served,
    as_heard,
    free_port,
    run,
    serving,
    settings,
    texts,
    until,
)
from voicecall.clock import SystemClock
from voicecall.config.schema import Config
from voicecall.errors import CarrierError, ConfigError, ServeError
from voicecall.server import Server
from voicecall.simulator import check_audio, run_script
from voicecall.simulator.script import parse_script
from voicecall.speech.stt.scripted import ScriptedSpeechToText
from voicecall.speech.tts.scripted import ScriptedTextToSpeech

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from voicecall.ports import ReplyPart, ReplyRequest

pytestmark = pytest.mark.socket

SECONDS_LONG = "This is a rather long answer that will certainly not be heard to its very end."


# --- calls we place ------------------------------------------------------------------------------


def test_a_notification_is_played_whole_and_hung_up_after_the_delay() -> None:
    async def case() -> None:
        async with serving() as served:
            call_id = await served.initiate("Good news. It works.", "notify")
            record = await served.ended(call_id)
            heard = bytes(served.hand.phone.heard_pcm)
            assert (record["state"], record["endReason"]) == ("hangup-bot", "hangup-bot")
            assert texts(record) == [("bot", "Good news. It works.")]
            assert (record["direction"], record["to"]) == ("outbound", CALLEE)
            assert record["startedAt"] <= record["answeredAt"] < record["endedAt"]
            sent = await as_heard("Good news.", "It works.")
            (check,) = check_audio([sent], heard)
            assert (check.complete, check.gaps, check.clicks) == (True, (), ())
            assert record["endedAt"] - record["answeredAt"] >= len(sent) / 16 + 100

    run(case())


def test_a_conversation_is_answered_and_ended_by_the_persona() -> None:
    async def case() -> None:
        spoken = ["When are you open?", "Good, bye."]
        async with serving(stt={"scripted": {"transcripts": spoken}}) as served:
            call_id = await served.initiate("Hello.")
            phone = await served.connected(call_id)
            await served.listening(call_id)
            await phone.say("When are you open?")
            await served.listening(call_id, said=2)
            await phone.say("Good, bye.")
            record = await served.ended(call_id)
            assert texts(record) == [
                ("bot", "Hello."),
                ("user", "When are you open?"),
                ("bot", "From ten to six."),
                ("user", "Good, bye."),
                ("bot", "Bye then."),
            ]
            assert record["endReason"] == "hangup-bot"
            assert record["metadata"]["turnCount"] == 2
            # 200 ms of silence end a turn here.
            assert 100 < record["metadata"]["lastTurnLatencyMs"] < 1500
            # How long each step of both answers took is told, and comes to the whole.
            told = await served.ask("latency", last="1")
            assert (told["calls"], told["turns"]) == (1, 2)
            assert told["listenWaitMs"]["count"] == 2
            assert {step["count"] for step in told["steps"].values()} == {2}
            for turn in record["metadata"]["turns"]:
                steps = sum(turn[name] for name in told["steps"])
                assert steps == pytest.approx(turn["latencyMs"], abs=0.1)
            metrics = (await served.http.get("/metrics")).text
            for step in ("final", "first_token", "first_audio", "first_frame"):
                assert f'voicecall_turn_step_seconds_count{{step="{step}"}} 2.0' in metrics

    run(case())


def test_an_interruption_clears_the_line_and_only_what_was_heard_is_kept() -> None:
    async def case() -> None:
        async with serving(stt={"scripted": {"transcripts": ["Stop, please."]}}) as served:
            call_id = await served.initiate("")
            phone = await served.connected(call_id)
            saying = asyncio.create_task(served.ask("speak", callId=call_id, message=SECONDS_LONG))
            await phone.wait_talking(800)
            await phone.say("Stop please")
            await saying
            assert phone.stats.playout.clears == 1
            await served.listening(call_id, said=2)
            await served.ask("end", callId=call_id)
            first = texts(await served.ended(call_id))[0]
            assert first[0] == "bot"
            assert SECONDS_LONG.startswith(first[1])
            assert 0 < len(first[1]) < len(SECONDS_LONG) / 2

    run(case())


def test_continue_returns_what_the_caller_said() -> None:
    async def case() -> None:
        async with serving(stt={"scripted": {"transcripts": ["Yes, at noon."]}}) as served:
            call_id = await served.initiate("Hello.")
            phone = await served.connected(call_id)
            await served.listening(call_id)
            asking = asyncio.create_task(
                served.ask("continue", callId=call_id, message="Does noon suit you?")
            )
            await served.listening(call_id, said=2)
            assert await served.fail("continue", callId=call_id, message="And?") == "turn_pending"
            await phone.say("Yes, at noon.")
            assert await asking == {"success": True, "transcript": "Yes, at noon."}
            # Whoever asks answers; the persona stays silent.
            await served.ask("end", callId=call_id)
            assert len(texts(await served.ended(call_id))) == 3

    run(case())


def test_a_question_can_be_asked_without_waiting() -> None:
    async def case() -> None:
        async with serving(stt={"scripted": {"transcripts": ["Seven."]}}) as served:
            call_id = await served.initiate("")
            phone = await served.connected(call_id)
            began = await served.ask("continue.start", callId=call_id, message="How many?")
            operation = began["operationId"]
            assert await served.ask("continue.result", operationId=operation) == {
                "status": "pending"
            }
            await served.listening(call_id)
            await phone.say("Seven")
            await until(lambda: served.server.manager.ask_result(operation).status == "done")
            result = await served.ask("continue.result", operationId=operation)
            assert result == {"status": "done", "transcript": "Seven."}

    run(case())


def test_keys_travel_both_ways() -> None:
    async def case() -> None:
        async with serving() as served:
            call_id = await served.initiate("")
            phone = await served.connected(call_id)
            assert await served.ask("dtmf", callId=call_id, digits="12#") == {"success": True}
            assert served.hand.keys == ["12#"]
            assert await served.fail("dtmf", callId=call_id, digits="12x") == "invalid_request"
            await phone.press("5")
            await served.listening(call_id)
            await served.ask("end", callId=call_id)
            record = await served.ended(call_id)
            assert texts(record) == [("bot", "Five it is.")]

    run(case())


def test_a_call_is_found_by_either_id_and_ended_once() -> None:
    async def case() -> None:
        async with serving() as served:
            call_id = await served.initiate("")
            phone = await served.connected(call_id)
            record = await served.call(call_id)
            by_carrier = await served.ask("status", sid=record["providerCallId"])
            assert by_carrier["call"]["callId"] == call_id
            live = (await served.ask("status"))["calls"]
            assert [each["callId"] for each in live] == [call_id]
            assert await served.ask("end", callId=record["providerCallId"]) == {"success": True}
            assert (await served.ended(call_id))["endReason"] == "hangup-bot"
            assert (await phone.wait_closed()).code == 1000
            assert await served.ask("end", callId=call_id) == {"success": True}
            assert (await served.ask("status"))["calls"] == []
            assert await served.fail("speak", callId=call_id, message="Hm?") == "call_ended"
            assert (await served.ask("status", callId="nobody")) == {"found": False}
            assert await served.fail("end", callId="nobody") == "unknown_call"

    run(case())


def test_a_caller_who_hangs_up_ends_the_call() -> None:
    async def case() -> None:
        async with serving() as served:
            call_id = await served.initiate("")
            await served.connected(call_id)
            served.hand.hung_up.set()
            assert (await served.ended(call_id))["endReason"] == "hangup-user"

    run(case())


@pytest.mark.parametrize(
    ("phone", "reason", "options"),
    [("busy", "busy", {}), ("no-answer", "no-answer", {"ringTimeoutMs": 1000})],
)
def test_a_call_that_nobody_takes_ends_for_that_reason(
    phone: str, reason: str, options: dict[str, Any]
) -> None:
    async def case() -> None:
        async with serving(by_hand=False, mock={"phone": phone}, **options) as served:
            record = await served.ended(await served.initiate("Hello."))
            assert (record["endReason"], record["answeredAt"]) == (reason, None)
            assert texts(record) == []

    run(case())


def test_an_unanswered_call_cannot_be_spoken_on() -> None:
    async def case() -> None:
        async with serving() as served:
            served.hand.let_ring = True
            call_id = await served.initiate("Hello.")
            assert await served.fail("speak", callId=call_id, message="Hm?") == "not_connected"

    run(case())


def test_an_echo_phone_says_back_what_it_hears() -> None:
    async def case() -> None:
        echo = {"phone": "echo"}
        stt = {"scripted": {"transcripts": ["Same to you."]}}
        async with serving(by_hand=False, mock=echo, stt=stt, bargeIn={"enabled": False}) as served:
            call_id = await served.initiate("")
            calls = served.server.manager
            await until(lambda: calls.live()[0].state.value in {"active", "listening"})
            asked = await served.ask("continue", callId=call_id, message="Hello")
            assert asked["transcript"] == "Same to you."

    run(case())


def test_a_script_and_a_persona_hold_a_call() -> None:
    script = parse_script(
        "{steps: [{do: 'listen', quietMs: 300}, {do: 'press', digits: '5'},"
        " {do: 'listen', quietMs: 300}, {do: 'hangUp'}]}",
        origin="a test",
    )

    async def case() -> None:
        async with serving() as served:
            call_id = await served.initiate("Hello.")
            phone = await served.connected(call_id)
            done = await run_script(phone, script)
            assert [each.step.do for each in done] == ["listen", "press", "listen", "hangUp"]
            record = await served.ended(call_id)
            assert texts(record) == [("bot", "Hello."), ("bot", "Five it is.")]
            assert record["endReason"] == "hangup-user"

    run(case())


def test_a_destination_that_is_no_number_is_refused_before_anything_happens() -> None:
    async def case() -> None:
        async with serving() as served:
            assert await served.fail("initiate", message="Hi", to="five") == "invalid_request"
            assert await served.fail("initiate", message="Hi") == "invalid_request"
            assert (await served.ask("status"))["calls"] == []

    run(case())


def test_no_more_calls_are_placed_than_configured_and_a_slot_comes_back() -> None:
    async def case() -> None:
        async with serving(maxConcurrentCalls=1) as served:
            call_id = await served.initiate("")
            failed = await served.fail("initiate", message="Hi", to=CALLEE)
            assert failed == "capacity_reached"
            await served.ask("end", callId=call_id)
            await served.ended(call_id)
            await served.initiate("")

    run(case())


def test_a_call_does_not_last_longer_than_configured() -> None:
    async def case() -> None:
        async with serving(maxDurationSeconds=1) as served:
            record = await served.ended(await served.initiate(SECONDS_LONG))
            assert record["endReason"] == "timeout"
            assert 950 <= record["endedAt"] - record["answeredAt"] < 3000
            assert (await served.hand.phone.wait_closed()).code == 1000

    run(case())


# --- calls by webhook ----------------------------------------------------------------------------


def test_without_a_phone_webhooks_drive_the_call() -> None:
    async def case() -> None:
        async with serving(by_hand=False, mock={"phone": "off"}) as served:
            call_id = await served.initiate("Hello.")
            assert (await served.call(call_id))["state"] == "initiated"
            for event, state in [
                ({"type": "call.ringing"}, "ringing"),
                ({"type": "call.answered"}, "answered"),
                ({"type": "call.ringing"}, "answered"),
                ({"type": "call.speech", "transcript": "Who is it?"}, "listening"),
                ({"type": "call.ended", "reason": "completed"}, "completed"),
                ({"type": "call.ended", "reason": "busy"}, "completed"),
            ]:
                assert await served.webhook(callId=call_id, **event) == 200
                assert (await served.call(call_id))["state"] == state
            assert texts(await served.call(call_id)) == [("user", "Who is it?")]

    run(case())


def test_a_webhook_that_is_no_event_changes_nothing() -> None:
    async def case() -> None:
        async with serving(by_hand=False, mock={"phone": "off"}) as served:
            call_id = await served.initiate("Hello.")
            assert await served.webhook(callId=call_id, type="call.exploded") == 400
            assert (await served.call(call_id))["state"] == "initiated"

    run(case())


@pytest.mark.parametrize(
    ("policy", "caller", "taken"),
    [
        ({}, "+15550007777", False),
        ({"inboundPolicy": "open"}, "+15550007777", True),
        ({"inboundPolicy": "allowlist", "allowFrom": ["+15550007777"]}, "+15550007777", True),
        ({"inboundPolicy": "allowlist", "allowFrom": ["+15550007777"]}, "+15550008888", False),
        ({"inboundPolicy": "allowlist", "allowFrom": ["+15550007777"]}, None, False),
    ],
)
def test_inbound_calls_are_taken_by_policy(
    policy: dict[str, Any], caller: str | None, taken: bool
) -> None:
    async def case() -> None:
        async with serving(by_hand=False, mock={"phone": "off"}, **policy) as served:
            event = {"providerCallId": "in-1", "direction": "inbound", "to": CALLEE}
            if caller is not None:
                event["from"] = caller
            for kind in ("call.ringing", "call.answered"):
                assert await served.webhook(type=kind, **event) == 200
            found = await served.ask("status", sid="in-1")
            assert found["found"] is taken
            if taken:
                call = found["call"]
                assert (call["direction"], call["state"]) == ("inbound", "answered")
                assert (call["from"], call["to"]) == (caller, CALLEE)
            metrics = (await served.http.get("/metrics")).text
            refused = 'voicecall_call_refusals_total{reason="policy"} 1.0' in metrics
            assert refused is not taken

    run(case())


# --- media sockets -------------------------------------------------------------------------------


def test_a_socket_that_drops_and_comes_back_carries_the_same_call() -> None:
    async def case() -> None:
        async with serving() as served:
            call_id = await served.initiate("")
            phone = await served.connected(call_id)
            await phone.drop()
            await phone.reconnect()
            assert (await served.call(call_id))["endedAt"] is None
            heard_before = len(phone.heard_pcm)
            await served.ask("speak", callId=call_id, message="Still there?")
            (check,) = check_audio(
                [await as_heard("Still there?")], bytes(phone.heard_pcm[heard_before:])
            )
            assert (check.complete, check.gaps, check.clicks) == (True, (), ())

    run(case())


def test_a_socket_that_drops_for_good_ends_the_call() -> None:
    async def case() -> None:
        async with serving() as served:
            call_id = await served.initiate("")
            phone = await served.connected(call_id)
            await phone.drop()
            record = await served.ended(call_id)
            assert record["endReason"] == "hangup-user"
            # Two seconds are left for it to come back.
            assert record["endedAt"] - record["answeredAt"] >= 1900

    run(case())


def test_the_token_of_a_call_that_is_over_opens_no_socket() -> None:
    async def case() -> None:
        async with serving() as served:
            call_id = await served.initiate("")
            phone = await served.connected(call_id)
            await served.ask("end", callId=call_id)
            await served.ended(call_id)
            await until(lambda: not served.server.manager.live_count)
            with pytest.raises(CarrierError, match="gave no stream"):
                await phone.reconnect()
            metrics = (await served.http.get("/metrics")).text
            assert 'voicecall_stream_refusals_total{reason="token"} 1.0' in metrics

    run(case())


def test_one_port_is_enough() -> None:
    async def case() -> None:
        async with serving(streaming={"port": 0}) as served:
            record = await served.ended(await served.initiate("It works.", "notify"))
            assert texts(record) == [("bot", "It works.")]
            (check,) = check_audio(
                [await as_heard("It works.")], bytes(served.hand.phone.heard_pcm)
            )
            assert (check.complete, check.gaps, check.clicks) == (True, (), ())

    run(case())


# --- health and life -----------------------------------------------------------------------------


def test_readiness_says_how_busy_the_server_is_and_nothing_secret() -> None:
    async def case() -> None:
        async with serving() as served:
            call_id = await served.initiate("")
            await served.connected(call_id)
            answer = await served.http.get("/readyz")
            assert answer.status_code == 200
            state = answer.json()
            assert (state["ready"], state["state"], state["provider"]) == (True, "ready", "mock")
            assert state["calls"] == {"live": 1, "limit": 128}
            assert state["streams"] == {"open": 1, "pending": 0}
            assert TOKEN not in answer.text

    run(case())


def test_the_warning_about_unverified_webhooks_is_in_readiness() -> None:
    async def case() -> None:
        async with serving(skipSignatureVerification=True) as served:
            (warning,) = (await served.http.get("/readyz")).json()["warnings"]
            assert warning.startswith("skipSignatureVerification")

    run(case())


def test_metrics_count_a_whole_call() -> None:
    async def case() -> None:
        async with serving(stt={"scripted": {"transcripts": ["Good, bye."]}}) as served:
            call_id = await served.initiate("Hello.")
            phone = await served.connected(call_id)
            await served.listening(call_id)
            await phone.say("Bye")
            await served.ended(call_id)
            await until(lambda: not served.server.manager.live_count)
            metrics = (await served.http.get("/metrics")).text
            for line in (
                'voicecall_calls_total{direction="outbound",reason="hangup-bot"} 1.0',
                'voicecall_calls_live{direction="outbound"} 0.0',
                "voicecall_turn_latency_seconds_count 1.0",
                "voicecall_time_to_first_audio_seconds_count 1.0",
                "voicecall_stream_faults_total 0.0",
                "voicecall_stream_concealed_frames_total 0.0",
            ):
                assert line in metrics.splitlines()

    run(case())


def test_rpc_needs_the_token_and_health_does_not() -> None:
    async def case() -> None:
        async with (
            serving() as served,
            httpx.AsyncClient(base_url=served.server.control_url) as stranger,
        ):
            assert (await stranger.post("/rpc", json={})).status_code == 401
            assert (await stranger.get("/events")).status_code == 401
            assert (await stranger.get("/healthz")).status_code == 200

    run(case())


def test_stopping_hangs_up_what_is_live() -> None:
    async def case() -> None:
        async with serving() as served:
            call_id = await served.initiate("")
            phone = await served.connected(call_id)
            await served.server.stop()
            record = served.server.manager.find(call_id)
            assert record is not None
            assert record.state.value == "hangup-bot"
            assert (await phone.wait_closed()).code == 1000
            # Once more is harmless.
            await served.server.stop()

    run(case())


def test_one_server_after_another_leaves_nothing_behind() -> None:
    servers: list[weakref.ref[Server]] = []

    async def one_life() -> None:
        async with serving() as served:
            servers.append(weakref.ref(served.server))
            record = await served.ended(await served.initiate("Hello.", "notify"))
            assert record["endReason"] == "hangup-bot"

    async def case() -> None:
        # The first one warms up what a process has once: thread pools, resolvers.
        await one_life()
        gc.collect()
        threads, descriptors = threading.active_count(), len(os.listdir("/proc/self/fd"))
        for _ in range(2):
            await one_life()
        await until(lambda: len(asyncio.all_tasks()) == 1)
        gc.collect()
        await until(lambda: threading.active_count() <= threads)
        await until(lambda: len(os.listdir("/proc/self/fd")) <= descriptors)

    run(case())
    gc.collect()
    assert [server() for server in servers] == [None] * len(servers)


def test_a_busy_media_port_is_told_and_frees_what_was_taken() -> None:
    async def case() -> None:
        control, media = free_port(), free_port()
        config = Config.model_validate(settings(serve={"port": control}, streaming={"port": media}))
        taken = await asyncio.start_server(lambda *_: None, "127.0.0.1", media)
        async with taken:
            with pytest.raises(ServeError, match=rf"streaming\.port: cannot listen on .*:{media}"):
                await Server(config).start()
        async with Server(config):
            pass

    run(case())


def test_a_busy_control_port_is_told_and_frees_the_media_port() -> None:
    async def case() -> None:
        control, media = free_port(), free_port()
        config = Config.model_validate(settings(serve={"port": control}, streaming={"port": media}))
        taken = await asyncio.start_server(lambda *_: None, "127.0.0.1", control)
        async with taken:
            with pytest.raises(ServeError, match=f"cannot listen on .* port {control}"):
                await Server(config).start()
            again = await asyncio.start_server(lambda *_: None, "127.0.0.1", media)
            again.close()

    run(case())


@pytest.mark.parametrize(
    ("setting", "complaint"),
    [
        ({"enabled": False}, "enabled: "),
        ({"provider": "twilio"}, "publicUrl: twilio reports calls to a URL of this server"),
        ({"streaming": {"enabled": False}}, r"streaming\.enabled: the mock carrier"),
        ({"serve": {"port": 0, "workers": 2}}, r"serve\.workers: "),
        (
            {
                "provider": "twilio",
                "publicUrl": "https://voice.example.com",
                "realtime": {"enabled": True},
                "streaming": {"enabled": False},
            },
            r"realtime\.enabled: ",
        ),
    ],
)
def test_what_this_version_cannot_do_is_refused(setting: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ServeError, match=complaint):
        Server(Config.model_validate({**settings(), **setting}))


def test_a_language_model_of_a_service_that_is_not_known_is_named() -> None:
    with pytest.raises(ConfigError, match="responseModel: acme"):
        Server(Config.model_validate({**settings(), "responseModel": "acme/some-model"}))


def test_a_call_that_has_ended_leaves_no_cycle_behind() -> None:
    """So that a server need not stop for a full collection while calls are up."""
    spoken = ["When are you open?"]
    # The phone and the HTTP client of the test leave some of theirs.
    ours = ("session", "media", "manager", "call", "dialog", "llm", "carriers", "_codec", "store")

    async def one_call(served: Served) -> None:
        call_id = await served.initiate("Hello.")
        phone = await served.connected(call_id)
        await served.listening(call_id)
        await phone.say("When are you open?")
        await served.listening(call_id, said=2)
        saying = asyncio.create_task(served.ask("speak", callId=call_id, message=SECONDS_LONG))
        await phone.wait_talking(300)
        await phone.press("1")
        await saying
        await served.ask("end", callId=call_id)
        await served.ended(call_id)
        await until(lambda: not served.server.manager.live_count)
        await until(lambda: not served.server._media.admission.open)

    async def case() -> list[str]:
        async with serving(stt={"scripted": {"transcripts": spoken}}) as served:
            await one_call(served)
            await asyncio.sleep(0)
            gc.collect()
            gc.disable()
            gc.set_debug(gc.DEBUG_SAVEALL)
            try:
                await one_call(served)
                await asyncio.sleep(0.05)
                gc.collect()
            finally:
                gc.set_debug(0)
                gc.enable()
            kinds = [type(each) for each in gc.garbage]
            gc.garbage.clear()
        modules = tuple(f"voicecall.{name}" for name in ours)
        return [each.__qualname__ for each in kinds if each.__module__.startswith(modules)]

    assert run(case()) == []


def test_a_server_tells_when_its_loop_was_blocked() -> None:
    async def case() -> None:
        async with serving() as served:
            before = (await served.http.get("/readyz")).json()["eventLoop"]
            await asyncio.sleep(0.03)
            time.sleep(0.3)  # noqa: ASYNC251  (what is to be noticed)
            await asyncio.sleep(0.05)
            after = (await served.http.get("/readyz")).json()["eventLoop"]
            assert after["blocked"] > before["blocked"]
            assert after["longestMs"] >= 200
            metrics = (await served.http.get("/metrics")).text
            assert 'voicecall_loop_blocked_seconds_count{loop="media"}' in metrics

    run(case())


def test_a_programs_own_engines_and_observers_serve_its_calls() -> None:
    class Parrot:
        async def reply(self, request: ReplyRequest) -> AsyncIterator[ReplyPart]:
            yield f"You said: {request.history[-1].text}"

        async def close(self) -> None:
            """Nothing is held."""

    async def case() -> None:
        config = Config.model_validate(settings(stt={"provider": "scripted"}))
        clock, hand = SystemClock(), Hand()
        seen: list[str] = []
        server = Server(
            config,
            callee=hand,
            responder=Parrot(),
            tts=ScriptedTextToSpeech(),
            stt=ScriptedSpeechToText(["Hello there."], clock=clock),
        )
        async with server:
            server.observe(lambda change: seen.append(change["type"]))
            call = await server.manager.initiate("", to=CALLEE, mode="conversation")
            await until(lambda: hand.phones)
            await until(lambda: call.state.value in {"active", "listening"})
            await asyncio.sleep(0.1)
            await hand.phone.say("Hello there")
            await until(lambda: len(call.transcript) == 2)
            assert call.transcript[1].text == "You said: Hello there."
            hand.hung_up.set()
        assert "call.speech" in seen

    run(case())
