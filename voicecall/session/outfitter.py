"""What each call is held with, by the configuration and by the number that was dialled."""

from __future__ import annotations

import logging
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from voicecall.audio import Transcoder
from voicecall.call.record import Direction
from voicecall.config.schema import NumberSettings
from voicecall.dialog.turns import BargeIn
from voicecall.errors import DependencyMissing
from voicecall.llm.replies import Manner
from voicecall.llm.responders import responder, toolbox
from voicecall.session.equipment import Equipment, SessionSettings
from voicecall.session.errands import ErrandSettings
from voicecall.session.realtime import Model
from voicecall.speech.engines import recogniser, speech_to_speech, voices
from voicecall.speech.realtime.local import LocalSpeechToSpeech

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from voicecall.call.record import CallRecord
    from voicecall.clock import Clock
    from voicecall.config.schema import Config, Realtime, Stt, Tools, Tts
    from voicecall.llm.toolbox import Toolbox
    from voicecall.llm.tools import Tool
    from voicecall.ports import Responder, SpeechToSpeech, SpeechToText, TextToSpeech

_log = logging.getLogger("voicecall.session")

K = TypeVar("K")
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class OwnEngines:
    """What a program brings along instead of what the configuration names.

    Attributes:
        responder: answers on all calls; None leaves it to `responseModel`.
        tts: the voice of all calls; None leaves it to `tts`.
        stt: listens on all calls; None leaves it to `stt`.
        tools: what language models may use besides.
    """

    responder: Responder | None = None
    tts: TextToSpeech | None = None
    stt: SpeechToText | None = None
    tools: Sequence[Tool] = ()


class Part(Protocol):
    """Anything that calls are held with and that has to be freed."""

    async def close(self) -> None:
        """Free it."""
        ...


class Shared(Generic[K, V]):
    """Makes one thing for each setting. There are as many as numbers differ: few.

    Args:
        make: makes it.
    """

    def __init__(self, make: Callable[[K], V]) -> None:
        self._make = make
        self._made: list[tuple[K, V]] = []

    def of(self, setting: K) -> V:
        """The one for `setting`."""
        for known, made in self._made:
            if known == setting:
                return made
        made = self._make(setting)
        self._made.append((setting, made))
        return made

    def __iter__(self) -> Iterator[V]:
        return (made for _, made in self._made)


