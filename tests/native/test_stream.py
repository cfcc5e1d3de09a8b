"""One media socket's audio, both ways, from its messages to its messages."""

import base64
import gc
import random
import weakref
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.mutation import mutated
from tests.native import messages
from tests.native.drivers import NS_PER_MS, WIRE, StreamDriver
from tests.native.messages import media_message, message_of
from tests.native.reference import g711
from tests.native.reference.stream import swapped
from voicecall._codec import CallableOutlet, MediaStream, Pacer, Workspace, conceal, ulaw_decode
from voicecall.carriers.plivo.stream import PlivoDialect
from voicecall.carriers.telnyx.stream import TelnyxDialect
from voicecall.carriers.twilio.stream import TwilioDialect
from voicecall.errors import CodecError
from voicecall.ports import ULAW_8K, Encoding, StreamStart

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.native

FRAME = bytes(range(100, 228)) + bytes(32)
NOISE = b"\x00garbage"
MARK = message_of("mark", mark={"name": "u1.1"})


class Line:
    """A stream, everything that comes out of it, and a handler that does as it is told."""

    def __init__(self, encoding: Encoding | None = "ulaw", jitter_ms: int = 60) -> None:
        self.sent: list[bytes] = []
        self.heard: list[bytes] = []
        self.messages: list[dict[str, Any]] = []
        self.failures: list[Exception] = []
        self.calls: list[str] = []
        self.then: Callable[[], object] = lambda: None
        self.stream = MediaStream(Workspace(), self, jitter_ms)
        self.stream.connect(CallableOutlet(self.sent.append))
        self.stream.listen(self.heard.append)
        self.pacer = Pacer(16000 if encoding == "pcm16" else 8000, 0xFF, capacity_ms=1000)
        if encoding is not None:
            self.stream.begin(encoding, WIRE, self.pacer)

    def on_message(self, message: dict[str, Any]) -> None:
        self.messages.append(message)
        self.then()

    def on_faults(self) -> None:
        self.calls.append("faults")
        self.then()

    def on_room(self) -> None:
        self.calls.append("room")
        self.then()

    def on_failure(self, error: Exception) -> None:
        self.failures.append(error)

    def receive(self, *numbers: int, audio: bytes = FRAME, now_ms: int = 0) -> None:
        for number in numbers:
            self.stream.receive(media_message(audio, number), now_ms * NS_PER_MS)


# --- in --------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [0, 1, 159, 160, 161, 49000])
def test_the_callers_audio_is_heard_as_linear_pcm(length: int) -> None:
    line = Line()
    audio = random.Random(length).randbytes(length)
    line.receive(1, audio=audio)
    expected = [g711.ulaw_expand(code) for code in audio]
    assert list(memoryview(line.heard[0]).cast("h")) == expected
    assert (line.stream.media_in, line.stream.octets_in, line.stream.faults) == (1, length, 0)


def test_other_messages_reach_the_handler_and_nothing_else_does() -> None:
    line = Line()
    line.stream.receive(MARK, 0)
    line.receive(1)
    assert line.messages == [orjson.loads(MARK)]


def test_audio_before_the_start_is_a_fault() -> None:
    line = Line(encoding=None)
    line.receive(1)
    assert (line.stream.faults, line.heard) == (1, [])


def test_half_a_sample_of_linear_audio_is_a_fault() -> None:
    line = Line("pcm16")
    line.receive(1, audio=b"abc")
    line.receive(1, audio=b"abcd")
    assert (line.stream.faults, line.heard) == (1, [b"abcd"])


def test_another_tracks_audio_is_ignored_and_no_fault() -> None:
    line = Line()
    message = b'{"event":"media","media":{"track":"outbound","chunk":"1","payload":"AAAA"}}'
    line.stream.receive(message, 0)
    line.stream.receive(message.replace(b"AAAA", b"\\u0041AAA"), 0)
    assert (line.stream.faults, line.stream.media_in, line.heard) == (0, 0, [])


def test_another_tracks_message_has_to_be_json_all_the_same() -> None:
    line = Line()
    message = b'{"event":"media","media":{"track":"outbound","payload":"AA\nA"}}'
    line.stream.receive(message, 0)
    assert line.stream.faults == 1


