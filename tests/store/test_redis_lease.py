from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from tests.store.databases import DatabaseServer, eventually, linked, opened
from tests.store.stores import CREATED, run, stored
from voicecall.clock import ManualClock
from voicecall.errors import StoreError
from voicecall.store.redis import RedisCallStore
from voicecall.store.redis_lease import RedisLease, claimed
from voicecall.store.redis_scripts import SCHEMA_VERSION

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from voicecall.store.redis_address import RedisAddress

pytestmark = pytest.mark.socket

# Short enough to wait for, long enough for a busy machine to renew it.
SHORT_MS = 1500


@asynccontextmanager
async def leased(address: RedisAddress, lease_ms: int = SHORT_MS) -> AsyncIterator[RedisLease]:
    async with linked(address) as link:
        yield RedisLease(link, address, lease_ms)


async def die(store: RedisCallStore) -> None:
    """Leave a store as a process does that is killed: nothing is given back."""
    parts, store._parts = store._opened, None
    renewing = parts.lease._renewing
    assert renewing is not None
    tasks = (renewing, parts.pruning, parts.writer._task)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await parts.link.close()


async def shorten(address: RedisAddress, ms: int) -> None:
    """Have the lease of a dead process end soon."""
    async with linked(address) as link:
        assert await link.ask(("PEXPIRE", f"{address.prefix}lease:{address.server}", ms))


def ids(records: object) -> list[str]:
    assert isinstance(records, list)
    return [record["callId"] for record in records]


def test_a_lease_that_was_given_back_is_had_at_once(database: DatabaseServer) -> None:
    async def case() -> None:
        address = database.address()
        # Long enough that waiting for it would not be in time.
        async with leased(address, 60_000) as first, leased(address, 60_000) as second:
            assert await first.claim() == 0
            await first.release()
            assert await second.claim() == 0
            # Somebody else's is not given back.
            await first.release()
            await second.release()

    run(case())


def test_a_running_server_of_the_same_name_is_left_alone(database: DatabaseServer) -> None:
    async def case() -> None:
        address = database.address()
        async with leased(address) as first, leased(address) as second:
            await first.claim()
            with pytest.raises(StoreError, match=r"another voicecall server named one.*\?server="):
                await second.claim()
            await first.release()

    run(case())


def test_a_server_that_was_killed_goes_on_with_its_calls_when_it_is_started_again(
    database: DatabaseServer,
) -> None:
    async def case() -> None:
        address = database.address()
        killed = RedisCallStore(address, clock=ManualClock())
        await killed.open()
        await killed.save(stored(call_id="a"), CREATED)
        await die(killed)
        await shorten(address, 300)
        async with opened(address) as again:
            assert ids(await again.live()) == ["a"]
            await again.save(stored(call_id="a", words=1), CREATED)

    run(case())


def test_calls_of_a_server_that_does_not_come_back_go_to_who_starts_next_and_no_others(
    database: DatabaseServer,
) -> None:
    async def case() -> None:
        prefix = database.address().prefix
        one, two, three = (
            database.address(prefix=prefix, server=name) for name in ("one", "two", "three")
        )
        dead = RedisCallStore(one, clock=ManualClock())
        await dead.open()
        await dead.save(stored(call_id="a"), CREATED)
        async with opened(two) as alive:
            await alive.save(stored(call_id="b"), CREATED)
            await die(dead)
            async with linked(one) as link:
                await link.ask(("DEL", f"{prefix}lease:one"))
            async with opened(three) as next_one:
                assert ids(await next_one.live()) == ["a"]
                assert ids(await alive.live()) == ["b"]
                await next_one.save(stored(call_id="a", words=1), CREATED)
                await alive.save(stored(call_id="b", words=1), CREATED)

    run(case())


def test_who_was_away_too_long_finds_its_calls_taken_and_writes_nothing(
    database: DatabaseServer,
) -> None:
    async def case() -> None:
        prefix = database.address().prefix
        one, two = (database.address(prefix=prefix, server=name) for name in ("one", "two"))
        async with opened(one) as away:
            await away.save(stored(call_id="a"), CREATED)
            async with linked(one) as link:
                await link.ask(("DEL", f"{prefix}lease:one"))
            async with opened(two) as other:
                assert ids(await other.live()) == ["a"]
                with pytest.raises(StoreError, match="has taken the call over"):
                    await away.save(stored(call_id="a", words=1), CREATED)
                assert await other.get("a") == stored(call_id="a")
                # New calls are its own.
                await away.save(stored(call_id="b"), CREATED)

    run(case())


def test_a_second_process_of_a_name_fences_the_first_off(
    database: DatabaseServer, caplog: pytest.LogCaptureFixture
) -> None:
    async def case() -> None:
        address = database.address()
        async with opened(address) as first:
            async with linked(address) as link:
                await link.ask(("SET", f"{address.prefix}lease:one", "somebody", "PX", 60_000))
            with pytest.raises(StoreError, match="another voicecall server of this name"):
                await first.save(stored(), CREATED)
            renewing = first._opened.lease._renewing
            assert renewing is not None
            async with asyncio.timeout(15):
                await asyncio.wait({renewing})

    run(case())
    said = [record.getMessage() for record in caplog.records]
    assert said == ["another process took this server's calls"]


def test_a_lease_outlives_its_length_and_a_server_that_lost_it(
    database: DatabaseServer,
) -> None:
    async def case() -> None:
        address = database.address()
        key = f"{address.prefix}lease:one"
        async with leased(address) as lease, linked(address) as link:
            await lease.claim()
            await link.ask(("DEL", key))
            holder = await eventually(lambda: link.ask(("GET", key)))
            assert holder.decode() == lease.process
            await lease.release()
            assert await link.ask(("GET", key)) is None

    run(case())


def test_keys_of_others_are_refused() -> None:
    with pytest.raises(StoreError, match="keys of another program"):
        claimed([b"foreign"], "here")
    with pytest.raises(StoreError, match="newer voicecall"):
        claimed([b"newer", b"9"], "here")


@pytest.mark.parametrize("version", ["of mine", str(SCHEMA_VERSION + 1)])
def test_a_store_that_is_not_ours_is_not_touched(database: DatabaseServer, version: str) -> None:
    async def case() -> None:
        address = database.address()
        async with linked(address) as link:
            await link.ask(("SET", f"{address.prefix}schema", version))
            for shared in (False, True):
                with pytest.raises(StoreError, match=r"choose another \?prefix="):
                    await RedisCallStore(address, clock=ManualClock(), shared=shared).open()
            assert await link.ask(("KEYS", f"{address.prefix}*")) == [
                f"{address.prefix}schema".encode()
            ]

    run(case())
