"""G.711 against the vectors of ITU-T G.191 and against a slow twin."""

import hashlib
import struct
from array import array
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.native.reference import g711 as reference
from voicecall import _codec
from voicecall.errors import CodecError

pytestmark = pytest.mark.native

Codec = Callable[[Any], bytes]

ALL_PCM = struct.pack("<65536h", *range(-32768, 32768))
ALL_CODES = bytes(range(256))
LENGTHS = (0, 1, 2, 7, 15, 16, 17, 31, 33, 159, 160, 161, 1000)

# sha256 of G.191's output for ALL_PCM, and for ALL_CODES.
VECTORS = [
    pytest.param(
        _codec.ulaw_encode,
        ALL_PCM,
        "90c29de505fb68e766118303bd552a16005dcf810873698bee1d8f3b247ce28c",
        id="ulaw_encode",
    ),
    pytest.param(
        _codec.alaw_encode,
        ALL_PCM,
        "38488f6fd710f4686360edc4d38639f96c491595ef93f8eb8d62d5e07ca6ce7b",
        id="alaw_encode",
    ),
    pytest.param(
        _codec.ulaw_decode,
        ALL_CODES,
        "3dab54339e520bb2c924826e3b72a917a2b612e9fd12fc867500f1d983a75827",
        id="ulaw_decode",
    ),
    pytest.param(
        _codec.alaw_decode,
        ALL_CODES,
        "e04788d110e58ff8c70c93b8480190d973e3b67876b6119abbaec766cc75c174",
        id="alaw_decode",
    ),
]
ENCODERS = [
    pytest.param(_codec.ulaw_encode, reference.ulaw_encode, id="ulaw"),
    pytest.param(_codec.alaw_encode, reference.alaw_encode, id="alaw"),
]
DECODERS = [
    pytest.param(_codec.ulaw_decode, reference.ulaw_decode, id="ulaw"),
    pytest.param(_codec.alaw_decode, reference.alaw_decode, id="alaw"),
]


@pytest.fixture(params=[False, True], ids=["portable", "simd"], autouse=True, scope="module")
def simd(request: pytest.FixtureRequest) -> Iterator[None]:
    if _codec._set_simd(request.param) is not request.param:
        pytest.skip("this processor has no AVX2")
    yield
    _codec._set_simd(True)


@pytest.mark.parametrize(("codec", "data", "sha256"), VECTORS)
def test_every_possible_input_gives_what_g191_gives(codec: Codec, data: bytes, sha256: str) -> None:
    assert hashlib.sha256(codec(data)).hexdigest() == sha256


@pytest.mark.parametrize(("codec", "data", "sha256"), VECTORS)
def test_the_slow_twin_gives_what_g191_gives(codec: Codec, data: bytes, sha256: str) -> None:
    twin = getattr(reference, codec.__name__)
    assert hashlib.sha256(twin(data)).hexdigest() == sha256


@pytest.mark.parametrize(("codec", "twin"), ENCODERS)
@pytest.mark.parametrize("length", LENGTHS)
def test_any_number_of_samples_is_encoded_like_the_twin(
    codec: Codec, twin: Codec, length: int
) -> None:
    pcm = ALL_PCM[30001 * 2 :][: 2 * length]
    assert codec(pcm) == twin(pcm)


@pytest.mark.parametrize(("codec", "twin"), DECODERS)
@pytest.mark.parametrize("length", LENGTHS)
def test_any_number_of_codes_is_decoded_like_the_twin(
    codec: Codec, twin: Codec, length: int
) -> None:
    codes = (ALL_CODES * 4)[77:][:length]
    assert codec(codes) == twin(codes)


@pytest.mark.parametrize(("codec", "twin"), ENCODERS)
@given(data=st.binary(max_size=700), start=st.integers(0, 40))
def test_an_unaligned_slice_is_encoded_like_the_twin(
    codec: Codec, twin: Codec, data: bytes, start: int
) -> None:
    pcm = memoryview(data)[start:]
    pcm = pcm[: len(pcm) // 2 * 2]
    assert codec(pcm) == twin(bytes(pcm))


@pytest.mark.parametrize(("codec", "twin"), DECODERS)
@given(data=st.binary(max_size=400), start=st.integers(0, 40))
def test_an_unaligned_slice_is_decoded_like_the_twin(
    codec: Codec, twin: Codec, data: bytes, start: int
) -> None:
    codes = memoryview(data)[start:]
    assert codec(codes) == twin(bytes(codes))


@pytest.mark.parametrize(("codec", "twin"), ENCODERS)
def test_every_kind_of_contiguous_memory_is_taken(codec: Codec, twin: Codec) -> None:
    samples = array("h", range(-500, 500, 3))
    expected = twin(samples.tobytes())
    for pcm in (samples, samples.tobytes(), bytearray(samples.tobytes()), memoryview(samples)):
        assert codec(pcm) == expected


@pytest.mark.parametrize("codec", [_codec.ulaw_encode, _codec.alaw_encode])
@pytest.mark.parametrize("length", [1, 159, 321])
def test_half_a_sample_is_refused(codec: Codec, length: int) -> None:
    with pytest.raises(CodecError, match="even number"):
        codec(bytes(length))


@pytest.mark.parametrize(("codec", "data", "sha256"), VECTORS)
@pytest.mark.parametrize("wrong", ["text", None, 160, memoryview(bytes(320))[::2]])
def test_what_is_not_contiguous_octets_is_refused(
    codec: Codec, data: bytes, sha256: str, wrong: object
) -> None:
    with pytest.raises(CodecError, match="bytes-like"):
        codec(wrong)


@pytest.mark.parametrize(("codec", "data", "sha256"), VECTORS)
def test_a_refused_or_converted_buffer_is_released(codec: Codec, data: bytes, sha256: str) -> None:
    memory = bytearray(320)
    codec(memoryview(memory))
    memory.append(0)
    if codec in {_codec.ulaw_encode, _codec.alaw_encode}:
        with pytest.raises(CodecError):
            codec(memoryview(memory))
        memory.append(0)
    assert len(memory) >= 321


@pytest.mark.parametrize(
    ("encode", "decode"),
    [(_codec.ulaw_encode, _codec.ulaw_decode), (_codec.alaw_encode, _codec.alaw_decode)],
    ids=["ulaw", "alaw"],
)
def test_a_decoded_code_encodes_to_itself_or_the_other_zero(encode: Codec, decode: Codec) -> None:
    again = encode(decode(ALL_CODES))
    changed = [code for code in ALL_CODES if again[code] != code]
    assert all(decode(bytes([code])) == decode(again[code : code + 1]) for code in changed)
    assert len(changed) <= 1
