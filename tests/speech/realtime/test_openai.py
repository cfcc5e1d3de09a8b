from __future__ import annotations

from typing import Any

import pytest

from tests.speech.realtime.wire import SILENCE_20_MS, coded, event, sent
from voicecall.call.record import Speaker
from voicecall.clock import NS_PER_MS, ManualClock
from voicecall.errors import ConfigError, SpeechError
from voicecall.ports import (
    ALAW_8K,
    PCM16_8K,
    ULAW_8K,
    Briefing,
    FinalTranscript,
    PartialTranscript,
    ReplyAudio,
    ReplyDone,
    ReplyText,
    SpeechStarted,
    SpeechStopped,
    ToolCall,
    ToolSpec,
    ToolUse,
    Turn,
)
from voicecall.speech.realtime.openai import OpenAIRealtime, RealtimeDialogue, RealtimeSettings
from voicecall.speech.realtime.sockets import Account

pytestmark = pytest.mark.unit

SETTINGS = RealtimeSettings("a-model", "marin", "a-transcriber")
TOOL = ToolSpec("book", "Books a table.", {"type": "object", "properties": {}})
BRIEFING = Briefing("You answer the phone.", tools=(TOOL,))
NOW = 10**12
USAGE = {"total_tokens": 1, "input_tokens": 1, "output_tokens": 0, "type": "tokens"}


def session(**changes: Any) -> dict[str, Any]:
    return {"type": "realtime", "model": "a-model", **changes}


class Server:
    """The other side of a dialogue, without I/O."""

    def __init__(
        self, settings: RealtimeSettings = SETTINGS, briefing: Briefing = BRIEFING
    ) -> None:
        self.dialogue = RealtimeDialogue(settings, briefing, ULAW_8K)

    def tells(self, kind: str, **fields: Any) -> list[Any]:
        return [*self.dialogue.receive(event(kind, **fields), NOW)]

    def sent(self) -> list[dict[str, Any]]:
        return sent(self.dialogue)

    def sent_types(self) -> list[str]:
        return [message["type"] for message in self.sent()]

    def connects(self) -> dict[str, Any]:
        """Open a connection up to where audio flows; what the session was asked to be."""
        self.dialogue.opened(NOW)
        self.tells("session.created", session=session())
        (update,) = self.sent()
        self.tells("session.updated", session=session())
        asked: dict[str, Any] = update["session"]
        return asked

    def begins(self, response_id: str, wish: str | None = None) -> None:
        metadata = None if wish is None else {"wish": wish}
        response = {"id": response_id, "status": "in_progress", "metadata": metadata}
        self.tells("response.created", response=response)

    def adds(self, response_id: str, item_id: str) -> None:
        item = {"id": item_id, "type": "message", "role": "assistant", "content": []}
        place = {"response_id": response_id, "output_index": 0}
        self.tells("response.output_item.added", item=item, **place)

    def speaks(self, response_id: str, item_id: str, text: str, audio: bytes) -> list[Any]:
        place = {
            "response_id": response_id,
            "item_id": item_id,
            "output_index": 0,
            "content_index": 0,
        }
        return [
            *self.tells("response.output_audio_transcript.delta", delta=text, **place),
            *self.tells("response.output_audio.delta", delta=coded(audio), **place),
        ]

    def calls(self, response_id: str, call_id: str) -> list[Any]:
        return self.tells(
            "response.function_call_arguments.done",
            response_id=response_id,
            item_id=f"item-of-{call_id}",
            output_index=1,
            call_id=call_id,
            name="book",
            arguments='{"at": "ten"}',
        )

    def ends(self, response_id: str, status: str = "completed", **details: Any) -> list[Any]:
        response = {"id": response_id, "status": status, "status_details": details or None}
        return self.tells("response.done", response=response)

    def stops(self, item_id: str) -> None:
        """The caller has said something."""
        self.tells("input_audio_buffer.speech_stopped", audio_end_ms=900, item_id=item_id)
        self.tells("input_audio_buffer.committed", item_id=item_id, previous_item_id=None)

    def transcribes(self, item_id: str, text: str) -> list[Any]:
        return self.tells(
            "conversation.item.input_audio_transcription.completed",
            item_id=item_id,
            content_index=0,
            transcript=text,
            usage=USAGE,
        )

    def refuses(self, code: str, kind: str = "invalid_request_error", **fields: Any) -> list[Any]:
        error = {"type": kind, "code": code, "message": "no", **fields}
        return self.tells("error", error=error)


