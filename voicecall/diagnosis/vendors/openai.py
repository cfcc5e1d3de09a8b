"""An OpenAI account, or a compatible server: whether it takes the key and has the models."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from voicecall.diagnosis.check import fail, ok, warn
from voicecall.diagnosis.vendors.carrier import secret
from voicecall.errors import SpeechError
from voicecall.llm.openai_client import Account, OpenAIClient, failing_as_speech_error

if TYPE_CHECKING:
    from openai import AsyncOpenAI

    from voicecall.diagnosis.check import Finding
    from voicecall.diagnosis.services import Service

_NOT_OFFERED = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED})


async def look_at_openai(service: Service, timeout_s: float) -> Finding:
    """Ask for each model by its name.

    Args:
        service: the account, and the models by the settings that name them.
        timeout_s: how long all answers together may take.

    Raises:
        SpeechError: there was no answer, or it made no sense.
        DependencyMissing: the package is not installed.
    """
    settings = service.account
    if settings is None:
        raise SpeechError("the service has no account")
    account = Account(
        secret(settings.api_key) or None,
        settings.base_url,
        read_timeout_ms=round(timeout_s * 1000),
    )
    if account.is_openai and account.api_key is None:
        return fail(f"{settings.key} is not set", _key_remedy(settings.key))
    client = OpenAIClient(account)
    try:
        missing = await _missing(await client.connected(), service)
    except SpeechError as error:
        return _refused(error, settings.key)
    finally:
        await client.close()
    if missing is None:
        return warn(
            "answers, but has no list of models, so key and models could not be tried",
            "try them: voicecall smoke",
        )
    if missing:
        return fail(
            "; ".join(f"{key}: there is no model {model}" for key, model in missing),
            f"set {missing[0][0]} to a model that the account has",
        )
    models = ", ".join(dict.fromkeys(model for _, model in service.uses))
    return ok(f"{settings.key} is accepted, and has {models}" if models else "accepted")


async def _missing(client: AsyncOpenAI, service: Service) -> list[tuple[str, str]] | None:
    """The uses whose model there is not; None where models are not told. Raises SpeechError."""
    missing = []
    for key, model in service.uses:
        try:
            with failing_as_speech_error():
                await client.models.retrieve(model)
        except SpeechError as error:
            if error.status not in _NOT_OFFERED:
                raise
            missing.append((key, model))
    if not missing:
        return []
    # Some compatible servers list their models, and know none by its name.
    listed = await _listed(client)
    if listed is None:
        return None
    return [(key, model) for key, model in missing if model not in listed]


async def _listed(client: AsyncOpenAI) -> set[str] | None:
    try:
        with failing_as_speech_error():
            return {model.id async for model in client.models.list()}
    except SpeechError as error:
        if error.status not in _NOT_OFFERED:
            raise
        return None


def _refused(error: SpeechError, key: str) -> Finding:
    match error.status:
        case HTTPStatus.UNAUTHORIZED:
            return fail(f"{key} is not accepted", _key_remedy(key))
        case HTTPStatus.FORBIDDEN:
            return warn(
                f"{key} is known, but may not look at models, so these could not be tried",
                "let the key read models, or try them: voicecall smoke",
            )
    return fail(str(error), f"check {key.rpartition('.')[0]}.baseUrl and the network")


def _key_remedy(key: str) -> str:
    return f"set {key} (or OPENAI_API_KEY) to one of https://platform.openai.com/api-keys"
