"""What a call is told to do next, whenever Plivo asks.

With media streaming a call is connected to its socket, and to another one should that be lost.
Without, Plivo itself speaks what is to be said and listens in between.
"""

from __future__ import annotations

import secrets
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

from voicecall.carriers.plivo import markup
from voicecall.ports import ULAW_8K

if TYPE_CHECKING:
    from collections.abc import Callable

    from voicecall.call.record import CallRecord
    from voicecall.carriers._prompts import Prompt, Prompts
    from voicecall.carriers.plivo.names import CallNames
    from voicecall.ports import AudioFormat, StreamUrls

# Long enough that a waiting call hardly asks, short enough to notice one that we forgot.
_HOLD_S = 60
# A socket that cannot be opened is not tried again in a tight circle.
_RECONNECT_PAUSE_S = 1


@dataclass(frozen=True, slots=True)
class Manner:
    """How Plivo streams, speaks and listens.

    Attributes:
        audio: of streams.
        voice: `WOMAN`, `MAN` or `Polly.` and a name.
        language: spoken and listened for, such as `en-US`.
    """

    audio: AudioFormat = ULAW_8K
    voice: str = "WOMAN"
    language: str = "en-US"


class Instructions:
    """Writes answers in Plivo XML.

    Args:
        webhook_url: the URL that Plivo reports to, asked whenever it is needed.
        names: what calls are known by.
        prompts: what is to be said on calls without a stream.
        urls: where media is connected; None for calls without a stream.
        manner: how it sounds.
    """

    def __init__(
        self,
        webhook_url: Callable[[], str],
        *,
        names: CallNames,
        prompts: Prompts,
        urls: StreamUrls | None = None,
        manner: Manner | None = None,
    ) -> None:
        self._webhook_url = webhook_url
        self._names = names
        self._prompts = prompts
        self._urls = urls
        self._manner = manner or Manner()

    @property
    def prompts(self) -> Prompts:
        """What is to be said on calls without a stream."""
        return self._prompts

    @property
    def webhook_url(self) -> str:
        """The URL that Plivo reports to."""
        return self._webhook_url()

    def callback(self, call_id: str, **fields: str | None) -> str:
        """A URL that brings back our id of the call, and `fields`."""
        return markup.callback_url(self._webhook_url(), {"callId": call_id, **fields})

    def next(self, record: CallRecord, call_uuid: str) -> bytes:
        """What the call shall do now.

        Args:
            record: the call.
            call_uuid: what Plivo calls it.
        """
        prompt = self._prompts.next(self._names.known_as(call_uuid))
        if record.state.terminal:
            return markup.document(markup.hang_up())
        if self._urls is not None:
            return self._connect(self._urls.issue(record.call_id), record.call_id, call_uuid)
        return self._without_stream(record, prompt)

    def _connect(self, url: str, call_id: str, call_uuid: str) -> bytes:
        # The socket names the call as Plivo does, so it has to bring the other name along.
        request = _hex(self._names.known_as(call_uuid))
        other_name = {"request": request} if request and request != _hex(call_uuid) else {}
        back = self.callback(call_id)
        return markup.document(
            markup.stream(url, audio=self._manner.audio, status_url=back, extra_headers=other_name),
            markup.wait(_RECONNECT_PAUSE_S),
            markup.redirect(back),
        )

    def _without_stream(self, record: CallRecord, prompt: Prompt | None) -> bytes:
        call_id = record.call_id
        if prompt is not None:
            return markup.document(
                markup.speak(prompt.text, voice=self._manner.voice, language=self._manner.language),
                markup.redirect(self.callback(call_id, spoken=prompt.id)),
            )
        if record.metadata.get("mode") != "conversation":
            return markup.document(markup.wait(_HOLD_S), markup.redirect(self.callback(call_id)))
        # What is heard is told once for each time of listening, however often it is told.
        listening = secrets.token_hex(8)
        action = self.callback(call_id, input=listening, turn=record.metadata.get("turnToken"))
        return markup.document(
            markup.get_input(action, language=self._manner.language),
            markup.redirect(self.callback(call_id)),
        )


def _hex(name: str) -> str | None:
    """A UUID without the hyphens that stream headers may not have."""
    try:
        return uuid.UUID(name).hex
    except ValueError:
        return None
