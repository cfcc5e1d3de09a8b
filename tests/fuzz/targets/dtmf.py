"""Any audio in any pieces to the detector; any text to the generator, and back again."""

import random
from collections.abc import Sequence

from tests.fuzz.target import Target
from voicecall._codec import DtmfDetector, dtmf_tones
from voicecall.errors import CodecError

KEYS = frozenset("0123456789ABCD*#")
MOST_KEYS = 16


def check(data: bytes) -> None:
    check_detector(data)
    check_generator(data.decode("latin-1")[:MOST_KEYS])


def check_detector(data: bytes) -> None:
    """The cuts do not matter, and only keys come out."""
    pcm = data[: len(data) // 2 * 2]
    whole = DtmfDetector().feed(pcm)
    assert set(whole) <= KEYS
    step = 2 * (1 + len(data) % 300)
    detector = DtmfDetector()
    assert "".join(detector.feed(pcm[at : at + step]) for at in range(0, len(pcm), step)) == whole


def check_generator(text: str) -> None:
    """What is dialled is heard; pauses are not; everything else is refused."""
    try:
        tones = dtmf_tones(text)
    except CodecError:
        assert set(text) - KEYS - {"w", "W"}
        return
    assert DtmfDetector().feed(tones) == "".join(key for key in text if key in KEYS)


def seeds() -> Sequence[bytes]:
    source = random.Random(1)
    return [dtmf_tones("159D"), b"0123456789*#", b"1w2W3", source.randbytes(2000), b""]


TARGET = Target(check=check, allowed=(), seeds=seeds, tokens=(b"w", b"#", b"*", b"D"))
