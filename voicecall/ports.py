"""The seams of the system: what the core needs from adapters, and adapters from the core.

Protocols and the small values that cross them; no behaviour. The call manager, the session and the
media plane meet carriers, speech engines, stores and each other only through these names.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

from voicecall.call.record import CallRecord, CallState, Mode, Speaker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from voicecall.call.events import CallEvent

Encoding = Literal["ulaw", "alaw", "pcm16"]


@dataclass(frozen=True, slots=True)
class AudioFormat:
    """How mono audio is coded.

    Attributes:
        encoding: `ulaw` and `alaw` are G.711, one octet a sample; `pcm16` is linear, signed,
            16-bit little-endian, two octets a sample.
        rate_hz: samples per second.
    """

    encoding: Encoding
    rate_hz: int

    @property
    def sample_octets(self) -> int:
        """Octets of one sample."""
        return 2 if self.encoding == "pcm16" else 1

    @property
    def octets_per_second(self) -> int:
        """Octets of one second of audio."""
        return self.rate_hz * self.sample_octets

    def duration_ms(self, octets: int) -> float:
        """How long `octets` of this audio last, in milliseconds."""
        return octets * 1000 / self.octets_per_second


ULAW_8K = AudioFormat("ulaw", 8000)
ALAW_8K = AudioFormat("alaw", 8000)
PCM16_8K = AudioFormat("pcm16", 8000)


# --- media: one call's two-way audio ---------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StreamStart:
    """What a carrier says when a media socket starts.

    Attributes:
        stream_id: the carrier's id of this socket's stream.
        provider_call_id: the carrier's id of the call; empty when it did not say.
        audio: how the caller's audio is coded.
        token: the stream token sent as a parameter, where it was.
        parameters: all custom parameters.
    """

    stream_id: str
    provider_call_id: str
    audio: AudioFormat
    token: str | None
    parameters: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Playback:
    """How the playing of one utterance ended.

    Attributes:
        heard_ms: how much of it the caller heard.
        total_ms: how much of it there was.
        interrupted: whether a clear, a newer utterance or the end of the call cut it short.
    """

    heard_ms: int
    total_ms: int
    interrupted: bool


class Utterance(Protocol):
    """One continuous piece of outgoing speech, written piece by piece while it plays."""

    async def write(self, audio: bytes) -> None:
        """Queue more audio in the path's own format.

        Returns once there is room for more; returns at once, dropping the audio, when the
        utterance was cut short.
        """
        ...

    def finish(self) -> None:
        """Say that no more audio follows; the last frame is padded with silence."""
        ...

    async def played(self) -> Playback:
        """Wait until the carrier has played all of it, or it was cut short. Never fails."""
        ...

    def heard_ms(self) -> int:
        """How much of it has been heard up to now."""
        ...


class AudioPath(Protocol):
    """One call's two-way audio. It outlives a media socket that drops and comes back."""

    @property
    def audio(self) -> AudioFormat:
        """How audio is coded in both directions."""
        ...

    def utterance(self) -> Utterance:
        """Begin to speak; it plays after everything already queued."""
        ...

    def clear(self) -> None:
        """Stop playing at once, here and at the carrier; open utterances end as interrupted."""
        ...

    def listen(self, sink: Callable[[bytes], None] | None, *, coded: bool = False) -> None:
        """Hand the caller's audio, in order and with losses concealed, to `sink`.

        Args:
            sink: gets linear PCM16 at the path's rate, usually 20 ms at a time; None stops it.
            coded: hand it on as the carrier coded it, which is `audio`, instead.
        """
        ...

    def close(self) -> None:
        """Give up the path and its socket."""
        ...


class PathEvents(Protocol):
    """What one call's conversation hears from its audio path. Calls are quick and never raise."""

    def on_path_open(self, path: AudioPath) -> None:
        """The first media socket of the call has started."""
        ...

    def on_path_dtmf(self, digit: str) -> None:
        """The caller pressed a key."""
        ...

    def on_path_lost(self, reason: str) -> None:
        """The socket dropped and did not come back within the grace, or fell silent."""
        ...


class StreamGate(Protocol):
    """Decides whether a media socket that has named a call may carry it."""

    def admit(self, call_id: str, start: StreamStart) -> PathEvents | None:
        """The conversation of call `call_id`, or None when there is none or `start` names another.

        Args:
            call_id: our id of the call the socket's token was made for.
            start: what the carrier said.
        """
        ...


