"""Proof that a URL leads to this very server: a question put to it here is answered there.

Whoever has the RPC token gets a question and its answer, both random; then the webhook's URL, asked
with that question by anybody, gives the answer. Nothing can be learned from it without the token:
a question that was not given out is answered like any other `GET`, which is refused.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, PlainTextResponse, Response

from voicecall.clock import NS_PER_S

if TYPE_CHECKING:
    from starlette.requests import Request

    from voicecall.clock import Clock

PARAMETER: Final = "challenge"
"""The parameter of the webhook's URL that holds the question."""
VALID_S: Final = 60
"""How long a question is answered."""
MAX_OPEN: Final = 16
"""How many questions are remembered; with one more the oldest is forgotten."""

_OCTETS = 16


@dataclass(frozen=True, slots=True)
class _Challenge:
    answer: str
    until_ns: int


class Challenges:
    """Gives out questions and answers them.

    Args:
        clock: tells how old a question is.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._open: OrderedDict[str, _Challenge] = OrderedDict()

    async def give(self, request: Request) -> Response:
        """A new question and its answer, as JSON; to be guarded by the token."""
        del request
        question, answer = secrets.token_hex(_OCTETS), secrets.token_hex(_OCTETS)
        if len(self._open) >= MAX_OPEN:
            self._open.popitem(last=False)
        until_ns = self._clock.now_ns() + VALID_S * NS_PER_S
        self._open[question] = _Challenge(answer, until_ns)
        return JSONResponse(
            {"question": question, "answer": answer}, headers={"cache-control": "no-store"}
        )

    async def answer(self, request: Request) -> Response:
        """The answer to the question in the URL.

        Raises:
            HTTPException: 405, there is none, or it was not given out within the last minute.
        """
        known = self._open.get(request.query_params.get(PARAMETER, ""))
        if known is None or self._clock.now_ns() > known.until_ns:
            raise HTTPException(405, headers={"allow": "POST"})
        return PlainTextResponse(known.answer, headers={"cache-control": "no-store"})
