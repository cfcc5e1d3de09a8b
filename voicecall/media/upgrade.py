"""The HTTP request that a media socket begins with, and its answers (RFC 6455, section 4)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

HEADERS_MAX = 64
# RFC 9110, sections 5.1 and 5.5: names are tokens, and no line ends within a value.
HEADER: Final = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\0\r\n]*)")
VERSION = "13"
# What a refusal says the client should have done: RFC 9110, 15.5.6, and RFC 6455, section 4.4.
WANTED: Final = {
    HTTPStatus.METHOD_NOT_ALLOWED: "Allow: GET\r\n",
    HTTPStatus.UPGRADE_REQUIRED: f"Upgrade: websocket\r\nSec-WebSocket-Version: {VERSION}\r\n",
}
KEY_OCTETS = 16
# What is hashed together with the client's key: RFC 6455, section 1.3.
KEY_SUFFIX: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class UpgradeError(Exception):
    """The request is none that opens a WebSocket.

    Attributes:
        status: what it is answered with.
    """

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class UpgradeRequest:
    """A client's wish for a WebSocket.

    Attributes:
        target: path and query as they were sent.
        headers: by name in lower case; those that come more than once are joined by commas.
    """

    target: str
    headers: Mapping[str, str]

    @classmethod
    def parse(cls, head: bytes) -> UpgradeRequest:
        """Read the head of a request, with the empty line that ends it.

        Raises:
            UpgradeError: it is not HTTP/1.1, or no upgrade to WebSocket.
        """
        lines = head.decode("latin-1").split("\r\n")
        if not head.endswith(b"\r\n\r\n") or len(lines) - 3 > HEADERS_MAX:
            raise UpgradeError(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "head too long")
        method, _, rest = lines[0].partition(" ")
        target, _, version = rest.rpartition(" ")
        if version != "HTTP/1.1" or not target.startswith("/") or " " in target:
            raise UpgradeError(HTTPStatus.BAD_REQUEST, "not an HTTP/1.1 request")
        if method != "GET":
            raise UpgradeError(HTTPStatus.METHOD_NOT_ALLOWED, "not a GET request")
        request = cls(target, _read_headers(lines[1:-2]))
        request._check()
        return request

    def accept(self) -> bytes:
        """The response that opens the WebSocket."""
        digest = hashlib.sha1(  # what the protocol demands; nothing is kept secret by it
            self.headers["sec-websocket-key"].encode() + KEY_SUFFIX, usedforsecurity=False
        ).digest()
        return (
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + base64.b64encode(digest) + b"\r\n\r\n"
        )

    def _check(self) -> None:
        if "websocket" not in _tokens(self.headers.get("upgrade", "")):
            raise UpgradeError(HTTPStatus.UPGRADE_REQUIRED, "no upgrade to websocket")
        if "upgrade" not in _tokens(self.headers.get("connection", "")):
            raise UpgradeError(HTTPStatus.BAD_REQUEST, "connection is not to be upgraded")
        if self.headers.get("sec-websocket-version") != VERSION:
            raise UpgradeError(HTTPStatus.UPGRADE_REQUIRED, "unknown version of WebSocket")
        try:
            key = base64.b64decode(self.headers.get("sec-websocket-key", ""), validate=True)
        except (binascii.Error, ValueError):
            key = b""
        if len(key) != KEY_OCTETS:
            raise UpgradeError(HTTPStatus.BAD_REQUEST, "no good Sec-WebSocket-Key")


def refusal(status: HTTPStatus) -> bytes:
    """The response to a request that is not accepted; the connection ends behind it."""
    body = status.phrase.encode()
    return (
        f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: text/plain\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n"
        f"{WANTED.get(status, '')}\r\n"
    ).encode() + body


def _read_headers(lines: list[str]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in lines:
        matched = HEADER.fullmatch(line)
        if matched is None:
            raise UpgradeError(HTTPStatus.BAD_REQUEST, "malformed header")
        name, value = matched[1].lower(), matched[2].rstrip(" \t")
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    return headers


def _tokens(value: str) -> set[str]:
    return {token.strip().lower() for token in value.split(",")}
