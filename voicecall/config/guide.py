"""What each key of the configuration is for, in a sentence: for editors and the reference.

A module of its own, since nobody who runs a server needs to load it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import BaseModel

_KEY = "API key"
_MODEL_SERVER = "Another server that speaks the same protocol."

_GUIDE: Final[Mapping[str, Mapping[str, str]]] = {
    "Account": {
        "apiBaseUrl": "Where the carrier's REST interface is, if not at its usual place.",
        "voice": "Voice of the carrier's own speech, on calls without media streaming.",
        "language": "Language of the carrier's own speech and ears.",
        "detectMachines": "Have the carrier say whether a machine answered; it charges for that.",
    },
    "Twilio": {
        "accountSid": "Account SID, `AC…`.",
        "authToken": "Auth token; signs webhooks as well.",
        "region": "Region that handles the calls.",
    },
    "Telnyx": {
        "apiKey": f"{_KEY}, `KEY…`.",
        "connectionId": "Id of the Call Control application that calls are placed by.",
        "publicKey": "Public key that webhooks are signed with: base64 or PEM.",
    },
    "Plivo": {
        "authId": "Auth id, `MA…`.",
        "authToken": "Auth token; signs webhooks as well.",
    },
    "Mock": {
        "phone": "Whom mock calls reach: a simulated phone that talks, an echo, a failure, nobody.",
        "persona": "What the simulated phone says: a persona file.",
    },
    "Tls": {
        "cert": "Certificate chain, PEM.",
        "key": "Its private key, PEM.",
    },
    "Serve": {
        "port": "Port of webhooks, RPC and events; 0 takes any free one.",
        "bind": "Address to listen on.",
        "path": "Where the carrier's webhooks arrive.",
        "workers": "Worker processes.",
        "tls": "Serve HTTPS; usually a proxy or tunnel in front does.",
    },
    "Tunnel": {
        "provider": "Tunnel that makes the server reachable; `publicUrl` wins over it.",
        "ngrokAuthToken": "Token of the ngrok account.",
        "ngrokDomain": "Reserved ngrok domain; otherwise ngrok chooses one at every start.",
        "allowNgrokFreeTierLoopbackBypass": (
            "Accept webhooks that fail verification when they come through ngrok on this machine. "
            "For development only."
        ),
    },
    "Tailscale": {
        "mode": "`serve` within the tailnet, `funnel` for everybody.",
        "path": "Public path that leads to the webhooks.",
        "port": "Public port; funnels have 443, 8443 and 10000.",
    },
    "WebhookSecurity": {
        "allowedHosts": "Hosts that forwarding headers may name.",
        "trustForwardingHeaders": "Believe forwarding headers without a list of hosts.",
        "trustedProxyIPs": "Proxies whose forwarding headers are believed: addresses or networks.",
    },
    "Outbound": {
        "defaultMode": "What a call does when the request does not say.",
        "notifyHangupDelaySec": "How long to stay on the line after a message was played.",
    },
    "Streaming": {
        "enabled": "Stream calls' audio to this server; else the carrier hears and speaks.",
        "streamPath": "Where media sockets arrive.",
        "preStartTimeoutMs": "How long a socket without a token may take to say which call it is.",
        "maxPendingConnections": "Sockets without a token that wait at once.",
        "maxPendingConnectionsPerIp": "Of these, from one address.",
        "maxConnections": "Media sockets open at once.",
        "port": "Port of media sockets; 0 leaves them to `serve.port`.",
        "bind": "Address to listen on for media.",
        "publicUrl": "Public URL of the media port, if it is not that of `publicUrl`.",
        "frameMs": "Length of a frame of outgoing audio.",
        "leadMs": "How far ahead of real time audio is sent: reserve against a late network.",
        "jitterMs": "How long to wait for late or missing audio of the caller.",
    },
    "BargeIn": {
        "enabled": "Whether callers may interrupt.",
        "minSpeechMs": "How long the caller speaks over the bot until it falls silent.",
        "minLevelDbfs": "How loud the caller has to be, in dB below full scale.",
        "confirmSpeechMs": "Speech of this length interrupts for good, whatever the words.",
        "resumeAfterMs": "Silence after which the bot goes on if nothing meaningful was said.",
        "echoMarginDb": "How far the caller has to stand out of the line's echo and noise.",
        "minWords": "How many understood words interrupt for good.",
        "interrupting": "Words that interrupt on their own; unset, English ones.",
        "backChannels": "Words that never interrupt; unset, English ones.",
    },
    "McpServer": {
        "command": "Command to run here, with its arguments; speaks over stdio.",
        "url": "Address of a server that runs elsewhere.",
        "headers": "HTTP headers for it, such as an authorisation.",
    },
    "Tools": {
        "endCall": "Whether the model may hang up.",
        "sendDtmf": "Whether the model may press keys.",
        "transfer": "Where the model may hand calls on to: numbers or SIP addresses by name.",
        "mcp": "Servers of more tools, by name.",
        "timeoutMs": "How long a tool may take.",
        "fillerAfterMs": "After how long a running tool is covered by words.",
        "filler": "These words.",
    },
    "OpenAI": {
        "apiKey": f"{_KEY}.",
        "baseUrl": _MODEL_SERVER,
    },
    "OpenAIAccount": {
        "api": "How replies are asked for; `auto` suits OpenAI and everybody else.",
        "reasoningEffort": "How long the model thinks before it speaks.",
        "serviceTier": "What is paid for speed.",
    },
    "ServiceKey": {"apiKey": f"{_KEY}."},
    "OpenAIStt": {
        "model": "Model that recognises speech.",
        "language": "Language spoken, as ISO 639-1; unset, the model finds out.",
        "prompt": "Context that helps to understand.",
        "keywords": "Names and terms to expect.",
        "turnDetection": "Who says when a turn has ended; `auto` asks the server where it can.",
        "noiseReduction": "What kind of microphone to expect.",
    },
    "DeepgramStt": {
        "model": "Model that recognises speech.",
        "language": "Language spoken.",
        "keywords": "Names and terms to expect.",
        "baseUrl": _MODEL_SERVER,
    },
    "LocalStt": {"threads": "Threads of the recogniser."},
    "ScriptedStt": {"transcripts": "What is understood, one for each utterance."},
    "Stt": {
        "provider": "Who recognises speech.",
        "silenceDurationMs": "Silence that ends the caller's turn. Shorter is quicker and cuts in.",
        "vadThreshold": "How certain a piece of audio has to be speech.",
        "openai": "Recognition by OpenAI.",
        "deepgram": "Recognition by Deepgram.",
        "local": "Recognition on this machine.",
        "scripted": "Recognition that needs no audio, for tests.",
    },
    "OpenAITts": {
        "api": "How speech is asked for; `auto` suits OpenAI and everybody else.",
        "model": "Model that speaks.",
        "voice": "Its voice.",
        "instructions": "How it should speak.",
        "speed": "How fast, 1 is normal.",
    },
    "VoiceSettings": {
        "stability": "Steadier, or livelier.",
        "similarityBoost": "How close to the original voice.",
        "style": "How much of its style.",
        "useSpeakerBoost": "Closer still, and slower to make.",
        "speed": "How fast, 1 is normal.",
    },
    "ElevenLabsTts": {
        "voiceId": "Id of the voice.",
        "modelId": "Model that speaks.",
        "transport": "One socket for many sentences, or one HTTP request each.",
        "language": "Language, where the model has to be told.",
        "baseUrl": _MODEL_SERVER,
        "voiceSettings": "What to change about the voice.",
    },
    "LocalTts": {
        "threads": "Threads of the voice.",
        "seed": "The same seed and text give the same audio.",
    },
    "Tts": {
        "provider": "Who speaks.",
        "fallback": "Who speaks when that fails, in order.",
        "cacheMegabytes": "How much of what was said is kept, to be said again at once.",
        "openai": "Synthesis by OpenAI.",
        "elevenlabs": "Synthesis by ElevenLabs.",
        "local": "Synthesis on this machine.",
    },
    "Realtime": {
        "enabled": "Let one model hear and speak, instead of recognition, model and voice.",
        "provider": "Whose model.",
        "api": "By which protocol; `auto` goes by the model's name.",
        "model": "Model that holds the conversation.",
        "voice": "Its voice.",
        "speed": "How fast it speaks, 1 is normal.",
        "transcriptionModel": "Model that writes down what the caller said.",
        "turnDetection": "By silence, or by sense.",
        "idleTimeoutMs": "Silence after which the model asks if the caller is there; 0: never.",
        "instructions": "What it should know and do; unset, `responseSystemPrompt`.",
        "tools": "More tools in the provider's own form.",
    },
    "NumberSettings": {
        "inboundGreeting": "What this number's callers are greeted with.",
        "bargeIn": "What is different about interruptions.",
        "stt": "What is different about recognition.",
        "tts": "What is different about the voice.",
        "realtime": "What is different about speech to speech.",
        "tools": "What is different about tools.",
        "responseModel": "Who replies.",
        "responseSystemPrompt": "What it should know and do.",
        "responseTimeoutMs": "How long a reply may take.",
    },
    "Rpc": {"token": "Bearer token of RPC, events and remote metrics; made at first if unset."},
    "RetentionSettings": {
        "days": "How long calls that ended are kept; 0 is for ever.",
        "calls": "How many are kept; 0 is all.",
        "diskMegabytes": "How large the store may become; 0 is no limit.",
    },
    "Config": {
        "enabled": "Master switch; false keeps the server from starting.",
        "provider": "The carrier.",
        "fromNumber": "Number that calls are placed from.",
        "toNumber": "Who is called when the request does not say.",
        "twilio": "Twilio account.",
        "telnyx": "Telnyx account.",
        "plivo": "Plivo account.",
        "mock": "The carrier on this machine.",
        "serve": "The control plane's listener.",
        "publicUrl": "Where the carrier reaches this server.",
        "tunnel": "A tunnel that makes the server reachable.",
        "tailscale": "Exposure through Tailscale.",
        "webhookSecurity": "Which forwarding headers are believed.",
        "skipSignatureVerification": "Believe every webhook. For development only.",
        "inboundPolicy": "Whose calls are answered.",
        "allowFrom": "Numbers whose calls are answered, with `allowlist`.",
        "inboundGreeting": "What callers are greeted with.",
        "numbers": "What is different on each of our numbers.",
        "outbound": "How calls that we place behave.",
        "maxDurationSeconds": "Longest call, from its answer.",
        "staleCallReaperSeconds": "Age at which calls that never ended are ended; 0: never.",
        "silenceTimeoutMs": "Silence that ends a turn when the carrier listens.",
        "transcriptTimeoutMs": "How long a question waits for its answer.",
        "ringTimeoutMs": "How long a phone rings.",
        "maxConcurrentCalls": "Calls at once, both directions.",
        "sessionScope": "Whether a caller's next call continues the conversation.",
        "streaming": "The media plane.",
        "bargeIn": "When callers interrupt.",
        "stt": "Speech to text.",
        "tts": "Text to speech.",
        "openai": "The account that all OpenAI services share.",
        "elevenlabs": "The ElevenLabs account.",
        "deepgram": "The Deepgram account.",
        "responseModel": "Who replies to callers: `<service>/<model>`, `scripted/<persona file>`.",
        "responseSystemPrompt": "What the model should know and do.",
        "responseTimeoutMs": "How long a reply may take before an apology is said.",
        "tools": "What the model may do besides speaking.",
        "realtime": "Speech to speech.",
        "store": "Where calls are kept: a file, `:memory:`, or a Redis or Valkey URL.",
        "retention": "How much is kept of calls that ended.",
        "rpc": "Access to the RPC interface.",
    },
}


def description(section: type[BaseModel], key: str) -> str | None:
    """What `key`, as it is called in files, of `section` is for; None where nothing is written."""
    for each in section.__mro__:
        if found := _GUIDE.get(each.__name__, {}).get(key):
            return found
    return None
