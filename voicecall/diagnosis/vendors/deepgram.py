"""A Deepgram account: whether its key is accepted."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import httpx

from voicecall.diagnosis.check import fail, ok, warn
from voicecall.diagnosis.vendors.carrier import secret
from voicecall.errors import SpeechError

if TYPE_CHECKING:
    from voicecall.diagnosis.check import Finding
    from voicecall.diagnosis.network import Network
    from voicecall.diagnosis.services import Service

ORIGIN: Final = "https://api.deepgram.com"
_REFUSED = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})


async def look_at_deepgram(service: Service, network: Network) -> Finding:
    """Ask for the projects of the key.

    Raises:
        SpeechError: there was no answer.
    """
    account = service.account
    if account is None or account.api_key is None:
        return fail("deepgram.apiKey is not set", _remedy())
    parts = urlsplit(account.base_url or ORIGIN)
    path = f"{parts.path.rstrip('/').removesuffix('/v1')}/v1/projects"
    url = parts._replace(path=path, query="", fragment="").geturl()
    try:
        async with network.client() as http:
            headers = {"Authorization": f"Token {secret(account.api_key)}"}
            answer = await http.get(url, headers=headers)
    except httpx.HTTPError as error:
        raise SpeechError(
            f"{parts.netloc} does not answer ({type(error).__name__})", retryable=True
        ) from error
    if answer.is_success:
        return ok("deepgram.apiKey is accepted")
    if answer.status_code in _REFUSED:
        return fail("deepgram.apiKey is not accepted", _remedy())
    return warn(
        f"{parts.netloc} has no list of projects ({answer.status_code}), so the key could not be "
        "tried",
        "try it: voicecall smoke",
    )


def _remedy() -> str:
    return "set deepgram.apiKey (DEEPGRAM_API_KEY) to one of https://console.deepgram.com"
