from __future__ import annotations

import pytest

from voicecall.errors import CodecError
from voicecall.simulator.microphone import Microphone

pytestmark = pytest.mark.unit


def test_an_idle_microphone_gives_silence() -> None:
    assert Microphone().next_frame() == b"\xff" * 160


def test_the_last_frame_is_filled_up_with_silence() -> None:
    microphone = Microphone()
    end = microphone.speak(b"a" * 200)
    assert microphone.talking
    assert microphone.next_frame() == b"a" * 160
    assert microphone.sent < end
    assert microphone.next_frame() == b"a" * 40 + b"\xff" * 120
    assert microphone.sent == end == 320
    assert not microphone.talking


def test_stopping_says_nothing_more() -> None:
    microphone = Microphone()
    end = microphone.speak(b"a" * 1600)
    microphone.stop()
    assert microphone.sent == end
    assert microphone.next_frame() == b"\xff" * 160


def test_endless_speeches_are_refused() -> None:
    microphone = Microphone()
    microphone.speak(b"a" * 8000 * 599)
    with pytest.raises(CodecError):
        microphone.speak(b"a" * 8000 * 2)
