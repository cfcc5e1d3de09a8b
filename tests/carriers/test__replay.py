from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicecall.carriers._replay import MAX_REPLAY_KEYS, REPLAY_WINDOW_NS, ReplayMemory
from voicecall.ports import WebhookAnswer

pytestmark = pytest.mark.unit

FIRST = WebhookAnswer(body=b"first")
SECOND = WebhookAnswer(body=b"second")


def test_an_answer_is_recalled_for_ten_minutes() -> None:
    memory = ReplayMemory()
    memory.remember("key", FIRST, now_ns=5)
    assert memory.recall("key", REPLAY_WINDOW_NS + 4) == FIRST
    assert memory.recall("other", 6) is None
    assert memory.recall("key", REPLAY_WINDOW_NS + 5) is None
    assert len(memory) == 0


def test_the_first_answer_to_a_key_stays() -> None:
    memory = ReplayMemory()
    memory.remember("key", FIRST, now_ns=0)
    memory.remember("key", SECOND, now_ns=1)
    assert memory.recall("key", 2) == FIRST
    assert memory.recall("key", REPLAY_WINDOW_NS) is None


def test_beyond_the_capacity_the_oldest_is_forgotten() -> None:
    memory = ReplayMemory(capacity=2)
    for key in "abc":
        memory.remember(key, FIRST, now_ns=0)
    assert [memory.recall(key, 1) is not None for key in "abc"] == [False, True, True]


def test_ten_thousand_keys_are_kept_by_default() -> None:
    memory = ReplayMemory()
    for n in range(MAX_REPLAY_KEYS + 5):
        memory.remember(str(n), FIRST, now_ns=n)
    assert len(memory) == MAX_REPLAY_KEYS == 10_000


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 8)), max_size=40))
def test_it_agrees_with_a_list_that_forgets_by_the_same_rules(
    steps: list[tuple[int, int]],
) -> None:
    memory = ReplayMemory(window_ns=10, capacity=3)
    kept: list[tuple[str, int, WebhookAnswer]] = []
    now_ns = 0
    for number, (key, elapsed_ns) in enumerate(steps):
        now_ns += elapsed_ns
        kept = [entry for entry in kept if entry[1] + 10 > now_ns]
        name, answer = f"key {key}", WebhookAnswer(body=str(number).encode())
        known = next((entry[2] for entry in kept if entry[0] == name), None)
        assert memory.recall(name, now_ns) == known
        if known is None:
            kept = [*kept, (name, now_ns, answer)][-3:]
        memory.remember(name, answer, now_ns)
        assert len(memory) == len(kept)
