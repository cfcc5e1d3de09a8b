"""One carrier message in and one out, against orjson, base64 and audioop doing the same."""

import base64
from collections.abc import Callable
from typing import Any

import orjson
import pytest

from benchmarks.micro.rivals import AUDIO, INBOUND, PCM, TWILIO, build, decode
from voicecall import _codec

Benchmark = Callable[..., Any]


@pytest.mark.benchmark(group="message to PCM16")
def test_media_to_pcm16(benchmark: Benchmark) -> None:
    assert benchmark(_codec.media_to_pcm16, INBOUND) == PCM


@pytest.mark.benchmark(group="message to PCM16")
def test_baseline_orjson_base64_audioop__decode(benchmark: Benchmark) -> None:
    assert benchmark(decode, INBOUND) == PCM


@pytest.mark.benchmark(group="message to PCM16")
def test_bound_memcpy__decode(benchmark: Benchmark) -> None:
    benchmark(bytes, bytearray(INBOUND))


@pytest.mark.benchmark(group="message to audio")
def test_parse_media(benchmark: Benchmark) -> None:
    assert benchmark(_codec.parse_media, INBOUND) == (4017, 4016, 80320, AUDIO)


@pytest.mark.benchmark(group="message to audio")
def test_baseline_orjson_base64__parse(benchmark: Benchmark) -> None:
    def parse() -> tuple[int, int, int, bytes]:
        said = orjson.loads(INBOUND)
        media = said["media"]
        return (
            int(said["sequenceNumber"]),
            int(media["chunk"]),
            int(media["timestamp"]),
            base64.b64decode(media["payload"]),
        )

    assert benchmark(parse) == (4017, 4016, 80320, AUDIO)


@pytest.mark.benchmark(group="message to audio")
def test_bound_memcpy__parse(benchmark: Benchmark) -> None:
    benchmark(bytes, bytearray(INBOUND))


@pytest.mark.benchmark(group="PCM16 to message")
def test_media_from_pcm16(benchmark: Benchmark) -> None:
    assert benchmark(TWILIO.media_from_pcm16, PCM) == TWILIO.media(_codec.ulaw_encode(PCM))


@pytest.mark.benchmark(group="PCM16 to message")
def test_baseline_audioop_base64_orjson__build(benchmark: Benchmark) -> None:
    built = orjson.loads(benchmark(build, PCM))
    # audioop is not bit-exact with G.191, so only the shape is compared.
    ours = orjson.loads(TWILIO.media_from_pcm16(PCM))
    assert built.keys() == ours.keys()
    assert len(built["media"]["payload"]) == len(ours["media"]["payload"])


@pytest.mark.benchmark(group="PCM16 to message")
def test_bound_memcpy__build(benchmark: Benchmark) -> None:
    benchmark(bytes, bytearray(TWILIO.media_from_pcm16(PCM)))
