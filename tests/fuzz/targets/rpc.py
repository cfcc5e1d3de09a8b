"""JSON-RPC messages, one a line, over HTTP and over the WebSocket.

Each line goes to `POST /rpc`, then all of them over one socket. In a line `@CALL@` stands for our
id of a call that is going on, `@OP@` for the last operation begun.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from starlette.types import ASGIApp

from tests.fuzz import watch
from tests.fuzz.asgi import Answer, Request, Socket, ask
from tests.fuzz.composed import TOKEN, serving
from tests.fuzz.target import Target
from voicecall.call.events import CallAnswered
from voicecall.call.record import Direction
from voicecall.control.describe import METHODS
from voicecall.control.events import EVENT_METHOD
from voicecall.control.rpc import MAX_BATCH
from voicecall.faults import (
    FAULTS,
    INTERNAL_ERROR,
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    PARSE_ERROR,
)
from voicecall.server import Server

LINES_MAX = 12
SETTINGS = {"transcriptTimeoutMs": 20, "maxConcurrentCalls": 4}
_NUMBERS = {fault.number for fault in FAULTS.values()}
ERROR_CODES = {*_NUMBERS, PARSE_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND} - {INTERNAL_ERROR}
CLOSES = {1000, 1003, 1009}


@dataclass(frozen=True, slots=True)
class Due:
    """The response that one request is due.

    Attributes:
        id: it bears.
        codes: one of these errors; empty when it may also be a result.
    """

    id: Any
    codes: frozenset[int] = frozenset()


def dues_of(message: bytes) -> tuple[list[Due], bool]:
    """The responses due to a message, and whether they come as a batch: a second reading."""
    try:
        decoded = orjson.loads(message)
    except orjson.JSONDecodeError:
        return [Due(None, frozenset({PARSE_ERROR}))], False
    if not isinstance(decoded, list):
        return [due for due in (due_of(decoded),) if due], False
    if not decoded or len(decoded) > MAX_BATCH:
        return [Due(None, frozenset({INVALID_REQUEST}))], False
    return [due for due in map(due_of, decoded) if due], True


def due_of(request: object) -> Due | None:
    broken = frozenset({INVALID_REQUEST})
    if not isinstance(request, dict):
        return Due(None, broken)
    request_id = request.get("id")
    if isinstance(request_id, bool | list | dict):
        return Due(None, broken)
    name = request.get("method")
    if request.get("jsonrpc") != "2.0" or not isinstance(name, str):
        return Due(request_id, broken)
    if "id" not in request:
        return None
    if name not in METHODS:
        return Due(request_id, frozenset({METHOD_NOT_FOUND}))
    if not isinstance(request.get("params", {}), dict):
        return Due(request_id, frozenset({INVALID_PARAMS}))
    return Due(request_id)


def check(data: bytes) -> None:
    watch.run(lambda: check_lines(data.split(b"\n")[:LINES_MAX]))


async def check_lines(lines: Sequence[bytes]) -> None:
    async with serving(**SETTINGS) as (server, app):
        client = Client(server, app)
        await client.take_call()
        for line in lines:
            await client.check_http(line)
        await client.check_socket(lines)


class Client:
    """Somebody with the token and one call."""

    def __init__(self, server: Server, app: ASGIApp) -> None:
        self._server = server
        self._app = app
        self._names = {b"@CALL@": b"", b"@OP@": b"none"}

    async def take_call(self) -> None:
        """Have a call that the methods can be about."""
        await self._server.manager.apply(
            CallAnswered(
                id="e-1",
                dedupe_key="e-1",
                timestamp=1,
                provider_call_id="p-1",
                direction=Direction.INBOUND,
                from_number="+15550001111",
                to_number="+15550002222",
            )
        )
        self._names[b"@CALL@"] = self._server.manager.live()[0].call_id.encode()

    def _filled(self, line: bytes) -> bytes:
        for name, value in self._names.items():
            line = line.replace(name, value)
        return line

    async def check_http(self, line: bytes) -> None:
        message = self._filled(line)
        stranger = await self._post(message, "wrong")
        assert (stranger.status, stranger.body) == (401, b"Unauthorized")
        answer = await self._post(message, TOKEN)
        dues, batch = dues_of(message)
        if not dues:
            assert (answer.status, answer.body) == (204, b"")
            return
        assert answer.status == 200
        assert answer.headers["content-type"] == "application/json"
        responses = orjson.loads(answer.body)
        assert isinstance(responses, list) == batch
        for due, response in zip(dues, responses if batch else [responses], strict=True):
            check_response(due, response)
            operation = response.get("result", {}).get("operationId")
            if operation is not None:
                self._names[b"@OP@"] = operation.encode()

    async def _post(self, message: bytes, token: str) -> Answer:
        return await ask(self._app, _request("POST", b"/rpc", token, message))

    async def check_socket(self, lines: Sequence[bytes]) -> None:
        """The same over a socket: as many responses, by id, in any order; then an orderly end."""
        socket = Socket(self._app, _request("GET", b"/rpc/ws", TOKEN))
        opened = await socket.hear()
        assert opened is not None
        assert opened["type"] == "websocket.accept"
        due: Counter[bytes] = Counter()
        for line in lines:
            message = self._filled(line)
            text = _text(message)
            socket.say(message if text is None else text)
            if text is None:
                # Refused unread, and what comes after it, too.
                await self._check_closed(socket)
                return
            dues, batch = dues_of(message)
            if dues:
                due[_ids([each.id for each in dues], batch=batch)] += 1
        while due:
            response = _spoken(await socket.hear())
            if response is not None:
                key = _key(response)
                assert due[key], f"nobody is due {response}"
                due -= Counter([key])
        await socket.leave()

    async def _check_closed(self, socket: Socket) -> None:
        while (message := await socket.hear()) is not None:
            if message["type"] == "websocket.close":
                assert message["code"] in CLOSES
            else:
                _spoken(message)
        await socket.leave()


def _request(method: str, path: bytes, token: str, body: bytes = b"") -> Request:
    headers = ((b"authorization", f"Bearer {token}".encode()),)
    return Request(method, path, headers, body, "203.0.113.7")


def _text(message: bytes) -> str | None:
    try:
        return message.decode()
    except UnicodeDecodeError:
        return None


def _spoken(message: Any) -> Any:
    """A response, or responses, in a socket's message; None for a notification of an event."""
    assert message is not None, "the socket ended with responses due"
    assert message["type"] == "websocket.send", message
    spoken = orjson.loads(message["text"])
    if isinstance(spoken, dict) and "method" in spoken:
        assert spoken.keys() == {"jsonrpc", "method", "params"}
        assert spoken["method"] == EVENT_METHOD
        return None
    for response in spoken if isinstance(spoken, list) else [spoken]:
        check_response(Due(response["id"]), response)
    return spoken