def test_the_session_is_configured_for_the_telephone() -> None:
    server = Server()
    server.dialogue.opened(NOW)
    assert server.sent() == []
    asked = server.connects()
    pcmu = {"type": "audio/pcmu"}
    assert asked["type"] == "realtime"
    assert asked["instructions"] == "You answer the phone."
    assert asked["output_modalities"] == ["audio"]
    assert asked["audio"]["output"] == {"format": pcmu, "voice": "marin", "speed": 1.0}
    assert asked["audio"]["input"] == {
        "format": pcmu,
        "noise_reduction": {"type": "near_field"},
        "transcription": {"model": "a-transcriber"},
        "turn_detection": {
            "type": "server_vad",
            "prefix_padding_ms": 300,
            "silence_duration_ms": 500,
            "create_response": True,
            "interrupt_response": True,
        },
    }
    assert [tool["name"] for tool in asked["tools"]] == ["book"]
    assert server.dialogue.ready


def test_the_session_can_be_configured_otherwise() -> None:
    remote = {"type": "mcp", "server_label": "diary", "server_url": "https://example.org/mcp"}
    settings = RealtimeSettings(
        "a-model",
        "cedar",
        "a-transcriber",
        language="de",
        idle_timeout_ms=6000,
        noise_reduction=None,
        tools=(remote,),
    )
    asked = Server(settings).connects()
    assert asked["audio"]["input"]["transcription"]["language"] == "de"
    assert "noise_reduction" not in asked["audio"]["input"]
    assert asked["audio"]["input"]["turn_detection"]["idle_timeout_ms"] == 6000
    assert asked["tools"][1] == remote
    semantic = RealtimeSettings("m", "v", "t", turn_detection="semantic", idle_timeout_ms=9000)
    assert Server(semantic).connects()["audio"]["input"]["turn_detection"] == {
        "type": "semantic_vad",
        "create_response": True,
        "interrupt_response": True,
    }


def test_the_engine_takes_g711_and_nothing_else() -> None:
    account = Account("secret-key")
    clock = ManualClock()
    assert OpenAIRealtime(account, SETTINGS, clock=clock).audio == ULAW_8K
    assert OpenAIRealtime(account, SETTINGS, clock=clock, audio=ALAW_8K).audio == ALAW_8K
    assert OpenAIRealtime(account, SETTINGS, clock=clock).takes_turns
    with pytest.raises(ConfigError):
        OpenAIRealtime(account, SETTINGS, clock=clock, audio=PCM16_8K)
    alaw = RealtimeDialogue(SETTINGS, BRIEFING, ALAW_8K)
    alaw.receive(event("session.created", session=session()), NOW)
    (update,) = sent(alaw)
    assert update["session"]["audio"]["output"]["format"] == {"type": "audio/pcma"}


def test_an_earlier_conversation_is_told_as_text() -> None:
    history = (
        Turn(Speaker.USER, "when?"),
        Turn(Speaker.BOT, "", ToolUse("book", "{}", "at ten")),
        Turn(Speaker.BOT, "At ten."),
    )
    server = Server(briefing=Briefing("", history))
    server.connects()
    items = [message["item"] for message in server.sent()]
    assert items[0]["content"] == [{"type": "input_text", "text": "when?"}]
    assert items[1]["type"] == "function_call"
    assert items[2]["output"] == "at ten"
    assert items[1]["call_id"] == items[2]["call_id"]
    assert items[3]["role"] == "assistant"
    assert items[3]["content"] == [{"type": "output_text", "text": "At ten."}]


