"""Simulated Realtime conversations: `/v1/realtime?model=...`, session type `realtime`.

Speech is noticed and its end too, understood by the engines of this machine, answered by the brain
and spoken; interruptions cancel, truncation is believed. The rules are the vendor's, as far as its
package and documentation tell.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, ClassVar

from openai.types.realtime import (
    ConversationItemAdded,
    ConversationItemDeletedEvent,
    ConversationItemDone,
    ConversationItemTruncatedEvent,
    InputAudioBufferCommittedEvent,
    InputAudioBufferTimeoutTriggered,
    RealtimeSessionCreateResponse,
    SessionCreatedEvent,
    SessionUpdatedEvent,
)
from openai.types.realtime.realtime_server_event import ConversationItemRetrieved

from voicecall.errors import SpeechError
from voicecall.simulator.models.audio_input import DEFAULT_VAD, FORMATS, AudioInput
from voicecall.simulator.models.items import Item, Items, item_of, turns_of
from voicecall.simulator.models.realtime import merged
from voicecall.simulator.models.replying import Assignment, Reply
from voicecall.simulator.models.transcripts import transcript
from voicecall.simulator.models.vendor_types import Unacceptable, made, new_id

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from voicecall.simulator.models.audio_input import Spoken
    from voicecall.simulator.models.realtime import RealtimeConnection

_log = logging.getLogger("voicecall.simulator")

LIFETIME_S = 3600
"""How long a session may last, as far as it says."""

_DEFAULTS: dict[str, Any] = {
    "type": "realtime",
    "instructions": "You are a helpful voice.",
    "output_modalities": ["audio"],
    "audio": {
        "input": {
            "format": {"type": "audio/pcm", "rate": 24000},
            "transcription": None,
            "noise_reduction": None,
            "turn_detection": {
                **DEFAULT_VAD,
                "create_response": True,
                "interrupt_response": True,
                "idle_timeout_ms": None,
            },
        },
        "output": {
            "format": {"type": "audio/pcm", "rate": 24000},
            "voice": "marin",
            "speed": 1.0,
        },
    },
    "tools": [],
    "tool_choice": "auto",
}


class ConversationSession:
    """One client's conversation.

    Args:
        connection: where its events come from and go.
    """

    def __init__(self, connection: RealtimeConnection) -> None:
        self._connection = connection
        self._settings: dict[str, Any] = {**_DEFAULTS, "model": connection.model}
        self._id = new_id("sess")
        self._expires_s = connection.world.clock.wall_ms() // 1000 + LIFETIME_S
        self._conversation_id = new_id("conv")
        self._items = Items()
        self._ears: AudioInput | None = None
        self._reply: Reply | None = None
        self._out_of_band: dict[str, Reply] = {}
        self._idling: asyncio.Task[None] | None = None
        self._has_spoken = False

    async def opened(self) -> None:
        """Say `session.created`."""
        detector = await self._connection.world.engines.detector()
        self._ears = AudioInput(self._connection, self, detector)
        self._listen()
        self._connection.send(SessionCreatedEvent, session=self._session())

    async def handle(self, event: Mapping[str, Any]) -> None:
        """Do what the client asks. Raises `Unacceptable`."""
        await self._HANDLERS[event["type"]](self, event)

    def _session(self) -> dict[str, Any]:
        session = made(
            RealtimeSessionCreateResponse,
            id=self._id,
            object="realtime.session",
            expires_at=self._expires_s,
            **self._settings,
        )
        return session.model_dump(exclude_unset=True)

    # --- settings -----------------------------------------------------------------------------

    async def _on_update(self, event: Mapping[str, Any]) -> None:
        update = event["session"]
        if update.get("type") != "realtime":
            message = (
                "Passing a transcription session update event to a realtime session is not allowed."
            )
            raise Unacceptable(message, param="session.type", code="invalid_value")
        if update.get("model", self._settings["model"]) != self._settings["model"]:
            raise Unacceptable("Cannot update a conversation's model.", param="session.model")
        self._refuse_new_voice(update)
        self._settings = merged(self._settings, update)
        self._listen()
        self._connection.send(SessionUpdatedEvent, session=self._session())

    def _refuse_new_voice(self, update: Mapping[str, Any]) -> None:
        voice = ((update.get("audio") or {}).get("output") or {}).get("voice")
        if self._has_spoken and voice not in (None, self._settings["audio"]["output"]["voice"]):
            raise Unacceptable(
                "Cannot update a conversation's voice if assistant audio is present.",
                param="session.audio.output.voice",
                code="cannot_update_voice",
            )

    @property
    def _input(self) -> dict[str, Any]:
        settings: dict[str, Any] = self._settings["audio"]["input"]
        return settings

    @property
    def _turn_detection(self) -> Mapping[str, Any] | None:
        return self._input.get("turn_detection")

    def _listen(self) -> None:
        """Listen as the settings say."""
        if self._ears is not None:
            self._ears.configure(self._input["format"]["type"], self._turn_detection)

    # --- the caller's audio -------------------------------------------------------------------

    async def _on_append(self, event: Mapping[str, Any]) -> None:
        if self._ears is not None:
            self._ears.append(event["audio"])

    async def _on_commit(self, event: Mapping[str, Any]) -> None:
        del event
        if self._ears is not None:
            self._ears.commit()

    async def _on_clear(self, event: Mapping[str, Any]) -> None:
        del event
        if self._ears is not None:
            self._ears.clear()

    def speech_started(self, item_id: str) -> None:
        """Stop what is being said, if that is wanted."""
        del item_id
        self._stop_idling()
        detection = self._turn_detection or {}
        if detection.get("interrupt_response", True) and self._reply is not None:
            self._reply.cancel("turn_detected")

    def committed(self, spoken: Spoken) -> None:
        """Take what was said into the conversation, and answer it if that is wanted."""
        item = Item(spoken.item_id, role="user", content="input_audio")
        self._commit(item)
        item.understanding = self._connection.start(_understand(item, spoken))
        if (wanted := self._input.get("transcription")) is not None:
            model = wanted.get("model") or ""
            logprobs = bool(self._settings.get("include"))
            telling = transcript(self._connection, spoken, model, logprobs=logprobs)
            _ = self._connection.start(telling)
        detection = self._turn_detection
        if detection is not None and detection.get("create_response", True):
            _ = self._connection.start(self._answer())

    def _commit(self, item: Item) -> None:
        previous = self._items.add(item)
        place = {"item_id": item.id, "previous_item_id": previous}
        self._connection.send(InputAudioBufferCommittedEvent, **place)
        self._tell(item, previous)

    def _tell(self, item: Item, previous: str | None) -> None:
        for kind in (ConversationItemAdded, ConversationItemDone):
            self._connection.send(kind, item=item.model(), previous_item_id=previous)

    async def _on_output_clear(self, event: Mapping[str, Any]) -> None:
        del event
        message = "Output audio buffers exist only with WebRTC and SIP."
        raise Unacceptable(message, param="type", code="invalid_value")

    # --- items --------------------------------------------------------------------------------

    async def _on_item(self, event: Mapping[str, Any]) -> None:
        item = item_of(event["item"], new_id("item"))
        if item.kind == "function_call_output" and not self._items.calls(item.call_id):
            message = f"Tool call ID '{item.call_id}' not found in conversation."
            raise Unacceptable(message, param="item.call_id", code="invalid_tool_call_id")
        self._tell(item, self._items.add(item, event.get("previous_item_id")))

    async def _on_truncate(self, event: Mapping[str, Any]) -> None:
        item = self._items.get(event["item_id"])
        end_ms = event["audio_end_ms"]
        if item.role != "assistant" or not item.spoken:
            message = "Only model output audio messages can be truncated."
            raise Unacceptable(message, param="item_id", code="invalid_value")
        if event["content_index"] != 0 or not 0 <= end_ms <= item.audio_ms:
            message = f"Audio content of {int(item.audio_ms)}ms is already shorter than {end_ms}ms."
            raise Unacceptable(message, param="audio_end_ms", code="invalid_value")
        item.cut(end_ms)
        place = {"item_id": item.id, "content_index": 0, "audio_end_ms": end_ms}
        self._connection.send(ConversationItemTruncatedEvent, **place)

    async def _on_delete(self, event: Mapping[str, Any]) -> None:
        self._items.delete(event["item_id"])
        self._connection.send(ConversationItemDeletedEvent, item_id=event["item_id"])

    async def _on_retrieve(self, event: Mapping[str, Any]) -> None:
        item = self._items.get(event["item_id"])
        self._connection.send(ConversationItemRetrieved, item=item.model())

    # --- responses ----------------------------------------------------------------------------

    async def _on_create(self, event: Mapping[str, Any]) -> None:
        given = event.get("response") or {}
        if given.get("conversation", "auto") != "none" and self._reply is not None:
            message = (
                "Conversation already has an active response in progress: "
                f"{self._reply.id}. Wait until the response is finished before creating a new one."
            )
            raise Unacceptable(message, code="conversation_already_has_active_response")
        if given.get("conversation") == "none":
            _ = self._connection.start(self._aside(given))
        else:
            self._begin(given)

    async def _on_cancel(self, event: Mapping[str, Any]) -> None:
        wanted = event.get("response_id")
        aside = self._out_of_band.get(wanted) if wanted is not None else None
        if aside is not None:
            aside.cancel("client_cancelled")
        elif self._reply is None or wanted not in (None, self._reply.id):
            message = "Cancellation failed: no active response found."
            raise Unacceptable(message, code="response_cancel_not_active")
        else:
            self._reply.cancel("client_cancelled")

    async def _answer(self) -> None:
        """Answer what was said, unless something else is being said by then."""
        await self._understood()
        if self._reply is None:
            self._begin({})

    async def _understood(self) -> None:
        """Wait until everything said to us is understood."""
        if pending := {item.understanding for item in self._items if item.understanding}:
            await asyncio.wait(pending)

    def _begin(self, given: Mapping[str, Any]) -> None:
        self._stop_idling()
        reply = self._reply = Reply(self._connection, self._items, self._assignment(given))
        _ = self._connection.start(self._converse(reply))

    async def _converse(self, reply: Reply) -> None:
        try:
            await reply.run()
        finally:
            self._reply = None
        self._has_spoken = self._has_spoken or reply.audio_ms > 0
        self._idle(reply.audio_ms)

    async def _aside(self, given: Mapping[str, Any]) -> None:
        await self._understood()
        reply = Reply(self._connection, self._items, self._assignment(given))
        self._out_of_band[reply.id] = reply
        try:
            await reply.run()
        finally:
            del self._out_of_band[reply.id]

    def _assignment(self, given: Mapping[str, Any]) -> Assignment:
        settings = self._settings
        items: Any = self._items
        if "input" in given:
            items = [self._given(data) for data in given["input"]]
        tools = given.get("tools", settings["tools"])
        if given.get("tool_choice", settings["tool_choice"]) == "none":
            tools = []
        output = merged(settings["audio"], given.get("audio") or {})["output"]
        modalities = given.get("output_modalities", settings["output_modalities"])
        return Assignment(
            turns=turns_of(items),
            instructions=given.get("instructions", settings["instructions"]),
            tools=frozenset(tool["name"] for tool in tools if tool["type"] == "function"),
            audio=FORMATS[output["format"]["type"]] if "audio" in modalities else None,
            metadata=given.get("metadata"),
            conversation_id=None if given.get("conversation") == "none" else self._conversation_id,
        )

    def _given(self, data: Mapping[str, Any]) -> Item:
        if data["type"] == "item_reference":
            return self._items.get(data["id"], "response.input")
        return item_of(data, new_id("item"))

    # --- silence ------------------------------------------------------------------------------

    def _idle(self, playing_ms: float) -> None:
        """Wait for the caller from the moment when they have heard everything."""
        timeout_ms = (self._turn_detection or {}).get("idle_timeout_ms")
        if timeout_ms is not None and self._reply is None:
            self._stop_idling()
            self._idling = self._connection.start(self._ask_again(playing_ms, timeout_ms))

    def _stop_idling(self) -> None:
        if self._idling is not None and self._idling is not asyncio.current_task():
            self._idling.cancel()
        self._idling = None

    async def _ask_again(self, playing_ms: float, timeout_ms: int) -> None:
        await asyncio.sleep((playing_ms + timeout_ms) / 1000)
        item = Item(new_id("item"), role="user", content="input_audio")
        end_ms = 0 if self._ears is None else self._ears.position_ms
        self._connection.send(
            InputAudioBufferTimeoutTriggered,
            item_id=item.id,
            audio_start_ms=max(0, end_ms - timeout_ms),
            audio_end_ms=end_ms,
        )
        self._commit(item)
        self._begin({})

    _HANDLERS: ClassVar[
        dict[
            str,
            Callable[[ConversationSession, Mapping[str, Any]], Coroutine[Any, Any, None]],
        ]
    ] = {
        "session.update": _on_update,
        "input_audio_buffer.append": _on_append,
        "input_audio_buffer.commit": _on_commit,
        "input_audio_buffer.clear": _on_clear,
        "output_audio_buffer.clear": _on_output_clear,
        "conversation.item.create": _on_item,
        "conversation.item.truncate": _on_truncate,
        "conversation.item.delete": _on_delete,
        "conversation.item.retrieve": _on_retrieve,
        "response.create": _on_create,
        "response.cancel": _on_cancel,
    }


async def _understand(item: Item, spoken: Spoken) -> None:
    words = await spoken.words
    if isinstance(words, SpeechError):
        _log.warning("a simulated model could not understand", exc_info=words)
    else:
        item.text = words
