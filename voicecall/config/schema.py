"""The configuration as frozen models: every key, its default and its range.

Files use the camelCase names, Python the snake_case ones: `config.streaming.max_connections` is
`streaming.maxConnections`. A finished `Config` is complete: whatever depends on other keys (the
speech provider of a mock, the key that all OpenAI services share) has already been filled in.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, TypeAlias
from urllib.parse import SplitResult, urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    WithJsonSchema,
    model_validator,
)
from pydantic.alias_generators import to_camel

from voicecall.config.derive import derive

DATABASE_SCHEMES: Final = ("redis", "rediss", "valkey")
IN_MEMORY: Final = ":memory:"
DEFAULT_GREETING: Final = "Hello! How can I help you today?"
WEBHOOK_PATH: Final = "/voice/webhook"

_E164 = re.compile(r"\+[1-9][0-9]{1,14}")
_SIP = re.compile(r"sips?:[^\s@]+@[^\s@]+")
_HOST = re.compile(r"[A-Za-z0-9.-]+|\[?[0-9A-Fa-f:.]+\]?")
_RESPONDER = re.compile(r"[A-Za-z0-9_-]+/\S.*")
# A model that asks sooner talks into pauses for thought.
_MIN_IDLE_MS = 5_000
_MAX_IDLE_MS = 30_000


# --- kinds of values -------------------------------------------------------------------------


def _phone_number(value: str) -> str:
    if not _E164.fullmatch(value):
        raise ValueError("must be an E.164 number such as +15550001234")
    return value


def _destination(value: str) -> str:
    if not (_E164.fullmatch(value) or _SIP.fullmatch(value)):
        raise ValueError("must be an E.164 number such as +15550001234, or a sip: address")
    return value


def _parts(url: str, refusal: str) -> SplitResult:
    """The parts of a URL with a host; the parser's own messages would repeat what may be secret."""
    try:
        parts = urlsplit(url)
        usable = bool(parts.hostname) and parts.port != 0
    except ValueError:
        raise ValueError(refusal) from None
    if not usable:
        raise ValueError(refusal)
    return parts


def _url(value: str) -> str:
    refusal = "must be an http:// or https:// URL"
    parts = _parts(value, refusal)
    if parts.scheme not in {"http", "https"}:
        raise ValueError(refusal)
    if parts.username is not None or parts.password is not None:
        raise ValueError("must not hold a user name or password")
    return value


def _url_path(value: str) -> str:
    if not value.startswith("/") or value.startswith("//") or re.search(r"[\s?#]", value):
        raise ValueError("must be an absolute path such as /voice/webhook, without a query")
    return value.rstrip("/") or "/"


def _host(value: str) -> str:
    if not _HOST.fullmatch(value):
        raise ValueError("must be a host name or address, without scheme or port")
    return value.lower()


