"""Which speech engines a configuration asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from voicecall.errors import ConfigError
from voicecall.speech.stt.local import LocalSpeechToText
from voicecall.speech.stt.scripted import ScriptedSpeechToText
from voicecall.speech.tts.local import LocalTextToSpeech
from voicecall.speech.tts.scripted import ScriptedTextToSpeech
from voicecall.speech.vad import Endpointing

if TYPE_CHECKING:
    from voicecall.clock import Clock
    from voicecall.config.schema import Stt, Tts
    from voicecall.ports import SpeechToText, TextToSpeech


def recogniser(settings: Stt, clock: Clock) -> SpeechToText:
    """The recogniser that `settings` name; nothing is loaded yet.

    Raises:
        ConfigError: this version has no such engine.
    """
    rules = Endpointing(
        start_probability=settings.vad_threshold, silence_ms=settings.silence_duration_ms
    )
    match settings.provider:
        case "local":
            return LocalSpeechToText(clock=clock, rules=rules, decoders=settings.local.threads)
        case "scripted":
            return ScriptedSpeechToText(settings.scripted.transcripts, clock=clock, rules=rules)
        case other:
            raise ConfigError(f"stt.provider: {other} is not in this version; use local")


def voice(settings: Tts) -> TextToSpeech:
    """The voice that `settings` name; nothing is loaded yet.

    Raises:
        ConfigError: this version has no such engine.
    """
    match settings.provider:
        case "local":
            return LocalTextToSpeech(seed=settings.local.seed)
        case "scripted":
            return ScriptedTextToSpeech()
        case other:
            raise ConfigError(f"tts.provider: {other} is not in this version; use local")
