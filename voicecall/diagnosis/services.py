"""The speech and language services that a configuration uses, and what of them."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic import SecretStr

    from voicecall.config.schema import Config, NumberSettings, Realtime, Stt, Tts, VoiceName

ServiceName: TypeAlias = Literal["openai", "deepgram", "elevenlabs", "local"]


@dataclass(frozen=True, slots=True)
class Account:
    """Whose service, and where.

    Attributes:
        key: of the setting with the API key.
        api_key: secret; None where none is set.
        base_url: of a compatible server; None for the vendor's own.
    """

    key: str
    api_key: SecretStr | None
    base_url: str | None


@dataclass(frozen=True, slots=True)
class Service:
    """A service, by the account through which it is used.

    Attributes:
        name: the vendor's, or `local`.
        account: None for local engines.
        uses: models or voices that have to be there, each with the setting that names it.
    """

    name: ServiceName
    account: Account | None
    uses: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class _Use:
    """One thing that one part of the configuration uses."""

    name: ServiceName
    account: Account | None
    use: tuple[str, str] | None = None


def services(config: Config) -> list[Service]:
    """All of them, those of single numbers included; each account once."""
    uses: dict[tuple[ServiceName, str | None, str | None], list[_Use]] = defaultdict(list)
    for each in _uses(config):
        account = each.account
        secret = account.api_key.get_secret_value() if account and account.api_key else None
        uses[each.name, secret, account.base_url if account else None].append(each)
    return [
        Service(name, same[0].account, tuple(dict.fromkeys(each.use for each in same if each.use)))
        for (name, _, _), same in uses.items()
    ]


def _uses(config: Config) -> Iterator[_Use]:
    yield from _responder(config, "responseModel", config.response_model)
    for settings in config.numbers.values():
        if settings.response_model:
            key = "numbers.….responseModel"
            yield from _responder(config, key, settings.response_model)
    # Without media streaming the carrier speaks and listens.
    if not config.streaming.enabled:
        return
    yield from _speech(config, config.stt, config.tts, config.realtime)
    for settings in config.numbers.values():
        if _differs(settings):
            stt, tts = settings.stt or config.stt, settings.tts or config.tts
            yield from _speech(config, stt, tts, settings.realtime or config.realtime)


def _differs(settings: NumberSettings) -> bool:
    return any((settings.stt, settings.tts, settings.realtime))


def _responder(config: Config, key: str, model: str) -> Iterator[_Use]:
    service, _, name = model.partition("/")
    if service == "openai":
        yield _Use("openai", _openai(config), (key, name))


def _speech(config: Config, stt: Stt, tts: Tts, realtime: Realtime) -> Iterator[_Use]:
    if realtime.enabled and realtime.provider == "openai":
        yield _Use("openai", _openai(config), ("realtime.model", realtime.model))
    else:
        yield from _ears(stt)
    for name in dict.fromkeys((tts.provider, *tts.fallback)):
        yield from _voice(name, tts)


def _ears(stt: Stt) -> Iterator[_Use]:
    match stt.provider:
        case "openai":
            account = Account("stt.openai.apiKey", stt.openai.api_key, stt.openai.base_url)
            yield _Use("openai", account, ("stt.openai.model", stt.openai.model))
        case "deepgram":
            settings = stt.deepgram
            account = Account("deepgram.apiKey", settings.api_key, settings.base_url)
            yield _Use("deepgram", account)
        case "local":
            yield _Use("local", None)


def _voice(name: VoiceName, tts: Tts) -> Iterator[_Use]:
    match name:
        case "openai":
            account = Account("tts.openai.apiKey", tts.openai.api_key, tts.openai.base_url)
            yield _Use("openai", account, ("tts.openai.model", tts.openai.model))
        case "elevenlabs":
            settings = tts.elevenlabs
            account = Account("elevenlabs.apiKey", settings.api_key, settings.base_url)
            voice_id = ("tts.elevenlabs.voiceId", settings.voice_id or "")
            yield _Use("elevenlabs", account, voice_id)
        case "local":
            yield _Use("local", None)


def _openai(config: Config) -> Account:
    return Account("openai.apiKey", config.openai.api_key, config.openai.base_url)