def test_what_is_to_be_said_waits_for_the_session_and_is_read_out_literally() -> None:
    server = Server()
    server.dialogue.say("Hello, this is Harbour Dental.")
    server.connects()
    (create,) = server.sent()
    response = create["response"]
    assert response["input"][0]["content"][0]["text"] == "Hello, this is Harbour Dental."
    assert "word for word" in response["instructions"]
    assert response["tool_choice"] == "none"
    assert server.dialogue.due


def test_a_reply_comes_as_text_and_audio_and_ends() -> None:
    server = Server()
    server.connects()
    server.begins("r1")
    server.adds("r1", "i1")
    assert server.speaks("r1", "i1", "At ten.", SILENCE_20_MS) == [
        ReplyText("i1", "At ten."),
        ReplyAudio("i1", SILENCE_20_MS),
    ]
    assert server.ends("r1") == [ReplyDone("i1")]
    assert server.dialogue.quiet


def test_one_reply_is_asked_for_at_a_time() -> None:
    server = Server()
    server.connects()
    server.dialogue.say("one")
    server.dialogue.say("two")
    (first,) = server.sent()
    server.begins("r1", first["event_id"])
    server.ends("r1")
    (second,) = server.sent()
    assert second["response"]["input"][0]["content"][0]["text"] == "two"


def test_something_that_happened_is_told_before_the_model_is_asked_to_react() -> None:
    server = Server()
    server.connects()
    server.dialogue.prompt("[The caller pressed 5.]")
    item, create = server.sent()
    assert item["item"]["role"] == "system"
    assert item["item"]["content"][0]["text"] == "[The caller pressed 5.]"
    assert create["type"] == "response.create"


def test_nothing_is_asked_for_while_the_caller_speaks_or_waits_for_an_answer() -> None:
    server = Server()
    server.connects()
    server.tells("input_audio_buffer.speech_started", audio_start_ms=0, item_id="u1")
    server.dialogue.prompt("[The caller pressed 5.]")
    assert server.sent() == []
    server.stops("u1")
    assert server.sent() == []
    assert server.dialogue.due
    server.begins("r1")
    server.ends("r1")
    assert server.sent_types() == ["conversation.item.create", "response.create"]


def test_a_reply_that_collides_with_the_servers_own_is_asked_for_again() -> None:
    server = Server()
    server.connects()
    server.dialogue.say("one")
    (create,) = server.sent()
    server.begins("r1")
    code = "conversation_already_has_active_response"
    assert server.refuses(code, event_id=create["event_id"]) == []
    assert server.sent() == []
    server.ends("r1")
    server.dialogue.tick(NOW)
    (again,) = server.sent()
    assert again["response"]["input"] == create["response"]["input"]


def test_a_reply_that_is_refused_is_reported_as_failed() -> None:
    server = Server()
    server.connects()
    server.dialogue.say("one")
    (create,) = server.sent()
    refused = server.refuses("invalid_value", event_id=create["event_id"])
    assert refused == [ReplyDone(create["event_id"], failure="invalid_value")]
    assert server.dialogue.quiet


def test_speech_is_dated_by_when_its_audio_was_sent() -> None:
    server = Server()
    server.connects()
    for step in range(100):
        server.dialogue.audio(SILENCE_20_MS, NOW - (99 - step) * 20 * NS_PER_MS)
    # The server counts 300 ms of padding to the speech, and the silence that ended it.
    started = server.tells("input_audio_buffer.speech_started", audio_start_ms=100, item_id="u1")
    assert started == [SpeechStarted(NOW - 1600 * NS_PER_MS)]
    stopped = server.tells("input_audio_buffer.speech_stopped", audio_end_ms=2000, item_id="u1")
    assert stopped == [SpeechStopped(NOW - 500 * NS_PER_MS)]


