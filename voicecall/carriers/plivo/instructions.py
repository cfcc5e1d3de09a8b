"""What a call is told to do next, whenever Plivo asks.

With media streaming a call is connected to its socket, and to another one should that be lost.
Without, Plivo itself speaks what is to be said and listens in between.
"""

from __future__ import annotations

import secrets
import uuid
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from voicecall.carriers.plivo import markup
from voicecall.ports import ULAW_8K

if TYPE_CHECKING:
    from collections.abc import Callable

    from voicecall.call.record import CallRecord
    from voicecall.carriers._prompts import Prompt, Prompts
    from voicecall.carriers.plivo.names import CallNames
    from voicecall.ports import AudioFormat, StreamUrls

TRANSFER: Final = "transfer"
"""Query parameter: the transfer that is to be carried out."""

_TRANSFERS_REMEMBERED = 10_000
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


@dataclass(frozen=True, slots=True)
class _Transfer:
    """A call, as Plivo calls it, and whom it is to be connected with."""

    call_uuid: str
    to: str


class Instructions:
    """Writes answers in Plivo XML.

    Overflow: of more than 10 000 transfers that were begun, the oldest is forgotten.

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
        self._transfers: OrderedDict[str, _Transfer] = OrderedDict()

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

    def begin_transfer(self, call_uuid: str, to: str) -> str:
        """Have the call connected with `to` when it asks for that; the transfer's id.

        Whom it is connected with is kept here: an id that was made up leads nowhere, nor does that
        of another call.
        """
        transfer_id = secrets.token_hex(16)
        self._transfers[transfer_id] = _Transfer(call_uuid, to)
        if len(self._transfers) > _TRANSFERS_REMEMBERED:
            self._transfers.popitem(last=False)
        return transfer_id

    def drop_transfer(self, transfer_id: str) -> None:
        """Should the call still ask for it, it goes on with what it does otherwise."""
        self._transfers.pop(transfer_id, None)

    def transfer_url(self, transfer_id: str) -> str:
        """Where a call asks for a transfer that was begun."""
        return markup.callback_url(self._webhook_url(), {TRANSFER: transfer_id})

    def next(self, record: CallRecord, call_uuid: str, *, transfer_id: str | None = None) -> bytes:
        """What the call shall do now.

        Args:
            record: the call; it is over for us while it is handed on.
            call_uuid: what Plivo calls it.
            transfer_id: the transfer that it asks for, if so.
        """
        prompt = self._prompts.next(self._names.known_as(call_uuid))
        # Kept, as Plivo asks again when the answer is lost on its way.
        transfer = self._transfers.get(transfer_id or "")
        if transfer is not None and transfer.call_uuid == call_uuid:
            return markup.document(markup.dial(transfer.to))
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
