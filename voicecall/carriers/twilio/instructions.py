"""What a call does next, whenever Twilio asks.

Whatever a call is doing ends with asking again: when its media socket is gone it connects another,
when nothing was said it goes on listening. So nothing has to be remembered about a call here, and
a socket that drops is replaced within one round trip.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from voicecall.carriers.twilio import markup

if TYPE_CHECKING:
    from voicecall.call.record import CallRecord
    from voicecall.carriers._prompts import Prompt, Prompts
    from voicecall.ports import StreamUrls

CALL_ID: Final = "callId"
"""Query parameter: our id of the call."""
KIND: Final = "kind"
"""Query parameter: what a callback reports, where it asks for nothing."""
TURN: Final = "turn"
"""Query parameter: the turn that words belong to."""
SAID: Final = "said"
"""Query parameter: the prompt that was said to its end."""
STREAM: Final = "stream"
"""Query parameter: how many media sockets the call has had."""
ONCE: Final = "once"
"""Query parameter: makes two requests that say the same differ, so that neither is a replay."""

# A server that refuses sockets would be asked again and again; a caller hears nothing meanwhile.
MAX_STREAMS: Final = 20
_SILENCE_S = 30


@dataclass(frozen=True, slots=True)
class Manner:
    """How Twilio speaks and listens where no media are streamed.

    Attributes:
        voice: as `<Say>` takes it.
        language: of the voice and of what callers say.
    """

    voice: str = markup.DEFAULT_VOICE
    language: str = "en-US"


class Instructions:
    """Makes the answers to Twilio's questions, and the URLs it asks at.

    Args:
        webhook_url: where Twilio reaches our webhook; may be set later, before the first call.
        urls: where media are streamed; None without media streaming.
        prompts: what is being said where no media are streamed.
        manner: how that is said.

    Attributes:
        webhook_url: as given.
        prompts: as given.
    """

    def __init__(
        self,
        webhook_url: str,
        *,
        urls: StreamUrls | None,
        prompts: Prompts,
        manner: Manner | None = None,
    ) -> None:
        self.webhook_url = webhook_url
        self.prompts = prompts
        self._urls = urls
        self._manner = manner or Manner()

    def callback(self, **fields: str | None) -> str:
        """The webhook's URL with `fields` in its query."""
        return markup.callback_url(self.webhook_url, fields)

    def next(
        self,
        record: CallRecord | None,
        *,
        answered: bool,
        streams: int = 0,
        prompt: Prompt | None = None,
    ) -> str:
        """What a call does next.

        Args:
            record: the call; None when it was refused or is not known.
            answered: whether it is picked up; an inbound one is by most of what it is told to do.
            streams: how many media sockets it has had.
            prompt: what waits to be said, without media streaming.
        """
        if record is None or record.state.terminal:
            return markup.document(markup.hang_up() if answered else markup.reject())
        if self._urls is not None:
            return self._connect(self._urls.issue(record.call_id), record.call_id, streams)
        if not answered:
            # Twilio picks up for the first sound, here half a second of silence between two keys
            # that are none; asked again, it says that the call is answered, and words can follow.
            return markup.document(markup.play_digits("w"), self._ask(record.call_id))
        if prompt is not None:
            return self.speech(prompt)
        if record.metadata.get("mode") == "notify":
            return markup.document(markup.pause(_SILENCE_S), self._ask(record.call_id))
        return markup.document(self._listen(record), self._ask(record.call_id))

    def speech(self, prompt: Prompt) -> str:
        """Say `prompt` on a call, whatever it does, and then ask, naming it.

        Its text is at most one of `markup.pieces`.
        """
        said = markup.say(prompt.text, voice=self._manner.voice, language=self._manner.language)
        return markup.document(said, markup.redirect(self.callback(said=prompt.id)))

    def keys(self, digits: str) -> str:
        """Send key tones on a call, whatever it does, and then ask."""
        return markup.document(markup.play_digits(digits), self._ask(None))

    def transfer(self, to: str) -> str:
        """Connect a call with `to`, whatever it does; it ends when that is over, or fails."""
        return markup.document(markup.dial(to))

    def silence(self) -> str:
        """Stop what a call does, and ask."""
        return markup.document(self._ask(None))

    def _connect(self, url: str, call_id: str, streams: int) -> str:
        if streams >= MAX_STREAMS:
            return markup.document(markup.hang_up())
        stream = markup.connect_stream(
            url,
            parameters={"token": url.rpartition("/")[2]},
            status_url=self.callback(callId=call_id, kind="stream"),
        )
        again = markup.redirect(
            self.callback(callId=call_id, stream=str(streams + 1), once=_nonce())
        )
        # The first replacement is urgent; what drops over and over is given time.
        wait = [markup.pause(1)] if streams > 1 else []
        return markup.document(*wait, stream, again)

    def _listen(self, record: CallRecord) -> str:
        turn = record.metadata.get("turnToken")
        action = self.callback(callId=record.call_id, turn=turn, once=_nonce())
        return markup.gather(action, language=self._manner.language)

    def _ask(self, call_id: str | None) -> str:
        return markup.redirect(self.callback(callId=call_id, once=_nonce()))


def _nonce() -> str:
    return secrets.token_hex(8)
