from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicecall.clock import ManualClock
from voicecall.media.admission import Admission, StreamTokens
from voicecall.ports import ULAW_8K, StreamStart

pytestmark = pytest.mark.unit

ADDRESSES = ("192.0.2.1", "192.0.2.2", "")
STEPS = st.lists(
    st.one_of(
        st.just(("enter", "")),
        st.just(("leave", "")),
        st.just(("drain", "")),
        st.tuples(st.sampled_from(("enter_pending", "leave_pending")), st.sampled_from(ADDRESSES)),
    ),
    max_size=80,
)


@given(STEPS, st.integers(0, 4), st.integers(0, 3), st.integers(0, 2))
def test_counts_are_exact_and_never_over_a_limit(
    steps: list[tuple[str, str]], max_open: int, max_pending: int, max_per_address: int
) -> None:
    admission = Admission(max_open, max_pending, max_per_address)
    opened, draining, pending = 0, False, Counter[str]()
    for step, address in steps:
        if step == "drain":
            admission.draining = draining = True
        elif step == "enter":
            entered = admission.enter()
            assert entered == (not draining and opened < max_open)
            opened += entered
        elif step == "leave" and opened:
            admission.leave()
            opened -= 1
        elif step == "enter_pending":
            entered = admission.enter_pending(address)
            room = pending.total() < max_pending and pending[address] < max_per_address
            assert entered == room
            pending[address] += entered
        elif step == "leave_pending" and pending[address]:
            admission.leave_pending(address)
            pending[address] -= 1
        assert (admission.open, admission.pending) == (opened, pending.total())
    # Addresses that hold nothing are not remembered.
    assert admission._pending_by_address == Counter({a: n for a, n in pending.items() if n})


def tokens(clock: ManualClock) -> StreamTokens:
    made = StreamTokens(clock, 30_000)
    made.base_url = "wss://voice.example/voice/stream"
    return made


def token(url: str) -> str:
    return url.rpartition("/")[2]


def begun_with(token: str | None) -> StreamStart:
    return StreamStart("MZ1", "CA1", ULAW_8K, token, {})


def test_a_token_is_128_random_bits_in_hex_behind_the_stream_path() -> None:
    made = tokens(ManualClock())
    urls = {made.issue("call-1") for _ in range(100)}
    assert len(urls) == 100
    for url in urls:
        assert url.startswith("wss://voice.example/voice/stream/")
        assert len(bytes.fromhex(token(url))) == 16
    assert len(made) == 100


def test_a_token_names_its_own_call_only() -> None:
    made = tokens(ManualClock())
    first, second = token(made.issue("call-1")), token(made.issue("call-2"))
    assert made.call_for(first) == "call-1"
    assert made.call_for(second) == "call-2"
    assert made.call_of(begun_with(second)) == "call-2"


@pytest.mark.parametrize("guess", ["", "0" * 32, "é", "\udcff", "call-1"])
def test_a_guess_names_no_call(guess: str) -> None:
    made = tokens(ManualClock())
    made.issue("call-1")
    assert made.call_for(guess) is None
    assert made.call_of(begun_with(guess)) is None
    assert made.call_of(begun_with(None)) is None


def test_an_unused_token_expires_and_is_forgotten() -> None:
    clock = ManualClock()
    made = tokens(clock)
    unused = token(made.issue("call-1"))
    clock.advance_ms(30_000)
    assert made.call_for(unused) == "call-1"
    clock.advance_ms(1)
    assert made.call_for(unused) is None
    made.issue("call-2")
    assert len(made) == 1


def test_a_used_token_lasts_until_it_is_revoked() -> None:
    clock = ManualClock()
    made = tokens(clock)
    used = token(made.issue("call-1"))
    made.used("call-1")
    clock.advance_ms(10_000_000)
    assert made.call_for(used) == "call-1"
    made.revoke("call-1")
    made.revoke("call-1")
    assert made.call_for(used) is None
    assert len(made) == 0


def test_a_connection_does_not_bring_an_expired_token_back() -> None:
    clock = ManualClock()
    made = tokens(clock)
    expired = token(made.issue("call-1"))
    clock.advance_ms(20_000)
    fresh = token(made.issue("call-1"))
    clock.advance_ms(20_000)
    made.used("call-1")
    assert made.call_for(expired) is None
    assert made.call_for(fresh) == "call-1"


def test_one_token_that_expires_leaves_the_calls_others_alone() -> None:
    clock = ManualClock()
    made = tokens(clock)
    used = token(made.issue("call-1"))
    made.used("call-1")
    unused = token(made.issue("call-1"))
    clock.advance_ms(20_000)
    fresh = token(made.issue("call-1"))
    clock.advance_ms(20_000)
    made.issue("call-2")
    assert made.call_for(used) == "call-1"
    assert made.call_for(unused) is None
    assert made.call_for(fresh) == "call-1"
    made.revoke("call-1")
    assert len(made) == 1


def test_using_a_call_without_tokens_does_nothing() -> None:
    made = tokens(ManualClock())
    made.used("call-1")
    assert len(made) == 0


def test_a_sockets_url_is_the_one_that_the_carrier_was_told() -> None:
    made = tokens(ManualClock())
    told = made.issue("call-1")
    assert made.url_for(told.rpartition("/")[2]) == told
    assert made.url_for(None) == "wss://voice.example/voice/stream"
