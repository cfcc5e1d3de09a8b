"""Media sockets: what comes in whatever pieces, what goes out to whom it may concern, and ends."""

from __future__ import annotations

import gc
import os
import resource
import select
import socket
import subprocess
import sys
import weakref
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.native import sockets
from tests.native.messages import media_message, message_of
from tests.native.sockets import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    REFUSAL,
    REQUEST,
    RESPONSE,
    TEXT,
    Bench,
    Owner,
    Peer,
    bench,
    check_reading,
    frame,
    frames_in,
    length_field,
)
from voicecall._codec import MediaStream, SocketPoller, Workspace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.native

KIB = 1024
MIB = 1 << 20
MESSAGE_MAX = 64 * KIB
UNSENT_MAX = MIB
HEAD_MAX = 16 * KIB
BATCH = 512
END = frame(message_of("end"))


@pytest.fixture(name="bed")
def bed_fixture() -> Iterator[Bench]:
    with bench() as made:
        yield made


def close_frame(code: int, reason: bytes = b"") -> bytes:
    return frame(code.to_bytes(2, "big") + reason, CLOSE)


def told_after(bed: Bench, *octets: bytes) -> tuple[list[str | int], int, sockets.Replies]:
    """What the owner is told of these octets and one message more, the faults, and the replies."""
    owner, peer = bed.connect()
    peer.say(b"".join(octets) + END)
    return owner.told, owner.stream.faults, peer.frames()


# --- the request ---


def test_the_head_is_told_with_the_empty_line_that_ends_it(bed: Bench) -> None:
    owner, peer = bed.connect(opened=False)
    peer.say(REQUEST)
    assert owner.heads == [REQUEST]
    assert peer.read() == RESPONSE


def test_octets_behind_the_head_are_the_first_frames(bed: Bench) -> None:
    owner, peer = bed.connect(opened=False)
    peer.say(REQUEST + frame(message_of("first")) + END)
    assert owner.heads == [REQUEST]
    assert owner.told == ["request", "first", "end"]


def test_a_whole_conversation_may_be_split_anywhere(bed: Bench) -> None:
    message = message_of("split")
    whole = b"".join(
        [
            REQUEST,
            frame(message_of("first")),
            frame(b"are you there", PING),
            frame(message[:5], final=False),
            frame(message[5:], CONTINUATION, form=2),
            frame(message_of("second"), form=1),
            close_frame(1001),
        ]
    )
    told = ["request", "first", "split", "second", "disconnected"]
    answers = RESPONSE + b"\x8a\x0dare you there" + b"\x88\x02\x03\xe9"
    pieces = [[whole[:cut], whole[cut:]] for cut in range(1, len(whole))]
    for split in (*pieces, [bytes([octet]) for octet in whole]):
        owner, peer = bed.connect(opened=False)
        for piece in split:
            peer.say(piece)
        assert owner.told == told
        assert owner.heads == [REQUEST]
        assert peer.read() == answers
        assert peer.ended


def test_a_head_of_16_kib_is_whole_and_a_longer_one_is_cut_off(bed: Bench) -> None:
    longest = REQUEST[:-2].ljust(HEAD_MAX - 4, b"x") + b"\r\n\r\n"
    for head in (longest, longest[:-4] + b"x\r\n\r\n", b"x" * HEAD_MAX * 3):
        owner, peer = bed.connect(opened=False, request=lambda it: it.socket.refuse(REFUSAL))
        peer.say(head)
        assert owner.heads == [head[:HEAD_MAX]]
        assert peer.read() == REFUSAL


def test_the_end_of_a_head_that_is_too_long_is_not_waited_for(bed: Bench) -> None:
    owner, peer = bed.connect(opened=False, request=lambda it: it.socket.refuse(REFUSAL))
    peer.say(b"x" * HEAD_MAX)
    assert owner.heads == []
    peer.say(b"x")
    assert owner.heads == [b"x" * HEAD_MAX]


def test_after_a_refusal_nothing_is_heard_and_the_peer_may_read_it_in_peace(bed: Bench) -> None:
    owner, peer = bed.connect(opened=False, request=lambda it: it.socket.refuse(REFUSAL))
    peer.say(REQUEST + END)
    peer.say(END * 9)
    assert peer.read() == REFUSAL
    assert peer.ended
    assert owner.told == ["request"]
    owner.socket.open(RESPONSE, owner.stream)
    owner.socket.close(1000)
    peer.end.close()
    bed.serve()
    assert owner.told == ["request", "disconnected"]