@pytest.mark.parametrize("length", [65535, 65536, 65537, 200_000])
def test_more_than_64_kib_is_a_fault_whatever_it_says(length: int) -> None:
    line = Line()
    line.stream.receive(MARK.ljust(length), 0)
    assert line.stream.faults == (length > 65536)
    assert len(line.messages) == (length <= 65536)


def test_the_longest_message_may_be_all_audio() -> None:
    line = Line()
    chars = (65536 - len(media_message(b""))) // 4 * 4
    line.receive(1, audio=bytes(chars // 4 * 3))
    assert len(line.heard[0]) == chars // 4 * 6


@pytest.mark.parametrize(
    "message",
    [
        b"",
        NOISE,
        b"[]",
        b"{}",
        b'{"event":1}',
        b'{"event":"media"}',
        b'{"event":"media","media":{"payload":"AAA"}}',
        b'{"event":"media","media":{"payload":"AAAA="}}',
        b'{"event":"media","media":{"payload":"AAAA","chunk":"x"}}',
        '{"event":"media","media":{"payload":"AA\u00e9A"}}'.encode(),
    ],
)
def test_what_makes_no_sense_is_a_fault(message: bytes) -> None:
    line = Line()
    line.stream.receive(message, 0)
    assert (line.stream.messages, line.stream.faults) == (1, 1)


def test_the_20th_fault_in_a_row_is_reported_once() -> None:
    line = Line()
    for i in range(1, 41):
        if i % 2:
            line.stream.refuse()
        else:
            line.stream.receive(NOISE, 0)
        assert line.calls == (["faults"] if i >= 20 else [])


@pytest.mark.parametrize(
    "good", [MARK, media_message(FRAME), messages.escaped(FRAME, random.Random(1))]
)
def test_one_good_message_begins_the_count_anew(good: bytes) -> None:
    line = Line()
    for message in [NOISE] * 19 + [good] + [NOISE] * 19:
        line.stream.receive(message, 0)
    assert line.calls == []
    line.stream.receive(NOISE, 0)
    assert line.calls == ["faults"]


def test_a_message_that_the_handler_refuses_is_a_fault() -> None:
    line = Line()

    def refuse() -> None:
        raise CodecError("no")

    line.then = refuse
    line.stream.receive(MARK, 0)
    assert line.stream.faults == 1


def test_an_error_of_our_own_in_the_handler_is_not_blamed_on_the_carrier() -> None:
    line = Line()

    def fail() -> None:
        raise ValueError("bug")

    line.then = fail
    with pytest.raises(ValueError, match="bug"):
        line.stream.receive(MARK, 0)
    assert line.stream.faults == 0


@settings(deadline=None)
@given(source=st.randoms(use_true_random=False), dialect=st.sampled_from(messages.DIALECTS))
def test_the_slow_way_and_the_fast_way_hear_the_same(source: random.Random, dialect: str) -> None:
    fast, slow = Line(), Line()
    for number in (1, 2, 4, 3, 6, 6):
        plain = media_message(FRAME, number, dialect, source)
        fast.stream.receive(plain, 0)
        # A nested object that nobody reads takes the message to the parser.
        slow.stream.receive(plain.rstrip()[:-1] + b',"more":{"a":[1]}}', 0)
    for line in (fast, slow):
        line.stream.pump(60 * NS_PER_MS)
    assert fast.heard == slow.heard
    assert len(fast.heard) == 6
    assert slow.stream.media_in == fast.stream.media_in
    assert slow.stream.faults == fast.stream.faults == 0


def test_messages_without_any_number_are_heard_as_they_come() -> None:
    line = Line()
    for _ in range(3):
        line.stream.receive(b'{"event":"media","media":{"payload":"////"}}', 0)
    assert len(line.heard) == 3


# --- losses ----------------------------------------------------------------------------------


def test_a_hole_fades_in_three_frames_and_then_is_silent() -> None:
    line = Line()
    line.receive(1)
    line.receive(6)
    line.stream.pump(60 * NS_PER_MS)
    pcm = ulaw_decode(FRAME)
    filled = [conceal(pcm, hole, 160) for hole in range(4)]
    assert line.heard == [pcm, *filled, pcm]
    assert filled[3] == bytes(320)
    assert (line.stream.concealed, line.stream.jitter.lost) == (4, 4)


def test_the_fade_begins_anew_after_every_message() -> None:
    line = Line()
    line.receive(1, 3)
    line.stream.pump(60 * NS_PER_MS)
    line.receive(5, now_ms=60)
    line.stream.pump(120 * NS_PER_MS)
    assert line.heard[1] == line.heard[3] == conceal(ulaw_decode(FRAME), 0, 160)


@pytest.mark.parametrize("octets", [80, 320, 321, 1600])
def test_a_hole_is_filled_by_frames_as_long_as_the_last_message(octets: int) -> None:
    line = Line()
    audio = random.Random(1).randbytes(octets)
    line.receive(1, 3, audio=audio)
    line.stream.pump(60 * NS_PER_MS)
    assert line.heard[1] == conceal(ulaw_decode(audio)[-640:], 0, octets)


@pytest.mark.parametrize("encoding", ["ulaw", "alaw", "pcm16"])
def test_a_listener_to_the_lines_own_octets_has_its_losses_filled_too(encoding: Encoding) -> None:
    line = Line(encoding)
    line.stream.listen(line.heard.append, coded=True)
    line.receive(1, 3)
    line.stream.pump(60 * NS_PER_MS)
    assert line.heard[0] == line.heard[2] == FRAME
    decoded = Line(encoding)
    decoded.receive(1, 3)
    decoded.stream.pump(60 * NS_PER_MS)
    filling = decoded.heard[1]
    if encoding == "pcm16":
        assert line.heard[1] == filling
    else:
        compress = g711.ulaw_compress if encoding == "ulaw" else g711.alaw_compress
        assert line.heard[1] == bytes(map(compress, memoryview(filling).cast("h")))


def test_a_loss_before_anything_was_heard_is_not_filled() -> None:
    line = Line()
    line.stream.listen(None)
    line.receive(1)
    line.stream.listen(line.heard.append)
    line.receive(3)
    line.stream.pump(60 * NS_PER_MS)
    assert line.heard == [ulaw_decode(FRAME)]


# --- sinks -----------------------------------------------------------------------------------


def test_a_sink_that_raises_is_reported_once_and_left_alone() -> None:
    line = Line()

    def sink(_: bytes) -> None:
        raise RuntimeError("broken")

    line.receive(1)
    line.stream.listen(sink)
    line.receive(2, 6)
    line.stream.pump(60 * NS_PER_MS)
    assert [str(error) for error in line.failures] == ["broken"]
    assert line.stream.media_in == 3


def test_a_sink_that_breaks_within_a_hole_is_reported_once() -> None:
    line = Line()
    line.receive(1)

    def sink(_: bytes) -> None:
        raise RuntimeError("broken")

    line.stream.listen(sink)
    line.receive(9)
    line.stream.pump(60 * NS_PER_MS)
    assert len(line.failures) == 1


def test_a_sink_may_stop_listening_in_the_middle_of_a_hole() -> None:
    line = Line()
    heard: list[bytes] = []

    def sink(pcm: bytes) -> None:
        heard.append(pcm)
        if len(heard) == 3:
            line.stream.listen(None)

    line.stream.listen(sink)
    line.receive(1, 9)
    line.stream.pump(60 * NS_PER_MS)
    assert (len(heard), line.failures) == (3, [])


def test_a_sink_that_writes_hears_everything_in_order_one_at_a_time() -> None:
    line = Line()
    heard: list[bytes] = []
    depth = 0

    def echo(pcm: bytes) -> None:
        nonlocal depth
        depth += 1
        assert depth == 1
        line.stream.write(FRAME, 60 * NS_PER_MS)
        heard.append(pcm)
        depth -= 1

    line.stream.listen(echo)
    line.receive(1, 5, 6, 8)
    line.stream.pump(60 * NS_PER_MS)
    pcm = ulaw_decode(FRAME)
    filled = [conceal(pcm, hole, 160) for hole in range(3)]
    assert heard == [pcm, *filled, pcm, pcm, filled[0], pcm]
    assert line.failures == []


def test_what_a_sink_does_during_a_restart_leaves_the_new_message_alone() -> None:
    workspace = Workspace()
    other = MediaStream(workspace, None)
    line = Line()
    line.stream = MediaStream(workspace, line)
    line.stream.begin("ulaw", WIRE, line.pacer)
    other.begin("ulaw", WIRE, Pacer(8000, 0xFF))

    def sink(pcm: bytes) -> None:
        line.heard.append(pcm)
        other.receive(media_message(bytes(160)), 0)

    line.stream.listen(sink)
    line.receive(500, 502)
    line.receive(1, audio=b"\xab" * 160)
    assert line.heard[-1] == ulaw_decode(b"\xab" * 160)
    assert line.stream.jitter.restarts == 1


def test_a_sink_may_close_the_stream() -> None:
    line = Line()
    heard: list[bytes] = []

    def sink(pcm: bytes) -> None:
        heard.append(pcm)
        line.stream.close()

    line.stream.listen(sink)
    line.receive(1, 9)
    line.stream.pump(60 * NS_PER_MS)
    assert len(heard) == 1
    assert (line.failures, line.sent) == ([], [])


# --- closing ---------------------------------------------------------------------------------


def test_the_handler_may_close_the_stream_whatever_it_is_told() -> None:
    for message in [MARK] + [NOISE] * 20:
        line = Line()
        line.then = line.stream.close
        for _ in range(20):
            line.stream.receive(message, 0)
        line.receive(1)
        line.stream.write(FRAME, 0)
        line.stream.clear(0)
        line.stream.finish(0, "m")
        line.stream.send(b"x")
        line.stream.send_audio(FRAME)
        line.stream.pump(0)
        line.stream.refuse()
        assert (line.sent, line.heard, line.failures) == ([], [], [])


def test_the_outlet_may_close_the_stream_and_what_is_left_stays_queued() -> None:
    line = Line()
    sent: list[bytes] = []

    def send(message: bytes) -> None:
        sent.append(message)
        line.stream.close()
        gc.collect()

    line.stream.connect(CallableOutlet(send))
    line.stream.write(FRAME * 50, 0)
    assert len(sent) == 1
    assert line.pacer.queued_octets == 45 * 160
    successor = MediaStream(Workspace(), line)
    successor.connect(CallableOutlet(line.sent.append))
    successor.begin("ulaw", WIRE, line.pacer)
    successor.pump(NS_PER_MS * 100)
    assert len(line.sent) == 1


def test_a_closed_stream_holds_nobody() -> None:
    line = Line()
    outlet = CallableOutlet(line.sent.append)
    line.stream.connect(outlet)
    stream, handler = line.stream, weakref.ref(line)
    stream.close()
    del line, outlet
    gc.collect()
    assert handler() is None


# --- out -------------------------------------------------------------------------------------

START = StreamStart("MZ0", "CA0", ULAW_8K, None, {})
DIALECTS: dict[str, TwilioDialect | TelnyxDialect | PlivoDialect] = {
    "twilio": TwilioDialect(),
    "telnyx": TelnyxDialect(),
    "plivo": PlivoDialect(),
}


@pytest.mark.parametrize("carrier", DIALECTS)
def test_audio_leaves_in_the_carriers_wording(carrier: str) -> None:
    wording = DIALECTS[carrier].wording(START)
    line = Line()
    line.stream.begin(
        "ulaw",
        type(WIRE)(
            wording.media_head,
            wording.media_tail,
            wording.mark_head,
            wording.mark_tail,
            wording.clear,
        ),
        line.pacer,
    )
    line.stream.write(FRAME, 0)
    line.stream.finish(0, "u1.1")
    line.stream.clear(0)
    media, mark, clear = map(orjson.loads, line.sent)
    assert media["media"]["payload"] == orjson.loads(media_message(FRAME))["media"]["payload"]
    assert media["event"] == ("playAudio" if carrier == "plivo" else "media")
    assert mark["event"] == ("checkpoint" if carrier == "plivo" else "mark")
    assert "u1.1" in {mark.get("name"), mark.get("mark", {}).get("name")}
    assert clear["event"] == ("clearAudio" if carrier == "plivo" else "clear")


def test_a_clear_leaves_in_the_same_call_and_nothing_queued_follows() -> None:
    line = Line()
    line.stream.write(FRAME * 40, 0)
    line.stream.finish(0, "m")
    line.sent.clear()
    line.stream.clear(20 * NS_PER_MS)
    assert line.sent == [WIRE.clear]
    line.stream.pump(NS_PER_MS * 5000)
    assert line.sent == [WIRE.clear]


def test_before_the_start_nothing_leaves() -> None:
    line = Line(encoding=None)
    assert not line.stream.write(FRAME, 0)
    line.stream.finish(0, "m")
    line.stream.clear(0)
    line.stream.send_audio(FRAME)
    line.stream.pump(0)
    assert line.sent == []


def test_after_a_refusal_room_is_announced_once_when_half_of_it_is_free() -> None:
    line = Line()
    assert line.stream.write(FRAME * 50, 0)
    assert not line.stream.write(FRAME * 50, 0)
    now_ms = 0
    while line.pacer.queued_octets >= 4000:
        assert line.calls == []
        now_ms += 20
        line.stream.pump(now_ms * NS_PER_MS)
    assert line.calls == ["room"]
    line.stream.pump((now_ms + 500) * NS_PER_MS)
    assert line.calls == ["room"]


def test_the_handler_may_write_when_there_is_room() -> None:
    line = Line()
    line.then = lambda: line.stream.write(FRAME * 50, NS_PER_MS * 600)
    line.stream.write(FRAME * 50, 0)
    line.stream.write(FRAME * 50, 0)
    line.then()
    for now_ms in range(0, 2000, 20):
        line.stream.pump(now_ms * NS_PER_MS)
    assert "room" in line.calls
    assert line.failures == []


def test_a_refusal_for_too_many_pieces_waits_for_fewer_pieces() -> None:
    line = Line()
    while line.stream.write(b"a", 0):
        pass
    while line.pacer.queued_octets > 2048:
        assert line.calls == []
        line.stream.finish(0)
        line.stream.pump(line.pacer.sent_octets * NS_PER_MS // 8)
    line.stream.pump(NS_PER_MS * 5000)
    assert line.calls == ["room"]


def test_a_clear_withdraws_the_wish_for_room() -> None:
    line = Line()
    line.stream.write(FRAME * 50, 0)
    line.stream.write(FRAME * 50, 0)
    line.stream.clear(0)
    line.stream.pump(0)
    assert line.calls == []


def test_an_outlet_that_raises_stops_the_pump() -> None:
    line = Line()

    def broken(_: bytes) -> None:
        raise OSError("gone")

    line.stream.connect(CallableOutlet(broken))
    with pytest.raises(OSError, match="gone"):
        line.stream.write(FRAME, 0)
    with pytest.raises(OSError, match="gone"):
        line.stream.finish(0, "m")


def test_messages_of_any_length_up_to_32_kib_are_sent_as_they_are() -> None:
    line = Line()
    for length in (0, 1, 32768):
        line.stream.send(b"x" * length)
        assert line.sent[-1] == b"x" * length
    with pytest.raises(CodecError, match="too long"):
        line.stream.send(b"x" * 32769)


def test_audio_past_the_pacer_is_at_most_8_kib() -> None:
    line = Line()
    line.stream.send_audio(bytes(8192))
    assert line.sent == [WIRE.media(bytes(8192))]
    with pytest.raises(CodecError, match="at once"):
        line.stream.send_audio(bytes(8193))


def test_a_group_too_long_for_one_message_is_refused_at_the_start() -> None:
    line = Line(encoding=None)
    with pytest.raises(CodecError, match="fit"):
        line.stream.begin("pcm16", WIRE, Pacer(96000, 0, 60, 600, 10))
    line.stream.begin("pcm16", WIRE, Pacer(96000, 0, 60, 600, 4))
    line.stream.write(bytes(5760 * 10), 0)
    assert all(len(message) <= 32768 for message in line.sent)


def test_an_unknown_encoding_changes_nothing() -> None:
    line = Line()
    with pytest.raises(CodecError, match="opus"):
        line.stream.begin("opus", WIRE, Pacer(8000, 0))  # type: ignore[arg-type]  # on purpose
    assert line.stream.pacer is line.pacer


def test_delays_are_counted_in_buckets() -> None:
    workspace = Workspace()
    stream = MediaStream(workspace, Line())
    stream.begin("ulaw", WIRE, Pacer(8000, 0xFF, 20, 20, 1))
    stream.connect(CallableOutlet(lambda _: None))
    stream.listen(lambda _: None)
    for number in (1, 3):
        stream.receive(media_message(FRAME, number), 0)
    stream.receive(media_message(FRAME, 2), 3 * NS_PER_MS)
    stream.write(FRAME * 2, 0)
    stream.pump(520 * NS_PER_MS)
    bounds, (late, late_sum_ns), (held, held_sum_ns) = workspace.distributions()
    assert bounds == [0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256]
    assert (held, held_sum_ns) == ([2, 0, 1, 0, 0, 0, 0, 0, 0, 0], 3 * NS_PER_MS)
    assert (late, late_sum_ns) == ([1, 0, 0, 0, 0, 0, 0, 0, 0, 1], 500 * NS_PER_MS)


def test_a_stream_cannot_be_made_without_a_workspace() -> None:
    with pytest.raises(TypeError):
        MediaStream(None, None)  # type: ignore[arg-type]  # on purpose
    with pytest.raises(TypeError):
        MediaStream.__new__(MediaStream)


@pytest.mark.parametrize("octets", [0, 1, 2, 159, 160, 161])
def test_samples_leave_with_their_high_octets_first_where_that_is_wanted(octets: int) -> None:
    audio = random.Random(octets).randbytes(octets)
    line = Line()
    line.stream.begin("ulaw", WIRE, line.pacer, swaps_out=True)
    line.stream.send_audio(audio)
    payload = orjson.loads(line.sent[0])["media"]["payload"]
    assert base64.b64decode(payload) == swapped(audio)


def test_paced_samples_leave_with_their_high_octets_first_where_that_is_wanted() -> None:
    line = Line("pcm16")
    line.stream.begin("pcm16", WIRE, line.pacer, swaps_out=True)
    audio = random.Random(1).randbytes(2000)
    line.stream.write(audio, 0)
    line.stream.finish(0)
    for now_ms in range(200):
        line.stream.pump(now_ms * NS_PER_MS)
    sent = b"".join(
        base64.b64decode(orjson.loads(message)["media"]["payload"]) for message in line.sent
    )
    padding = -len(audio) % 320
    assert sent == swapped(audio) + b"\xff" * padding


@pytest.mark.parametrize("coded", [False, True])
def test_samples_that_come_with_their_high_octets_first_are_turned_round(coded: bool) -> None:
    line = Line("pcm16")
    line.stream.begin("pcm16", WIRE, line.pacer, swaps_in=True)
    line.stream.listen(line.heard.append, coded)
    audio = random.Random(2).randbytes(320)
    line.receive(1, audio=swapped(audio))
    # A hole is filled from what was heard, so it has to be turned round before.
    line.receive(3, audio=swapped(audio), now_ms=20)
    line.stream.pump(100 * NS_PER_MS)
    assert line.heard == [audio, conceal(audio, 0, 160), audio]


def test_g711_has_no_octets_to_turn_round() -> None:
    line = Line()
    line.stream.begin("ulaw", WIRE, line.pacer, swaps_in=True)
    line.receive(1)
    assert line.heard == [ulaw_decode(FRAME)]


# --- everything at once ----------------------------------------------------------------------

ACTIONS = ("media", "media", "media", "odd", "mutated", "write", "pump", "finish", "clear")


@settings(deadline=None, max_examples=60)
@given(
    source=st.randoms(use_true_random=False),
    encoding=st.sampled_from(("ulaw", "alaw", "pcm16", None)),
    coded=st.booleans(),
    swaps=st.tuples(st.booleans(), st.booleans()),
    actions=st.lists(st.sampled_from(ACTIONS), max_size=40),
)
def test_whatever_happens_happens_as_in_the_twin(
    source: random.Random,
    encoding: Encoding | None,
    coded: bool,
    swaps: tuple[bool, bool],
    actions: list[str],
) -> None:
    driver = StreamDriver(encoding, coded=coded, swaps=swaps)
    number = 0
    for action in actions:
        if action == "media":
            number = max(0, number + 1 + source.choice((0, 0, 0, 0, 1, 2, -1, -2, 40, -200)))
            audio = source.randbytes(source.choice((160, 160, 160, 0, 1, 2, 400)))
            dialect = source.choice(messages.DIALECTS)
            driver.receive(media_message(audio, number, dialect, source))
        elif action == "odd":
            driver.receive(messages.odd_message(source))
        elif action == "mutated":
            driver.receive(mutated(messages.any_message(source), source))
        elif action == "write":
            driver.write(source.randbytes(source.choice((0, 1, 159, 160, 161, 1000))))
        else:
            getattr(driver, action)()
        driver.advance_ms(source.choice((0, 1, 19, 20, 61)))