def test_the_callers_words_come_as_partials_and_a_final() -> None:
    server = Server()
    server.connects()
    server.stops("u1")
    delta = "conversation.item.input_audio_transcription.delta"
    assert server.tells(delta, item_id="u1", delta="at") == [PartialTranscript("at")]
    assert server.tells(delta, item_id="u1", delta=" ten") == [PartialTranscript("at ten")]
    assert server.transcribes("u1", "At ten.") == [FinalTranscript("At ten.")]
    assert server.transcribes("u2", " ") == []


def test_words_that_cannot_be_transcribed_do_not_end_the_conversation() -> None:
    server = Server()
    server.connects()
    failed = "conversation.item.input_audio_transcription.failed"
    error = {"type": "server_error", "code": "audio_unintelligible"}
    assert server.tells(failed, item_id="u1", content_index=0, error=error) == []


def speaking(server: Server, audio_ms: int = 1000) -> None:
    server.connects()
    server.begins("r1")
    server.adds("r1", "i1")
    server.speaks("r1", "i1", "one two three four", b"\xff" * 8 * audio_ms)


def test_a_cancelled_reply_says_no_more() -> None:
    server = Server()
    speaking(server)
    server.dialogue.cancel()
    server.dialogue.cancel()
    assert [message["response_id"] for message in server.sent()] == ["r1"]
    assert server.speaks("r1", "i1", " five", SILENCE_20_MS) == []
    done = server.ends("r1", "cancelled", type="cancelled", reason="client_cancelled")
    assert done == [ReplyDone("i1", interrupted=True)]


def test_a_reply_that_was_asked_for_can_be_cancelled_before_it_begins() -> None:
    server = Server()
    server.connects()
    server.dialogue.say("one")
    (create,) = server.sent()
    server.dialogue.cancel()
    server.begins("r1", create["event_id"])
    assert server.sent_types() == ["response.cancel"]


def test_cancelling_when_nothing_is_said_asks_for_nothing() -> None:
    server = Server()
    server.connects()
    server.dialogue.cancel()
    assert server.sent() == []


@pytest.mark.parametrize(("heard_ms", "end_ms"), [(500, 500), (5000, 1000)])
def test_an_interrupted_reply_is_cut_to_what_was_heard_of_it(heard_ms: int, end_ms: int) -> None:
    server = Server()
    speaking(server)
    server.dialogue.cancel()
    server.sent()
    server.dialogue.heard("i1", heard_ms)
    (cut,) = server.sent()
    assert cut["type"] == "conversation.item.truncate"
    assert (cut["item_id"], cut["content_index"], cut["audio_end_ms"]) == ("i1", 0, end_ms)


def test_a_reply_of_which_nothing_was_heard_is_deleted() -> None:
    server = Server()
    speaking(server)
    server.ends("r1")
    server.dialogue.heard("i1", 0)
    assert server.sent_types() == ["conversation.item.delete"]


def test_a_reply_that_was_heard_to_its_end_is_left_as_it_is() -> None:
    server = Server()
    speaking(server)
    server.ends("r1")
    server.dialogue.heard("i1", 1000)
    server.dialogue.heard("never said", 1000)
    assert server.sent() == []


@pytest.mark.parametrize(
    ("status", "details", "failure"),
    [
        ("failed", {"type": "failed", "error": {"type": "x", "code": "quota"}}, "quota"),
        ("incomplete", {"type": "incomplete", "reason": "content_filter"}, "content_filter"),
        ("failed", {}, "failed"),
    ],
)
def test_a_reply_that_fails_says_why(status: str, details: dict[str, Any], failure: str) -> None:
    server = Server()
    speaking(server)
    assert server.ends("r1", status, **details) == [ReplyDone("i1", failure=failure)]
    server.begins("r2")
    assert server.ends("r2", status, **details) == [ReplyDone("r2", failure=failure)]