@pytest.mark.parametrize("wanted", [1000, 2000], ids=["nothing", "a close"])
def test_an_owner_that_does_not_answer_a_request_has_failed(bed: Bench, wanted: int) -> None:
    def late(owner: Owner) -> None:
        if wanted == 2000:
            owner.socket.close(wanted)

    owner, peer = bed.connect(opened=False, request=late)
    peer.say(REQUEST)
    assert owner.told == ["request", "failure", "disconnected"]
    assert isinstance(owner.failures[0], TypeError)
    assert peer.read() == b""
    assert peer.ended


# --- frames in ---


def test_several_frames_of_one_read_are_dealt_with_in_order(bed: Bench) -> None:
    owner, peer = bed.connect()
    names = [f"n{i}" for i in range(200)]
    peer.send(b"".join(frame(message_of(name)) for name in names))
    assert bed.poller.poll() == 1
    assert owner.told == names


@pytest.mark.parametrize("form", [0, 1, 2])
@pytest.mark.parametrize("octets", [0, 1, 7, 8, 9, 124, 125, 126, 127, 65535, 65536])
def test_every_length_in_every_form_is_unmasked_whole(bed: Bench, octets: int, form: int) -> None:
    owner, peer = bed.connect()
    message = message_of("long").ljust(octets)
    peer.say(frame(message, form=form) + END)
    assert owner.told == (["long", "end"])
    assert owner.stream.faults == 0


def test_a_message_in_several_frames_is_put_together(bed: Bench) -> None:
    message = message_of("split")
    pieces = [
        frame(message[:5], final=False),
        frame(b"", CONTINUATION, final=False),
        frame(message[5:9], CONTINUATION, final=False),
        frame(message[9:], CONTINUATION),
    ]
    assert told_after(bed, *pieces) == (["split", "end"], 0, [])


def test_a_ping_between_the_frames_of_a_message_is_answered_at_once(bed: Bench) -> None:
    message = message_of("split")
    pieces = [
        frame(message[:5], final=False),
        frame(b"now", PING),
        frame(b"", PONG),
        frame(message[5:], CONTINUATION),
    ]
    assert told_after(bed, *pieces) == (["split", "end"], 0, [(PONG, b"now")])


def test_a_binary_message_is_one_fault_however_many_frames_it_has(bed: Bench) -> None:
    assert told_after(bed, frame(b"x", BINARY)) == (["end"], 1, [])
    pieces = [
        frame(b"x", BINARY, final=False),
        frame(b"x", CONTINUATION, final=False),
        frame(b"x", CONTINUATION),
    ]
    assert told_after(bed, *pieces) == (["end"], 1, [])


def test_a_continuation_of_nothing_and_a_message_within_another_are_faults(bed: Bench) -> None:
    message = message_of("x")
    assert told_after(bed, frame(message, CONTINUATION)) == (["end"], 1, [])
    within = [frame(message[:3], final=False), frame(message), frame(message[3:], CONTINUATION)]
    assert told_after(bed, *within) == (["end"], 2, [])


def test_after_twenty_unusable_messages_in_a_row_the_owner_is_told(bed: Bench) -> None:
    told, faults, _ = told_after(bed, frame(b"x", BINARY) * 20)
    assert told == ["faults", "end"]
    assert faults == 20


def test_a_message_that_grows_beyond_64_kib_is_one_fault(bed: Bench) -> None:
    message = message_of("long").ljust(MESSAGE_MAX)
    exact = [frame(message[:60000], final=False), frame(message[60000:], CONTINUATION)]
    assert told_after(bed, *exact) == (["long", "end"], 0, [])
    beyond = [
        frame(message, final=False),
        frame(b" ", CONTINUATION, final=False),
        frame(b" ", CONTINUATION),
    ]
    assert told_after(bed, *beyond) == (["end"], 1, [])


@pytest.mark.parametrize("octets", [MESSAGE_MAX + 1, 3 * MESSAGE_MAX, MIB])
def test_a_frame_over_64_kib_is_one_fault_and_skipped_unseen(bed: Bench, octets: int) -> None:
    # Its content would be a violation and a message, were it read as frames.
    content = (END + frame(b"", 3)).ljust(octets, b"\0")
    assert told_after(bed, frame(content, key=bytes(4))) == (["end"], 1, [])
    pieces = [frame(content, final=False, key=bytes(4)), frame(content, CONTINUATION)]
    assert told_after(bed, *pieces) == (["end"], 1, [])


