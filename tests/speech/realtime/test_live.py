from __future__ import annotations

from typing import Any

import pytest

from tests.speech.realtime.wire import SILENCE_20_MS, coded, live_event, live_sent
from voicecall.call.record import Speaker
from voicecall.clock import ManualClock
from voicecall.errors import ConfigError, SpeechError
from voicecall.ports import (
    PCM16_8K,
    ULAW_8K,
    Briefing,
    FinalTranscript,
    PartialTranscript,
    ReplyAudio,
    ReplyText,
    ToolCall,
    ToolSpec,
    ToolUse,
    Turn,
)
from voicecall.speech.realtime.live import REPLY_ID, LiveDialogue, LiveSettings, OpenAILive
from voicecall.speech.realtime.sockets import Account

pytestmark = pytest.mark.unit

SETTINGS = LiveSettings("a-live-model", "marin")
BACKED = LiveSettings("a-live-model", "marin", "a-text-model")
TOOL = ToolSpec("book", "Books a table.", {"type": "object", "properties": {}})
BRIEFING = Briefing("You answer the phone.", tools=(TOOL,))


class Server:
    """The other side of a dialogue, without I/O."""

    def __init__(self, settings: LiveSettings = SETTINGS, briefing: Briefing = BRIEFING) -> None:
        self.clock = ManualClock()
        self.dialogue = LiveDialogue(settings, briefing, ULAW_8K, self.clock)
        expires_at = self.clock.wall_ms() // 1000 + 3600
        model = "a-live-model"
        self.session = {"id": "s", "expires_at": expires_at, "model": model, "status": "active"}

    def tells(self, kind: str, **fields: Any) -> list[Any]:
        return [*self.dialogue.receive(live_event(kind, **fields), self.clock.now_ns())]

    def sent(self) -> list[dict[str, Any]]:
        return live_sent(self.dialogue)

    def connects(self) -> dict[str, Any]:
        self.dialogue.opened(self.clock.now_ns())
        (start,) = self.sent()
        self.tells("session.started", session=self.session)
        asked: dict[str, Any] = start["session"]
        return asked

    def hears(self, text: str) -> list[Any]:
        return self.tells("session.input_transcript.delta", delta=text, start_ms=0, end_ms=1)

    def says(self, text: str) -> list[Any]:
        return self.tells("session.output_transcript.delta", delta=text, start_ms=0, end_ms=1)

    def plays(self, audio: bytes = SILENCE_20_MS) -> list[Any]:
        return self.tells("session.output_audio.delta", delta=coded(audio))

    def calls(self, call_id: str) -> list[Any]:
        item = {"type": "function_call", "call_id": call_id, "name": "book", "arguments": "{}"}
        nested = {"type": "response.output_item.done", "output_index": 0, "item": item}
        return self.tells("response.event", event=nested, delegation_id="d1")


def test_the_session_is_started_for_the_telephone_with_what_was_said_before() -> None:
    history = (
        Turn(Speaker.USER, "when?"),
        Turn(Speaker.BOT, "", ToolUse("book", "{}", "at ten")),
        Turn(Speaker.BOT, "At ten."),
    )
    asked = Server(briefing=Briefing("Be kind.", history)).connects()
    assert asked["model"] == "a-live-model"
    assert asked["instructions"] == "Be kind."
    assert asked["audio"]["format"] == {"type": "audio/pcmu", "rate": 8000}
    assert asked["audio"]["output"] == {"voice": "marin"}
    assert asked["delegation"] == {"type": "client"}
    said = [(turn["role"], turn["content"][0]["text"]) for turn in asked["input"]]
    assert said == [("user", "when?"), ("assistant", "At ten.")]


def test_the_engine_makes_one_unending_reply_in_g711() -> None:
    engine = OpenAILive(Account("secret-key"), SETTINGS, clock=ManualClock())
    assert engine.audio == ULAW_8K
    assert not engine.takes_turns
    with pytest.raises(ConfigError):
        OpenAILive(Account("secret-key"), SETTINGS, clock=ManualClock(), audio=PCM16_8K)


def test_audio_flows_both_ways() -> None:
    server = Server()
    server.connects()
    assert server.plays() == [ReplyAudio(REPLY_ID, SILENCE_20_MS)]
    server.dialogue.outbox.append(server.dialogue.audio(SILENCE_20_MS, 0))
    (append,) = server.sent()
    assert append == {"type": "session.input_audio.append", "audio": coded(SILENCE_20_MS)}


def test_fragments_become_an_utterance_when_the_other_side_begins() -> None:
    server = Server()
    server.connects()
    assert server.hears("When are") == [PartialTranscript("When are")]
    assert server.hears(" you open?") == [PartialTranscript("When are you open?")]
    assert server.says("From") == [FinalTranscript("When are you open?"), ReplyText("live", "From")]
    assert server.says(" ten.") == [ReplyText("live", " ten.")]
    assert server.hears("Good.") == [PartialTranscript("Good.")]


def test_fragments_become_an_utterance_after_a_pause() -> None:
    server = Server()
    server.connects()
    server.hears("Good.")
    server.clock.advance_ms(999)
    assert server.plays() == [ReplyAudio(REPLY_ID, SILENCE_20_MS)]
    server.clock.advance_ms(1)
    assert server.plays()[1:] == [FinalTranscript("Good.")]
    assert server.plays()[1:] == []


def test_the_session_is_quiet_when_nobody_has_spoken_for_a_while() -> None:
    server = Server()
    server.connects()
    server.says("Hello.")
    assert not server.dialogue.quiet
    server.clock.advance_ms(2000)
    quiet: bool = server.dialogue.quiet
    assert quiet
    assert server.dialogue.due


