from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request

from voicecall.control.body import read_body

if TYPE_CHECKING:
    from starlette.types import Message

pytestmark = pytest.mark.unit


class Sender:
    """Sends a body in pieces, then nothing more or the news that the client is gone."""

    def __init__(self, *pieces: bytes, ends: str = "properly") -> None:
        self.pieces = list(pieces)
        self.ends = ends

    async def __call__(self) -> Message:
        if self.pieces:
            more = self.ends != "properly" or len(self.pieces) > 1
            return {"type": "http.request", "body": self.pieces.pop(0), "more_body": more}
        if self.ends == "never":
            await asyncio.Event().wait()
        return {"type": "http.disconnect"}


def read(sender: Sender, *, limit_octets: int = 10, declared: str | None = None) -> bytes:
    headers = [] if declared is None else [(b"content-length", declared.encode())]
    scope = {"type": "http", "method": "POST", "headers": headers}
    request = Request(scope, sender)
    return asyncio.run(read_body(request, limit_octets=limit_octets, timeout_s=0.02))


def refused(sender: Sender, *, declared: str | None = None) -> int:
    with pytest.raises(HTTPException) as refusal:
        read(sender, declared=declared)
    assert refusal.value.headers == {"connection": "close"}
    return refusal.value.status_code


def test_pieces_are_put_together() -> None:
    assert read(Sender(b"abc", b"", b"defghij"), declared="10") == b"abcdefghij"
    assert read(Sender(b"")) == b""


def test_a_length_that_is_declared_too_long_is_refused_without_reading() -> None:
    sender = Sender(b"abc")
    assert refused(sender, declared="11") == 413
    assert sender.pieces == [b"abc"]


@pytest.mark.parametrize("declared", [None, "1", "", "x", "\u0663", "-1"])
def test_a_body_that_becomes_too_long_is_refused_and_read_no_further(declared: str | None) -> None:
    sender = Sender(b"12345678", b"9AB", b"C")
    headers = declared.encode().decode("latin-1") if declared else declared
    assert refused(sender, declared=headers) == 413
    assert sender.pieces == [b"C"]


def test_a_body_that_takes_too_long_is_refused() -> None:
    assert refused(Sender(b"abc", ends="never")) == 408


def test_a_client_that_leaves_half_way_is_no_error_of_ours() -> None:
    assert refused(Sender(b"abc", ends="gone")) == 400
