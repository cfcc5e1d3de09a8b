"""What everybody writes first for one carrier message: orjson, base64 and audioop."""

import base64
import random
import warnings

import orjson

from voicecall import _codec

with warnings.catch_warnings():
    # In the standard library until 3.12 and deprecated there; the package audioop-lts after that.
    warnings.simplefilter("ignore", DeprecationWarning)
    import audioop

__all__ = ["AUDIO", "INBOUND", "PCM", "TWILIO", "audioop", "build", "decode"]

# 20 ms of G.711, one message of a call.
AUDIO = random.Random(20).randbytes(160)
PCM = _codec.ulaw_decode(AUDIO)
STREAM_SID = "MZ18ad3ab5a668481ce02b83e7395059f0"
INBOUND = orjson.dumps(
    {
        "event": "media",
        "sequenceNumber": "4017",
        "media": {
            "track": "inbound",
            "chunk": "4016",
            "timestamp": "80320",
            "payload": base64.b64encode(AUDIO).decode(),
        },
        "streamSid": STREAM_SID,
    }
)
TWILIO = _codec.WireFormat(
    b'{"event":"media","streamSid":"' + STREAM_SID.encode() + b'","media":{"payload":"',
    b'"}}',
    b"",
    b"",
    b"",
)


def decode(message: bytes) -> bytes | None:
    """Mu-law in Twilio's JSON to PCM16."""
    said = orjson.loads(message)
    if said["event"] != "media" or said["media"]["track"] != "inbound":
        return None
    return audioop.ulaw2lin(base64.b64decode(said["media"]["payload"]), 2)


def build(pcm: bytes) -> bytes:
    """PCM16 to mu-law in Twilio's JSON."""
    payload = base64.b64encode(audioop.lin2ulaw(pcm, 2)).decode("ascii")
    return orjson.dumps({"event": "media", "streamSid": STREAM_SID, "media": {"payload": payload}})