def test_what_is_skipped_may_come_octet_by_octet_around_its_ends(bed: Bench) -> None:
    owner, peer = bed.connect()
    long = frame(bytes(MESSAGE_MAX + 1), key=bytes(4))
    near = 20
    for octet in long[:near]:
        peer.say(bytes([octet]))
    peer.say(long[near:-near])
    assert owner.stream.faults == 1
    for octet in long[-near:] + END:
        peer.say(bytes([octet]))
    assert owner.told == ["end"]


def test_the_most_that_is_kept_and_the_most_that_is_read_fit_together(bed: Bench) -> None:
    """65549 octets of a frame that lacks one, and 65536 more, whose last are audio."""
    owner, peer = bed.connect()
    last = frame(media_message(bytes(16000)))
    filling = frame(b" " * (64 * KIB - 1 - len(last) - 8), form=1)
    longest = frame(message_of("long").ljust(MESSAGE_MAX))
    peer.say(longest[:-1])
    rest = longest[-1:] + filling + last
    assert len(rest) == 64 * KIB
    peer.end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 18)
    peer.send(rest)
    assert bed.poller.poll() == 1
    assert owner.told == ["long"]
    # Audio before the start, and blanks.
    assert (owner.stream.messages, owner.stream.faults) == (3, 2)


VIOLATIONS = {
    "a frame that is not masked": b"\x81\x02{}",
    "the first reserved bit": frame(b"{}", TEXT | 0x40),
    "the second reserved bit": frame(b"{}", TEXT | 0x20),
    "the third reserved bit": frame(b"", PING | 0x10),
    **{f"opcode {code}": frame(b"", code) for code in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)},
    **{f"a fragment of opcode {code}": frame(b"", code, final=False) for code in (8, 9, 10)},
    **{f"opcode {code} of 126 octets": frame(bytes(126), code) for code in (8, 9, 10)},
    "a length of 64 bits": b"\x81\xff" + b"\xff" * 8 + bytes(4),
}


@pytest.mark.parametrize("wrong", VIOLATIONS.values(), ids=VIOLATIONS)
def test_a_violation_is_told_once_closed_1002_and_nothing_is_heard_behind_it(
    bed: Bench, wrong: bytes
) -> None:
    owner, peer = bed.connect()
    peer.say(frame(message_of("before")) + wrong + END)
    peer.say(wrong + END + close_frame(1000))
    assert owner.told == ["before", "violation", 1002]
    assert peer.frames() == [(CLOSE, b"\x03\xea")]
    peer.end.close()
    bed.serve()
    assert owner.told[3:] == ["disconnected"]


def test_a_violation_shows_before_its_frame_is_whole(bed: Bench) -> None:
    for wrong in VIOLATIONS.values():
        owner, peer = bed.connect()
        peer.say(wrong[:14])
        assert owner.told == ["violation", 1002]


@pytest.mark.parametrize("octets", [MIB + 1, (1 << 63) - 1])
def test_a_frame_over_1_mib_is_closed_1009(bed: Bench, octets: int) -> None:
    owner, peer = bed.connect()
    peer.say(b"\x81" + length_field(octets) + bytes(4) + END)
    assert owner.told == ["violation", 1009]
    assert peer.frames() == [(CLOSE, b"\x03\xf1")]


PIECES = st.one_of(
    st.builds(
        frame,
        st.one_of(
            st.sampled_from([message_of("a"), message_of("b"), b"{}", b"", bytes(126)]),
            st.binary(max_size=6),
        ),
        st.sampled_from([CONTINUATION, TEXT, TEXT, BINARY, PING, PONG]),
        final=st.booleans(),
        key=st.binary(min_size=4, max_size=4),
        form=st.integers(0, 2),
    ),
    st.sampled_from([frame(bytes(MESSAGE_MAX + 1)), frame(b" " * 40000, final=False)]),
    st.builds(close_frame, st.integers(0, 65535)),
    st.builds(frame, st.binary(max_size=3), st.just(CLOSE)),
    st.binary(max_size=15),
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(PIECES, max_size=8).map(b"".join), st.lists(st.integers(0, 400), max_size=6))
def test_whatever_comes_in_whatever_pieces_is_read_like_the_slow_reading_reads_it(
    octets: bytes, cuts: list[int]
) -> None:
    ends = [*sorted(cuts), len(octets)]
    check_reading([octets[at:end] for at, end in zip([0, *ends], ends, strict=False)])