class StreamUrls(Protocol):
    """Makes the URLs that carriers are told to connect media to."""

    def issue(self, call_id: str) -> str:
        """A fresh URL whose token belongs to `call_id`."""
        ...

    def revoke(self, call_id: str) -> None:
        """Forget the call's tokens."""
        ...


# --- speech ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    """The caller began to speak; `at_ns` is when, on the monotonic clock."""

    at_ns: int


@dataclass(frozen=True, slots=True)
class SpeechStopped:
    """The caller stopped speaking; `at_ns` is when the last speech was, not when it was noticed."""

    at_ns: int


@dataclass(frozen=True, slots=True)
class PartialTranscript:
    """What the caller seems to be saying; replaces earlier partials of the same utterance."""

    text: str


@dataclass(frozen=True, slots=True)
class FinalTranscript:
    """What the caller said in one utterance; `confidence` is 0 to 1 where known."""

    text: str
    confidence: float | None = None


SttEvent: TypeAlias = SpeechStarted | SpeechStopped | PartialTranscript | FinalTranscript


class SttStream(Protocol):
    """One call's recognition. Iterating yields events until it is closed or fails."""

    def push(self, audio: bytes) -> None:
        """Give it more of the caller's audio in the engine's input format. Never blocks.

        When recognition falls behind, the oldest audio is dropped and counted.
        """
        ...

    def __aiter__(self) -> AsyncIterator[SttEvent]:
        """Events in order. Raises `SpeechError` when recognition cannot go on."""
        ...

    async def close(self) -> None:
        """Stop and free everything; iteration ends."""
        ...


class SpeechToText(Protocol):
    """A recognition engine, shared by all calls."""

    @property
    def input(self) -> AudioFormat:
        """The audio its streams take."""
        ...

    async def prepare(self) -> None:
        """Load what it needs, so that no call waits for it.

        Raises:
            DependencyMissing: a package is not installed.
            SpeechError: it cannot be loaded.
        """
        ...

    async def open(self) -> SttStream:
        """Begin recognising one call. Raises `SpeechError`."""
        ...

    async def close(self) -> None:
        """Free the engine."""
        ...


class TextToSpeech(Protocol):
    """A synthesis engine, shared by all calls."""

    @property
    def output(self) -> AudioFormat:
        """The audio it makes."""
        ...

    async def prepare(self) -> None:
        """Load what it needs, so that no call waits for it.

        Raises:
            DependencyMissing: a package is not installed.
            SpeechError: it cannot be loaded.
        """
        ...

    def synthesize(self, text: str) -> AsyncIterator[bytes]:
        """Speak `text`: audio as it is made, in pieces of any length, odd ones included.

        Closing the iterator stops the synthesis. Raises `SpeechError`.
        """
        ...

    async def close(self) -> None:
        """Free the engine."""
        ...


class VoiceActivity(Protocol):
    """Tells speech from everything else, for one call; keeps state between windows."""

    @property
    def window_samples(self) -> int:
        """How many samples `probability` takes."""
        ...

    def probability(self, pcm: bytes) -> float:
        """How likely the window of PCM16 at 8 kHz holds speech, 0 to 1."""
        ...


@dataclass(frozen=True, slots=True)
class ToolUse:
    """One use of a tool, and what came of it.

    Attributes:
        name: of the tool.
        arguments: a JSON object, as text.
        result: what the tool gave, as text for the model.
    """

    name: str
    arguments: str
    result: str


@dataclass(frozen=True, slots=True)
class Turn:
    """One side's contribution to a conversation, as heard.

    Attributes:
        speaker: whose.
        text: the words; empty for the use of a tool.
        tool: what the bot did instead of speaking.
    """

    speaker: Speaker
    text: str
    tool: ToolUse | None = None


@dataclass(frozen=True, slots=True)
class ReplyRequest:
    """What a reply is made from.

    Attributes:
        call_id: our id of the call.
        history: earlier turns, oldest first, the caller's newest words last.
        digits: keys pressed since the last reply; then `history` may end with a bot turn.
        instructions: who the bot is and what it is to do; None leaves it to the responder.
        call: what tools may know of the call: `direction`, `from`, `to`.
    """

    call_id: str
    history: Sequence[Turn]
    digits: str = ""
    instructions: str | None = None
    call: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class HangUp:
    """Part of a reply: end the call once everything said before it has been heard."""


