"""Who is given what: by direction, by the dialled number, and shared where it is the same."""

import asyncio
import sys
from typing import Any

import pytest

from tests.hosting import PERSONA, settings
from tests.session.fakes import FakeTts
from voicecall.call.record import CallRecord, CallState, Direction
from voicecall.clock import ManualClock
from voicecall.config.schema import Config
from voicecall.errors import ConfigError, DependencyMissing
from voicecall.session.outfitter import Outfitter, OwnEngines

pytestmark = pytest.mark.unit

OURS = "+15550001000"
OTHER = "+15550002000"


def outfitter(**sections: Any) -> Outfitter:
    return Outfitter(Config.model_validate(settings(**sections)), ManualClock())


def call(direction: Direction, to_number: str) -> CallRecord:
    return CallRecord(
        call_id="c",
        provider="mock",
        direction=direction,
        state=CallState.INITIATED,
        from_number="+15550003000",
        to_number=to_number,
        session_key="s",
        started_at=0,
    )


def test_the_dialled_number_decides_what_an_inbound_call_is_held_with() -> None:
    room = outfitter(
        numbers={OURS: {"responseTimeoutMs": 1234, "responseModel": "scripted/builtin"}}
    )
    general = room.equip(call(Direction.INBOUND, OTHER))
    own = room.equip(call(Direction.INBOUND, OURS))
    assert own.settings.response_timeout_ms == 1234
    assert general.settings.response_timeout_ms == 30_000
    assert own.responder is not general.responder


def test_an_outbound_call_to_one_of_our_numbers_is_like_any_other() -> None:
    room = outfitter(numbers={OURS: {"responseTimeoutMs": 1234}})
    assert room.equip(call(Direction.OUTBOUND, OURS)) is room.equip(call(Direction.OUTBOUND, OTHER))


def test_what_is_the_same_for_two_numbers_is_shared() -> None:
    model = f"scripted/{PERSONA}"
    room = outfitter(numbers={OURS: {"responseModel": model}, OTHER: {"responseTimeoutMs": 1}})
    one, two = (room.equip(call(Direction.INBOUND, number)) for number in (OURS, OTHER))
    assert one.responder is two.responder
    assert one.tts[0] is two.tts[0]
    assert one.stt is two.stt


def test_a_number_may_have_a_voice_of_its_own() -> None:
    room = outfitter(numbers={OURS: {"tts": {"provider": "local", "local": {"seed": 7}}}})
    one, two = (room.equip(call(Direction.INBOUND, number)) for number in (OURS, OTHER))
    assert one.tts[0] is not two.tts[0]
    asyncio.run(room.close())


def test_what_interrupts_the_bot_is_taken_from_the_configuration() -> None:
    room = outfitter(bargeIn={"enabled": False, "minSpeechMs": 321, "minLevelDbfs": -33})
    barge_in = room.equip(call(Direction.OUTBOUND, OTHER)).settings.barge_in
    assert (barge_in.enabled, barge_in.min_speech_ms, barge_in.min_level_dbfs) == (False, 321, -33)


def test_calls_that_a_program_holds_are_replied_to_by_nobody() -> None:
    config = settings(numbers={OURS: {"responseModel": "openai/gpt-test"}})
    room = Outfitter(Config.model_validate(config), ManualClock(), held=True)
    for number in (OURS, OTHER):
        equipment = room.equip(call(Direction.INBOUND, number))
        assert equipment.responder is None
        assert equipment.tts
        assert equipment.stt


def test_only_a_program_may_do_without_its_voice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hibari", None)

    async def case() -> None:
        config = Config.model_validate(settings(tts={"provider": "local"}))
        held = Outfitter(config, ManualClock(), held=True)
        await held.prepare()
        await held.close()
        other = Outfitter(config, ManualClock())
        with pytest.raises(DependencyMissing, match="hibari"):
            await other.prepare()
        await other.close()

    asyncio.run(case())


def test_without_streaming_nobody_listens() -> None:
    room = outfitter(streaming={"enabled": False})
    assert room.equip(call(Direction.OUTBOUND, OTHER)).stt is None


def test_without_streaming_no_voice_of_ours_is_needed() -> None:
    async def case() -> None:
        own = OwnEngines(tts=FakeTts())
        for room in (
            outfitter(streaming={"enabled": False}),
            Outfitter(
                Config.model_validate(settings(streaming={"enabled": False})), ManualClock(), own
            ),
        ):
            equipment = room.equip(call(Direction.OUTBOUND, OTHER))
            assert equipment.tts == ()
            assert equipment.responder is not None
            await room.prepare()
            await room.close()

    asyncio.run(case())


def test_a_service_that_is_not_known_is_named_even_if_only_a_number_wants_it() -> None:
    with pytest.raises(ConfigError, match="responseModel: acme"):
        outfitter(numbers={OURS: {"responseModel": "acme/some-model"}})


def test_a_number_may_be_left_to_a_model_that_converses_by_itself() -> None:
    fitter = outfitter(
        realtime={"enabled": False, "provider": "local"},
        tools={"fillerAfterMs": 300},
        numbers={OURS: {"realtime": {"enabled": True, "instructions": "You are Ann."}}},
    )
    general, own = (
        fitter.equip(call(Direction.INBOUND, OTHER)),
        fitter.equip(call(Direction.INBOUND, OURS)),
    )
    assert general.model is None
    assert general.responder is not None
    assert own.model is not None
    assert own.model.errands.filler_after_ms == 300
    assert own.settings.instructions == "You are Ann."
    assert own.stt is None


def test_a_number_has_its_own_manners() -> None:
    fitter = outfitter(
        responseSystemPrompt="Be kind.",
        numbers={OURS: {"responseSystemPrompt": "Be brief.", "bargeIn": {"enabled": False}}},
    )
    general, own = (
        fitter.equip(call(Direction.INBOUND, OTHER)),
        fitter.equip(call(Direction.INBOUND, OURS)),
    )
    assert general.settings.instructions == "Be kind."
    assert general.settings.barge_in.enabled
    assert own.settings.instructions == "Be brief."
    assert not own.settings.barge_in.enabled
    assert own.responder is general.responder
    assert own.stt is general.stt


def test_a_number_may_listen_for_longer() -> None:
    fitter = outfitter(numbers={OURS: {"stt": {"silenceDurationMs": 1500}}})
    assert (
        fitter.equip(call(Direction.INBOUND, OURS)).stt
        is not fitter.equip(call(Direction.INBOUND, OTHER)).stt
    )
