from __future__ import annotations

import sqlite3

import pytest

from tests.store.stores import CREATED, ended, stored
from voicecall.call.record import CallState
from voicecall.config.schema import RetentionSettings
from voicecall.store.retention import STEP_CALLS, Retention, forget_some, horizon
from voicecall.store.rows import CallRow, encoded, read_recent
from voicecall.store.schema import bring_up_to_date

pytestmark = pytest.mark.unit

DAY_MS = 86_400_000
NOW_MS = 100 * DAY_MS


def database(*ends: int, words: int = 0) -> sqlite3.Connection:
    """Calls that ended then, and one that did not."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    bring_up_to_date(connection)
    records = [ended(f"c{n}", end, words=words) for n, end in enumerate(ends)]
    for record in (stored(CallState.ACTIVE, call_id="live"), *records):
        CallRow.of(record).write(connection, encoded(CREATED))
    return connection


def forget(connection: sqlite3.Connection, retention: Retention) -> list[int]:
    """How many calls each step forgot."""
    last = horizon(connection, retention, NOW_MS)
    steps = []
    while count := forget_some(connection, retention, last):
        steps.append(count)
    return steps


def left(connection: sqlite3.Connection) -> set[str]:
    return {record["callId"] for record in read_recent(connection, 1000)}


def test_without_limits_everything_is_kept() -> None:
    connection = database(1, 2, 3)
    assert not Retention().limited
    assert forget(connection, Retention()) == []
    assert left(connection) == {"live", "c0", "c1", "c2"}


def test_calls_that_ended_too_long_ago_are_forgotten() -> None:
    connection = database(NOW_MS - 2 * DAY_MS, NOW_MS - DAY_MS, NOW_MS - DAY_MS - 1, NOW_MS)
    assert Retention(days=1).limited
    assert forget(connection, Retention(days=1)) == [2]
    assert left(connection) == {"live", "c1", "c3"}


def test_of_too_many_calls_those_that_ended_first_are_forgotten() -> None:
    connection = database(30, 10, 20, 10)
    assert forget(connection, Retention(calls=2)) == [2]
    assert left(connection) == {"live", "c0", "c2"}
    assert forget(connection, Retention(calls=2)) == []


def test_of_calls_that_ended_together_no_more_than_needed_are_forgotten() -> None:
    connection = database(5, 5, 5)
    assert forget(connection, Retention(calls=2)) == [1]
    assert left(connection) == {"live", "c1", "c2"}


def test_the_stricter_of_two_limits_counts() -> None:
    for retention in (Retention(days=1, calls=3), Retention(days=50, calls=1)):
        connection = database(NOW_MS - 3 * DAY_MS, NOW_MS - 2 * DAY_MS, NOW_MS)
        assert sum(forget(connection, retention)) == 2
        assert left(connection) == {"live", "c2"}


def test_steps_are_small() -> None:
    connection = database(*range(STEP_CALLS * 2 + 5))
    assert forget(connection, Retention(calls=0)) == [STEP_CALLS, STEP_CALLS, 5]
    assert left(connection) == {"live"}


def test_more_than_fits_is_forgotten_and_the_room_given_back() -> None:
    connection = database(*range(200), words=30)
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    half = pages * 4096 // 2
    forgotten = sum(forget(connection, Retention(octets=half)))
    assert 60 < forgotten < 140
    assert f"c{199}" in left(connection)
    assert "c0" not in left(connection)
    assert connection.execute("PRAGMA page_count").fetchone()[0] * 4096 <= half
    assert forget(connection, Retention(octets=1)) != []
    assert left(connection) == {"live"}


def test_nothing_is_what_a_configuration_without_limits_means() -> None:
    assert Retention.configured(RetentionSettings()) == Retention()
    limits = {"days": 3, "calls": 4, "diskMegabytes": 5}
    expected = Retention(days=3, calls=4, octets=5_000_000)
    assert Retention.configured(RetentionSettings.model_validate(limits)) == expected