@dataclass(frozen=True, slots=True)
class PressKeys:
    """Part of a reply: send key tones once everything said before it has been heard."""

    digits: str


@dataclass(frozen=True, slots=True)
class Transfer:
    """Part of a reply: hand the call to `to` once everything said before it has been heard."""

    to: str


ReplyPart: TypeAlias = str | ToolUse | PressKeys | Transfer | HangUp


class Responder(Protocol):
    """Decides what the bot says next."""

    def reply(self, request: ReplyRequest) -> AsyncIterator[ReplyPart]:
        """The reply as it forms: pieces of text, and actions. Raises `SpeechError`."""
        ...

    async def close(self) -> None:
        """Free the responder."""
        ...


# --- speech to speech ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool as a model is told of it.

    Attributes:
        name: letters, digits, `_` and `-`; at most 64.
        description: when to use it, for the model.
        parameters: a JSON Schema of type object.
    """

    name: str
    description: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Briefing:
    """What a speech-to-speech model is told before a conversation.

    Attributes:
        instructions: who it is and what it is to do.
        history: of an earlier conversation, or of this one before its connection broke.
        tools: what it may use.
    """

    instructions: str
    history: Sequence[Turn] = ()
    tools: Sequence[ToolSpec] = ()


@dataclass(frozen=True, slots=True)
class ReplyAudio:
    """Audio of reply `reply_id`, in the engine's format; comes faster than it is played."""

    reply_id: str
    audio: bytes


@dataclass(frozen=True, slots=True)
class ReplyText:
    """More of what reply `reply_id` says."""

    reply_id: str
    text: str


@dataclass(frozen=True, slots=True)
class ReplyDone:
    """No more of reply `reply_id` follows: it is complete, was cut short, or failed.

    Attributes:
        reply_id: which.
        interrupted: the caller or `cancel` cut it short.
        failure: why it could not be made, for the log.
    """

    reply_id: str
    interrupted: bool = False
    failure: str | None = None


@dataclass(frozen=True, slots=True)
class ToolCall:
    """The model wants a tool used; answered with `SpeechToSpeechStream.tool_result`.

    Attributes:
        id: of this use.
        name: of the tool.
        arguments: a JSON object, as text; not checked.
    """

    id: str
    name: str
    arguments: str


SpeechToSpeechEvent: TypeAlias = SttEvent | ReplyAudio | ReplyText | ReplyDone | ToolCall


class SpeechToSpeechStream(Protocol):
    """One call's conversation with a model that listens and speaks by itself.

    Iterating yields events until it is closed or fails. None of the other methods blocks; what
    they ask for is sent in order.
    """

    def push(self, audio: bytes) -> None:
        """Give it more of the caller's audio, in the engine's format.

        When the connection falls behind, the oldest audio is dropped and counted.
        """
        ...

    def say(self, text: str) -> None:
        """Have it say `text`, as literally as the model can, as its next reply."""
        ...

    def prompt(self, text: str) -> None:
        """Have it react to `text`, which is something that happened, such as a key pressed."""
        ...

    def cancel(self) -> None:
        """Stop the reply that is being made."""
        ...

    def heard(self, reply_id: str, heard_ms: int) -> None:
        """A reply that was cut short was played for `heard_ms`: forget what came after."""
        ...

    def tool_result(self, tool_call_id: str, output: str) -> None:
        """What a tool gave; the model goes on with it."""
        ...

    def __aiter__(self) -> AsyncIterator[SpeechToSpeechEvent]:
        """Events in order. Raises `SpeechError` when the conversation cannot go on."""
        ...

    async def close(self) -> None:
        """Stop and free everything; iteration ends."""
        ...


