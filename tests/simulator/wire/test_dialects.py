"""Every wire against a real media server with the dialect of its carrier, both written apart."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.media.plane import Call, Plane, plane, run, until
from tests.simulator.mediaserver import MUTE, tone
from voicecall.audio import Transcoder, to_pcm16
from voicecall.carriers.plivo.stream import PlivoDialect
from voicecall.carriers.telnyx.stream import TelnyxDialect
from voicecall.carriers.twilio.stream import TwilioDialect
from voicecall.ports import ALAW_8K, PCM16_8K, ULAW_8K, AudioFormat
from voicecall.simulator import Phone
from voicecall.simulator.wire import StreamIdentity, Wire
from voicecall.simulator.wire.line import PCM16_16K
from voicecall.simulator.wire.plivo import PlivoOptions, PlivoWire
from voicecall.simulator.wire.telnyx import TelnyxOptions, TelnyxWire
from voicecall.simulator.wire.twilio import TwilioWire

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from numpy.typing import NDArray

    from voicecall.carriers._stream import Dialect

pytestmark = pytest.mark.socket

IDENTITY = StreamIdentity("call-at-carrier", "account")
SIMILAR = 0.9


def sweep(ms: int) -> bytes:
    """PCM16 at 8 kHz that rises from 300 to 1500 Hz, so that no part of it is like another."""
    times = np.arange(ms * 8) / 8000
    phase = 2 * np.pi * (300 * times + 600 * times**2 * 1000 / ms)
    return (np.sin(phase) * 8000).astype("<i2").tobytes()


SWEEP = sweep(400)


@dataclass(frozen=True, slots=True)
class Carrier:
    """Both sides of one socket.

    Attributes:
        name: for the test's name.
        dialect: the server's side.
        wire: makes the carrier's side.
    """

    name: str
    dialect: Callable[[], Dialect]
    wire: Callable[[], Wire]


def telnyx(name: str, **options: Any) -> Carrier:
    made = TelnyxOptions(**options)
    dialect = partial(TelnyxDialect, made.takes, big_endian=made.big_endian)
    return Carrier(f"telnyx-{name}", dialect, lambda: TelnyxWire(IDENTITY, made))


def plivo(name: str, **options: Any) -> Carrier:
    made = PlivoOptions(**options)
    return Carrier(f"plivo-{name}", PlivoDialect, lambda: PlivoWire(IDENTITY, made))


CARRIERS = (
    Carrier("twilio", TwilioDialect, lambda: TwilioWire(IDENTITY)),
    telnyx("pcmu"),
    telnyx("pcma", sends=ALAW_8K),
    telnyx("untidy", swap_every=4, old_errors=True),
    telnyx("pcma-both-ways", sends=ALAW_8K, takes=ALAW_8K),
    telnyx("l16-wide", sends=PCM16_16K, takes=PCM16_16K),
    telnyx("l16-wide-little-endian", sends=PCM16_16K, takes=PCM16_16K, big_endian=False),
    plivo("ulaw"),
    plivo("ulaw-from-the-start", epoch=False, undocumented=True),
    plivo("l16", audio=PCM16_8K),
    plivo("l16-wide", audio=PCM16_16K),
)
every_carrier = pytest.mark.parametrize("carrier", CARRIERS, ids=lambda carrier: carrier.name)


@dataclass(slots=True)
class Held:
    """A call that both sides have taken."""

    call: Call
    phone: Phone
    line: bytearray
    plane: Plane

    def phone_heard(self, pcm: bytes) -> bool:
        """Whether the phone has heard `pcm`, which is at 8 kHz."""
        return likeness(to_pcm16(bytes(self.line), "ulaw"), pcm) > SIMILAR

    def server_heard(self, pcm: bytes) -> bool:
        """Whether the server has heard `pcm`, which is at 8 kHz, at its path's rate."""
        rate_hz = self.call.path.audio.rate_hz
        sought = Transcoder(PCM16_8K, AudioFormat("pcm16", rate_hz)).convert(pcm, last=True)
        return likeness(bytes(self.call.heard), sought) > SIMILAR

    def say(self, pcm: bytes) -> asyncio.Task[Any]:
        """The server says PCM16 at 8 kHz; the task's result is its `Playback`."""
        utterance = self.call.path.utterance()
        audio = Transcoder(PCM16_8K, self.call.path.audio).convert(pcm, last=True)

        async def speak() -> Any:
            await utterance.write(audio)
            utterance.finish()
            return await utterance.played()

        return asyncio.create_task(speak())


@asynccontextmanager
async def held(carrier: Carrier) -> AsyncIterator[Held]:
    async with plane("port") as tested:
        tested.server.dialect = carrier.dialect()
        call, url = tested.call(provider_call_id=IDENTITY.call_id)
        line = bytearray()
        phone = Phone(url, wire=carrier.wire(), engines=MUTE)
        phone.on_line = lambda audio: line.extend(audio.heard)
        async with phone:
            await call.opened.wait()
            yield Held(call, phone, line, tested)
            assert list(phone.stats.violations) == []


def likeness(heard: bytes, said: bytes) -> float:
    """How alike the best piece of `heard` is to `said`, both PCM16 at the same rate; 1 at most."""
    whole, sought = (_samples(pcm) for pcm in (heard, said))
    if len(whole) < len(sought):
        return 0.0
    products = np.correlate(whole, sought, "valid")
    energy = np.convolve(whole**2, np.ones(len(sought)), "valid")
    scale = np.sqrt(energy * np.sum(sought**2)) + 1.0
    return float(np.max(products / scale))


