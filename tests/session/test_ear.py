from __future__ import annotations

import pytest

from tests.session.fakes import FakePath
from voicecall.audio import Transcoder, from_pcm16
from voicecall.ports import ALAW_8K, PCM16_8K, ULAW_8K, AudioFormat
from voicecall.session.ear import Ear

pytestmark = pytest.mark.native

LOUD = b"\x00\x20\x00\xe0" * 80
SILENT = bytes(320)


def test_what_the_model_takes_as_the_carrier_codes_it_is_not_touched() -> None:
    path, pushed = FakePath(audio=ULAW_8K), list[bytes]()
    Ear(path, ULAW_8K, Transcoder).listen(pushed.append)
    assert path.coded
    assert path.sink is not None
    path.sink(b"\x7f" * 160)
    assert pushed == [b"\x7f" * 160]


@pytest.mark.parametrize("wanted", [ULAW_8K, ALAW_8K, AudioFormat("pcm16", 24_000)])
def test_for_another_format_it_is_converted(wanted: AudioFormat) -> None:
    path, pushed = FakePath(audio=PCM16_8K), list[bytes]()
    Ear(path, wanted, Transcoder).listen(pushed.append)
    assert not path.coded
    assert path.sink is not None
    for _ in range(50):
        path.sink(LOUD)
    # The resampler holds back a few milliseconds.
    assert wanted.duration_ms(len(b"".join(pushed))) == pytest.approx(1000, abs=20)


def test_linear_audio_at_the_same_rate_is_handed_on() -> None:
    path, pushed = FakePath(audio=ULAW_8K), list[bytes]()
    Ear(path, PCM16_8K, Transcoder).listen(pushed.append)
    assert not path.coded
    assert path.sink is not None
    path.sink(LOUD)
    assert pushed == [LOUD]


@pytest.mark.parametrize("wanted", [PCM16_8K, ULAW_8K])
def test_the_level_is_that_of_the_last_200_ms(wanted: AudioFormat) -> None:
    path = FakePath(audio=ULAW_8K)
    ear = Ear(path, wanted, Transcoder)
    ear.listen(lambda _: None)
    assert path.sink is not None
    assert ear.level_dbfs() == -96.0

    def coded(pcm: bytes) -> bytes:
        return from_pcm16(pcm, wanted.encoding)

    for _ in range(10):
        path.sink(coded(LOUD))
    assert ear.level_dbfs() == pytest.approx(-12, abs=0.5)
    for _ in range(10):
        path.sink(coded(SILENT))
    assert ear.level_dbfs() < -70


def test_in_the_end_nothing_is_listened_to() -> None:
    path = FakePath()
    ear = Ear(path, PCM16_8K, Transcoder)
    ear.listen(lambda _: None)
    ear.stop()
    assert path.sink is None