class SpeechToSpeech(Protocol):
    """An engine that converses by itself, shared by all calls."""

    @property
    def audio(self) -> AudioFormat:
        """The audio it takes and makes."""
        ...

    @property
    def takes_turns(self) -> bool:
        """Whether replies have ends, and are cut and truncated by us when the caller interrupts.

        Otherwise the engine makes one unending reply, silences included, and does all that itself.
        """
        ...

    async def prepare(self) -> None:
        """Load what it needs, so that no call waits for it.

        Raises:
            DependencyMissing: a package is not installed.
            SpeechError: it cannot be loaded.
        """
        ...

    async def open(self, briefing: Briefing) -> SpeechToSpeechStream:
        """Begin a conversation. Raises `SpeechError`."""
        ...

    async def close(self) -> None:
        """Free the engine."""
        ...


# --- carriers --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DialRequest:
    """One outbound call to place.

    Attributes:
        call_id: our id.
        to: callee, E.164.
        from_number: caller id.
        mode: what the call is for.
        stream_url: where the carrier shall connect media; None without media streaming.
        ring_timeout_ms: how long to let it ring.
        dtmf_sequence: keys to send once answered, before anything is said.
    """

    call_id: str
    to: str
    from_number: str
    mode: Mode
    stream_url: str | None
    ring_timeout_ms: int
    dtmf_sequence: str | None = None


@dataclass(frozen=True, slots=True)
class CarrierStatus:
    """What the carrier says of a call: ended for a reason, alive, or (both unset) unknown to it."""

    alive: bool
    end_reason: CallState | None = None


class Carrier(Protocol):
    """A carrier's REST side. Every method has a deadline of its own; none repeats a dial."""

    @property
    def name(self) -> str:
        """`twilio`, `telnyx`, `plivo` or `mock`."""
        ...

    async def dial(self, request: DialRequest) -> str:
        """Place a call; the carrier's id for it. Raises `CarrierError`."""
        ...

    async def hang_up(self, provider_call_id: str) -> None:
        """End a call; one that is already over is a success. Raises `CarrierError`."""
        ...

    async def send_dtmf(self, provider_call_id: str, digits: str) -> None:
        """Send keys. Raises `CarrierError`."""
        ...

    async def status(self, provider_call_id: str) -> CarrierStatus:
        """Look the call up. Raises `CarrierError`."""
        ...

    async def close(self) -> None:
        """Free connections and end what only this object keeps running."""
        ...


class CarrierTransfer(Protocol):
    """A carrier that can hand a call on."""

    async def transfer(self, provider_call_id: str, to: str) -> None:
        """Connect the other side with `to` instead of us; from then on the call is not ours.

        Has a deadline of its own, and is never repeated.

        Raises:
            CarrierError: it did not, or nobody knows.
        """
        ...


class CarrierVoice(Protocol):
    """A carrier's own speech, for calls whose media are not streamed to us.

    What callers say there comes as events. Every method has a deadline of its own.
    """

    async def say(self, provider_call_id: str, text: str) -> bool:
        """Say `text`, of any length, on a call that is answered.

        Returns:
            True once it was said to its end; False when something cut it, or its end was never
            reported.

        Raises:
            CarrierError: the carrier refused, or did not answer.
        """
        ...

    async def stop_speaking(self, provider_call_id: str) -> None:
        """Cut what is being said; the call goes on. Raises `CarrierError`."""
        ...

    async def listen(self, provider_call_id: str) -> None:
        """Recognise what the caller says from now on; asked again, it changes nothing.

        Nothing to do for carriers that listen by themselves whenever nothing is said.

        Raises:
            CarrierError: the carrier refused, or did not answer.
        """
        ...


@dataclass(frozen=True, slots=True)
class WebhookRequest:
    """A webhook as received, read but not believed.

    Attributes:
        method: upper case.
        url: the public URL the carrier signed, with its query.
        headers: lower-case names.
        body: raw octets.
        peer: the client's address.
    """

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes
    peer: str


@dataclass(frozen=True, slots=True)
class VerifiedRequest:
    """A webhook that is proven to come from the carrier.

    Attributes:
        request: as received.
        replay_key: canonical signed material; the same request signed again has the same key.
    """

    request: WebhookRequest
    replay_key: str


@dataclass(frozen=True, slots=True)
class WebhookAnswer:
    """What is returned to the carrier."""

    status: int = 200
    content_type: str = "text/plain"
    body: bytes = b""