# --- pings and closes ---


def test_a_ping_is_answered_with_its_own_payload(bed: Bench) -> None:
    payloads = [b"", b"x", bytes(range(125))]
    _, _, replies = told_after(bed, *(frame(payload, PING) for payload in payloads))
    assert replies == [(PONG, payload) for payload in payloads]


CLOSES = {
    **{code: code for code in (1000, 1001, 1003, 1007, 1011, 3000, 3001, 4999)},
    **dict.fromkeys((0, 1, 999, 1004, 1005, 1006, 1015, 5000, 65535), 1002),
}


@pytest.mark.parametrize(("code", "answer"), CLOSES.items())
@pytest.mark.parametrize("reason", [b"", b"bye"])
def test_a_close_is_answered_with_its_code_unless_that_may_never_be_sent(
    bed: Bench, code: int, answer: int, reason: bytes
) -> None:
    owner, peer = bed.connect()
    peer.say(close_frame(code, reason) + END)
    assert peer.frames() == [(CLOSE, answer.to_bytes(2, "big"))]
    assert peer.ended
    assert owner.told == ["disconnected"]


@pytest.mark.parametrize(("payload", "answer"), [(b"", 1000), (b"\x03", 1002)])
def test_a_close_without_a_code_is_normal_and_one_with_half_of_it_is_not(
    bed: Bench, payload: bytes, answer: int
) -> None:
    owner, peer = bed.connect()
    peer.say(frame(payload, CLOSE))
    assert peer.frames() == [(CLOSE, answer.to_bytes(2, "big"))]
    assert owner.told == ["disconnected"]


def test_after_our_close_only_the_peers_is_heard(bed: Bench) -> None:
    owner, peer = bed.connect()
    owner.socket.close(1001, b"going")
    owner.socket.close(1000, b"again")
    owner.stream.send(b"late")
    peer.say(END + frame(b"", PING) + frame(b"x" * 5, BINARY))
    peer.say(frame(bytes(MESSAGE_MAX + 1)))
    assert peer.frames() == [(CLOSE, b"\x03\xe9going")]
    assert (owner.told, owner.stream.messages) == ([], 0)
    peer.say(close_frame(1001) + END)
    assert peer.frames() == []
    assert peer.ended
    assert owner.told == ["disconnected"]


def test_after_our_close_a_violation_is_nobodys_business(bed: Bench) -> None:
    owner, peer = bed.connect()
    owner.socket.close(1000)
    peer.say(frame(b"", 3) + close_frame(1000))
    assert owner.told == []
    owner.socket.abort()
    assert owner.told == ["disconnected"]


def test_of_a_reason_123_octets_are_sent(bed: Bench) -> None:
    owner, peer = bed.connect()
    owner.socket.close(1000, b"r" * 200)
    assert peer.frames() == [(CLOSE, b"\x03\xe8" + b"r" * 123)]


def test_before_it_is_open_a_socket_sends_nothing(bed: Bench) -> None:
    owner, peer = bed.connect(opened=False)
    owner.stream.connect(owner.socket)
    owner.stream.send(b"early")
    owner.socket.close(1000)
    assert peer.read() == b""
    peer.say(REQUEST)
    owner.stream.send(b"now")
    assert peer.read(len(RESPONSE)) == RESPONSE
    assert peer.frames() == [(TEXT, b"now")]


# --- out ---


@pytest.mark.parametrize("octets", [0, 1, 125, 126, 127, 32768])
def test_every_length_is_sent_as_one_whole_frame(bed: Bench, octets: int) -> None:
    owner, peer = bed.connect()
    message = b"m" * octets
    owner.stream.send(message)
    assert peer.frames() == [(TEXT, message)]


def numbered(number: int) -> bytes:
    return b"%d " % number + bytes(20_000)


def fill(owner: Owner, until: Callable[[int], bool]) -> list[tuple[int, bytes]]:
    """Send messages until told to stop; all frames that the peer has to get."""
    sent: list[tuple[int, bytes]] = []
    while not until(sum(len(payload) for _, payload in sent)):
        assert len(sent) < 500
        message = numbered(len(sent))
        owner.stream.send(message)
        sent.append((TEXT, message))
    return sent