def test_the_end_of_the_session_is_known() -> None:
    server = Server()
    server.connects()
    expected = server.clock.now_ns() + 3600 * 10**9
    assert server.dialogue.expires_ns is not None
    assert abs(server.dialogue.expires_ns - expected) <= 10**9


def test_what_is_to_be_said_waits_for_the_session() -> None:
    server = Server()
    server.dialogue.say("Hello, this is Harbour Dental.")
    server.dialogue.prompt("[The caller pressed 5.]")
    server.connects()
    say, prompt = server.sent()
    assert say["type"] == prompt["type"] == "session.commentary.append"
    assert "Hello, this is Harbour Dental." in say["content"]
    assert prompt["content"] == "[The caller pressed 5.]"
    assert prompt["delegation_id"] is None


def test_what_is_to_be_said_is_cut_to_what_the_vendor_takes() -> None:
    server = Server()
    server.connects()
    server.dialogue.prompt("x" * 5000)
    (prompt,) = server.sent()
    assert len(prompt["content"]) == 1000


def test_the_model_is_not_told_to_stop_or_what_was_heard() -> None:
    server = Server()
    server.connects()
    server.says("Hello.")
    server.dialogue.cancel()
    server.dialogue.heard(REPLY_ID, 10)
    assert server.sent() == []


def test_tools_go_to_the_model_behind_and_their_answers_too() -> None:
    server = Server(BACKED)
    delegation = server.connects()["delegation"]
    assert delegation["type"] == "responses"
    assert delegation["responses"]["model"] == "a-text-model"
    assert [tool["name"] for tool in delegation["responses"]["tools"]] == ["book"]
    assert server.calls("c1") == [ToolCall("c1", "book", "{}")]
    assert server.calls("c2") == [ToolCall("c2", "book", "{}")]
    server.dialogue.tool_result("c1", "booked")
    (output,) = server.sent()
    assert output["item"]["output"] == "booked"
    assert not server.dialogue.quiet
    server.dialogue.tool_result("c2", "full")
    server.dialogue.tool_result("c2", "again")
    assert [message["type"] for message in server.sent()] == [
        "response.item.create",
        "response.create",
    ]


def test_other_news_of_the_model_behind_means_nothing_to_the_call() -> None:
    server = Server(BACKED)
    server.connects()
    item = {"type": "message", "role": "assistant", "content": []}
    for nested in (
        {"type": "response.created"},
        {"type": "response.failed", "response": {"error": {"code": "server_error"}}},
        {"type": "response.output_item.done", "item": item},
    ):
        assert server.tells("response.event", event=nested) == []


def test_a_task_that_nobody_can_do_is_answered() -> None:
    server = Server()
    server.connects()
    delegation = {"id": "d1", "target": "client", "type": "delegation"}
    server.tells("session.delegation.created", delegation=delegation, offset_ms=0)
    (answer,) = server.sent()
    assert answer["type"] == "session.commentary.append"
    assert answer["delegation_id"] == "d1"


@pytest.mark.parametrize(("reason", "retryable"), [("expired", True), ("content", False)])
def test_a_session_that_the_vendor_ends_is_over(reason: str, retryable: bool) -> None:
    server = Server()
    server.connects()
    with pytest.raises(SpeechError, match=reason) as caught:
        server.tells(
            "session.closed", reason=reason, session=server.session, usage={"seconds": 1.0}
        )
    assert caught.value.retryable is retryable


def test_errors_of_a_running_session_are_survived_and_a_refusal_is_not() -> None:
    server = Server()
    error = {"type": "invalid_request_error", "code": "unknown_model", "message": "no"}
    with pytest.raises(SpeechError, match="unknown_model") as caught:
        server.tells("error", error=error)
    assert not caught.value.retryable
    server.connects()
    assert server.tells("error", error=error) == []


@pytest.mark.parametrize("message", [b"{", b"[]", b"{}", b'{"type": "session.output_audio.delta"}'])
def test_a_message_that_makes_no_sense_means_nothing(message: bytes) -> None:
    server = Server()
    server.connects()
    assert server.dialogue.receive(message, 0) == ()


def test_a_connection_that_breaks_mid_word_is_followed_by_one_that_knows_the_conversation() -> None:
    server = Server()
    server.connects()
    server.says("We open at ten.")
    server.hears("Thank")
    broken = server.dialogue.broken(server.clock.now_ns())
    assert [*broken] == [FinalTranscript("Thank")]
    assert not server.dialogue.ready
    asked = server.connects()
    said = [(turn["role"], turn["content"][0]["text"]) for turn in asked["input"]]
    assert said == [("assistant", "We open at ten."), ("user", "Thank")]
    (fault,) = server.sent()
    assert "interrupted" in fault["content"]


def test_a_quiet_connection_that_is_replaced_leaves_no_remark() -> None:
    server = Server()
    server.connects()
    server.says("Hello.")
    server.clock.advance_ms(2000)
    server.dialogue.tick(server.clock.now_ns())
    server.dialogue.broken(server.clock.now_ns())
    server.connects()
    assert server.sent() == []


def test_the_vendor_is_told_when_the_conversation_is_over() -> None:
    server = Server()
    assert server.dialogue.farewell() is None
    server.connects()
    farewell = server.dialogue.farewell()
    assert farewell is not None
    server.dialogue.outbox.append(farewell)
    assert server.sent() == [{"type": "session.close"}]