class Webhook(Protocol):
    """A carrier's webhook side: pure functions over received bytes."""

    @property
    def signature_headers(self) -> Sequence[str]:
        """Lower-case names of headers without which a request is refused unread."""
        ...

    def verify(self, request: WebhookRequest) -> VerifiedRequest:
        """Prove where the request comes from. Raises `VerificationError`, nothing else."""
        ...

    def parse(self, verified: VerifiedRequest) -> Sequence[CallEvent]:
        """What it says happened. Raises `CodecError` when it makes no sense."""
        ...

    def answer(self, verified: VerifiedRequest, record: CallRecord | None) -> WebhookAnswer:
        """What the carrier shall do next with the call the events were about."""
        ...


# --- calls -----------------------------------------------------------------------------------


class CallSink(Protocol):
    """Where events about calls go."""

    async def apply(self, event: CallEvent) -> None:
        """Apply the event; returns once what it changed is stored. Repeats change nothing."""
        ...


class CallControl(CallSink, Protocol):
    """What a conversation may do with the call it belongs to."""

    async def end(self, call_id: str, reason: CallState = CallState.HANGUP_BOT) -> None:
        """Hang up; a call that is already over is a success."""
        ...

    async def send_dtmf(self, call_id: str, digits: str) -> None:
        """Send key tones on the call. Raises `VoicecallError`."""
        ...

    async def transfer(self, call_id: str, to: str) -> None:
        """Hand the call to `to`; then it is over for us. Raises `VoicecallError`."""
        ...

    def awaits_transcript(self, call_id: str) -> bool:
        """Whether somebody waits for the caller's next words, so that no reply is to be made."""
        ...


class Conversation(Protocol):
    """The speaking side of one call, as the call's actor uses it.

    It is told what is reported about the call. One that has an audio path of its own, and reported
    it, knows that already. These calls are quick and never raise.
    """

    def answered(self) -> None:
        """The call was answered."""
        ...

    def heard(self, text: str, *, awaited: bool) -> None:
        """The caller said `text`.

        Args:
            text: final, and in the call's record.
            awaited: whether somebody waited for it, so that no reply is to be made.
        """
        ...

    def pressed(self, digits: str) -> None:
        """The caller pressed keys."""
        ...

    async def say(self, text: str) -> Playback:
        """Say `text` after what is being said; returns when it was played or cut short.

        Raises:
            NotConnected: nothing can be said yet.
            SpeechError: it could not be synthesized.
            CarrierError: the carrier, which was to say it, could not.
        """
        ...

    async def press(self, digits: str) -> bool:
        """Sound keys in the call's own audio after what is being said; returns when they have.

        Returns:
            False when it is the carrier that sends keys on this call.

        Raises:
            InvalidRequest: they are too many.
            NotConnected: nothing can be heard of us yet, or any more.
            SpeechError: too many keys wait to be heard.
        """
        ...

    async def close(self) -> None:
        """Stop speaking and listening and free the audio path."""
        ...


class Conversations(Protocol):
    """Makes conversations."""

    def open(self, record: CallRecord, opening: str | None) -> Conversation:
        """Begin the conversation of a call that may not be answered yet.

        Args:
            record: the call; read only.
            opening: what to say first.
        """
        ...


class CallStore(Protocol):
    """Keeps call records. Every method raises `StoreError` when it cannot."""

    async def save(self, record: Mapping[str, Any], change: Mapping[str, Any]) -> None:
        """Store one change and the record as it is after it; returns once both are safe.

        Args:
            record: `CallRecord.to_json()`.
            change: what changed: at least `type` and `timestamp`.
        """
        ...

    async def get(self, call_id: str) -> Mapping[str, Any] | None:
        """One record by our id or the carrier's."""
        ...

    async def live(self) -> Sequence[Mapping[str, Any]]:
        """Records of calls that have not ended."""
        ...

    async def recent(self, limit: int) -> Sequence[Mapping[str, Any]]:
        """The newest records, newest first."""
        ...

    async def changes(
        self, after: int = 0, limit: int = 1000
    ) -> Sequence[tuple[int, Mapping[str, Any]]]:
        """Changes of all calls in the order in which they were stored, with their numbers.

        Args:
            after: the number of the last change that is known already.
            limit: how many to return at most.
        """
        ...

    async def newest_change(self) -> int:
        """The number of the newest change that is kept; 0 if there is none."""
        ...

    async def close(self) -> None:
        """Finish writing and free the store."""
        ...