def read_all(
    bed: Bench, peer: Peer, frames: int, at_once: int = 1 << 22, octets: bytes = b""
) -> sockets.Replies:
    """Read on from `octets` until that many frames are there."""
    read = bytearray(octets)

    def whole() -> bool:
        read.extend(peer.read(at_once))
        return _count(read) == frames

    bed.serve_until(whole)
    return frames_in(bytes(read))


def _count(octets: bytearray) -> int:
    try:
        return len(frames_in(bytes(octets)))
    except (AssertionError, IndexError):
        return 0


@pytest.mark.parametrize("at_once", [1 << 22, 50_001], ids=["at once", "bit by bit"])
@pytest.mark.parametrize("tcp", [False, True], ids=["unix", "tcp"])
def test_what_a_peer_leaves_unread_is_kept_and_comes_in_order(
    bed: Bench, at_once: int, *, tcp: bool
) -> None:
    owner, peer = bed.connect(tcp=tcp)
    sent = fill(owner, lambda octets: octets > 700_000)
    peer.send(frame(b"x", PING))
    bed.serve()
    assert read_all(bed, peer, len(sent) + 1, at_once) == [*sent, (PONG, b"x")]
    owner.stream.send(b"as before")
    peer.wait()
    assert peer.frames() == [(TEXT, b"as before")]
    assert owner.told == []


def test_an_owner_is_told_once_when_more_than_1_mib_is_unsent_and_nothing_more_is(
    bed: Bench,
) -> None:
    owner, peer = bed.connect()
    sent = fill(owner, lambda _: "stalled" in owner.told)
    # Nobody has polled: what can be read was in the kernel, and the rest is ours.
    taken = peer.read()
    unsent = sum(4 + len(payload) for _, payload in sent) - len(taken)
    assert UNSENT_MAX < unsent <= UNSENT_MAX + len(numbered(0)) + 4
    owner.stream.send(b"dropped")
    peer.send(frame(b"not answered", PING) + END)
    bed.poller.poll()
    assert owner.told == ["stalled", "end"]
    assert read_all(bed, peer, len(sent), octets=taken) == sent
    owner.stream.send(b"dropped as well")
    assert peer.frames() == []
    assert owner.told == ["stalled", "end"]


def test_a_stalled_peer_that_reads_again_still_gets_its_close_frame(bed: Bench) -> None:
    owner, peer = bed.connect(stalled=lambda it: it.socket.close(1013, b"read!"))
    sent = fill(owner, lambda _: "stalled" in owner.told)
    assert read_all(bed, peer, len(sent) + 1) == [*sent, (CLOSE, b"\x03\xf5read!")]
    peer.say(close_frame(1013))
    assert peer.read() == b""
    assert peer.ended
    assert owner.told == ["stalled", "disconnected"]


def test_a_close_is_answered_behind_what_is_unsent(bed: Bench) -> None:
    owner, peer = bed.connect()
    sent = fill(owner, lambda octets: octets > 700_000)
    peer.send(close_frame(1001) + END)
    bed.serve()
    assert owner.told == []
    assert read_all(bed, peer, len(sent) + 1) == [*sent, (CLOSE, b"\x03\xe9")]
    bed.serve()
    assert owner.told == ["disconnected"]
    assert peer.read() == b""
    assert peer.ended


# --- ends ---


def test_a_reset_ends_a_socket_even_when_octets_are_unsent(bed: Bench) -> None:
    owner, peer = bed.connect(tcp=True)
    full, other = bed.connect(tcp=True)
    fill(full, lambda octets: octets > 700_000)
    peer.reset()
    other.reset()
    bed.serve_until(lambda: len(bed.poller) == 0)
    assert owner.told == full.told == ["disconnected"]
    owner.stream.send(b"nobody hears it")


@pytest.mark.parametrize("tcp", [False, True], ids=["unix", "tcp"])
@pytest.mark.parametrize("last", [b"", END, END + END[:3]], ids=["nothing", "a frame", "a part"])
def test_a_peer_that_will_not_say_more_is_heard_out_and_ends(
    bed: Bench, last: bytes, *, tcp: bool
) -> None:
    owner, peer = bed.connect(tcp=tcp)
    if last:
        peer.send(last)
    # What came last and the end of it are one edge.
    peer.end.shutdown(socket.SHUT_WR)
    bed.serve_until(lambda: "disconnected" in owner.told)
    assert owner.told == ["end", "disconnected"][not last :]
    peer.wait()
    peer.read()
    assert peer.ended


