from __future__ import annotations

import asyncio

import pytest

from tests.session.fakes import FakeCalls, FakePath, FakeResponder, FakeTts, Identity, run, until
from tests.session.fakes import record as call_record
from voicecall.call.events import CallActive, CallSpoken
from voicecall.call.record import CallState, Speaker
from voicecall.clock import ManualClock
from voicecall.errors import SpeechError
from voicecall.ports import ULAW_8K, HangUp, StreamStart
from voicecall.session.equipment import Equipment
from voicecall.session.registry import Sessions
from voicecall.session.session import Session
from voicecall.session.spoken import SpokenSession

pytestmark = pytest.mark.unit


def start(provider_call_id: str = "CA1") -> StreamStart:
    return StreamStart("MZ1", provider_call_id, ULAW_8K, None, {})


def sessions(calls: FakeCalls, *, known: str = "CA1") -> Sessions:
    made = Sessions(
        lambda _: Equipment([FakeTts()], responder=FakeResponder(["Bye.", HangUp()])),
        clock=ManualClock(),
        convert=Identity,
    )
    made.attach(calls, lambda _, provider_call_id: provider_call_id == known)
    return made


def opened(registry: Sessions, opening: str | None = None, call_id: str = "call-1") -> Session:
    conversation = registry.open(call_record(call_id=call_id), opening)
    assert isinstance(conversation, Session)
    return conversation


def test_a_socket_of_a_known_call_is_let_in() -> None:
    async def case() -> None:
        registry = sessions(FakeCalls())
        conversation = opened(registry)
        assert registry.admit("call-1", start()) is conversation
        assert registry.find("call-1") is conversation
        await registry.close()

    run(case())


@pytest.mark.parametrize(
    ("call_id", "provider_call_id"), [("call-2", "CA1"), ("call-1", "CA2"), ("call-1", "")]
)
def test_any_other_socket_is_not(call_id: str, provider_call_id: str) -> None:
    async def case() -> None:
        registry = sessions(FakeCalls(), known=provider_call_id if not provider_call_id else "CA1")
        registry.open(call_record(), None)
        assert registry.admit(call_id, start(provider_call_id)) is None
        await registry.close()

    run(case())


def test_a_socket_of_a_call_that_is_over_is_not_let_in() -> None:
    async def case() -> None:
        registry = sessions(FakeCalls())
        conversation = opened(registry)
        await conversation.close()
        assert registry.admit("call-1", start()) is None
        assert registry.find("call-1") is None
        await registry.close()

    run(case())


def test_no_call_is_held_before_its_owner_is_known() -> None:
    async def case() -> None:
        registry = Sessions(lambda _: Equipment([]), clock=ManualClock(), convert=Identity)
        with pytest.raises(RuntimeError, match="attach"):
            registry.open(call_record(), None)
        assert registry.admit("call-1", start()) is None

    run(case())


def test_a_conversation_may_be_closed_by_the_hang_up_it_asked_for() -> None:
    async def case() -> None:
        calls = FakeCalls()
        registry = sessions(calls)
        conversation = opened(registry)
        calls.on_end = conversation.close
        conversation.on_path_open(FakePath())
        await until(lambda: calls.of(CallActive))
        conversation.on_path_dtmf("1")
        await until(lambda: calls.ended)
        assert calls.ended == [("call-1", CallState.HANGUP_BOT)]
        await registry.close()
        assert [spoken.heard for spoken in calls.of(CallSpoken)] == ["Bye."]
        assert registry.find("call-1") is None

    run(case())


def test_a_hang_up_that_fails_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def fail() -> None:
        raise SpeechError("no carrier")

    async def case() -> None:
        calls = FakeCalls()
        calls.on_end = fail
        registry = sessions(calls)
        conversation = opened(registry)
        conversation.on_path_open(FakePath())
        conversation.on_path_lost("gone")
        await registry.close()
        assert "a call could not be ended" in [entry.message for entry in caplog.records]

    run(case())


def test_what_was_heard_last_is_recorded_after_the_end() -> None:
    async def case() -> None:
        calls, path = FakeCalls(), FakePath(instant=False)
        registry = sessions(calls)
        conversation = opened(registry, "One two three.")
        conversation.on_path_open(path)
        await until(lambda: path.utterances and path.utterances[0].finished)
        path.utterances[0].play(200)
        await conversation.close()
        await registry.close()
        assert [spoken.heard for spoken in calls.of(CallSpoken)] == ["One two"]

    run(case())


def test_a_call_of_the_same_person_continues_the_conversation() -> None:
    async def case() -> None:
        calls = FakeCalls()
        registry = sessions(calls)
        first = opened(registry, "Hello you.")
        first.on_path_open(FakePath())
        await until(lambda: calls.of(CallSpoken))
        await first.close()
        second = registry.open(call_record(call_id="call-2"), None)
        turns = second._history.turns
        assert [(turn.speaker, turn.text) for turn in turns] == [(Speaker.BOT, "Hello you.")]
        await registry.close()

    run(case())


def test_closing_ends_all_conversations_and_leaves_no_task() -> None:
    async def case() -> None:
        before = asyncio.all_tasks()
        registry = sessions(FakeCalls())
        for call_id in ("call-1", "call-2"):
            opened(registry, call_id=call_id).on_path_open(FakePath())
        await registry.close()
        assert registry.find("call-1") is registry.find("call-2") is None
        assert asyncio.all_tasks() == before

    run(case())


class SilentVoice:
    async def say(self, provider_call_id: str, text: str) -> bool:
        return True

    async def stop_speaking(self, provider_call_id: str) -> None:
        pass

    async def listen(self, provider_call_id: str) -> None:
        pass


def test_with_a_carriers_voice_it_speaks_and_no_socket_is_let_in() -> None:
    async def case() -> None:
        calls = FakeCalls()
        registry = Sessions(
            lambda _: Equipment(()), clock=ManualClock(), convert=Identity, voice=SilentVoice()
        )
        registry.attach(calls, lambda _, __: True)
        named = call_record()
        named.provider_call_id = "CA1"
        conversation = registry.open(named, "Hello.")
        assert isinstance(conversation, SpokenSession)
        assert registry.find("call-1") is conversation
        assert registry.admit("call-1", start()) is None
        conversation.answered()
        await until(lambda: calls.of(CallSpoken))
        await registry.close()
        assert registry.find("call-1") is None

    run(case())


def test_what_webhooks_report_of_a_streamed_call_is_not_heard_twice() -> None:
    async def case() -> None:
        calls = FakeCalls()
        registry = sessions(calls)
        conversation = opened(registry)
        conversation.answered()
        conversation.on_path_open(FakePath())
        await until(lambda: calls.of(CallActive))
        conversation.heard("Hello?", awaited=False)
        conversation.pressed("1")
        await registry.close()
        assert calls.of(CallSpoken) == []
        assert conversation._history.turns == ()

    run(case())


def test_keys_sound_on_calls_whose_carrier_cannot_send_them_without_harm() -> None:
    async def case() -> None:
        registry = Sessions(
            lambda _: Equipment([FakeTts()]),
            clock=ManualClock(),
            convert=Identity,
            tones=lambda digits, audio: [bytes(audio.octets_per_second) for _ in digits],
        )
        registry.attach(FakeCalls(), lambda _, provider_call_id: provider_call_id == "CA1")
        path = FakePath()
        conversation = opened(registry)
        # The conversation's own task begins.
        await asyncio.sleep(0)
        conversation.on_path_open(path)
        assert await conversation.press("12") is True
        assert path.utterances[0].total_ms == 2000
        await registry.close()

    run(case())
