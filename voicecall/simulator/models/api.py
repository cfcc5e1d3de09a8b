"""OpenAI's HTTP endpoints: key, JSON, validation, errors, streams and what goes wrong with them."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson
from openai.types.shared import ErrorObject
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from voicecall.simulator.models.faults import Failed
from voicecall.simulator.models.vendor_types import Unacceptable, as_json, checked, made

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from pydantic import BaseModel
    from starlette.requests import Request
    from starlette.types import Message, Receive, Scope, Send

    from voicecall.simulator.models.faults import Refuse
    from voicecall.simulator.models.world import World

MAX_BODY_OCTETS = 16 * 1024 * 1024

_CLIENT_LEFT = 499  # nobody reads it

_TYPES = {401: "invalid_request_error", 429: "rate_limit_error", 400: "invalid_request_error"}
_CODES = {401: "invalid_api_key", 429: "rate_limit_exceeded"}


class Chunk(NamedTuple):
    """What an answer sends at once.

    Attributes:
        name: an event's type; empty for others.
        octets: of the body.
    """

    name: str
    octets: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """A response.

    Attributes:
        media_type: of the body.
        chunks: the body; nothing is sent, no status either, before the first.
    """

    media_type: str
    chunks: AsyncGenerator[Chunk]


def sse(event: BaseModel, *, named: bool) -> Chunk:
    """A server-sent event.

    Args:
        event: what it carries.
        named: whether the stream names its events, as Responses do and Chat Completions do not.
    """
    name = str(getattr(event, "type", ""))
    head = f"event: {name}\n" if named else ""
    return Chunk(name, f"{head}data: {as_json(event)}\n\n".encode())


def whole(model: BaseModel) -> Answer:
    """A response that is one JSON object."""

    async def chunks() -> AsyncGenerator[Chunk]:
        yield Chunk("", as_json(model).encode())

    return Answer("application/json", chunks())


def error_body(
    message: str,
    *,
    code: str | None = None,
    param: str | None = None,
    kind: str = "invalid_request_error",
) -> dict[str, Any]:
    """An error as OpenAI writes it."""
    error = made(ErrorObject, message=message, type=kind, param=param, code=code)
    return {"error": error.model_dump(exclude_unset=True)}


def refusal_response(refuse: Refuse) -> Response:
    """The error that a planned fault asks for."""
    body = error_body(
        refuse.message,
        code=refuse.code or _CODES.get(refuse.status),
        kind=_TYPES.get(refuse.status, "server_error"),
    )
    headers = {}
    if refuse.retry_after_s is not None:
        headers = {"retry-after": f"{refuse.retry_after_s:g}"}
    return JSONResponse(body, refuse.status, headers)


def endpoint(
    world: World,
    service: str,
    path: str,
    params: Any,  # noqa: ANN401  (a TypedDict, or a union of them)
    answer: Callable[[dict[str, Any]], Answer],
) -> Route:
    """One POST endpoint.

    Args:
        world: what all services share.
        service: its name.
        path: of the URL.
        params: the package's type of the request.
        answer: makes the response to a validated request; raises `Unacceptable` to refuse it.
    """

    async def serve(request: Request) -> Response:
        if not world.authorized(request.headers):
            body = error_body("Incorrect API key provided.", code="invalid_api_key")
            return JSONResponse(body, 401)
        mishaps = world.faults.begin(service)
        try:
            data = await _json(request)
            world.note(service, path, data if isinstance(data, dict) else {}, request.headers)
            if mishaps.refusal is not None:
                return refusal_response(mishaps.refusal)
            made_answer = answer(checked(params, data))
        except Unacceptable as refused:
            body = error_body(refused.message, code=refused.code, param=refused.param)
            return JSONResponse(body, 400)
        malformed = _malformed_event if _streams_events(made_answer) else _malformed
        chunks = mishaps.spoil(made_answer.chunks, malformed, _name)
        return await _respond(request, made_answer.media_type, chunks)

    return Route(path, serve, methods=["POST"])


async def _json(request: Request) -> object:
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_BODY_OCTETS:
            raise Unacceptable("The body is too large.", code="request_too_large")
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Unacceptable("The body is not valid JSON.", code="invalid_json") from error


async def _respond(request: Request, media_type: str, chunks: AsyncGenerator[Chunk]) -> Response:
    """Respond once there is a first chunk, unless the client leaves before."""
    first = asyncio.ensure_future(anext(chunks))
    gone = asyncio.ensure_future(request.receive())
    streaming = False
    try:
        await asyncio.wait({first, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not first.done():
            return Response(status_code=_CLIENT_LEFT)
        body = _body(first.result(), chunks)
        streaming = True
        return _Streamed(body, media_type, gone)
    except Failed as failed:
        fault = failed.fault
        return JSONResponse(error_body(fault.message, code=fault.code, kind="server_error"), 500)
    finally:
        if not streaming:
            gone.cancel()
            first.cancel()
            await asyncio.wait({first})
            await chunks.aclose()


class _Streamed(StreamingResponse):
    """A body that ends when the client leaves, and its source with it.

    Args:
        body: what is sent.
        media_type: of it.
        gone: waits for the client to leave since the request was read. It is the only one that
            does: granian 2.8 may lose what a cancelled one was about to be told.
    """

    def __init__(
        self, body: AsyncGenerator[bytes], media_type: str, gone: asyncio.Future[Message]
    ) -> None:
        super().__init__(body, media_type=media_type)
        self._body = body
        self._gone = gone

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._gone.cancel()
            await self._body.aclose()

    async def listen_for_disconnect(self, receive: Receive) -> None:
        """Return when the client has left."""
        await asyncio.wait({self._gone})


async def _body(first: Chunk, rest: AsyncGenerator[Chunk]) -> AsyncGenerator[bytes]:
    async with aclosing(rest):
        yield first.octets
        async for chunk in rest:
            yield chunk.octets


def _streams_events(answer: Answer) -> bool:
    return answer.media_type == "text/event-stream"


def _malformed_event(text: str) -> Chunk:
    return Chunk("", f"data: {text}\n\n".encode())


def _malformed(text: str) -> Chunk:
    return Chunk("", text.encode())


def _name(chunk: Chunk) -> str:
    return chunk.name