def test_a_peer_that_leaves_in_the_middle_of_its_request_ends(bed: Bench) -> None:
    owner, peer = bed.connect(opened=False)
    peer.send(REQUEST[:20])
    peer.end.close()
    bed.serve()
    assert owner.told == ["disconnected"]


def test_an_ended_socket_takes_no_orders(bed: Bench) -> None:
    owner, peer = bed.connect()
    owner.socket.abort()
    owner.socket.abort()
    owner.socket.close(1000)
    owner.socket.refuse(REFUSAL)
    owner.socket.open(RESPONSE, owner.stream)
    owner.stream.send(b"x")
    bed.serve()
    assert owner.told == ["disconnected"]
    assert peer.read() == b""
    assert peer.ended


CAUSES = {
    "request": REQUEST,
    "end": END,
    "violation": frame(b"", 3),
    "faults": frame(b"x", BINARY) * 20,
}


def prepared(bed: Bench, cause: str, does: Callable[[Owner], object]) -> tuple[Owner, Peer]:
    """A socket that does something when it is told of `cause`, which its peer has sent already."""
    owner, peer = bed.connect(opened=cause != "request")
    owner.does[cause] = does
    peer.send(CAUSES[cause] + frame(message_of("too late")))
    return owner, peer


def past(cause: str) -> list[str | int]:
    """What is told until then."""
    return ["violation", 1002] if cause == "violation" else [cause]


@pytest.mark.parametrize("cause", CAUSES)
def test_an_owner_may_end_its_socket_whenever_it_is_told_something(bed: Bench, cause: str) -> None:
    owner, peer = prepared(bed, cause, lambda it: it.socket.abort())
    bed.serve()
    assert owner.told == [*past(cause), "disconnected"]
    peer.read()
    assert peer.ended


def test_an_owner_may_end_its_socket_when_it_stalls_or_has_ended(bed: Bench) -> None:
    owner, peer = bed.connect(
        stalled=lambda it: it.socket.abort(), disconnected=lambda it: it.socket.abort()
    )
    fill(owner, lambda _: "stalled" in owner.told)
    owner.stream.send(b"x")
    bed.serve()
    assert owner.told == ["stalled", "disconnected"]
    peer.read()
    assert peer.ended


def fail(_: Owner) -> None:
    raise ZeroDivisionError


@pytest.mark.parametrize("cause", CAUSES)
def test_an_owner_that_fails_loses_its_socket_and_no_other(bed: Bench, cause: str) -> None:
    before, early = bed.connect()
    owner, _ = prepared(bed, cause, fail)
    after, late = bed.connect()
    early.send(END)
    late.send(END)
    bed.serve()
    assert owner.told == [*past(cause), "failure", "disconnected"]
    assert [type(error) for error in owner.failures] == [ZeroDivisionError]
    assert before.told == after.told == ["end"]


def test_an_owner_that_fails_at_the_end_is_told_so(bed: Bench) -> None:
    owner, peer = bed.connect(disconnected=fail)
    other, _ = bed.connect(disconnected=fail)
    peer.end.close()
    bed.serve()
    assert owner.told == ["disconnected", "failure"]
    bed.poller.close()
    assert other.told == ["disconnected", "failure"]


def test_an_owner_that_fails_at_being_told_of_failure_harms_nobody_else(
    bed: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[type[BaseException]] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda what: seen.append(what.exc_type))
    owner, peer = bed.connect(end=fail, failure=fail)
    other, neighbour = bed.connect()
    peer.send(END)
    neighbour.send(END)
    bed.serve()
    assert owner.told == ["end", "failure", "disconnected"]
    assert other.told == ["end"]
    assert seen == [ZeroDivisionError]


# --- many ---


