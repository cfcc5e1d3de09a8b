"""Twilio ignores messages with a field too many or too few (error 31951): none is ever sent.

The schema is written from Twilio's documents, and from nothing of ours.

Source: Twilio, "Media Streams - WebSocket messages", messages sent to Twilio.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Literal

import pytest
from pydantic import Base64Bytes, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from websockets.exceptions import ConnectionClosed

from tests.media.plane import LISTENERS, dial, plane, run, until
from tests.media.wire import media, said, start
from voicecall.audio import SILENCE_OCTET
from voicecall.media.tones import key_tones

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

pytestmark = pytest.mark.socket


class Exactly(BaseModel):
    """All of these fields and no other, in these types and no other."""

    model_config = ConfigDict(extra="forbid", strict=True)


StreamSid = Annotated[str, Field(alias="streamSid", pattern=r"^MZ")]


class MediaBody(Exactly):
    payload: Annotated[Base64Bytes, Field(min_length=1)]


class Media(Exactly):
    event: Literal["media"]
    stream_sid: StreamSid
    media: MediaBody


class MarkBody(Exactly):
    name: Annotated[str, Field(min_length=1)]


class Mark(Exactly):
    event: Literal["mark"]
    stream_sid: StreamSid
    mark: MarkBody


class Clear(Exactly):
    event: Literal["clear"]
    stream_sid: StreamSid


Message = Annotated[Media | Mark | Clear, Field(discriminator="event")]
SCHEMA: TypeAdapter[Media | Mark | Clear] = TypeAdapter(Message)


@pytest.mark.parametrize(
    "message",
    [
        b'{"event":"media","streamSid":"MZ1","media":{"payload":"//8=","track":"outbound"}}',
        b'{"event":"media","streamSid":"MZ1","sequenceNumber":"1","media":{"payload":"//8="}}',
        b'{"event":"media","media":{"payload":"//8="}}',
        b'{"event":"media","streamSid":"MZ1","media":{"payload":""}}',
        b'{"event":"media","streamSid":"MZ1","media":{"payload":"/"}}',
        b'{"event":"mark","streamSid":"MZ1","mark":{"name":1}}',
        b'{"event":"clear"}',
        b'{"event":"stop","streamSid":"MZ1"}',
    ],
)
def test_the_schema_lets_nothing_else_through(message: bytes) -> None:
    with pytest.raises(ValidationError):
        SCHEMA.validate_json(message)


class Judge:
    """Twilio's end: every message has to fit the schema and belong to the socket's stream."""

    def __init__(self, connection: ClientConnection, stream_sid: str) -> None:
        self._connection = connection
        self._stream_sid = stream_sid
        self.taken: list[Media | Mark | Clear] = []
        self.reading = asyncio.create_task(self._read())

    def count(self, kind: type[Exactly]) -> int:
        return sum(isinstance(each, kind) for each in self.taken)

    async def _read(self) -> None:
        try:
            async for message in self._connection:
                assert isinstance(message, str), "binary"
                taken = SCHEMA.validate_json(message)
                assert taken.stream_sid == self._stream_sid
                self.taken.append(taken)
        except ConnectionClosed:
            pass


@pytest.mark.parametrize("listener", LISTENERS)
def test_all_that_a_call_can_send_fits(listener: str) -> None:
    async def case() -> None:
        async with plane(listener) as tested:
            call, url = tested.call()
            async with dial(url) as connection:
                judge = Judge(connection, "MZ1")
                await connection.send(start())
                await call.opened.wait()
                # Speech with marks on its way and a tail, an interruption, and keys.
                speech = call.path.utterance()
                await speech.write(bytes(1200 * 8 + 3))
                speech.finish()
                await until(lambda: judge.count(Mark) == 2)
                long = call.path.utterance()
                await long.write(bytes(8000))
                call.path.clear()
                keys = call.path.utterance()
                for tone in key_tones("1w#", call.path.audio):
                    await keys.write(tone)
                keys.finish()
                await until(lambda: judge.count(Mark) == 3)
                # Whatever comes from the other side calls for no message of its own.
                for strange in (
                    media(1, bytes([SILENCE_OCTET["ulaw"]]) * 160),
                    said("mark", mark={"name": "unknown"}),
                    said("dtmf", dtmf={"track": "inbound_track", "digit": "5"}),
                    said("error", payload={"code": 1}),
                    said("no-such-event"),
                    "no JSON",
                    b"binary",
                ):
                    await connection.send(strange)
                await until(lambda: call.digits == ["5"])
                # The next socket's messages bear the next stream's name.
                async with dial(tested.tokens.issue("call-1")) as again:
                    next_judge = Judge(again, "MZ2")
                    await again.send(start(stream_sid="MZ2"))
                    await connection.wait_closed()
                    more = call.path.utterance()
                    await more.write(bytes(160))
                    more.finish()
                    await until(lambda: next_judge.count(Mark) == 1)
                    call.path.clear()
                    await until(lambda: next_judge.count(Clear) == 1)
                    call.path.close()
                await next_judge.reading
            await judge.reading
            assert {type(each) for each in judge.taken} == {Media, Mark, Clear}

    run(case())