def test_tools_are_asked_for_when_the_reply_is_complete_and_all_answers_go_back_together() -> None:
    server = Server()
    speaking(server)
    assert server.calls("r1", "c1") == []
    assert server.calls("r1", "c2") == []
    arguments = '{"at": "ten"}'
    assert server.ends("r1") == [
        ReplyDone("i1"),
        ToolCall("c1", "book", arguments),
        ToolCall("c2", "book", arguments),
    ]
    server.dialogue.tool_result("c1", "booked")
    assert server.sent_types() == ["conversation.item.create"]
    assert not server.dialogue.quiet
    server.dialogue.tool_result("c2", "full")
    output, create = server.sent()
    item = {"type": "function_call_output", "call_id": "c2", "output": "full"}
    assert output["item"] == item
    assert create["type"] == "response.create"
    server.dialogue.tool_result("c2", "again")
    assert server.sent() == []


def test_a_tool_of_a_reply_that_was_interrupted_is_not_used_and_the_model_knows() -> None:
    server = Server()
    speaking(server)
    server.calls("r1", "c1")
    assert server.ends("r1", "cancelled") == [ReplyDone("i1", interrupted=True)]
    (output,) = server.sent()
    assert output["item"]["call_id"] == "c1"
    assert "Not done" in output["item"]["output"]


def test_a_tools_answer_needs_no_reply_of_its_own_when_the_server_has_begun_one() -> None:
    server = Server()
    speaking(server)
    server.calls("r1", "c1")
    server.ends("r1")
    server.tells("input_audio_buffer.speech_started", audio_start_ms=0, item_id="u1")
    server.dialogue.tool_result("c1", "booked")
    assert server.sent_types() == ["conversation.item.create"]
    server.stops("u1")
    server.begins("r2")
    server.ends("r2")
    assert server.sent() == []


def test_errors_of_a_running_session_are_survived() -> None:
    server = Server()
    speaking(server)
    assert server.refuses("response_cancel_not_active") == []
    assert server.refuses("invalid_value") == []
    assert server.speaks("r1", "i1", "go on", SILENCE_20_MS) != []


@pytest.mark.parametrize(
    ("kind", "retryable"), [("invalid_request_error", False), ("server_error", True)]
)
def test_a_session_that_is_refused_ends_the_connection(kind: str, retryable: bool) -> None:
    server = Server()
    with pytest.raises(SpeechError, match="no_such_model") as caught:
        server.refuses("no_such_model", kind)
    assert caught.value.retryable is retryable


@pytest.mark.parametrize(
    "message",
    [b"{", b"[]", b"1", b"{}", b'{"type": "response.done"}', b'{"type": 3}', b'{"type": "new"}'],
)
def test_a_message_that_makes_no_sense_means_nothing(message: bytes) -> None:
    server = Server()
    speaking(server)
    assert server.dialogue.receive(message, NOW) == ()
    assert server.ends("r1") == [ReplyDone("i1")]


def test_audio_that_is_no_base64_is_dropped() -> None:
    server = Server()
    speaking(server)
    place = {"response_id": "r1", "item_id": "i1", "output_index": 0, "content_index": 0}
    assert server.tells("response.output_audio.delta", delta="AAA", **place) == []


# --- a connection that breaks -------------------------------------------------------------------


def test_what_was_heard_is_told_to_the_next_connection() -> None:
    server = Server()
    server.connects()
    server.stops("u1")
    server.begins("r1")
    server.transcribes("u1", "When?")
    server.adds("r1", "i1")
    server.speaks("r1", "i1", "one two three four", b"\xff" * 8000)
    server.ends("r1")
    server.dialogue.heard("i1", 500)
    assert [*server.dialogue.broken(NOW)] == []
    server.connects()
    texts = [message["item"]["content"][0]["text"] for message in server.sent()]
    assert texts == ["When?", "one two"]
    assert server.dialogue.quiet
    # The new connection does not know the old item.
    server.dialogue.heard("i1", 100)
    assert server.sent() == []


def test_a_reply_that_breaks_off_is_ended_and_taken_up_again() -> None:
    server = Server()
    speaking(server)
    server.tells("input_audio_buffer.speech_started", audio_start_ms=0, item_id="u1")
    done = ReplyDone("i1", failure="the connection broke")
    assert [*server.dialogue.broken(NOW)] == [SpeechStopped(NOW), done]
    assert not server.dialogue.ready
    server.connects()
    said, fault, create = server.sent()
    assert said["item"]["content"][0]["text"] == "one two three four"
    assert fault["item"]["role"] == "system"
    assert "cut off" in fault["item"]["content"][0]["text"]
    assert create["type"] == "response.create"


