"""An ElevenLabs account: whether its key is accepted, and the voice there."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlsplit

import httpx

from voicecall.diagnosis.check import fail, ok, warn
from voicecall.diagnosis.vendors.carrier import secret
from voicecall.errors import SpeechError
from voicecall.speech.tts.elevenlabs import ORIGIN

if TYPE_CHECKING:
    from voicecall.diagnosis.check import Finding
    from voicecall.diagnosis.network import Network
    from voicecall.diagnosis.services import Service

_NOT_THERE = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND})
# Keys may be limited to what they are for, such as speaking.
_LIMITED: Final = "missing_permissions"


async def look_at_elevenlabs(service: Service, network: Network) -> Finding:
    """Ask for the voice.

    Raises:
        SpeechError: there was no answer.
    """
    account = service.account
    if account is None or account.api_key is None:
        return fail("elevenlabs.apiKey is not set", _remedy())
    voices = [voice for _, voice in service.uses]
    if not all(voices):
        return fail(
            "tts.elevenlabs.voiceId is not set",
            "set tts.elevenlabs.voiceId to one of https://elevenlabs.io/app/voice-library",
        )
    for voice in voices:
        answer = await _ask(account.base_url or ORIGIN, voice, secret(account.api_key), network)
        if not answer.is_success:
            return _refused(answer)
    return ok("elevenlabs.apiKey is accepted, and the voice is there")


async def _ask(base_url: str, voice: str, key: str, network: Network) -> httpx.Response:
    parts = urlsplit(base_url)
    path = f"{parts.path.rstrip('/').removesuffix('/v1')}/v1/voices/{quote(voice, safe='')}"
    url = parts._replace(path=path, query="", fragment="").geturl()
    try:
        async with network.client() as http:
            return await http.get(url, headers={"xi-api-key": key})
    except httpx.HTTPError as error:
        raise SpeechError(
            f"{parts.netloc} does not answer ({type(error).__name__})", retryable=True
        ) from error


def _refused(answer: httpx.Response) -> Finding:
    if _reason(answer) == _LIMITED:
        return warn(
            "elevenlabs.apiKey is known, but may not look at voices, so the voice was not tried",
            "let the key read voices, or try it: voicecall smoke",
        )
    if answer.status_code == HTTPStatus.UNAUTHORIZED:
        return fail("elevenlabs.apiKey is not accepted", _remedy())
    if answer.status_code in _NOT_THERE:
        return fail(
            "tts.elevenlabs.voiceId: the account has no such voice",
            "set tts.elevenlabs.voiceId to one of https://elevenlabs.io/app/voice-library",
        )
    return warn(
        f"ElevenLabs answered with {answer.status_code}, so key and voice could not be tried",
        "try again later, or try them: voicecall smoke",
    )


def _reason(answer: httpx.Response) -> str:
    try:
        body = answer.json()
    except ValueError:
        return ""
    detail = body.get("detail") if isinstance(body, Mapping) else None
    return str(detail.get("status", "")) if isinstance(detail, Mapping) else ""


def _remedy() -> str:
    return "set elevenlabs.apiKey (ELEVENLABS_API_KEY) to one of https://elevenlabs.io/app/settings"