def _key(spoken: Any) -> bytes:
    batch = isinstance(spoken, list)
    return _ids([each["id"] for each in (spoken if batch else [spoken])], batch=batch)


def _ids(ids: Sequence[Any], *, batch: bool) -> bytes:
    return orjson.dumps([batch, *ids])


def check_response(due: Due, response: Any) -> None:
    """Section 5 of the specification, and an error that tells something but not too much."""
    assert isinstance(response, dict)
    assert response["jsonrpc"] == "2.0"
    assert orjson.dumps(response["id"]) == orjson.dumps(due.id)
    if "error" not in response:
        assert response.keys() == {"jsonrpc", "result", "id"}
        assert isinstance(response["result"], dict)
        assert not due.codes
        return
    assert response.keys() == {"jsonrpc", "error", "id"}
    error = response["error"]
    assert error.keys() <= {"code", "message", "data"}
    assert error["code"] in (due.codes or ERROR_CODES), error
    assert error["message"].strip()
    assert "Traceback" not in error["message"]


def call(method: str, request_id: Any = 1, **params: Any) -> bytes:
    body = {"jsonrpc": "2.0", "id": request_id, "method": f"voicecall.{method}", "params": params}
    return orjson.dumps(body)


def seeds() -> Sequence[bytes]:
    one = [
        call("status"),
        call("status", callId="@CALL@"),
        call("status", "a", sid="p-1"),
        call("initiate", 2.5, message="hi", to="+15550001234", mode="notify"),
        call("start", to="+15550001234", dtmfSequence="1w2"),
        call("speak", callId="@CALL@", message="hi"),
        call("continue", callId="@CALL@", message="hi"),
        call("continue.start", callId="@CALL@", message="hi"),
        call("continue.result", operationId="@OP@"),
        call("dtmf", callId="@CALL@", digits="12#"),
        call("history", last=2, since=0),
        call("changes", since=-5, limit="10"),
        call("latency", last=3),
        b'{"jsonrpc":"2.0","id":1,"method":"rpc.discover"}',
        call("end", callId="@CALL@"),
    ]
    return [*one, b"\n".join(one), b"[" + b",".join(one) + b"]"]


TOKENS = (
    *(f'"{name}"'.encode() for name in METHODS),
    b'"jsonrpc":"2.0",',
    b'"id":null,',
    b'"id":1e400,',
    b'"id":18446744073709551616,',
    b'"id":-0.0,',
    b'"id":{},',
    b'"params":[1],',
    b'"callId":"@CALL@",',
    b'"callId":"p-1",',
    b'"message":"\\u0000",',
    b'"message":"\\ud800",',
    b'"message":"\xf0\x9f\x98\x80",',
    b'"mode":"conversation",',
    b'"to":"+15550001234",',
    b"\n",
    b"[]",
    b"[" * 1100,
    b"null",
    b"\xff",
)
TARGET = Target(check=check, allowed=(), seeds=seeds, tokens=TOKENS, guided=True)
