"""What each call is held with, by the configuration and by the number that was dialled."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from voicecall.call.record import Direction
from voicecall.dialog.turns import BargeIn
from voicecall.llm.responders import responder
from voicecall.session.equipment import Equipment, SessionSettings
from voicecall.speech.engines import recogniser, voice

if TYPE_CHECKING:
    from collections.abc import Iterator

    from voicecall.call.record import CallRecord
    from voicecall.clock import Clock
    from voicecall.config.schema import Config, NumberSettings, Tts
    from voicecall.ports import Responder, SpeechToText, TextToSpeech


@dataclass(frozen=True, slots=True)
class OwnEngines:
    """What a program brings along instead of what the configuration names.

    Attributes:
        responder: answers on all calls; None leaves it to `responseModel`.
        tts: the voice of all calls; None leaves it to `tts`.
        stt: listens on all calls; None leaves it to `stt`.
    """

    responder: Responder | None = None
    tts: TextToSpeech | None = None
    stt: SpeechToText | None = None


class Outfitter:
    """Owns the engines of one server and shares them out to its calls.

    Numbers that ask for the same voice or responder share it.

    Args:
        config: complete configuration.
        clock: the time.
        own: engines used instead of the configured ones, for all numbers.

    Raises:
        ConfigError: this version lacks an engine that is asked for.
    """

    def __init__(self, config: Config, clock: Clock, own: OwnEngines | None = None) -> None:
        self._config = config
        self._own = own or OwnEngines()
        self._voices: dict[Tts, TextToSpeech] = {}
        self._responders: dict[str, Responder] = {}
        self._stt: SpeechToText | None = None
        if config.streaming.enabled:
            self._stt = self._own.stt or recogniser(config.stt, clock)
        self._general = self._equipment(None)
        self._by_number = {
            number: self._equipment(settings) for number, settings in config.numbers.items()
        }

    def equip(self, record: CallRecord) -> Equipment:
        """What the call of `record` is held with; a caller's choice of number decides."""
        if record.direction is Direction.INBOUND:
            return self._by_number.get(record.to_number, self._general)
        return self._general

    async def prepare(self) -> None:
        """Load the models now: a missing package is told at start, and no call waits for it.

        Raises:
            DependencyMissing: a package is not installed.
            SpeechError: a model cannot be loaded.
        """
        for engine in self._engines():
            await engine.prepare()

    async def close(self) -> None:
        """Free all engines, whatever one of them may say to that."""
        async with AsyncExitStack() as ending:
            for each in (*self._engines(), *self._all_responders()):
                ending.push_async_callback(each.close)

    def _all_responders(self) -> Iterator[Responder]:
        yield from self._responders.values()
        if self._own.responder is not None:
            yield self._own.responder

    def _engines(self) -> Iterator[TextToSpeech | SpeechToText]:
        yield from self._voices.values()
        if self._own.tts is not None:
            yield self._own.tts
        if self._stt is not None:
            yield self._stt

    def _equipment(self, number: NumberSettings | None) -> Equipment:
        config = self._config
        tts, model, timeout_ms = config.tts, config.response_model, config.response_timeout_ms
        if number is not None:
            tts = number.tts or tts
            model = number.response_model or model
            timeout_ms = number.response_timeout_ms or timeout_ms
        return Equipment(
            # Without streaming the carrier speaks, and no voice of ours has to be installed.
            tts=(self._own.tts or self._voice(tts),) if config.streaming.enabled else (),
            stt=self._stt,
            responder=self._own.responder or self._responder(model),
            settings=SessionSettings(
                notify_hangup_delay_ms=round(config.outbound.notify_hangup_delay_sec * 1000),
                response_timeout_ms=timeout_ms,
                barge_in=BargeIn(
                    enabled=config.barge_in.enabled,
                    min_speech_ms=config.barge_in.min_speech_ms,
                    min_level_dbfs=config.barge_in.min_level_dbfs,
                ),
            ),
        )

    def _voice(self, settings: Tts) -> TextToSpeech:
        if settings not in self._voices:
            self._voices[settings] = voice(settings)
        return self._voices[settings]

    def _responder(self, model: str) -> Responder:
        if model not in self._responders:
            self._responders[model] = responder(model)
        return self._responders[model]
