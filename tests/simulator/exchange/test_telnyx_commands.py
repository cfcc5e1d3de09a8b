from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from voicecall.simulator.exchange import telnyx_commands as commands
from voicecall.simulator.exchange.telnyx_commands import Dialling, Fields, Transcribing
from voicecall.simulator.exchange.telnyx_refusals import Refused

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.unit

DIAL = {"connection_id": "42", "to": "+13125550002", "from": "+13125550001"}


def refused(read: Callable[[Fields], object], **body: Any) -> str:
    with pytest.raises(Refused) as caught:
        read(Fields(body))
    return caught.value.code


def test_a_dial_has_the_documented_defaults() -> None:
    read = Dialling.read(Fields(DIAL))
    assert read == Dialling(
        connection_id="42",
        to="+13125550002",
        from_number="+13125550001",
        ring_s=30,
        longest_s=14_400,
        retry_on_timeout=True,
        detection="disabled",
        digits=None,
        streaming=None,
        webhook_url=None,
    )


@pytest.mark.parametrize("name", DIAL)
@pytest.mark.parametrize("value", [None, "", "  "])
def test_a_dial_needs_all_of_its_required_fields(name: str, value: str | None) -> None:
    assert refused(Dialling.read, **(DIAL | {name: value})) == "10004"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"to": 5}, "10015"),
        ({"to": "+0"}, "10016"),
        ({"from": "anonymous"}, "10016"),
        ({"timeout_secs": 601}, "10033"),
        ({"timeout_secs": "30"}, "10015"),
        ({"timeout_secs": True}, "10015"),
        ({"time_limit_secs": 14_401}, "10033"),
        ({"retry_on_timeout": "no"}, "10015"),
        ({"answering_machine_detection": "detect "}, "10032"),
        ({"send_digits_on_answer": "1" * 65}, "10033"),
        ({"send_digits_on_answer": "1;"}, "10015"),
        ({"webhook_url": "ftp://calls.example/"}, "10015"),
        ({"webhook_url_method": "GET"}, "10032"),
    ],
    ids=str,
)
def test_a_dial_with_a_wrong_field_is_refused(changes: dict[str, Any], code: str) -> None:
    assert refused(Dialling.read, **(DIAL | changes)) == code


def test_streaming_has_the_documented_defaults_mp3_among_them() -> None:
    read = commands.streaming(Fields({"stream_url": "wss://calls.example/s?token=t"}))
    assert read is not None
    assert read.url == "wss://calls.example/s?token=t"
    assert (read.track, read.codec, read.mode) == ("inbound_track", "default", "mp3")
    assert (read.return_codec, read.return_rate_hz) == ("PCMU", 8000)
    assert read.parameters == {}
    assert read.described() == {"stream_url": read.url, "track": "inbound_track"}


def test_without_a_url_nothing_is_streamed() -> None:
    assert commands.streaming(Fields({"stream_codec": "PCMU"})) is None
    assert refused(commands.required_streaming) == "10004"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"stream_url": "http://calls.example/"}, "10015"),
        ({"stream_url": "wss://"}, "10015"),
        ({"stream_track": "inbound"}, "10032"),
        ({"stream_codec": "pcmu"}, "10032"),
        ({"stream_bidirectional_mode": "wav"}, "10032"),
        ({"stream_bidirectional_codec": "default"}, "10032"),
        ({"stream_bidirectional_sampling_rate": 11_025}, "10032"),
        ({"stream_bidirectional_sampling_rate": 4000}, "10033"),
        ({"stream_bidirectional_target_legs": "all"}, "10032"),
        ({"custom_parameters": {"token": "t"}}, "10015"),
        ({"custom_parameters": [{"name": "token"}]}, "10015"),
    ],
    ids=str,
)
def test_streaming_with_a_wrong_field_is_refused(changes: dict[str, Any], code: str) -> None:
    body = {"stream_url": "wss://calls.example/"} | changes
    assert refused(commands.required_streaming, **body) == code


def test_custom_parameters_are_names_and_values() -> None:
    pairs = [{"name": "a", "value": "1"}, {"name": "b", "value": "2"}]
    read = commands.required_streaming(
        Fields({"stream_url": "wss://calls.example/", "custom_parameters": pairs})
    )
    assert read.parameters == {"a": "1", "b": "2"}


def test_a_text_to_say_needs_a_voice_and_has_a_limit() -> None:
    assert commands.speech(Fields({"payload": "hello", "voice": "female"})) == "hello"
    assert refused(commands.speech, payload="hello") == "10004"
    assert refused(commands.speech, voice="female") == "10004"
    assert refused(commands.speech, payload="a" * 3001, voice="female") == "10033"
    assert refused(commands.speech, payload="a", voice="female", payload_type="html") == "10032"


def test_a_transcription_may_have_interim_results() -> None:
    assert Transcribing.read(Fields({})) == Transcribing("A", interim=False)
    body = {
        "transcription_engine": "Google",
        "transcription_engine_config": {"interim_results": True},
    }
    assert Transcribing.read(Fields(body)) == Transcribing("Google", interim=True)
    assert refused(Transcribing.read, transcription_engine="Whisper") == "10032"
    assert refused(Transcribing.read, transcription_engine_config=[]) == "10015"
    assert refused(Transcribing.read, transcription_tracks="left") == "10032"


def test_keys_have_to_exist_and_be_there() -> None:
    assert commands.keys(Fields({"digits": "1w*#D"})) == "1w*#D"
    assert refused(commands.keys) == "10004"
    assert refused(commands.keys, digits="1 2") == "10015"
    assert refused(commands.keys, digits="1", duration_millis=99) == "10033"


def test_a_rejection_has_one_of_the_documented_causes() -> None:
    assert commands.rejection(Fields({"cause": "USER_BUSY"})) == "USER_BUSY"
    assert refused(commands.rejection) == "10004"
    assert refused(commands.rejection, cause="busy") == "10032"


def test_client_state_has_to_be_base64() -> None:
    assert Fields({"client_state": "aGVsbG8="}).client_state() == "aGVsbG8="
    assert Fields({}).client_state() is None
    assert refused(Fields.client_state, client_state="hello!") == "10015"
    assert refused(Fields.client_state, client_state={}) == "10015"


def test_fields_that_nobody_read_are_known() -> None:
    fields = Fields({"voice": "female", "payload": "hello", "loop": 2, "service_level": "basic"})
    commands.speech(fields)
    assert fields.ignored() == ["loop", "service_level"]
