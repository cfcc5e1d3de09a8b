from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from voicecall.errors import SpeechError
from voicecall.speech.tts.body import Patience, streamed

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

pytestmark = pytest.mark.unit


class Response:
    """A response whose body is a queue; None ends it."""

    def __init__(self) -> None:
        self.pieces: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.headers = asyncio.Event()
        self.entered = False
        self.left = False

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator[Response]:
        await self.headers.wait()
        self.entered = True
        try:
            yield self
        finally:
            self.left = True

    async def body(self) -> AsyncGenerator[bytes]:
        while (piece := await self.pieces.get()) is not None:
            yield piece


def speech(response: Response, **patience: int) -> AsyncGenerator[bytes]:
    return streamed(
        response.opened(), Response.body, service="the voice", patience=Patience(**patience)
    )


def test_pieces_come_as_they_are_and_empty_ones_are_left_out() -> None:
    async def case() -> None:
        response = Response()
        response.headers.set()
        for piece in (b"abc", b"", b"d", None):
            response.pieces.put_nowait(piece)
        assert [piece async for piece in speech(response)] == [b"abc", b"d"]
        assert response.left

    asyncio.run(case())


def test_a_body_without_audio_is_no_failure() -> None:
    async def case() -> None:
        response = Response()
        response.headers.set()
        response.pieces.put_nowait(None)
        assert [piece async for piece in speech(response)] == []

    asyncio.run(case())


@pytest.mark.parametrize("headers", [False, True])
def test_a_response_that_does_not_begin_in_time_fails(headers: bool) -> None:
    async def case() -> None:
        response = Response()
        if headers:
            response.headers.set()
        with pytest.raises(SpeechError, match="did not begin") as caught:
            await anext(speech(response, begin_ms=20))
        assert caught.value.retryable
        assert response.left is headers

    asyncio.run(case())


def test_a_body_that_stalls_fails() -> None:
    async def case() -> None:
        response = Response()
        response.headers.set()
        response.pieces.put_nowait(b"a")
        pieces = speech(response, gap_ms=20)
        assert await anext(pieces) == b"a"
        with pytest.raises(SpeechError, match="fell silent"):
            await anext(pieces)
        assert response.left

    asyncio.run(case())


def test_closing_leaves_the_response_at_once() -> None:
    async def case() -> None:
        response = Response()
        response.headers.set()
        response.pieces.put_nowait(b"a")
        pieces = speech(response)
        await anext(pieces)
        await pieces.aclose()
        assert response.left

    asyncio.run(case())
