"""The configuration's table: every key, its default, its range."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from voicecall.config.paths import value_at
from voicecall.config.schema import Config, NumberSettings, OpenAIAccount, Streaming, Stt, Tts

pytestmark = pytest.mark.unit

ABSENT = None

# Every key that a file may hold, with what it is when nothing is configured.
DEFAULTS: dict[str, Any] = {
    "enabled": True,
    "provider": "mock",
    "fromNumber": ABSENT,
    "toNumber": ABSENT,
    "twilio.accountSid": ABSENT,
    "twilio.authToken": ABSENT,
    "twilio.region": ABSENT,
    "twilio.apiBaseUrl": ABSENT,
    "twilio.voice": ABSENT,
    "twilio.language": "en-US",
    "twilio.detectMachines": False,
    "telnyx.apiKey": ABSENT,
    "telnyx.connectionId": ABSENT,
    "telnyx.publicKey": ABSENT,
    "telnyx.apiBaseUrl": ABSENT,
    "telnyx.voice": ABSENT,
    "telnyx.language": "en-US",
    "telnyx.detectMachines": False,
    "plivo.authId": ABSENT,
    "plivo.authToken": ABSENT,
    "plivo.apiBaseUrl": ABSENT,
    "plivo.voice": ABSENT,
    "plivo.language": "en-US",
    "plivo.detectMachines": False,
    "mock.phone": "auto",
    "mock.persona": ABSENT,
    "serve.port": 3334,
    "serve.bind": "127.0.0.1",
    "serve.path": "/voice/webhook",
    "serve.workers": 1,
    "serve.tls": ABSENT,
    "publicUrl": ABSENT,
    "tunnel.provider": "none",
    "tunnel.ngrokAuthToken": ABSENT,
    "tunnel.ngrokDomain": ABSENT,
    "tunnel.allowNgrokFreeTierLoopbackBypass": False,
    "tailscale.mode": "off",
    "tailscale.path": "/voice/webhook",
    "tailscale.port": 443,
    "webhookSecurity.allowedHosts": [],
    "webhookSecurity.trustForwardingHeaders": False,
    "webhookSecurity.trustedProxyIPs": [],
    "skipSignatureVerification": False,
    "inboundPolicy": "disabled",
    "allowFrom": [],
    "inboundGreeting": "Hello! How can I help you today?",
    "numbers": {},
    "outbound.defaultMode": "notify",
    "outbound.notifyHangupDelaySec": 3,
    "maxDurationSeconds": 300,
    "staleCallReaperSeconds": 0,
    "silenceTimeoutMs": 800,
    "transcriptTimeoutMs": 180_000,
    "ringTimeoutMs": 30_000,
    "maxConcurrentCalls": 128,
    "sessionScope": "per-phone",
    "streaming.enabled": True,
    "streaming.streamPath": "/voice/stream",
    "streaming.preStartTimeoutMs": 5000,
    "streaming.maxPendingConnections": 32,
    "streaming.maxPendingConnectionsPerIp": 4,
    "streaming.maxConnections": 128,
    "streaming.port": 3335,
    "streaming.bind": "127.0.0.1",
    "streaming.publicUrl": ABSENT,
    "streaming.frameMs": 20,
    "streaming.leadMs": 160,
    "streaming.jitterMs": 60,
    "bargeIn.enabled": True,
    "bargeIn.minSpeechMs": 100,
    "bargeIn.minLevelDbfs": -45,
    "bargeIn.confirmSpeechMs": 2500,
    "bargeIn.resumeAfterMs": 800,
    "bargeIn.echoMarginDb": 6,
    "bargeIn.minWords": 2,
    "bargeIn.interrupting": ABSENT,
    "bargeIn.backChannels": ABSENT,
    "stt.provider": "local",
    "stt.silenceDurationMs": 800,
    "stt.vadThreshold": 0.5,
    "stt.openai.apiKey": ABSENT,
    "stt.openai.baseUrl": ABSENT,
    "stt.openai.model": "gpt-transcribe",
    "stt.openai.language": ABSENT,
    "stt.openai.prompt": ABSENT,
    "stt.openai.keywords": [],
    "stt.openai.turnDetection": "auto",
    "stt.openai.noiseReduction": "near_field",
    "stt.deepgram.apiKey": ABSENT,
    "stt.deepgram.model": "nova-3",
    "stt.deepgram.language": ABSENT,
    "stt.deepgram.keywords": [],
    "stt.deepgram.baseUrl": ABSENT,
    "stt.local.threads": 1,
    "stt.scripted.transcripts": [],
    "tts.provider": "local",
    "tts.fallback": [],
    "tts.cacheMegabytes": 16,
    "tts.openai.api": "auto",
    "tts.openai.apiKey": ABSENT,
    "tts.openai.baseUrl": ABSENT,
    "tts.openai.model": "gpt-realtime-2.1-mini",
    "tts.openai.voice": "alloy",
    "tts.openai.instructions": ABSENT,
    "tts.openai.speed": 1.0,
    "tts.elevenlabs.apiKey": ABSENT,
    "tts.elevenlabs.voiceId": ABSENT,
    "tts.elevenlabs.modelId": "eleven_flash_v2_5",
    "tts.elevenlabs.transport": "socket",
    "tts.elevenlabs.language": ABSENT,
    "tts.elevenlabs.baseUrl": ABSENT,
    "tts.elevenlabs.voiceSettings.stability": ABSENT,
    "tts.elevenlabs.voiceSettings.similarityBoost": ABSENT,
    "tts.elevenlabs.voiceSettings.style": ABSENT,
    "tts.elevenlabs.voiceSettings.useSpeakerBoost": ABSENT,
    "tts.elevenlabs.voiceSettings.speed": ABSENT,
    "tts.local.threads": 1,
    "tts.local.seed": 0,
    "openai.apiKey": ABSENT,
    "openai.baseUrl": ABSENT,
    "openai.api": "auto",
    "openai.reasoningEffort": "none",
    "openai.serviceTier": ABSENT,
    "elevenlabs.apiKey": ABSENT,
    "deepgram.apiKey": ABSENT,
    "responseModel": "scripted/builtin",
    "responseSystemPrompt": ABSENT,
    "responseTimeoutMs": 30_000,
    "tools.endCall": True,
    "tools.sendDtmf": True,
    "tools.transfer": {},
    "tools.mcp": {},
    "tools.timeoutMs": 15_000,
    "tools.fillerAfterMs": 1200,
    "tools.filler": "One moment, please.",
    "realtime.enabled": False,
    "realtime.provider": "openai",
    "realtime.api": "auto",
    "realtime.speed": 1.0,
    "realtime.transcriptionModel": "gpt-transcribe",
    "realtime.turnDetection": "server",
    "realtime.idleTimeoutMs": 0,
    "realtime.model": "gpt-realtime-2.1",
    "realtime.voice": "marin",
    "realtime.instructions": ABSENT,
    "realtime.tools": [],
    "store": ABSENT,
    "retention.days": 0,
    "retention.calls": 0,
    "retention.diskMegabytes": 0,
    "rpc.token": ABSENT,
}


def flattened(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, dict) and value:
            flat |= flattened(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def nested(path: str, value: object) -> dict[str, Any]:
    for key in reversed(path.split(".")):
        value = {key: value}
    assert isinstance(value, dict)
    return value


def test_the_schema_has_exactly_the_keys_of_the_table_with_their_defaults() -> None:
    effective = flattened(Config().model_dump(mode="json", by_alias=True))
    assert effective == DEFAULTS


@pytest.mark.parametrize("path", [path for path, value in DEFAULTS.items() if value is not ABSENT])
def test_giving_a_default_explicitly_changes_nothing(path: str) -> None:
    given = Config.model_validate(nested(path, DEFAULTS[path]))
    assert given.model_dump(by_alias=True) == Config().model_dump(by_alias=True)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("serve.port", 65536),
        ("serve.port", -1),
        ("serve.bind", "http://localhost"),
        ("serve.path", "voice"),
        ("serve.path", "/voice?x=1"),
        ("serve.path", "//voice"),
        ("serve.workers", 0),
        ("serve.tls", {"cert": "a.pem"}),
        ("provider", "signalwire"),
        ("fromNumber", "15550001234"),
        ("fromNumber", "+05550001234"),
        ("fromNumber", "+1555000123456789"),
        ("toNumber", "+1 555 000 1234"),
        ("allowFrom", ["+15550001234", "5550001234"]),
        ("numbers", {"5550001234": {}}),
        ("numbers", {"+15550001234": {"surprise": 1}}),
        ("twilio.region", "us2"),
        ("twilio.authToken", ""),
        ("twilio.apiBaseUrl", "ftp://host"),
        ("publicUrl", "example.com/voice"),
        ("publicUrl", "https://[::1"),
        ("publicUrl", "https://example.com:port"),
        ("publicUrl", "https://exam\u2100ple.com"),
        ("publicUrl", "https://user:password@example.com/voice"),
        ("webhookSecurity.trustedProxyIPs", ["10.0.0.0/33"]),
        ("webhookSecurity.allowedHosts", ["https://example.com"]),
        ("outbound.defaultMode", "shout"),
        ("outbound.notifyHangupDelaySec", -1),
        ("maxDurationSeconds", 0),
        ("staleCallReaperSeconds", -1),
        ("silenceTimeoutMs", 0),
        ("transcriptTimeoutMs", 0),
        ("ringTimeoutMs", 0),
        ("maxConcurrentCalls", 0),
        ("sessionScope", "per-planet"),
        ("streaming.maxConnections", 0),
        ("streaming.maxPendingConnections", 0),
        ("streaming.maxPendingConnectionsPerIp", 0),
        ("streaming.preStartTimeoutMs", 0),
        ("streaming.frameMs", 15),
        ("streaming.frameMs", 70),
        ("streaming.frameMs", 0),
        ("streaming.leadMs", 10),
        ("streaming.jitterMs", -1),
        ("streaming.port", 3334),
        ("streaming.streamPath", "/voice/webhook"),
        ("stt.provider", "psychic"),
        ("stt.vadThreshold", 1),
        ("tts.openai.speed", 5),
        ("tts.elevenlabs.voiceSettings.stability", 1.5),
        ("responseModel", "gpt"),
        ("responseTimeoutMs", 0),
        ("realtime.provider", "elevenlabs"),
        ("realtime.idleTimeoutMs", -1),
        ("realtime.idleTimeoutMs", 1),
        ("realtime.idleTimeoutMs", 4999),
        ("realtime.idleTimeoutMs", 30_001),
        ("store", "postgres://host/calls"),
        ("store", "redis://[::1"),
        ("store", "redis://"),
        ("store", ""),
        ("rpc.token", ""),
        ("bargeIn.minSpeechMs", -1),
        ("bargeIn.minLevelDbfs", 1),
        ("bargeIn.confirmSpeechMs", -1),
        ("bargeIn.resumeAfterMs", 0),
        ("bargeIn.echoMarginDb", -1),
        ("bargeIn.minWords", 0),
        ("bargeIn.interrupting", [""]),
        ("bargeIn.backChannels", [""]),
        ("surprise", True),
        ("serve.surprise", True),
    ],
)
def test_a_value_out_of_range_is_refused(path: str, value: object) -> None:
    with pytest.raises(ValidationError):
        Config.model_validate(nested(path, value))


@pytest.mark.parametrize(
    ("path", "value", "read"),
    [
        ("serve.path", "/voice/webhook/", "/voice/webhook"),
        ("serve.path", "/", "/"),
        ("serve.bind", "::1", "::1"),
        ("serve.bind", "LOCALHOST", "localhost"),
        ("webhookSecurity.allowedHosts", ["Voice.Example.com"], ["voice.example.com"]),
        ("webhookSecurity.trustedProxyIPs", ["10.1.2.3/8", "::1"], ["10.0.0.0/8", "::1/128"]),
        ("store", "rediss://host:6380/0", "rediss://host:6380/0"),
        ("store", "valkey://host", "valkey://host"),
        ("streaming.port", 0, 0),
        ("responseModel", "openai/org/model:tag", "openai/org/model:tag"),
    ],
)
def test_values_are_read_in_their_usual_forms(path: str, value: object, read: object) -> None:
    config = Config.model_validate(nested(path, value))
    assert value_at(config.model_dump(mode="json", by_alias=True), path) == read


def test_trusted_proxies_are_networks_that_can_be_asked() -> None:
    config = Config.model_validate({"webhookSecurity": {"trustedProxyIPs": ["192.0.2.7"]}})
    assert config.webhook_security.trusted_proxy_ips == (ip_network("192.0.2.7/32"),)


def test_python_code_uses_snake_case_names_and_models() -> None:
    config = Config(
        provider="twilio",
        response_model="openai/another",
        max_concurrent_calls=3,
        streaming=Streaming(port=0),
        stt=Stt(provider="scripted"),
        openai=OpenAIAccount(api_key=SecretStr("key-of-openai")),
        numbers={"+15550001234": NumberSettings(inbound_greeting="Hi", tts=Tts(provider="local"))},
    )
    assert (config.response_model, config.max_concurrent_calls) == ("openai/another", 3)
    assert (config.streaming.port, config.stt.provider) == (0, "scripted")
    assert config.stt.openai.api_key == SecretStr("key-of-openai")
    tts = config.numbers["+15550001234"].tts
    assert tts is not None
    assert tts.provider == "local"
    assert tts.openai.api_key == SecretStr("key-of-openai")


@pytest.mark.parametrize("path", ["publicUrl", "store"])
@pytest.mark.parametrize("url", ["https://hush\u2100:x@h", "https://h:hush", "https://[hush"])
def test_a_url_that_cannot_be_parsed_is_refused_without_being_repeated(path: str, url: str) -> None:
    with pytest.raises(ValidationError) as refusal:
        Config.model_validate({path: url})
    assert "hush" not in str(refusal.value)


def test_a_configuration_is_frozen() -> None:
    config = Config()
    with pytest.raises(ValidationError):
        config.enabled = False
    with pytest.raises(ValidationError):
        config.serve.port = 1


def test_validating_a_finished_configuration_returns_it() -> None:
    config = Config()
    assert Config.model_validate(config) is config


def test_all_problems_of_keys_that_have_to_fit_together_are_reported_at_once() -> None:
    with pytest.raises(ValidationError) as refusal:
        Config.model_validate(
            {
                "serve": {"path": "/voice/stream", "port": 3335},
                "streaming": {"leadMs": 0},
            }
        )
    message = str(refusal.value)
    assert "streaming.streamPath: " in message
    assert "streaming.port: " in message
    assert "streaming.leadMs: " in message


def test_every_secret_has_a_type_that_hides_it() -> None:
    names = {"apiKey", "authToken", "ngrokAuthToken", "token"}
    secrets = {path for path in DEFAULTS if path.rpartition(".")[2] in names}
    for path in sorted(secrets):
        config = Config.model_validate(nested(path, "hush-hush"))
        assert "hush-hush" not in repr(config), path
        assert "hush-hush" not in str(config), path
        assert "hush-hush" not in config.model_dump_json(), path


def test_neither_store_nor_tools_appear_in_repr() -> None:
    config = Config.model_validate(
        {
            "store": "redis://user:hush-hush@host/0",
            "realtime": {"tools": [{"type": "mcp", "authorization": "hush-hush"}]},
        }
    )
    assert "hush-hush" not in repr(config)
