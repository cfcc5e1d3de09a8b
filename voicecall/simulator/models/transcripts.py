"""What a user said, told to the client of a Realtime session.

Each transcript is a request of its own to the service `transcript`, which faults may be planned
for: its chunks are the deltas, a refusal or failure becomes `transcription.failed`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from openai.types.realtime import (
    ConversationItemInputAudioTranscriptionCompletedEvent,
    ConversationItemInputAudioTranscriptionDeltaEvent,
    ConversationItemInputAudioTranscriptionFailedEvent,
    LogProbProperties,
)
from openai.types.realtime.conversation_item_input_audio_transcription_completed_event import (
    UsageTranscriptTextUsageDuration,
)
from openai.types.realtime.conversation_item_input_audio_transcription_failed_event import Error

from voicecall.errors import SpeechError
from voicecall.simulator.models.faults import Failed
from voicecall.simulator.models.vendor_types import made

if TYPE_CHECKING:
    from voicecall.simulator.models.audio_input import Spoken
    from voicecall.simulator.models.realtime import RealtimeConnection

SERVICE = "transcript"

# They answer with words as they come; others with the whole text at once.
_WHOLE_TEXT = ("whisper",)
_LOGPROB = -0.1


async def transcript(
    connection: RealtimeConnection, spoken: Spoken, model: str, *, logprobs: bool = False
) -> None:
    """Tell what was said, once it is known.

    Args:
        connection: of the session.
        spoken: the utterance; its item has been announced.
        model: which model the session has for it.
        logprobs: whether the client asked for probabilities.
    """
    mishaps = connection.world.faults.begin(SERVICE)
    words = await spoken.words
    if isinstance(words, SpeechError):
        _fail(connection, spoken, "transcription_failed", str(words))
        return
    if mishaps.refusal is not None:
        code = mishaps.refusal.code or "transcription_failed"
        _fail(connection, spoken, code, mishaps.refusal.message)
        return
    try:
        await mishaps.happen()
        for delta in _deltas(words, model):
            connection.send(
                ConversationItemInputAudioTranscriptionDeltaEvent,
                item_id=spoken.item_id,
                content_index=0,
                delta=delta,
                **_probabilities(delta, wanted=logprobs),
            )
            await mishaps.happen("delta")
    except Failed as failed:
        _fail(connection, spoken, failed.fault.code, failed.fault.message)
        return
    connection.send(
        ConversationItemInputAudioTranscriptionCompletedEvent,
        item_id=spoken.item_id,
        content_index=0,
        transcript=words,
        usage=made(UsageTranscriptTextUsageDuration, seconds=spoken.seconds),
        **_probabilities(words, wanted=logprobs),
    )


def _deltas(words: str, model: str) -> list[str]:
    if any(part in model for part in _WHOLE_TEXT):
        return [words] if words else []
    return re.findall(r"\S+\s*", words)


def _probabilities(text: str, *, wanted: bool) -> dict[str, Any]:
    """Made up: the local recogniser tells none."""
    if not wanted:
        return {}
    return {
        "logprobs": [
            made(LogProbProperties, token=token, bytes=list(token.encode()), logprob=_LOGPROB)
            for token in re.findall(r"\S+\s*", text)
        ]
    }


def _fail(connection: RealtimeConnection, spoken: Spoken, code: str, message: str) -> None:
    connection.send(
        ConversationItemInputAudioTranscriptionFailedEvent,
        item_id=spoken.item_id,
        content_index=0,
        error=made(Error, type="transcription_error", code=code, message=message, param=None),
    )