class Outfitter:
    """Owns the engines of one server and shares them out to its calls.

    Numbers that ask for the same voice, recogniser, responder or model share it.

    Args:
        config: complete configuration.
        clock: the time.
        own: engines used instead of the configured ones, for all numbers.
        held: a program holds all conversations itself: nobody replies, and it may do without the
            configured voices.

    Raises:
        ConfigError: an engine cannot do what is asked.
    """

    def __init__(
        self, config: Config, clock: Clock, own: OwnEngines | None = None, *, held: bool = False
    ) -> None:
        self._config = config
        self._held = held
        self._clock = clock
        self._own = own = own or OwnEngines()
        self._voices: Shared[Tts, Sequence[TextToSpeech]] = Shared(voices)
        self._ears: Shared[Stt, SpeechToText] = Shared(lambda stt: recogniser(stt, clock))
        self._toolboxes: Shared[Tools, Toolbox] = Shared(lambda tools: toolbox(tools, own.tools))
        self._responders: Shared[tuple[str, Tools], Responder] = Shared(self._make_responder)
        self._models: Shared[tuple[Realtime, Stt, Tts, str, Tools], SpeechToSpeech] = Shared(
            self._make_model
        )
        self._general = self._equipment(NumberSettings())
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
            DependencyMissing: a package is not installed, and no program holds the calls.
            SpeechError: a model cannot be loaded, or a server of tools cannot be reached.
        """
        for part in self._parts():
            prepare = getattr(part, "prepare", None)
            if prepare is None:
                continue
            try:
                await prepare()
            except DependencyMissing as error:
                if not self._held:
                    raise
                _log.info("a voice is not installed", exc_info=error)

    async def close(self) -> None:
        """Free all engines, whatever one of them may say to that."""
        async with AsyncExitStack() as ending:
            for part in self._parts():
                ending.push_async_callback(part.close)

    def _parts(self) -> Iterator[Part]:
        """Everything there is; those that need others come after them."""
        for engines in self._voices:
            yield from engines
        yield from self._ears
        for brought in (self._own.tts, self._own.stt, self._own.responder):
            if brought is not None:
                yield brought
        yield from self._toolboxes
        yield from self._responders
        yield from self._models

    def _equipment(self, number: NumberSettings) -> Equipment:
        config = self._config
        stt, tts = number.stt or config.stt, number.tts or config.tts
        tools = number.tools or config.tools
        realtime = number.realtime or config.realtime
        name = number.response_model or config.response_model
        instructions = number.response_system_prompt or config.response_system_prompt
        settings = self._settings(number, instructions)
        if not config.streaming.enabled:
            # The carrier speaks and listens, and no engine of ours has to be installed.
            return Equipment((), responder=self._replies(name, tools), settings=settings)
        if realtime.enabled:
            settings = self._settings(number, realtime.instructions or instructions)
            return Equipment(
                # For last words, when the model is lost.
                tts=self._voice(tts),
                settings=settings,
                model=Model(
                    engine=self._models.of((realtime, stt, tts, name, tools)),
                    tools=self._toolboxes.of(tools),
                    errands=ErrandSettings(tools.timeout_ms, tools.filler_after_ms, tools.filler),
                ),
            )
        return Equipment(
            tts=self._voice(tts),
            stt=self._own.stt or self._ears.of(stt),
            responder=self._replies(name, tools),
            settings=settings,
        )

    def _settings(self, number: NumberSettings, instructions: str | None) -> SessionSettings:
        config = self._config
        barge_in = number.barge_in or config.barge_in
        return SessionSettings(
            notify_hangup_delay_ms=round(config.outbound.notify_hangup_delay_sec * 1000),
            response_timeout_ms=number.response_timeout_ms or config.response_timeout_ms,
            barge_in=BargeIn(
                enabled=barge_in.enabled,
                min_speech_ms=barge_in.min_speech_ms,
                min_level_dbfs=barge_in.min_level_dbfs,
                confirm_speech_ms=barge_in.confirm_speech_ms,
                resume_after_ms=barge_in.resume_after_ms,
                echo_margin_db=barge_in.echo_margin_db,
                min_words=barge_in.min_words,
                interrupting=barge_in.interrupting,
                back_channels=barge_in.back_channels,
            ),
            instructions=instructions,
        )

    def _voice(self, settings: Tts) -> Sequence[TextToSpeech]:
        return (self._own.tts,) if self._own.tts else self._voices.of(settings)

    def _replies(self, name: str, tools: Tools) -> Responder | None:
        return None if self._held else self._responder(name, tools)

    def _responder(self, name: str, tools: Tools) -> Responder:
        return self._own.responder or self._responders.of((name, tools))

    def _make_responder(self, wanted: tuple[str, Tools]) -> Responder:
        name, tools = wanted
        return responder(
            name,
            account=self._config.openai,
            toolbox=self._toolboxes.of(tools),
            manner=Manner(
                first_token_ms=self._config.response_timeout_ms,
                filler=tools.filler,
                filler_after_ms=tools.filler_after_ms,
            ),
        )

    def _make_model(self, wanted: tuple[Realtime, Stt, Tts, str, Tools]) -> SpeechToSpeech:
        realtime, stt, tts, name, tools = wanted
        if realtime.provider == "local":
            return LocalSpeechToSpeech(
                self._own.stt or self._ears.of(stt),
                self._responder(name, tools),
                self._voice(tts)[0],
                convert=Transcoder,
                destinations=tools.transfer,
            )
        service, _, backend = name.partition("/")
        return speech_to_speech(
            realtime,
            self._config.openai,
            silence_ms=stt.silence_duration_ms,
            language=stt.openai.language,
            backend_model=backend if service == "openai" else None,
            clock=self._clock,
        )
