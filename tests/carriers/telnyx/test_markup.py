from __future__ import annotations

import inspect
from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from telnyx.resources.calls import AsyncCallsResource
from telnyx.resources.calls.actions import AsyncActionsResource

from voicecall.call.record import Direction
from voicecall.carriers.telnyx import markup
from voicecall.carriers.telnyx.markup import ClientState, Command, FarEnd, TelnyxSettings
from voicecall.errors import InvalidRequest
from voicecall.ports import DialRequest

pytestmark = pytest.mark.unit

SETTINGS = TelnyxSettings("KEY-secret", "42")
EVERYTHING = replace(
    SETTINGS,
    webhook_url="https://calls.example/voice/webhook",
    target_legs="self",
    from_number="+13125550001",
    detect_machines=True,
    max_duration_s=300,
)
STREAM = "wss://calls.example/voice/stream/0123456789abcdef"
REQUEST = DialRequest("c-1", "+13125550002", "+13125550001", "notify", None, 30_000)
STATE = ClientState("c-1", Direction.OUTBOUND, streams=True)


def dial(settings: TelnyxSettings = SETTINGS, **changes: Any) -> dict[str, Any]:
    return markup.dial(settings, replace(REQUEST, **changes))


def test_a_dial_says_no_more_than_it_has_to() -> None:
    said = dial()
    assert ClientState.decode(said.pop("client_state")) == ClientState("c-1", Direction.OUTBOUND)
    assert said == {
        "connection_id": "42",
        "from_": "+13125550001",
        "to": "+13125550002",
        "timeout_secs": 30,
        "retry_on_timeout": False,
        "command_id": "c-1",
    }


def test_media_are_streamed_both_ways_as_the_dialect_speaks() -> None:
    said = dial(stream_url=STREAM)
    assert said["stream_url"] == STREAM
    # The mode that Telnyx assumes plays no raw audio.
    assert said["stream_bidirectional_mode"] == "rtp"
    assert said["stream_bidirectional_codec"] == "PCMU"
    assert said["stream_codec"] == "PCMU"
    assert said["stream_bidirectional_sampling_rate"] == 8000
    state = ClientState.decode(said["client_state"])
    assert state is not None
    assert state.streams


@pytest.mark.parametrize(
    ("ring_timeout_ms", "seconds"), [(1, 5), (5_001, 6), (30_000, 30), (10_000_000, 600)]
)
def test_the_ring_time_is_whole_seconds_within_telnyxs_limits(
    ring_timeout_ms: int, seconds: int
) -> None:
    assert dial(ring_timeout_ms=ring_timeout_ms)["timeout_secs"] == seconds


@pytest.mark.parametrize(("limit_s", "seconds"), [(10, 60), (300, 300), (90_000, 14_400)])
def test_a_limit_on_calls_holds_at_telnyx_too(limit_s: int, seconds: int) -> None:
    assert dial(replace(SETTINGS, max_duration_s=limit_s))["time_limit_secs"] == seconds


def test_keys_are_sent_once_answered_as_many_as_telnyx_takes() -> None:
    assert dial(dtmf_sequence="w1" * 32)["send_digits_on_answer"] == "w1" * 32
    with pytest.raises(InvalidRequest, match="at most 64 keys"):
        dial(dtmf_sequence="1" * 65)


def test_machines_are_listened_for_only_if_asked_for() -> None:
    assert "answering_machine_detection" not in dial()
    assert dial(EVERYTHING)["answering_machine_detection"] == "detect"


