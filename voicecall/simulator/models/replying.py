"""One response of a simulated Realtime conversation, from `response.created` to `response.done`."""

from __future__ import annotations

import asyncio
import base64
import logging
import re
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from openai.types.realtime import (
    ConversationItemAdded,
    ConversationItemDone,
    RateLimitsUpdatedEvent,
    RealtimeResponse,
    ResponseAudioDeltaEvent,
    ResponseAudioDoneEvent,
    ResponseAudioTranscriptDeltaEvent,
    ResponseAudioTranscriptDoneEvent,
    ResponseContentPartAddedEvent,
    ResponseContentPartDoneEvent,
    ResponseCreatedEvent,
    ResponseDoneEvent,
    ResponseFunctionCallArgumentsDeltaEvent,
    ResponseFunctionCallArgumentsDoneEvent,
    ResponseOutputItemAddedEvent,
    ResponseOutputItemDoneEvent,
    ResponseTextDeltaEvent,
    ResponseTextDoneEvent,
)

from voicecall.dialog.history import SpokenText
from voicecall.simulator.models.brain import Question, Use
from voicecall.simulator.models.items import Item, Items
from voicecall.simulator.models.speaking import sentences, spoken
from voicecall.simulator.models.turns import arguments_of
from voicecall.simulator.models.vendor_types import made, new_id

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence

    from voicecall.ports import AudioFormat, Turn
    from voicecall.simulator.models.realtime import RealtimeConnection

_log = logging.getLogger("voicecall.simulator")

Reason = Literal["turn_detected", "client_cancelled"]

# How clients ask for a text to be read out instead of answered.
_VERBATIM = re.compile(
    r"\b(?:read|say|speak|repeat)\b[^.!?]*\b(?:word for word|verbatim|exactly)\b", re.IGNORECASE
)
_QUOTED = re.compile(r'"([^"]+)"')
_CHARACTERS_PER_TOKEN = 4
_TOKEN_LIMIT = 1_000_000


@dataclass(frozen=True, slots=True)
class Assignment:
    """What a response is made from.

    Attributes:
        turns: the conversation, or the input given instead.
        instructions: of the session, or those given instead.
        tools: names of those that may be used.
        audio: how it is spoken; None for text.
        metadata: the client's, repeated to it.
        conversation_id: where its items go; None for out of band.
    """

    turns: Sequence[Turn]
    instructions: str
    tools: frozenset[str]
    audio: AudioFormat | None
    metadata: Mapping[str, str] | None
    conversation_id: str | None

    @property
    def verbatim(self) -> str | None:
        """The text to be read out, if that is what is asked for."""
        if not _VERBATIM.search(self.instructions):
            return None
        if quoted := _QUOTED.search(self.instructions):
            return quoted[1]
        return self.turns[-1].text if self.turns else None


@dataclass(slots=True)
class _Message:
    """The message that is being said."""

    item: Item
    place: dict[str, Any]
    parts: list[str] = field(default_factory=list)