def test_a_reply_of_which_nothing_was_heard_is_made_again_and_did_not_fail() -> None:
    server = Server()
    server.connects()
    server.dialogue.say("Good morning.")
    (create,) = server.sent()
    server.begins("r1", create["event_id"])
    server.adds("r1", "i1")
    place = {"response_id": "r1", "item_id": "i1", "output_index": 0, "content_index": 0}
    server.tells("response.output_audio_transcript.delta", delta="Good", **place)
    assert [*server.dialogue.broken(NOW)] == [ReplyDone("i1", interrupted=True)]
    server.connects()
    (again,) = server.sent()
    assert again["response"]["input"] == create["response"]["input"]


@pytest.mark.parametrize("begun", [False, True])
def test_what_was_to_be_said_is_said_on_the_next_connection(begun: bool) -> None:
    server = Server()
    server.connects()
    server.dialogue.say("Good morning.")
    (create,) = server.sent()
    if begun:
        server.begins("r1", create["event_id"])
    server.dialogue.broken(NOW)
    server.connects()
    (again,) = server.sent()
    assert again["response"]["input"] == create["response"]["input"]


def test_a_reply_that_was_cancelled_is_not_taken_up_again() -> None:
    server = Server()
    speaking(server)
    server.dialogue.cancel()
    server.dialogue.broken(NOW)
    server.connects()
    assert server.sent_types() == ["conversation.item.create"]


def test_words_that_were_not_answered_are_answered_on_the_next_connection() -> None:
    server = Server()
    server.connects()
    server.stops("u1")
    server.transcribes("u1", "When?")
    server.dialogue.broken(NOW)
    server.connects()
    said, create = server.sent()
    assert said["item"]["content"][0]["text"] == "When?"
    assert create["type"] == "response.create"


def test_words_that_were_lost_are_asked_for_again() -> None:
    server = Server()
    server.connects()
    server.stops("u1")
    server.dialogue.broken(NOW)
    server.connects()
    lost, create = server.sent()
    assert "say it again" in lost["item"]["content"][0]["text"]
    assert create["type"] == "response.create"


def test_a_tool_that_is_used_across_connections_is_answered_on_the_new_one() -> None:
    server = Server()
    speaking(server)
    server.calls("r1", "c1")
    server.ends("r1")
    server.dialogue.broken(NOW)
    server.connects()
    items = [message["item"]["type"] for message in server.sent()]
    assert items == ["message", "function_call"]
    server.dialogue.tool_result("c1", "booked")
    output, create = server.sent()
    assert (output["item"]["call_id"], output["item"]["output"]) == ("c1", "booked")
    assert create["type"] == "response.create"


def test_a_tools_answer_that_comes_between_connections_is_told_to_the_new_one() -> None:
    server = Server()
    speaking(server)
    server.calls("r1", "c1")
    server.ends("r1")
    server.dialogue.broken(NOW)
    server.dialogue.tool_result("c1", "booked")
    server.connects()
    *items, create = server.sent()
    kinds = [message["item"]["type"] for message in items]
    assert kinds == ["message", "function_call", "function_call_output"]
    assert create["type"] == "response.create"


def test_of_many_things_to_be_said_the_oldest_are_forgotten() -> None:
    server = Server()
    for number in range(40):
        server.dialogue.say(str(number))
    server.connects()
    (create,) = server.sent()
    assert create["response"]["input"][0]["content"][0]["text"] == "8"


def test_audio_is_carried_as_it_is() -> None:
    server = Server()
    server.connects()
    server.dialogue.outbox.append(server.dialogue.audio(SILENCE_20_MS, NOW))
    (append,) = server.sent()
    assert append == {"type": "input_audio_buffer.append", "audio": coded(SILENCE_20_MS)}
    assert server.dialogue.farewell() is None
