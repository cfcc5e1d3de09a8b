"""A Plivo account: whether its credentials work, and whether it has the number we call from."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from voicecall.carriers.plivo.rest import (
    API_URL,
    Account,
    Answer,
    Timeouts,
    close_client,
    open_client,
)
from voicecall.diagnosis.check import fail, ok, warn
from voicecall.diagnosis.vendors.carrier import secret
from voicecall.errors import CarrierError

if TYPE_CHECKING:
    from collections.abc import Callable

    from voicecall.config.schema import Config
    from voicecall.diagnosis.check import Finding
    from voicecall.diagnosis.vendors.carrier import Question

REMEDY: Final = (
    "set plivo.authId and plivo.authToken (PLIVO_AUTH_ID, PLIVO_AUTH_TOKEN) as "
    "https://cx.plivo.com shows them"
)


class PlivoQuestions:
    """Implements `carrier.CarrierQuestions`.

    Args:
        config: complete configuration.
        timeout_s: how long an answer may take.
    """

    def __init__(self, config: Config, timeout_s: float) -> None:
        account = config.plivo
        self.api_url = account.api_base_url or API_URL
        self.remedy = REMEDY
        self._account = Account(account.auth_id or "", secret(account.auth_token), self.api_url)
        # A thread cannot be called back: it has to give up before we do.
        self._timeouts = Timeouts(connect_s=timeout_s / 2, read_s=timeout_s / 2)

    async def credentials(self) -> Finding:
        """Whether they are accepted.

        Raises:
            CarrierError: there was no answer.
            ConfigError: the account's id is none of Plivo's.
            DependencyMissing: the SDK is not installed.
        """
        answer = await self._ask(lambda client: client.account.get())
        if answer.status == HTTPStatus.UNAUTHORIZED:
            return fail("Plivo does not accept plivo.authId and plivo.authToken", REMEDY)
        if not answer.ok or answer.body.get("auth_id") != self._account.auth_id:
            return fail(
                f"what answers is not Plivo's API (HTTP {answer.status})", "check plivo.apiBaseUrl"
            )
        if _spent(answer.body.get("cash_credits")):
            return warn("accepted, but the account has no credit", "see https://cx.plivo.com")
        return ok("accepted")

    async def number(self, question: Question) -> Finding:
        """Whether the account has the number. Raises CarrierError."""
        digits = question.number.removeprefix("+")
        answer = await self._ask(lambda client: client.numbers.get(digits))
        if answer.ok:
            if question.webhook_url is not None and not answer.body.get("application"):
                return warn(
                    "belongs to the account, but has no application, so nobody takes its calls",
                    f"give it one with the answer URL {question.webhook_url}: https://cx.plivo.com",
                )
            return ok("belongs to the account")
        if answer.status == HTTPStatus.NOT_FOUND:
            return warn(
                "fromNumber is no number of the account; carriers may refuse calls that show it",
                "set fromNumber to one of https://cx.plivo.com/phone-numbers",
            )
        raise CarrierError(
            f"Plivo refused to look fromNumber up (HTTP {answer.status})", status=answer.status
        )

    async def close(self) -> None:
        """Nothing is kept open."""

    async def _ask(self, request: Callable[[Any], Answer]) -> Answer:
        return await asyncio.to_thread(self._send, request)

    def _send(self, request: Callable[[Any], Answer]) -> Answer:
        client = open_client(self._account, self._timeouts)
        try:
            return request(client)
        # The SDK sends with requests, whose errors all are one of these.
        except OSError as error:
            # Not chained: it repeats the account's id.
            raise CarrierError(
                f"{self.api_url} does not answer ({type(error).__name__}); check the network",
                retryable=True,
            ) from None
        finally:
            close_client(client)


def _spent(credits_left: object) -> bool:
    try:
        return float(str(credits_left)) <= 0
    except ValueError:
        return False