def _network(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return ip_network(value.strip(), strict=False)
    except ValueError:
        raise ValueError("must be an IP address or a network such as 10.0.0.0/8") from None


def _responder(value: str) -> str:
    if not _RESPONDER.fullmatch(value):
        raise ValueError("must be <service>/<model>, for example openai/gpt-6-luna")
    return value


def _idle_timeout(value: int) -> int:
    if 0 < value < _MIN_IDLE_MS:
        raise ValueError(f"must be 0 for never, or at least {_MIN_IDLE_MS}")
    return value


def _store(value: str) -> str:
    refusal = f"must be a file, {IN_MEMORY}, or a redis://, rediss:// or valkey:// URL"
    if "://" in value and _parts(value, refusal).scheme not in DATABASE_SCHEMES:
        raise ValueError(refusal)
    return value


PhoneNumber: TypeAlias = Annotated[
    str,
    AfterValidator(_phone_number),
    WithJsonSchema({"type": "string", "pattern": rf"^{_E164.pattern}$"}),
]
Destination: TypeAlias = Annotated[
    str,
    AfterValidator(_destination),
    WithJsonSchema({"type": "string", "pattern": rf"^({_E164.pattern}|sips?:.+)$"}),
]
Url: TypeAlias = Annotated[
    str, AfterValidator(_url), WithJsonSchema({"type": "string", "format": "uri"})
]
UrlPath: TypeAlias = Annotated[
    str, AfterValidator(_url_path), WithJsonSchema({"type": "string", "pattern": "^/"})
]
Host: TypeAlias = Annotated[str, AfterValidator(_host)]
Network: TypeAlias = Annotated[
    IPv4Network | IPv6Network, BeforeValidator(_network), WithJsonSchema({"type": "string"})
]
Responder: TypeAlias = Annotated[
    str,
    AfterValidator(_responder),
    WithJsonSchema({"type": "string", "pattern": rf"^{_RESPONDER.pattern}$"}),
]
Store: TypeAlias = Annotated[str, Field(min_length=1), AfterValidator(_store)]
Secret: TypeAlias = Annotated[SecretStr, Field(min_length=1)]
Text: TypeAlias = Annotated[str, Field(min_length=1)]
Port: TypeAlias = Annotated[int, Field(ge=0, le=65535)]
PositiveMs: TypeAlias = Annotated[int, Field(ge=1, le=86_400_000)]
Count: TypeAlias = Annotated[int, Field(ge=1, le=1_000_000)]
IdleMs: TypeAlias = Annotated[
    int,
    Field(ge=0, le=_MAX_IDLE_MS),
    AfterValidator(_idle_timeout),
    WithJsonSchema(
        {
            "anyOf": [
                {"enum": [0]},
                {"type": "integer", "minimum": _MIN_IDLE_MS, "maximum": _MAX_IDLE_MS},
            ]
        }
    ),
]


def _camel(name: str) -> str:
    return to_camel(name).replace("Ips", "IPs")


class Section(BaseModel):
    """One object of the configuration file: frozen, and closed to keys it does not know."""

    model_config = ConfigDict(
        alias_generator=_camel,
        field_title_generator=lambda name, _: _camel(name),
        populate_by_name=True,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
    )


# --- carriers --------------------------------------------------------------------------------


class Account(Section):
    """What every carrier's account has besides its credentials.

    `voice` and `language` are of the carrier's own speech, on calls without media streaming;
    `detect_machines` has it say whether a machine answered, which carriers charge for.
    """

    api_base_url: Url | None = None
    voice: Text | None = None
    language: Text = "en-US"
    detect_machines: bool = False


class Twilio(Account):
    """Twilio account; without a `voice`, that of `tts.openai` is taken by its nearest likeness."""

    account_sid: Text | None = None
    auth_token: Secret | None = None
    region: Literal["us1", "ie1", "au1"] | None = None


class Telnyx(Account):
    """Telnyx account; `public_key` is base64 of 32 octets or of DER SPKI, or PEM."""

    api_key: Secret | None = None
    connection_id: Text | None = None
    public_key: Text | None = None


class Plivo(Account):
    """Plivo account."""

    auth_id: Text | None = None
    auth_token: Secret | None = None


class Mock(Section):
    """The carrier without a network: whom its calls reach, and what that one says."""

    phone: Literal["auto", "echo", "busy", "no-answer", "off"] = "auto"
    persona: Path | None = None


# --- how we are reached ----------------------------------------------------------------------


class Tls(Section):
    """PEM files of the server's certificate chain and key."""

    cert: Path
    key: Path


class Serve(Section):
    """The control plane's listener; port 0 takes any free port."""

    port: Port = 3334
    bind: Host = "127.0.0.1"
    path: UrlPath = WEBHOOK_PATH
    workers: Annotated[int, Field(ge=1, le=256)] = 1
    tls: Tls | None = None


class Tunnel(Section):
    """A tunnel that makes the server reachable from outside."""

    provider: Literal["none", "ngrok", "tailscale-serve", "tailscale-funnel"] = "none"
    ngrok_auth_token: Secret | None = None
    ngrok_domain: Host | None = None
    allow_ngrok_free_tier_loopback_bypass: bool = False


class Tailscale(Section):
    """Exposure through Tailscale."""

    mode: Literal["off", "serve", "funnel"] = "off"
    path: UrlPath = WEBHOOK_PATH
    port: Annotated[int, Field(ge=1, le=65535)] = 443


class WebhookSecurity(Section):
    """Which forwarding headers are believed, from whom."""

    allowed_hosts: tuple[Host, ...] = ()
    trust_forwarding_headers: bool = False
    trusted_proxy_ips: tuple[Network, ...] = ()


# --- calls -----------------------------------------------------------------------------------


class Outbound(Section):
    """How calls we place behave when the request does not say."""

    default_mode: Literal["notify", "conversation"] = "notify"
    notify_hangup_delay_sec: Annotated[float, Field(ge=0, le=600)] = 3


class Streaming(Section):
    """The media plane; port 0 leaves it to the control plane's port."""

    enabled: bool = False
    stream_path: UrlPath = "/voice/stream"
    pre_start_timeout_ms: PositiveMs = 5000
    max_pending_connections: Count = 32
    max_pending_connections_per_ip: Count = 4
    max_connections: Count = 128
    port: Port = 3335
    bind: Host = "127.0.0.1"
    public_url: Url | None = None
    frame_ms: Annotated[int, Field(ge=10, le=60, multiple_of=10)] = 20
    lead_ms: Annotated[int, Field(ge=0, le=2000)] = 160
    jitter_ms: Annotated[int, Field(ge=0, le=1000)] = 60


class BargeIn(Section):
    """What the caller's speech must be like to interrupt the bot.

    After `min_speech_ms` of speech the bot falls silent. It gives up what it was saying when the
    caller has said `min_words` words, or one of `interrupting`, or has spoken for
    `confirm_speech_ms`; it goes on when he has been silent for `resume_after_ms` without.
    `back_channels` do not count as words. Unset, both lists are English ones. `min_level_dbfs` is
    relative to full scale: 0 is the loudest, -60 nearly silent; `echo_margin_db` is how far speech
    has to stand out of the line's echo and noise.
    """

    enabled: bool = True
    min_speech_ms: Annotated[int, Field(ge=0, le=5000)] = 100
    min_level_dbfs: Annotated[float, Field(ge=-96, le=0)] = -45
    confirm_speech_ms: Annotated[int, Field(ge=0, le=10_000)] = 2500
    resume_after_ms: Annotated[int, Field(ge=100, le=10_000)] = 800
    echo_margin_db: Annotated[float, Field(ge=0, le=40)] = 6
    min_words: Annotated[int, Field(ge=1, le=20)] = 2
    interrupting: tuple[Text, ...] | None = None
    back_channels: tuple[Text, ...] | None = None


# --- what the bot may do -----------------------------------------------------------------------


class McpServer(Section):
    """A server of tools: a `command` that is run here, or the `url` of one that runs elsewhere."""

    command: tuple[Text, ...] = ()
    url: Url | None = None
    headers: dict[Text, Secret] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _is_one_of_both(self) -> Self:
        if bool(self.command) == (self.url is not None):
            raise ValueError("needs either command or url")
        return self


class Tools(Section):
    """What the language model may do besides speaking.

    `transfer` lists where calls may be handed to; with none they cannot be. A tool that takes
    longer than `filler_after_ms` is covered by `filler`, and given up after `timeout_ms`.
    """

    end_call: bool = True
    send_dtmf: bool = True
    transfer: dict[Text, Destination] = Field(default_factory=dict)
    mcp: dict[Text, McpServer] = Field(default_factory=dict)
    timeout_ms: PositiveMs = 15_000
    filler_after_ms: PositiveMs = 1200
    filler: str = "One moment, please."


# --- speech and language services --------------------------------------------------------------


class OpenAI(Section):
    """An OpenAI account, or any server that speaks its protocols."""

    api_key: Secret | None = None
    base_url: Url | None = None


class OpenAIAccount(OpenAI):
    """The account that all OpenAI services share, and how replies are asked for.

    `api` `auto` takes the Responses API of OpenAI itself, and Chat Completions, which everybody
    has, of any other server.
    """

    api: Literal["auto", "responses", "chat"] = "auto"
    reasoning_effort: Text | None = "none"
    service_tier: Text | None = None


class ServiceKey(Section):
    """A service that needs nothing but a key."""

    api_key: Secret | None = None


class OpenAIStt(OpenAI):
    """Recognition by OpenAI.

    `turn_detection` `auto` leaves it to the server where the model can, else it is done here.
    """

    model: Text = "gpt-transcribe"
    language: Text | None = None
    prompt: Text | None = None
    keywords: tuple[Text, ...] = ()
    turn_detection: Literal["auto", "server", "semantic", "local"] = "auto"
    noise_reduction: Literal["near_field", "far_field", "off"] = "near_field"


class DeepgramStt(ServiceKey):
    """Recognition by Deepgram."""

    model: Text = "nova-3"
    language: Text | None = None
    keywords: tuple[Text, ...] = ()
    base_url: Url | None = None


class LocalStt(Section):
    """Recognition on this machine."""

    threads: Annotated[int, Field(ge=1, le=64)] = 1


class ScriptedStt(Section):
    """Recognition that says what it is told to, one transcript for each utterance."""

    transcripts: tuple[str, ...] = ()


class Stt(Section):
    """Speech to text; an utterance ends after `silence_duration_ms` without speech."""

    provider: Literal["openai", "deepgram", "local", "scripted"] = "local"
    silence_duration_ms: Annotated[int, Field(ge=100, le=10_000)] = 800
    vad_threshold: Annotated[float, Field(gt=0, lt=1)] = 0.5
    openai: OpenAIStt = OpenAIStt()
    deepgram: DeepgramStt = DeepgramStt()
    local: LocalStt = LocalStt()
    scripted: ScriptedStt = ScriptedStt()


VoiceName: TypeAlias = Literal["openai", "elevenlabs", "local", "scripted"]


class OpenAITts(OpenAI):
    """Synthesis by OpenAI.

    `api` `auto` takes `realtime`, which is OpenAI's own, unless there is a `base_url`: compatible
    servers have `speech`.
    """

    api: Literal["auto", "realtime", "speech"] = "auto"
    model: Text = "gpt-realtime-2.1-mini"
    voice: Text = "alloy"
    instructions: str | None = None
    speed: Annotated[float, Field(ge=0.25, le=4)] = 1.0


class VoiceSettings(Section):
    """How an ElevenLabs voice speaks; what is not set is left to the voice."""

    stability: Annotated[float, Field(ge=0, le=1)] | None = None
    similarity_boost: Annotated[float, Field(ge=0, le=1)] | None = None
    style: Annotated[float, Field(ge=0, le=1)] | None = None
    use_speaker_boost: bool | None = None
    speed: Annotated[float, Field(ge=0.5, le=2)] | None = None


class ElevenLabsTts(ServiceKey):
    """Synthesis by ElevenLabs."""

    voice_id: Text | None = None
    model_id: Text = "eleven_flash_v2_5"
    transport: Literal["socket", "http"] = "socket"
    language: Text | None = None
    base_url: Url | None = None
    voice_settings: VoiceSettings = VoiceSettings()


class LocalTts(Section):
    """Synthesis on this machine; the same seed and text give the same audio."""

    threads: Annotated[int, Field(ge=1, le=64)] = 1
    seed: Annotated[int, Field(ge=0)] = 0


class Tts(Section):
    """Text to speech.

    Where `provider` fails, those of `fallback` speak, in order. What was said before is kept, up to
    `cache_megabytes`.
    """

    provider: VoiceName = "local"
    fallback: tuple[VoiceName, ...] = ()
    cache_megabytes: Annotated[int, Field(ge=0, le=100_000)] = 16
    openai: OpenAITts = OpenAITts()
    elevenlabs: ElevenLabsTts = ElevenLabsTts()
    local: LocalTts = LocalTts()


class Realtime(Section):
    """Speech-to-speech; uses the key and server of `openai`.

    `api` `auto` takes GPT-Live for models whose name begins with `gpt-live`. `local` puts the local
    engines and `responseModel` behind the same interface. After `idle_timeout_ms` without a word
    from the caller the model asks whether they are still there; 0 waits for ever.
    """

    enabled: bool = False
    provider: Literal["openai", "local"] = "openai"
    api: Literal["auto", "realtime", "live"] = "auto"
    model: Text = "gpt-realtime-2.1"
    voice: Text = "marin"
    speed: Annotated[float, Field(ge=0.25, le=1.5)] = 1.0
    transcription_model: Text = "gpt-transcribe"
    turn_detection: Literal["server", "semantic"] = "server"
    idle_timeout_ms: IdleMs = 0
    instructions: str | None = None
    # Free-form, so it may hold authorisations for remote tools: kept out of every output.
    tools: Annotated[tuple[dict[str, Any], ...], Field(repr=False)] = ()


class NumberSettings(Section):
    """What is different on one of our numbers; whole sections are merged over the general ones."""

    inbound_greeting: str | None = None
    barge_in: BargeIn | None = None
    stt: Stt | None = None
    tts: Tts | None = None
    realtime: Realtime | None = None
    tools: Tools | None = None
    response_model: Responder | None = None
    response_system_prompt: str | None = None
    response_timeout_ms: PositiveMs | None = None


class Rpc(Section):
    """Access to the RPC interface; without a token one is kept in the state directory."""

    token: Secret | None = None


class RetentionSettings(Section):
    """What is kept of calls that have ended; 0 is no limit. Live calls are always kept."""

    days: Annotated[int, Field(ge=0, le=36_500)] = 0
    calls: Annotated[int, Field(ge=0, le=1_000_000_000)] = 0
    disk_megabytes: Annotated[int, Field(ge=0, le=1_000_000_000)] = 0


# --- all of it -------------------------------------------------------------------------------


class Config(Section):
    """The whole configuration.

    `Config()` is a server that needs nothing: mock carrier, local speech, no keys. Times are in
    the unit their name ends in.

    Raises:
        pydantic.ValidationError: a key is unknown or its value out of range. `load` turns that
            into `ConfigError`; secrets are in neither.
    """

    enabled: bool = True
    provider: Literal["twilio", "telnyx", "plivo", "mock"] = "mock"
    from_number: PhoneNumber | None = None
    to_number: PhoneNumber | None = None
    twilio: Twilio = Twilio()
    telnyx: Telnyx = Telnyx()
    plivo: Plivo = Plivo()
    mock: Mock = Mock()
    serve: Serve = Serve()
    public_url: Url | None = None
    tunnel: Tunnel = Tunnel()
    tailscale: Tailscale = Tailscale()
    webhook_security: WebhookSecurity = WebhookSecurity()
    skip_signature_verification: bool = False
    inbound_policy: Literal["disabled", "allowlist", "pairing", "open"] = "disabled"
    allow_from: tuple[PhoneNumber, ...] = ()
    inbound_greeting: str = DEFAULT_GREETING
    numbers: dict[PhoneNumber, NumberSettings] = Field(default_factory=dict)
    outbound: Outbound = Outbound()
    max_duration_seconds: Annotated[int, Field(ge=1, le=86_400)] = 300
    stale_call_reaper_seconds: Annotated[int, Field(ge=0, le=604_800)] = 0
    silence_timeout_ms: Annotated[int, Field(ge=100, le=10_000)] = 800
    transcript_timeout_ms: PositiveMs = 180_000
    ring_timeout_ms: Annotated[int, Field(ge=1000, le=600_000)] = 30_000
    max_concurrent_calls: Count = 128
    session_scope: Literal["per-phone", "per-call"] = "per-phone"
    streaming: Streaming = Streaming()
    barge_in: BargeIn = BargeIn()
    stt: Stt = Stt()
    tts: Tts = Tts()
    openai: OpenAIAccount = OpenAIAccount()
    elevenlabs: ServiceKey = ServiceKey()
    deepgram: ServiceKey = ServiceKey()
    response_model: Responder = "scripted/builtin"
    response_system_prompt: str | None = None
    response_timeout_ms: PositiveMs = 30_000
    tools: Tools = Tools()
    realtime: Realtime = Realtime()
    # A database URL may hold a password.
    store: Annotated[Store | None, Field(repr=False)] = None
    retention: RetentionSettings = RetentionSettings()
    rpc: Rpc = Rpc()

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, settings: Any) -> Any:  # noqa: ANN401  (whatever a caller passes)
        return derive(_plain(cls, settings)) if isinstance(settings, dict) else settings

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        problems = []
        if self.serve.path == self.streaming.stream_path:
            problems.append("streaming.streamPath: must not be the same as serve.path")
        if self.streaming.port and self.streaming.port == self.serve.port:
            problems.append("streaming.port: must not be the same as serve.port (0 shares it)")
        if self.streaming.lead_ms < self.streaming.frame_ms:
            problems.append("streaming.leadMs: must be at least streaming.frameMs")
        if problems:
            raise ValueError("\n".join(problems))
        return self


def _plain(model: type[BaseModel], values: dict[str, Any]) -> dict[str, Any]:
    """Values as a file would have them: camelCase keys, sections as dicts of what was set."""
    aliases = {name: field.alias or name for name, field in model.model_fields.items()}
    return {aliases.get(name, name): _plain_value(value) for name, value in values.items()}


def _plain_value(value: Any) -> Any:  # noqa: ANN401  (any field's value)
    if isinstance(value, BaseModel):
        set_values = {name: getattr(value, name) for name in value.model_fields_set}
        return _plain(type(value), set_values)
    if isinstance(value, dict):
        return {key: _plain_value(inner) for key, inner in value.items()}
    return value
