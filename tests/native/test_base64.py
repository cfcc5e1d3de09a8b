"""Base64 against the vectors of RFC 4648 and against a slow twin."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.native.reference import base64 as reference
from voicecall import _codec
from voicecall.errors import CodecError

pytestmark = pytest.mark.native

CANARY = b"\xa5"
MARGIN = 48
LENGTHS = (*range(70), 95, 96, 97, 119, 120, 121, 159, 160, 161, 319, 320, 321, 1000)
# RFC 4648, section 10.
VECTORS = [
    (b"", b""),
    (b"f", b"Zg=="),
    (b"fo", b"Zm8="),
    (b"foo", b"Zm9v"),
    (b"foob", b"Zm9vYg=="),
    (b"fooba", b"Zm9vYmE="),
    (b"foobar", b"Zm9vYmFy"),
]


@pytest.fixture(params=[False, True], ids=["portable", "simd"], autouse=True, scope="module")
def simd(request: pytest.FixtureRequest) -> Iterator[None]:
    if _codec._set_simd(request.param) is not request.param:
        pytest.skip("this processor has no AVX2")
    yield
    _codec._set_simd(True)


def octets_of(length: int) -> bytes:
    return bytes((i * 151 + i // 7) % 256 for i in range(length))


def encoded(octets: bytes) -> bytes:
    """Encode between canaries into exactly the room it needs."""
    room = (len(octets) + 2) // 3 * 4
    memory = bytearray(CANARY * (room + 2 * MARGIN))
    written = _codec.encode_base64_into(octets, memoryview(memory)[: MARGIN + room], MARGIN)
    assert written == room
    assert memory[:MARGIN] == memory[MARGIN + room :] == CANARY * MARGIN
    return bytes(memory[MARGIN : MARGIN + room])


def decoded(chars: bytes, length: int, slack: int = 0) -> bytes:
    """Decode between canaries into the room that `length` octets need, and some more."""
    room = length + slack
    memory = bytearray(CANARY * (room + 2 * MARGIN))
    written = _codec.decode_base64_into(chars, memoryview(memory)[: MARGIN + room], MARGIN)
    assert memory[:MARGIN] == CANARY * MARGIN
    assert memory[MARGIN + written :] == CANARY * (MARGIN + room - written)
    return bytes(memory[MARGIN : MARGIN + written])


@pytest.mark.parametrize(("octets", "chars"), VECTORS)
def test_the_vectors_of_the_standard_hold_in_both_directions(octets: bytes, chars: bytes) -> None:
    assert encoded(octets) == reference.encode(octets) == chars
    assert decoded(chars, len(octets)) == reference.decode(chars) == octets


@pytest.mark.parametrize("length", LENGTHS)
def test_any_length_is_encoded_like_the_twin(length: int) -> None:
    assert encoded(octets_of(length)) == reference.encode(octets_of(length))


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("slack", [0, 7, 8, 32])
def test_any_length_is_decoded_and_nothing_else_is_written(length: int, slack: int) -> None:
    assert decoded(reference.encode(octets_of(length)), length, slack) == octets_of(length)


@given(octets=st.binary(max_size=400))
def test_what_is_encoded_decodes_to_itself(octets: bytes) -> None:
    assert encoded(octets) == reference.encode(octets)
    assert decoded(encoded(octets), len(octets)) == octets


@given(data=st.binary(max_size=400), start=st.integers(0, 40))
def test_an_unaligned_slice_is_encoded_like_the_twin(data: bytes, start: int) -> None:
    memory = bytearray(600)
    slice_ = memoryview(data)[start:]
    written = _codec.encode_base64_into(slice_, memory, 1)
    assert memory[1 : 1 + written] == reference.encode(bytes(slice_))


@given(
    chars=st.lists(
        st.sampled_from(b"AZaz09+/=") | st.integers(0, 255), min_size=0, max_size=120
    ).map(bytes)
)
def test_arbitrary_characters_are_accepted_or_refused_like_the_twin(chars: bytes) -> None:
    try:
        expected = reference.decode(chars)
    except reference.MalformedError:
        with pytest.raises(CodecError):
            _codec.decode_base64_into(chars, bytearray(len(chars) + 32))
    else:
        assert decoded(chars, len(expected)) == expected


@pytest.mark.parametrize("place", [0, 1, 30, 31, 32, 63, 64, 150, 200, 211, 212, 213])
def test_every_octet_that_is_no_digit_is_found_at_every_place(place: int) -> None:
    chars = bytearray(reference.encode(octets_of(160)))
    room = bytearray(192)
    for octet in range(256):
        if chr(octet) in reference.ALPHABET:
            continue
        wrong = bytes(chars[:place] + bytes([octet]) + chars[place + 1 :])
        with pytest.raises(CodecError):
            _codec.decode_base64_into(wrong, room)


@pytest.mark.parametrize("length", [1, 2, 3, 5, 215, 217])
def test_a_length_that_is_no_multiple_of_four_is_refused(length: int) -> None:
    with pytest.raises(CodecError, match="multiple of 4"):
        _codec.decode_base64_into(b"A" * length, bytearray(300))


@pytest.mark.parametrize(
    "chars",
    [
        b"====",
        b"A===",
        b"=AAA",
        b"A=AA",
        b"AA=A",
        b"AA==AAAA",
        b"AAA=AAAA",
        b"AAAA====",
        b"AAA\n",
        b"AA A",
        b" AAA",
        b"AA-A",
        b"AA_A",
        b"\x00AAA",
        b"AAA\xc1",
    ],
)
@pytest.mark.parametrize("before", [0, 32, 212])
def test_misplaced_padding_white_space_and_other_alphabets_are_refused(
    chars: bytes, before: int
) -> None:
    with pytest.raises(CodecError):
        _codec.decode_base64_into(b"A" * before + chars, bytearray(300))


def test_the_bits_that_padding_leaves_unused_are_ignored() -> None:
    assert decoded(b"Zh==", 1) == b"f"
    assert decoded(b"Zm9=", 2) == b"fo"


@pytest.mark.parametrize("length", [1, 3, 24, 160])
def test_room_that_is_one_octet_short_is_refused_untouched(length: int) -> None:
    chars = reference.encode(octets_of(length))
    for offset in (0, 5):
        room = bytearray(CANARY * (offset + len(chars) - 1))
        with pytest.raises(CodecError, match="does not fit"):
            _codec.encode_base64_into(octets_of(length), room, offset)
        assert room == CANARY * len(room)
        room = bytearray(CANARY * (offset + length - 1))
        with pytest.raises(CodecError, match="does not fit"):
            _codec.decode_base64_into(chars, room, offset)
        assert room == CANARY * len(room)


@pytest.mark.parametrize("offset", [-1, 11, 2**40])
def test_an_offset_outside_the_room_is_refused(offset: int) -> None:
    for convert in (_codec.encode_base64_into, _codec.decode_base64_into):
        with pytest.raises(CodecError, match="does not fit"):
            convert(b"", bytearray(10), offset)


def test_memory_that_cannot_be_written_to_is_refused() -> None:
    for convert in (_codec.encode_base64_into, _codec.decode_base64_into):
        for memory in (bytes(100), memoryview(bytes(100)), memoryview(bytearray(100))[::2]):
            with pytest.raises(CodecError, match="writable"):
                convert(b"AAAA", memory)


def test_a_bytearray_can_grow_again_after_a_refusal() -> None:
    room = bytearray(4)
    with pytest.raises(CodecError):
        _codec.decode_base64_into(b"A?AA", memoryview(room))
    with pytest.raises(CodecError):
        _codec.encode_base64_into(bytes(300), memoryview(room))
    room.append(0)
    assert len(room) == 5
