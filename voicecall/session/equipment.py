"""What a conversation is held with, and what surrounds it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from voicecall.dialog.turns import BargeIn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from voicecall.call.record import CallState
    from voicecall.clock import Clock
    from voicecall.errors import VoicecallError
    from voicecall.ports import AudioFormat, CallControl, Responder, SpeechToText, TextToSpeech
    from voicecall.session.realtime import Model
    from voicecall.session.speak import MakeConversion
    from voicecall.session.timing import TurnTiming


@dataclass(frozen=True, slots=True)
class SessionSettings:
    """How a conversation behaves.

    Attributes:
        notify_hangup_delay_ms: in notify mode, from the end of the message to the hang-up.
        response_timeout_ms: how long the responder may take for its next piece of text.
        barge_in: when the caller's speech stops the bot's.
        apology: what is said when the responder fails.
        transfer_apology: what is said when the call could not be handed on.
        instructions: who the bot is; None leaves it to the responder.
    """

    notify_hangup_delay_ms: int = 3000
    response_timeout_ms: int = 30_000
    barge_in: BargeIn = field(default_factory=BargeIn)
    apology: str = "I am sorry, something went wrong. Could you say that again, please?"
    transfer_apology: str = "I am sorry, I could not connect you. How else can I help?"
    instructions: str | None = None


@dataclass(frozen=True, slots=True)
class Equipment:
    """What one call is held with; shared with other calls, so the session closes none of it.

    Attributes:
        tts: voices in the order they are tried; none where the carrier itself speaks.
        stt: the recogniser; None does not listen.
        responder: who answers; None leaves answering to whoever uses the call.
        settings: how it behaves.
        model: whom the whole conversation is left to, instead of recogniser and responder.
    """

    tts: Sequence[TextToSpeech]
    stt: SpeechToText | None = None
    responder: Responder | None = None
    settings: SessionSettings = SessionSettings()
    model: Model | None = None


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a session needs of the rest of the system.

    Attributes:
        calls: where events go.
        clock: the time.
        convert: makes conversions between audio formats.
        end: hangs the call up, in a task that outlives the session.
        transfer: hands the call on, likewise; says so if that fails.
        on_turn: told the timing of each answered turn.
        on_cleared: told how long it took, in milliseconds, to stop what the caller interrupted.
        on_closed: told the id of a call whose conversation has ended.
        tones: what keys sound like on a line, piece by piece; None where the carrier sends them.
        hold: told the id of a conversation that has opened, which the program then holds itself
            with `say`, `play` and so on; None leaves it to us.
    """

    calls: CallControl
    clock: Clock
    convert: MakeConversion
    end: Callable[[str, CallState], None]
    transfer: Callable[[str, str, Callable[[VoicecallError], None]], None]
    on_turn: Callable[[TurnTiming], None]
    on_cleared: Callable[[float], None]
    on_closed: Callable[[str], None]
    tones: Callable[[str, AudioFormat], Iterable[bytes]] | None = None
    hold: Callable[[str], None] | None = None
