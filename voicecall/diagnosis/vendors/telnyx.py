"""A Telnyx account: whether its key and application work, and whether it has our number."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import orjson

from voicecall.carriers.telnyx.faults import Refused
from voicecall.carriers.telnyx.rest import API_URL, Rest
from voicecall.diagnosis.check import fail, ok, warn
from voicecall.diagnosis.vendors.carrier import reported_elsewhere, secret
from voicecall.errors import CarrierError

if TYPE_CHECKING:
    from voicecall.config.schema import Config
    from voicecall.diagnosis.check import Finding
    from voicecall.diagnosis.vendors.carrier import Question

REMEDY: Final = (
    "set telnyx.apiKey (TELNYX_API_KEY) to a V2 key from https://portal.telnyx.com/#/api-keys"
)
_APPLICATIONS = "https://portal.telnyx.com/#/call-control/applications"


class TelnyxQuestions:
    """Implements `carrier.CarrierQuestions`.

    Args:
        config: complete configuration.
        timeout_s: how long an answer may take.
    """

    def __init__(self, config: Config, timeout_s: float) -> None:
        self._account = config.telnyx
        self._timeout_s = timeout_s
        self._rest: Rest | None = None
        self._application: Mapping[str, Any] = {}
        self.api_url = self._account.api_base_url or API_URL
        self.remedy = REMEDY

    async def credentials(self) -> Finding:
        """Whether the key is accepted, and its Call Control application can place calls.

        Raises:
            CarrierError: the key is not, or there was no answer.
            DependencyMissing: the package is not installed.
        """
        rest = await self._opened()
        try:
            body = await rest.application(self._account.connection_id or "")
        except Refused as error:
            if not error.refusal.unknown:
                raise
            return fail(
                "the key is accepted, but the account has no Call Control application of the id in "
                "telnyx.connectionId",
                f"set telnyx.connectionId (TELNYX_CONNECTION_ID) to one of {_APPLICATIONS}",
            )
        self._application = application = _data(body)
        if application.get("active") is False:
            return fail("the Call Control application is switched off", f"see {_APPLICATIONS}")
        outbound = application.get("outbound")
        if not (isinstance(outbound, Mapping) and outbound.get("outbound_voice_profile_id")):
            return fail(
                "the Call Control application has no outbound voice profile: its calls are refused",
                f"give it one: {_APPLICATIONS}",
            )
        return ok("accepted, and the Call Control application is active")

    async def number(self, question: Question) -> Finding:
        """Whether the account may call from the number. Raises CarrierError."""
        found = _list(await (await self._opened()).numbers(question.number))
        ours = [each for each in found if each.get("phone_number") == question.number]
        if not ours:
            return warn(
                "fromNumber is no number of the account; Telnyx takes it only if it is verified",
                "set fromNumber to one of https://portal.telnyx.com/#/numbers/my-numbers",
            )
        if question.webhook_url is None:
            return ok("belongs to the account")
        if str(ours[0].get("connection_id")) != self._account.connection_id:
            return warn(
                "belongs to the account, but calls to it go to another application",
                "assign it to that of telnyx.connectionId: "
                "https://portal.telnyx.com/#/numbers/my-numbers",
            )
        url = str(self._application.get("webhook_event_url") or "")
        return reported_elsewhere(question, url) or ok("belongs to the account")

    async def close(self) -> None:
        """Free the connections."""
        if self._rest is not None:
            await self._rest.close()

    async def _opened(self) -> Rest:
        if self._rest is None:
            account = self._account
            # The package takes seconds to load.
            self._rest = await asyncio.to_thread(
                Rest, secret(account.api_key), account.api_base_url, self._timeout_s
            )
        return self._rest


def _data(body: bytes) -> Mapping[str, Any]:
    data = _parsed(body)
    if not isinstance(data, Mapping):
        raise _unreadable()
    return data


def _list(body: bytes) -> list[Mapping[str, Any]]:
    data = _parsed(body)
    if not isinstance(data, list):
        raise _unreadable()
    return [each for each in data if isinstance(each, Mapping)]


def _parsed(body: bytes) -> object:
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return answer.get("data") if isinstance(answer, dict) else None


def _unreadable() -> CarrierError:
    return CarrierError(
        "what answers is not Telnyx's API; check telnyx.apiBaseUrl", status="unreadable"
    )
