"""Which speech engines a configuration asks for; nothing is loaded here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from voicecall.errors import ConfigError
from voicecall.speech.realtime.live import LiveSettings, OpenAILive
from voicecall.speech.realtime.openai import OpenAIRealtime, RealtimeSettings
from voicecall.speech.realtime.sockets import Account
from voicecall.speech.stt.deepgram import DeepgramSettings, DeepgramSpeechToText
from voicecall.speech.stt.local import LocalSpeechToText
from voicecall.speech.stt.openai import OpenAISpeechToText, TranscriptionSettings
from voicecall.speech.stt.scripted import ScriptedSpeechToText
from voicecall.speech.tts.cache import CachedTextToSpeech
from voicecall.speech.tts.elevenlabs import (
    ElevenLabsAccount,
    ElevenLabsSettings,
    ElevenLabsTextToSpeech,
)
from voicecall.speech.tts.elevenlabs_socket import ElevenLabsSocketTextToSpeech
from voicecall.speech.tts.local import LocalTextToSpeech
from voicecall.speech.tts.openai import OpenAITextToSpeech, SpeechSettings
from voicecall.speech.tts.openai_realtime import OpenAIRealtimeTextToSpeech, ReadingSettings
from voicecall.speech.tts.scripted import ScriptedTextToSpeech
from voicecall.speech.vad import Endpointing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic import SecretStr

    from voicecall.clock import Clock
    from voicecall.config.schema import (
        DeepgramStt,
        ElevenLabsTts,
        OpenAI,
        OpenAIStt,
        OpenAITts,
        Realtime,
        Stt,
        Tts,
        VoiceName,
    )
    from voicecall.ports import SpeechToSpeech, SpeechToText, TextToSpeech

# Servers that want no key still want the header; a vendor says what is wrong with it.
_NO_KEY = "unused"
_LIVE_MODELS = "gpt-live"


def recogniser(settings: Stt, clock: Clock) -> SpeechToText:
    """The recogniser that `settings` name.

    Raises:
        ConfigError: its model cannot do what is asked.
    """
    rules = Endpointing(
        start_probability=settings.vad_threshold, silence_ms=settings.silence_duration_ms
    )
    match settings.provider:
        case "openai":
            return _openai_recogniser(settings.openai, clock, rules)
        case "deepgram":
            return _deepgram_recogniser(settings.deepgram, clock, rules)
        case "local":
            return LocalSpeechToText(clock=clock, rules=rules, decoders=settings.local.threads)
        case "scripted":
            return ScriptedSpeechToText(settings.scripted.transcripts, clock=clock, rules=rules)


def voices(settings: Tts) -> Sequence[TextToSpeech]:
    """The voices that `settings` name, in the order in which they are tried.

    Raises:
        ConfigError: a voice lacks what it cannot do without.
    """
    names = dict.fromkeys((settings.provider, *settings.fallback))
    return tuple(_cached(_voice(name, settings), settings.cache_megabytes) for name in names)


def _cached(engine: TextToSpeech, megabytes: int) -> TextToSpeech:
    return CachedTextToSpeech(engine, megabytes * 1024 * 1024) if megabytes else engine


def _voice(name: VoiceName, settings: Tts) -> TextToSpeech:
    match name:
        case "openai":
            return _openai_voice(settings.openai)
        case "elevenlabs":
            return _elevenlabs_voice(settings.elevenlabs)
        case "local":
            return LocalTextToSpeech(seed=settings.local.seed)
        case "scripted":
            return ScriptedTextToSpeech()


def _openai_voice(settings: OpenAITts) -> TextToSpeech:
    account, api = _account(settings), settings.api
    if api == "auto":
        # OpenAI's own speech endpoint ends; compatible servers have nothing else.
        api = "realtime" if settings.base_url is None else "speech"
    how = (settings.model, settings.voice, settings.instructions, settings.speed)
    if api == "realtime":
        return OpenAIRealtimeTextToSpeech(account, ReadingSettings(*how))
    return OpenAITextToSpeech(account, SpeechSettings(*how))


def _elevenlabs_voice(settings: ElevenLabsTts) -> TextToSpeech:
    if settings.voice_id is None:
        raise ConfigError("tts.elevenlabs.voiceId: is not set; take the id of one of your voices")
    account = ElevenLabsAccount(_key(settings.api_key), settings.base_url)
    told = ElevenLabsSettings(
        settings.voice_id,
        settings.model_id,
        settings.language,
        settings.voice_settings.model_dump(exclude_none=True),
    )
    kind = (
        ElevenLabsSocketTextToSpeech if settings.transport == "socket" else ElevenLabsTextToSpeech
    )
    return kind(account, told)


def speech_to_speech(
    settings: Realtime,
    account: OpenAI,
    *,
    silence_ms: int,
    language: str | None,
    backend_model: str | None,
    clock: Clock,
) -> SpeechToSpeech:
    """OpenAI's model that converses by itself, as `settings` name it.

    Args:
        settings: which model, and how it listens and speaks.
        account: whose models, and where.
        silence_ms: how long the caller is silent when a turn is over.
        language: of the caller; None for any.
        backend_model: thinks and uses tools for models that only talk; None for nobody.
        clock: the time.
    """
    where = _account(account)
    api = settings.api
    if api == "auto":
        api = "live" if settings.model.startswith(_LIVE_MODELS) else "realtime"
    if api == "live":
        live = LiveSettings(settings.model, settings.voice, backend_model=backend_model)
        return OpenAILive(where, live, clock=clock)
    told = RealtimeSettings(
        model=settings.model,
        voice=settings.voice,
        transcription_model=settings.transcription_model,
        speed=settings.speed,
        language=language,
        turn_detection=settings.turn_detection,
        silence_ms=silence_ms,
        idle_timeout_ms=settings.idle_timeout_ms,
        tools=settings.tools,
    )
    return OpenAIRealtime(where, told, clock=clock)


def _openai_recogniser(settings: OpenAIStt, clock: Clock, rules: Endpointing) -> SpeechToText:
    told = TranscriptionSettings(
        model=settings.model,
        language=settings.language,
        prompt=settings.prompt,
        keywords=settings.keywords,
        turn_detection=settings.turn_detection,
        noise_reduction=None if settings.noise_reduction == "off" else settings.noise_reduction,
    )
    return OpenAISpeechToText(_account(settings), told, clock=clock, rules=rules)


def _deepgram_recogniser(settings: DeepgramStt, clock: Clock, rules: Endpointing) -> SpeechToText:
    return DeepgramSpeechToText(
        _key(settings.api_key),
        DeepgramSettings(settings.model, settings.language, settings.keywords),
        clock=clock,
        rules=rules,
        base_url=settings.base_url,
    )


def _account(settings: OpenAI) -> Account:
    return Account(_key(settings.api_key), settings.base_url)


def _key(secret: SecretStr | None) -> str:
    return secret.get_secret_value() if secret else _NO_KEY