COMMANDS = [
    markup.answer(EVERYTHING, "c-2", STREAM),
    markup.answer(SETTINGS, "c-2", None),
    markup.stream(EVERYTHING, STATE, STREAM),
    *markup.speak(SETTINGS, "Hello"),
    markup.stop_speaking(),
    markup.listen(SETTINGS),
    markup.stop_listening(),
    markup.keys("12#"),
    markup.transfer(SETTINGS, "v3:call", "+13125550003"),
    markup.transfer(EVERYTHING, "v3:call", "sip:desk@example.com"),
    markup.hang_up(),
]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.action)
def test_commands_have_documented_parameters_only(command: Command) -> None:
    method = getattr(AsyncActionsResource, command.action)
    inspect.signature(method).bind(None, "v3:call", **command.parameters)


def test_a_dial_has_documented_parameters_only() -> None:
    said = dial(EVERYTHING, stream_url=STREAM, dtmf_sequence="1")
    inspect.signature(AsyncCallsResource.dial).bind(None, **said)


def test_enumerated_values_are_documented_ones() -> None:
    said = dial(EVERYTHING, stream_url=STREAM)
    documented = inspect.getsource(AsyncCallsResource.dial)
    for name in ("stream_track", "answering_machine_detection", "webhook_url_method"):
        assert f'"{said[name]}"' in documented


def test_an_inbound_call_is_answered_with_its_stream() -> None:
    command = markup.answer(SETTINGS, "c-2", STREAM)
    assert command.parameters["stream_url"] == STREAM
    state = ClientState.decode(command.parameters["client_state"])
    assert state == ClientState("c-2", Direction.INBOUND, streams=True)
    # The same command again has the same id, so that Telnyx ignores it.
    assert markup.answer(SETTINGS, "c-2", STREAM) == command


def test_whom_a_call_is_handed_on_to_is_shown_a_number_of_ours() -> None:
    said = markup.transfer(EVERYTHING, "v3:call", "+13125550003").parameters
    assert (said["to"], said["from_"]) == ("+13125550003", "+13125550001")
    assert said["webhook_url"] == EVERYTHING.webhook_url
    assert "from_" not in markup.transfer(SETTINGS, "v3:call", "+13125550003").parameters


def test_the_far_end_of_a_call_is_no_call_of_ours() -> None:
    said = markup.transfer(SETTINGS, "v3:call", "+13125550003").parameters
    encoded = said["target_leg_client_state"]
    assert FarEnd.decode(encoded) == FarEnd("v3:call")
    assert ClientState.decode(encoded) is None
    for other in (STATE.encode(), "?", "", None, 7, "e30="):
        assert FarEnd.decode(other) is None


def test_a_stream_to_the_same_url_is_the_same_command() -> None:
    first = markup.stream(SETTINGS, STATE, STREAM).parameters["command_id"]
    assert markup.stream(SETTINGS, STATE, STREAM).parameters["command_id"] == first
    assert markup.stream(SETTINGS, STATE, f"{STREAM}2").parameters["command_id"] != first


def test_a_long_text_is_said_in_pieces_cut_between_words() -> None:
    text = " ".join(["word"] * 2000)
    said = [command.parameters["payload"] for command in markup.speak(SETTINGS, text)]
    assert len(said) == 4
    assert " ".join(said) == text


def test_text_is_never_read_as_markup() -> None:
    (command,) = markup.speak(SETTINGS, "<speak>&amp;</speak>")
    assert command.parameters["payload_type"] == "text"


@given(
    call_id=st.text(st.characters(codec="utf-8")),
    direction=st.sampled_from(Direction),
    streams=st.booleans(),
)
def test_a_state_comes_back_as_it_was_sent(
    call_id: str, direction: Direction, streams: bool
) -> None:
    state = ClientState(call_id, direction, streams)
    encoded = state.encode()
    # It travels inside JSON, twice.
    assert ClientState.decode(orjson.loads(orjson.dumps(encoded))) == state


@given(st.one_of(st.text(), st.binary(), st.none(), st.integers()))
def test_no_other_state_is_taken_for_ours(encoded: object) -> None:
    assert ClientState.decode(encoded) is None


def test_the_key_is_not_shown() -> None:
    assert "secret" not in repr(SETTINGS)
