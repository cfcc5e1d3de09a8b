"""A Twilio account: whether its credentials work, and whether it has the number we call from."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from voicecall.carriers.twilio.rest import PUBLIC_API, Account, Rest, Timeouts
from voicecall.diagnosis.check import fail, ok, warn
from voicecall.diagnosis.vendors.carrier import reported_elsewhere, secret

if TYPE_CHECKING:
    from voicecall.clock import Clock
    from voicecall.config.schema import Config
    from voicecall.diagnosis.check import Finding
    from voicecall.diagnosis.vendors.carrier import Question

REMEDY: Final = (
    "set twilio.accountSid and twilio.authToken (TWILIO_ACCOUNT_SID, TWILIO_AUTH_TOKEN) as "
    "https://console.twilio.com shows them"
)


class TwilioQuestions:
    """Implements `carrier.CarrierQuestions`.

    Args:
        config: complete configuration.
        clock: the time.
        timeout_s: how long an answer may take.
    """

    def __init__(self, config: Config, clock: Clock, timeout_s: float) -> None:
        account = config.twilio
        self._account = Account(
            account.account_sid or "",
            secret(account.auth_token),
            account.region,
            account.api_base_url,
        )
        self._clock = clock
        self._timeouts = Timeouts(request_s=timeout_s)
        self._rest: Rest | None = None
        self.api_url = account.api_base_url or PUBLIC_API
        self.remedy = REMEDY

    async def credentials(self) -> Finding:
        """Whether they are those of an account that is active.

        Raises:
            CarrierError: they are not, or there was no answer.
            DependencyMissing: the SDK is not installed.
        """
        status, kind = await (await self._opened()).account()
        if status != "active":
            return fail(
                f"the account is {status}", "see https://console.twilio.com for what it needs"
            )
        if kind == "Trial":
            return warn(
                "accepted; a trial account calls verified numbers only, and says so in each call",
                "verify your own number, or upgrade: https://console.twilio.com",
            )
        return ok("accepted")

    async def number(self, question: Question) -> Finding:
        """Whether the account may call from the number. Raises CarrierError."""
        rest = await self._opened()
        voice_url = await rest.voice_url(question.number)
        if voice_url is not None:
            return reported_elsewhere(question, voice_url) or ok("belongs to the account")
        if await rest.has_verified(question.number):
            return ok("does not belong to the account, but is verified for it")
        return fail(
            "fromNumber is neither a number of the account nor verified for it",
            "buy or verify it: https://console.twilio.com, or set fromNumber to another one",
        )

    async def close(self) -> None:
        """Free the connections."""
        if self._rest is not None:
            await self._rest.close()

    async def _opened(self) -> Rest:
        if self._rest is None:
            # The SDK takes a while to load.
            self._rest = await asyncio.to_thread(Rest, self._account, self._clock, self._timeouts)
        return self._rest