@pytest.mark.parametrize("first", range(4))
def test_sockets_may_end_while_others_of_the_same_batch_are_served(bed: Bench, first: int) -> None:
    def end_the_others(owner: Owner) -> None:
        heard.append(owner)
        for other in owners:
            if other is not owner:
                other.socket.abort()
        # Only the batch itself knows them now.
        owners.clear()
        peers[0].end.close()
        gc.collect()

    heard: list[Owner] = []
    pairs = [bed.connect(end=end_the_others) for _ in range(4)]
    pairs = pairs[first:] + pairs[:first]
    owners, peers = [owner for owner, _ in pairs], [peer for _, peer in pairs]
    told = [owner.told for owner in owners]
    del pairs
    for peer in peers:
        peer.send(END)
    assert bed.poller.poll() == 4
    assert sorted(told) == [["disconnected"]] * 3 + [["end"]]
    assert len(heard) == 1


def test_a_poll_from_within_a_poll_serves_nobody(bed: Bench) -> None:
    served: list[int] = []
    pairs = [bed.connect(end=lambda _: served.append(bed.poller.poll())) for _ in range(3)]
    for _, peer in pairs:
        peer.send(END)
    bed.poller.poll()
    assert served == [0, 0, 0]
    assert [owner.told for owner, _ in pairs] == [["end"]] * 3


def test_more_sockets_than_a_batch_has_room_for_are_all_served(bed: Bench) -> None:
    owners = []
    for _ in range(BATCH + 88):
        owner, peer = bed.connect(opened=False)
        peer.send(REQUEST + END)
        peer.end.close()
        owners.append(owner)
    assert len(bed.poller) == BATCH + 88
    assert [bed.poller.poll(), len([it for it in owners if it.told])] == [BATCH, BATCH]
    bed.serve()
    assert [owner.told for owner in owners] == [["request", "end", "disconnected"]] * (BATCH + 88)
    assert len(bed.poller) == 0


def crowded(bed: Bench) -> bool:
    return bed.poller.crowded


def woken(bed: Bench, within_s: float) -> bool:
    return bool(select.select([bed.poller], [], [], within_s)[0])


def test_from_64_sockets_on_a_timer_wakes_and_below_32_the_sockets_do(bed: Bench) -> None:
    pairs = [bed.connect() for _ in range(63)]
    bed.serve()
    assert not crowded(bed)
    assert not woken(bed, 0.02)
    pairs.append(bed.connect())
    assert crowded(bed)
    bed.serve()
    assert woken(bed, 1.0), "no beat although nothing has come"
    pairs[5][1].send(END)
    bed.serve_until(lambda: pairs[5][0].told == ["end"])
    while len(pairs) > 32:
        pairs.pop()[0].socket.abort()
    assert crowded(bed)
    pairs.pop()[0].socket.abort()
    assert not crowded(bed)
    bed.serve()
    assert not woken(bed, 0.02)
    pairs[5][1].send(END)
    assert woken(bed, 0)
    bed.serve()
    assert pairs[5][0].told == ["end", "end"]
    while len(pairs) < 64:
        assert not crowded(bed)
        pairs.append(bed.connect())
    assert crowded(bed)


def test_what_has_come_before_the_timer_stops_still_wakes(bed: Bench) -> None:
    pairs = [bed.connect() for _ in range(64)]
    bed.serve()
    pairs[0][1].send(END)
    for owner, _ in pairs[31:]:
        owner.socket.abort()
    assert woken(bed, 0)
    bed.serve()
    assert pairs[0][0].told == ["end"]


def test_a_peer_that_sends_without_end_gets_one_read_a_turn(bed: Bench) -> None:
    loud, shouting = bed.connect()
    quiet, whispering = bed.connect()
    shouting.end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 18)
    count = 150_000 // len(END)
    shouting.send(END * count)
    whispering.send(END)
    assert bed.poller.poll() == 2
    assert quiet.told == ["end"]
    assert 0 < len(loud.told) < count
    bed.serve()
    assert loud.told == ["end"] * count


# --- the poller's end, and what is left ---


def test_closing_ends_every_socket_and_frees_every_descriptor() -> None:
    before = sockets.descriptors()
    with bench() as bed:
        owners = [bed.connect(opened=i % 2 == 0)[0] for i in range(70)]
        assert len(sockets.descriptors() - before) == 2 * 70 + 3
        bed.poller.close()
        assert [owner.told for owner in owners] == [["disconnected"]] * 70
        assert (len(bed.poller), bed.poller.fileno(), bed.poller.poll()) == (0, -1, 0)
        assert len(sockets.descriptors() - before) == 70
        bed.poller.close()
        fd, peer = bed.pair()
        with pytest.raises(OSError, match="epoll_ctl"):
            Owner(bed, fd)
        peer.read()
        assert peer.ended, "a socket that is not served is closed"