class Reply:
    """One response.

    Args:
        connection: where its events go.
        items: the conversation, where its items go unless it is out of band.
        assignment: what it is made from.

    Attributes:
        id: the server's.
        audio_ms: how much audio it has.
    """

    def __init__(
        self, connection: RealtimeConnection, items: Items, assignment: Assignment
    ) -> None:
        self.id = new_id("resp")
        self.audio_ms = 0.0
        self._connection = connection
        self._items = items
        self._assignment = assignment
        self._output: list[Item] = []
        self._message: _Message | None = None
        self._cut: Reason | None = None
        self._making: asyncio.Task[None] | None = None

    def cancel(self, reason: Reason) -> None:
        """Stop it; it ends as cancelled."""
        if self._cut is None:
            self._cut = reason
            if self._making is not None:
                self._making.cancel()

    async def run(self) -> None:
        """Make it, and say how it ended."""
        self._begin()
        making = self._making = asyncio.create_task(self._make())
        if self._cut is not None:
            making.cancel()
        try:
            await asyncio.wait({making})
        finally:
            making.cancel()
            await asyncio.wait({making})
        self._end_message("incomplete" if self._cut else "completed")
        failed = not making.cancelled() and making.exception() is not None
        if failed:
            _log.warning("a simulated reply failed", exc_info=making.exception())
        status = "cancelled" if self._cut else "failed" if failed else "completed"
        self._connection.send(ResponseDoneEvent, response=self._response(status))

    def _begin(self) -> None:
        self._connection.send(ResponseCreatedEvent, response=self._response("in_progress"))
        limit = {
            "name": "tokens",
            "limit": _TOKEN_LIMIT,
            "remaining": _TOKEN_LIMIT,
            "reset_seconds": 0.0,
        }
        self._connection.send(RateLimitsUpdatedEvent, rate_limits=[limit])

    async def _make(self) -> None:
        async with aclosing(sentences(self._answer())) as parts:
            async for part in parts:
                if isinstance(part, str):
                    await self._say(part)
                else:
                    self._end_message("completed")
                    self._use(part)

    def _answer(self) -> AsyncGenerator[str | Use]:
        given = self._assignment
        if (verbatim := given.verbatim) is not None:
            return _read_out(verbatim)
        question = Question(given.turns, given.tools, given.instructions)
        return self._connection.world.brain.answer(question)

    def _response(self, status: str) -> RealtimeResponse:
        fields: dict[str, Any] = {}
        if status != "in_progress":
            written = sum(len(item.text) for item in self._output) // _CHARACTERS_PER_TOKEN
            asked = sum(len(turn.text) for turn in self._assignment.turns)
            asked //= _CHARACTERS_PER_TOKEN
            usage = {"input_tokens": asked, "output_tokens": written}
            fields["usage"] = {**usage, "total_tokens": asked + written}
            fields["status_details"] = self._details(status)
        return made(
            RealtimeResponse,
            id=self.id,
            status=status,
            conversation_id=self._assignment.conversation_id,
            metadata=self._assignment.metadata,
            output=[item.model() for item in self._output],
            output_modalities=["text" if self._assignment.audio is None else "audio"],
            **fields,
        )

    def _details(self, status: str) -> dict[str, Any] | None:
        match status:
            case "cancelled":
                return {"type": "cancelled", "reason": self._cut}
            case "failed":
                error = {"type": "server_error", "code": "server_error"}
                return {"type": "failed", "error": error}
            case _:
                return None

    def _add(self, item: Item) -> dict[str, Any]:
        place = {"response_id": self.id, "output_index": len(self._output)}
        self._output.append(item)
        model = item.model(empty=True)
        self._connection.send(ResponseOutputItemAddedEvent, item=model, **place)
        if self._assignment.conversation_id is not None:
            previous = self._items.add(item)
            self._connection.send(ConversationItemAdded, item=model, previous_item_id=previous)
        return place

    def _done(self, item: Item, place: Mapping[str, Any]) -> None:
        model = item.model()
        if self._assignment.conversation_id is not None:
            self._connection.send(ConversationItemDone, item=model)
        self._connection.send(ResponseOutputItemDoneEvent, item=model, **place)

    async def _say(self, sentence: str) -> None:
        message = self._message or self._begin_message()
        separator = " " if message.parts else ""
        message.parts.append(sentence)
        message.item.text += separator + sentence
        audio, delta = self._assignment.audio, separator + sentence
        if audio is None:
            self._connection.send(ResponseTextDeltaEvent, delta=delta, **message.place)
            return
        self._connection.send(ResponseAudioTranscriptDeltaEvent, delta=delta, **message.place)
        said = message.item.spoken
        said.append(SpokenText(sentence, 0.0))
        voice = self._connection.world.engines.voice
        async with aclosing(spoken(voice, sentence, audio)) as pieces:
            async for piece in pieces:
                piece_ms = audio.duration_ms(len(piece))
                said[-1] = SpokenText(sentence, said[-1].duration_ms + piece_ms)
                self.audio_ms += piece_ms
                coded = base64.b64encode(piece).decode()
                self._connection.send(ResponseAudioDeltaEvent, delta=coded, **message.place)
                # Engines may take no time at all; the client is to be heard in between.
                await asyncio.sleep(0)

    def _begin_message(self) -> _Message:
        text = self._assignment.audio is None
        content = "output_text" if text else "output_audio"
        item = Item(new_id("item"), role="assistant", content=content, status="in_progress")
        place = {**self._add(item), "item_id": item.id, "content_index": 0}
        part = {"type": "text", "text": ""} if text else {"type": "audio", "transcript": ""}
        self._connection.send(ResponseContentPartAddedEvent, part=part, **place)
        self._message = _Message(item, place)
        return self._message

    def _end_message(self, status: Literal["completed", "incomplete"]) -> None:
        message, self._message = self._message, None
        if message is None:
            return
        item, place = message.item, message.place
        item.status = status
        if self._assignment.audio is None:
            self._connection.send(ResponseTextDoneEvent, text=item.text, **place)
            part = {"type": "text", "text": item.text}
        else:
            self._connection.send(ResponseAudioDoneEvent, **place)
            self._connection.send(ResponseAudioTranscriptDoneEvent, transcript=item.text, **place)
            part = {"type": "audio", "transcript": item.text}
        self._connection.send(ResponseContentPartDoneEvent, part=part, **place)
        outer = {key: place[key] for key in ("response_id", "output_index")}
        self._done(item, outer)

    def _use(self, use: Use) -> None:
        item = Item(
            new_id("item"),
            kind="function_call",
            status="in_progress",
            call_id=new_id("call"),
            name=use.tool,
        )
        place = self._add(item)
        item.arguments, item.status = arguments_of(use), "completed"
        call = {**place, "item_id": item.id, "call_id": item.call_id}
        self._connection.send(ResponseFunctionCallArgumentsDeltaEvent, delta=item.arguments, **call)
        self._connection.send(
            ResponseFunctionCallArgumentsDoneEvent, arguments=item.arguments, name=item.name, **call
        )
        self._done(item, place)


async def _read_out(text: str) -> AsyncGenerator[str | Use]:
    yield text
