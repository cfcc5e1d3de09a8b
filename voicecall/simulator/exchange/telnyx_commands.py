"""What customers ask the simulated Telnyx for: the bodies of its requests, checked as it does.

Source: Telnyx's published API description, the commands of Call Control.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import urlsplit

from voicecall.simulator.exchange import telnyx_refusals as refusals

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_SPEECH_CHARS: Final = 3000
MAX_DIGITS_ON_ANSWER: Final = 64
LONGEST_CALL_S: Final = 14_400

_E164 = re.compile(r"\+[1-9][0-9]{1,14}")
_DIGITS = re.compile(r"[0-9A-D*#wW]+")
# Telnyx knows G722, OPUS and AMR-WB besides; this machine's phones do not.
_CODECS = frozenset({"PCMU", "PCMA", "L16"})
_TRACKS = frozenset({"inbound_track", "outbound_track", "both_tracks"})
_LEGS = frozenset({"self", "opposite", "both"})
_RATES_HZ = frozenset({8000, 16_000, 22_050, 24_000, 48_000})
_DETECTION = frozenset(
    {
        "disabled",
        "detect",
        "detect_beep",
        "detect_words",
        "greeting_end",
        "premium",
        "premium_ios_call_screening_detection",
    }
)
_REJECTIONS = frozenset({"CALL_REJECTED", "NOT_FOUND", "TEMPORARILY_UNAVAILABLE", "USER_BUSY"})
_ENGINES = frozenset({"A", "B", "Azure", "Deepgram", "Google", "Telnyx"})
_SOCKET_SCHEMES = frozenset({"ws", "wss"})
_WEB_SCHEMES = frozenset({"http", "https"})


class Fields:
    """The fields of one request's body. Whatever is wrong with one raises `Refused`.

    Args:
        body: the JSON object.
    """

    def __init__(self, body: Mapping[str, Any]) -> None:
        self._body = body
        self._read: set[str] = set()

    def ignored(self) -> list[str]:
        """Fields that nothing was done about, though they were sent."""
        return sorted(self._body.keys() - self._read)

    def text(self, name: str) -> str | None:
        """A text, or None."""
        value = self._take(name)
        if value is None or isinstance(value, str):
            return value or None
        raise refusals.invalid(name, "The value must be a string.")

    def required(self, name: str) -> str:
        """A text that has to be there."""
        value = self.text(name)
        if value is None or not value.strip():
            raise refusals.missing(name)
        return value

    def flag(self, name: str, default: bool) -> bool:
        """True or false."""
        value = self._take(name)
        if value is None:
            return default
        if isinstance(value, bool):
            return value
        raise refusals.invalid(name, "The value must be a boolean.")

    def number(self, name: str, default: int, low: int, high: int) -> int:
        """A whole number in a range."""
        value = self._take(name)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int):
            raise refusals.invalid(name, "The value must be an integer.")
        if not low <= value <= high:
            raise refusals.out_of_range(name, low, high)
        return value

    def choice(self, name: str, values: frozenset[str], default: str) -> str:
        """One of the documented values."""
        value = self.text(name) or default
        if value not in values:
            raise refusals.not_enumerated(name, values)
        return value

    def phone_number(self, name: str) -> str:
        """A number in E.164."""
        value = self.required(name)
        if not _E164.fullmatch(value):
            raise refusals.not_e164(name)
        return value

    def digits(self, name: str, most: int) -> str | None:
        """Keys and pauses."""
        value = self.text(name)
        if value is not None and not _DIGITS.fullmatch(value):
            raise refusals.invalid(name, "Allowed are 0-9, A-D, *, #, w and W.")
        if value is not None and len(value) > most:
            raise refusals.out_of_range(name, 1, most)
        return value

    def client_state(self) -> str | None:
        """What webhooks shall bring back."""
        return self.state("client_state")

    def state(self, name: str) -> str | None:
        """What the webhooks of some leg shall bring back."""
        value = self.text(name)
        if value is None:
            return None
        try:
            base64.b64decode(value, validate=True)
        except ValueError:
            why = "The value must be a valid Base-64 encoded string."
            raise refusals.invalid(name, why) from None
        return value

    def web_url(self, name: str) -> str | None:
        """Where webhooks go."""
        return self._url(name, _WEB_SCHEMES)

    def socket_url(self, name: str) -> str | None:
        """Where media go."""
        return self._url(name, _SOCKET_SCHEMES)

    def pairs(self, name: str) -> dict[str, str]:
        """A list of names and values."""
        value = self._take(name)
        if value is None:
            return {}
        if not isinstance(value, list):
            raise refusals.invalid(name, "The value must be a list of names and values.")
        return dict(_pair(name, item) for item in value)

    def mapping(self, name: str) -> Mapping[str, Any]:
        """A JSON object; an empty one when it is not there."""
        value = self._take(name)
        if value is None:
            return {}
        if isinstance(value, dict):
            return value
        raise refusals.invalid(name, "The value must be an object.")

    def _url(self, name: str, schemes: frozenset[str]) -> str | None:
        value = self.text(name)
        if value is None:
            return None
        parts = urlsplit(value)
        if parts.scheme not in schemes or not parts.hostname:
            raise refusals.invalid(name, f"The value must be a URL of {' or '.join(schemes)}.")
        return value

    def _take(self, name: str) -> object:
        self._read.add(name)
        return self._body.get(name)


@dataclass(frozen=True, slots=True)
class Streaming:
    """How the media of a call are streamed.

    Attributes:
        url: where to.
        track: whose voice is sent there.
        codec: how it is coded; `default` as on the phone's leg.
        mode: what comes back: `mp3` files, or `rtp`, which is bare audio.
        return_codec: how that is coded.
        return_rate_hz: its sampling rate, of L16.
        parameters: custom ones, sent in `start`.
    """

    url: str
    track: str
    codec: str
    mode: Literal["mp3", "rtp"]
    return_codec: str
    return_rate_hz: int
    parameters: Mapping[str, str]

    def described(self) -> dict[str, str]:
        """The parameters as a webhook about a failure repeats them."""
        return {"stream_url": self.url, "track": self.track}


@dataclass(frozen=True, slots=True)
class Dialling:
    """A call to place.

    Attributes:
        connection_id: of the Call Control application.
        to: callee.
        from_number: caller id.
        ring_s: how long it rings.
        longest_s: how long it may last once answered.
        retry_on_timeout: whether other routes are tried when nobody picks up.
        detection: how to look for answering machines.
        digits: sent once answered.
        streaming: of its media, from the answer on.
        webhook_url: where it is reported; the application's when None.
    """

    connection_id: str
    to: str
    from_number: str
    ring_s: int
    longest_s: int
    retry_on_timeout: bool
    detection: str
    digits: str | None
    streaming: Streaming | None
    webhook_url: str | None

    @classmethod
    def read(cls, fields: Fields) -> Dialling:
        """Check the body of a dial. Raises Refused."""
        return cls(
            connection_id=fields.required("connection_id"),
            to=fields.phone_number("to"),
            from_number=fields.phone_number("from"),
            ring_s=fields.number("timeout_secs", 30, 5, 600),
            longest_s=fields.number("time_limit_secs", LONGEST_CALL_S, 60, LONGEST_CALL_S),
            retry_on_timeout=fields.flag("retry_on_timeout", True),
            detection=fields.choice("answering_machine_detection", _DETECTION, "disabled"),
            digits=fields.digits("send_digits_on_answer", MAX_DIGITS_ON_ANSWER),
            streaming=streaming(fields),
            webhook_url=webhook_url(fields),
        )


def webhook_url(fields: Fields) -> str | None:
    """Where a call is reported from now on; None is where it was."""
    fields.choice("webhook_url_method", frozenset({"POST"}), "POST")
    return fields.web_url("webhook_url")


def streaming(fields: Fields) -> Streaming | None:
    """The media streaming that a dial or an answer asks for. Raises Refused."""
    rate_hz = fields.number("stream_bidirectional_sampling_rate", 8000, 8000, 48_000)
    if rate_hz not in _RATES_HZ:
        raise refusals.not_enumerated(
            "stream_bidirectional_sampling_rate", map(str, sorted(_RATES_HZ))
        )
    fields.choice("stream_bidirectional_target_legs", _LEGS, "opposite")
    fields.flag("send_silence_when_idle", False)
    mode = fields.choice("stream_bidirectional_mode", frozenset({"mp3", "rtp"}), "mp3")
    url = fields.socket_url("stream_url")
    read = Streaming(
        url=url or "",
        track=fields.choice("stream_track", _TRACKS, "inbound_track"),
        codec=fields.choice("stream_codec", _CODECS | {"default"}, "default"),
        mode="mp3" if mode == "mp3" else "rtp",
        return_codec=fields.choice("stream_bidirectional_codec", _CODECS, "PCMU"),
        return_rate_hz=rate_hz,
        parameters=fields.pairs("custom_parameters"),
    )
    return None if url is None else read


def required_streaming(fields: Fields) -> Streaming:
    """The media streaming that `streaming_start` asks for. Raises Refused."""
    read = streaming(fields)
    if read is None:
        raise refusals.missing("stream_url")
    return read


def speech(fields: Fields) -> str:
    """The text that `speak` asks for. Raises Refused."""
    text = fields.required("payload")
    fields.required("voice")
    fields.text("language")
    fields.choice("payload_type", frozenset({"text", "ssml"}), "text")
    fields.choice("target_legs", _LEGS, "self")
    if len(text) > MAX_SPEECH_CHARS:
        raise refusals.out_of_range("payload", 1, MAX_SPEECH_CHARS)
    return text


@dataclass(frozen=True, slots=True)
class Transcribing:
    """How a party's words are transcribed.

    Attributes:
        engine: who does it.
        interim: whether there are transcripts before the final one.
    """

    engine: str
    interim: bool

    @classmethod
    def read(cls, fields: Fields) -> Transcribing:
        """Check the body of `transcription_start`. Raises Refused."""
        tracks = frozenset({"inbound", "outbound", "both"})
        fields.choice("transcription_tracks", tracks, "inbound")
        config = fields.mapping("transcription_engine_config")
        engine = fields.choice("transcription_engine", _ENGINES, "A")
        return cls(engine, config.get("interim_results") is True)


@dataclass(frozen=True, slots=True)
class Transferring:
    """Whom a call is to be connected with.

    Attributes:
        to: a number, or a `sip:` address.
        from_number: caller id; None is the number that the call was to.
        state: what the webhooks of their leg bring back.
    """

    to: str
    from_number: str | None
    state: str | None

    @classmethod
    def read(cls, fields: Fields) -> Transferring:
        """Check the body of `transfer`. Raises Refused."""
        to = fields.required("to")
        if not to.lower().startswith(("sip:", "sips:")):
            to = fields.phone_number("to")
        given = fields.text("from")
        fields.number("timeout_secs", 30, 5, 600)
        fields.number("time_limit_secs", LONGEST_CALL_S, 60, LONGEST_CALL_S)
        return cls(
            to,
            None if given is None else fields.phone_number("from"),
            fields.state("target_leg_client_state"),
        )


def rejection(fields: Fields) -> str:
    """The cause that `reject` gives. Raises Refused."""
    cause = fields.required("cause")
    if cause not in _REJECTIONS:
        raise refusals.not_enumerated("cause", _REJECTIONS)
    return cause


def keys(fields: Fields) -> str:
    """The keys that `send_dtmf` asks for. Raises Refused."""
    fields.required("digits")
    fields.number("duration_millis", 250, 100, 500)
    return fields.digits("digits", 64) or ""


def _pair(name: str, item: object) -> tuple[str, str]:
    match item:
        case {"name": str(key), "value": str(value)}:
            return key, value
        case _:
            raise refusals.invalid(name, "The value must be a list of names and values.")