def _samples(pcm: bytes) -> NDArray[Any]:
    return np.frombuffer(pcm[: len(pcm) // 2 * 2], dtype="<i2").astype(float)


@every_carrier
def test_the_server_hears_the_caller(carrier: Carrier) -> None:
    async def case() -> None:
        async with held(carrier) as both:
            await both.phone.play(SWEEP)
            await until(lambda: both.server_heard(SWEEP))

    run(case())


@every_carrier
def test_the_caller_hears_the_server_which_knows_when(carrier: Carrier) -> None:
    async def case() -> None:
        async with held(carrier) as both:
            playback = await both.say(SWEEP)
            assert not playback.interrupted
            assert playback.heard_ms == playback.total_ms
            assert 398 <= playback.total_ms <= 402
            assert both.phone.stats.marks_echoed >= 1
            await until(lambda: both.phone_heard(SWEEP))
            assert both.phone.stats.underruns == 0

    run(case())


@every_carrier
def test_a_clear_stops_the_carrier_and_speech_after_it_is_heard(carrier: Carrier) -> None:
    async def case() -> None:
        async with held(carrier) as both:
            long = both.say(tone(5000))
            await both.phone.wait_talking(200)
            both.call.path.clear()
            playback = await long
            assert playback.interrupted
            assert playback.heard_ms < 1500
            await until(lambda: both.phone.stats.clears == 1)
            both.line.clear()
            after = await both.say(SWEEP)
            assert not after.interrupted
            assert after.heard_ms == after.total_ms
            await until(lambda: both.phone_heard(SWEEP))
            # What the clear flushed is not heard of, or heard of before anything after it.
            lost = both.phone.stats.playout.lost_marks
            assert both.phone.stats.marks_echoed == both.phone.stats.marks - lost

    run(case())


@every_carrier
def test_the_server_learns_of_the_callers_keys(carrier: Carrier) -> None:
    async def case() -> None:
        async with held(carrier) as both:
            await both.phone.press("5#")
            await until(lambda: both.call.digits == ["5", "#"])

    run(case())


@every_carrier
def test_the_end_of_the_stream_is_the_end_of_the_call(carrier: Carrier) -> None:
    async def case() -> None:
        async with held(carrier) as both:
            says_stop = bool(carrier.wire().stop())
            await both.phone.hang_up()
            await both.call.gone.wait()
            reason = "stopped by the carrier" if says_stop else "socket dropped"
            assert both.call.lost == [reason]

    run(case())


@every_carrier
def test_a_call_goes_on_after_a_reconnect(carrier: Carrier) -> None:
    async def case() -> None:
        async with held(carrier) as both:
            first = both.phone.stream_sid
            await both.phone.drop()
            await both.phone.reconnect()
            assert both.phone.stream_sid != first
            await both.phone.play(SWEEP)
            playback = await both.say(SWEEP)
            assert not playback.interrupted
            await both.phone.press("1")
            await until(lambda: both.call.digits == ["1"])
            await until(lambda: both.server_heard(SWEEP) and both.phone_heard(SWEEP))
            assert (both.call.opened_times, both.call.lost) == (1, [])

    run(case())


@every_carrier
def test_a_second_socket_takes_the_call_over(carrier: Carrier) -> None:
    async def case() -> None:
        async with held(carrier) as both:
            first = both.phone.closed
            await both.phone.replace()
            assert (await first).by_server
            playback = await both.say(SWEEP)
            assert not playback.interrupted
            await both.phone.play(SWEEP)
            await until(lambda: both.server_heard(SWEEP) and both.phone_heard(SWEEP))
            assert (both.call.opened_times, both.call.lost) == (1, [])

    run(case())


@pytest.mark.parametrize("audio", [PCM16_8K, PCM16_16K])
@pytest.mark.parametrize("big_endian", [False, True])
def test_linear_audio_of_telnyx_is_heard_while_speech_stays_mu_law(
    audio: AudioFormat, big_endian: bool
) -> None:
    async def case() -> None:
        wire = partial(TelnyxWire, IDENTITY, TelnyxOptions(sends=audio, big_endian=big_endian))
        dialect = partial(TelnyxDialect, big_endian=big_endian)
        async with held(Carrier("telnyx-l16", dialect, wire)) as both:
            assert both.call.path.audio == ULAW_8K
            await both.phone.play(SWEEP)
            await until(lambda: both.server_heard(SWEEP))

    run(case())


def test_keys_that_telnyx_sends_in_the_wrong_order_are_put_right() -> None:
    async def case() -> None:
        async with held(telnyx("keys", keys_swapped=True)) as both:
            await both.phone.press("12")
            await until(lambda: both.call.digits == ["1", "2"])

    run(case())


def test_a_complaint_of_telnyx_is_logged_and_the_call_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def case() -> None:
        async with held(telnyx("complaint")) as both:
            assert both.phone._stream is not None
            both.phone._stream.on_message(b"{}", binary=False)
            playback = await both.say(SWEEP)
            assert not playback.interrupted
            both.phone.stats.violations.clear()

    run(case())
    assert "carrier complains about the stream" in caplog.messages


def test_keys_that_the_server_presses_on_plivos_stream_reach_the_phone() -> None:
    async def case() -> None:
        async with held(plivo("keys")) as both:
            told: list[str] = []
            both.phone.on_keys = told.append
            (leg,) = both.plane.server.legs()
            leg.stream.send(b'{"event":"sendDTMF","dtmf":"12#"}')
            await until(lambda: told == ["12#"])
            assert both.phone.keys_heard == "12#"

    run(case())