def test_the_poller_may_be_closed_from_within(bed: Bench) -> None:
    pairs = [bed.connect(end=lambda _: bed.poller.close()) for _ in range(3)]
    for _, peer in pairs:
        peer.send(END)
    bed.poller.poll()
    told = sorted(owner.told for owner, _ in pairs)
    assert told == [["disconnected"], ["disconnected"], ["end", "disconnected"]]


def test_what_cannot_be_watched_is_refused_and_closed(bed: Bench) -> None:
    read_end, write_end = os.pipe()
    os.close(write_end)
    os.close(read_end)
    with pytest.raises(OSError, match="epoll_ctl"):
        Owner(bed, read_end)
    plain = os.open(__file__, os.O_RDONLY)
    with pytest.raises(OSError, match="epoll_ctl"):
        Owner(bed, plain)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(plain)
    assert len(bed.poller) == 0


@pytest.mark.parametrize("left", [0, 1, 2])
def test_without_descriptors_there_is_no_poller(left: int) -> None:
    before = sockets.descriptors()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.open(os.devnull, os.O_RDONLY)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + left, hard))
    try:
        with pytest.raises(OSError, match="cannot watch"):
            SocketPoller()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert not sockets.descriptors() - before


@pytest.mark.parametrize("way", ["close frame", "abort", "failure", "reset", "poller"])
def test_an_ended_socket_leaves_nothing_that_only_a_collector_frees(way: str) -> None:
    def fails(_: Owner) -> None:
        raise ZeroDivisionError

    with bench() as bed:
        gc.disable()
        try:
            owner, peer = bed.connect(fail=fails)
            kept = owner.socket
            unused = sys.getrefcount(kept)
            if way == "close frame":
                peer.say(close_frame(1000))
            elif way == "abort":
                owner.socket.abort()
            elif way == "failure":
                peer.say(frame(message_of("fail")))
            elif way == "reset":
                peer.end.close()
                bed.serve()
            else:
                bed.poller.close()
            assert "disconnected" in owner.told
            owner.failures.clear()
            seen = weakref.ref(owner)
            # The poller's set and the stream's outlet are gone.
            assert sys.getrefcount(kept) == unused - 2
            del owner
            assert seen() is None
            assert sys.getrefcount(kept) == 2
        finally:
            gc.enable()


def test_a_poller_that_is_dropped_frees_what_it_served() -> None:
    def served() -> tuple[Peer, weakref.ref[Owner]]:
        owner, peer = made.connect()
        peer.say(END[:9])
        return peer, weakref.ref(owner)

    gc.collect()
    before = sockets.descriptors()
    made = Bench()
    peer, seen = served()
    made.poller = SocketPoller()
    gc.collect()
    assert seen() is None
    peer.read()
    assert peer.ended
    made.close()
    assert not sockets.descriptors() - before


def test_a_child_process_that_holds_a_socket_does_not_keep_it_alive(bed: Bench) -> None:
    """A descriptor that lives on elsewhere stays in its epoll set unless it is taken out."""
    owner, peer = bed.connect()
    fd, other = bed.pair()
    os.set_inheritable(fd, True)
    late = Owner(bed, fd)
    with subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=[fd]
    ) as child:
        late.socket.abort()
        other.send(REQUEST)
        peer.send(END)
        bed.serve()
        child.communicate(b"\n")
    assert owner.told == ["end"]
    assert late.told == ["disconnected"]


def test_a_socket_needs_a_stream_to_open(bed: Bench) -> None:
    owner, _ = bed.connect(opened=False)
    with pytest.raises(TypeError, match="stream"):
        owner.socket.open(RESPONSE, None)  # type: ignore[arg-type]  # what is tested


def test_one_stream_goes_on_with_the_next_socket(bed: Bench) -> None:
    stream = MediaStream(Workspace(), object())
    for _ in range(2):
        owner, peer = bed.connect(opened=False, request=lambda it: it.socket.open(RESPONSE, stream))
        peer.say(REQUEST)
        stream.send(b"here")
        assert peer.read(len(RESPONSE)) == RESPONSE
        assert peer.frames() == [(TEXT, b"here")]
        owner.socket.abort()
