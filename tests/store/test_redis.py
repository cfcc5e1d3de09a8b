from __future__ import annotations

import asyncio
import sys
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from tests.store.databases import DatabaseServer, eventually, linked, opened
from tests.store.stores import CREATED, ended, run, stored
from voicecall.call.record import CallState
from voicecall.clock import ManualClock
from voicecall.errors import DependencyMissing, StoreError
from voicecall.store import redis
from voicecall.store.redis import RedisCallStore
from voicecall.store.retention import Retention

pytestmark = pytest.mark.socket

DAY_MS = 86_400_000


def change(number: int, call_id: str = "call-1") -> dict[str, Any]:
    return {"type": "call.turn", "timestamp": number, "callId": call_id}


def ids(records: Any) -> list[str]:
    return [record["callId"] for record in records]


async def keys(server: DatabaseServer, prefix: str) -> set[str]:
    async with linked(server.address()) as link:
        found = await link.ask(("KEYS", f"{prefix}*"))
    return {key.decode().removeprefix(prefix) for key in found}


# --- what is kept --------------------------------------------------------------------------------


def test_what_was_stored_is_there_after_reopening(database: DatabaseServer) -> None:
    async def case() -> None:
        address = database.address()
        async with opened(address) as store:
            await store.save(stored(words=2), CREATED)
        async with opened(address) as store:
            assert await store.live() == [stored(words=2)]
            assert await store.history("call-1") == [CREATED]

    run(case())


def test_changes_are_kept_in_order_of_all_calls_and_of_one(database: DatabaseServer) -> None:
    async def case() -> None:
        async with opened(database.address()) as store:
            for n in range(6):
                call_id = f"c{n % 2}"
                await store.save(stored(call_id=call_id), change(n, call_id))
            told = await store.changes()
            assert [each["timestamp"] for _, each in told] == list(range(6))
            numbers = [number for number, _ in told]
            assert numbers == sorted(set(numbers))
            assert await store.changes(after=numbers[3]) == told[4:]
            assert await store.changes(after=numbers[0], limit=2) == told[1:3]
            assert await store.changes(limit=0) == []
            assert await store.history("c1") == [change(n, "c1") for n in (1, 3, 5)]
            assert await store.history("other") == []

    run(case())


def test_a_call_is_found_by_the_newest_of_the_carriers_ids(database: DatabaseServer) -> None:
    async def case() -> None:
        async with opened(database.address()) as store:
            await store.save(stored(call_id="c1", provider_call_id="p1"), CREATED)
            await store.save(stored(call_id="c1", provider_call_id="p2"), CREATED)
            assert await store.get("p1") is None
            await store.save(stored(call_id="c2", provider_call_id="p2"), CREATED)
            # A change of the older call does not take the id back.
            await store.save(stored(call_id="c1", provider_call_id="p2", words=1), CREATED)
            found = await store.get("p2")
            assert found is not None
            assert found["callId"] == "c2"
            assert await store.get("half \ud83d") is None

    run(case())


def test_many_calls_and_long_ones_are_read_whole(database: DatabaseServer) -> None:
    async def case() -> None:
        async with opened(database.address()) as store:
            await asyncio.gather(
                *(
                    store.save(stored(call_id=f"c{n:03}", started_at=n), change(n))
                    for n in range(250)
                )
            )
            long = stored(call_id="long", words=9000, started_at=250)
            await store.save(long, CREATED)
            assert ids(await store.live()) == [*(f"c{n:03}" for n in range(250)), "long"]
            assert ids(await store.recent(120)) == ["long", *(f"c{249 - n}" for n in range(119))]
            assert await store.get("long") == long

    run(case())


def test_changes_that_come_together_travel_together(database: DatabaseServer) -> None:
    async def case() -> None:
        elapsed: list[float] = []
        async with opened(database.address(), on_stored=elapsed.append) as store:
            link = store._opened.link
            groups: list[int] = []
            travel = link.run

            async def watched(commands: Any) -> Any:
                groups.append(len(commands))
                return await travel(commands)

            link.run = watched  # type: ignore[method-assign]  # to look at the groups
            await asyncio.gather(
                *(store.save(stored(call_id=f"c{n}"), change(n)) for n in range(300))
            )
            assert sum(groups) == 300
            assert len(groups) <= 6
            assert len(await store.live()) == 300
        assert len(elapsed) == 300
        assert all(each > 0 for each in elapsed)

    run(case())


def test_only_new_words_travel(database: DatabaseServer) -> None:
    async def case() -> None:
        async with opened(database.address()) as store:
            await store.save(stored(words=200), CREATED)
            writer = store._opened.writer
            submit = writer.submit
            lengths: list[int] = []

            def watched(command: Any) -> Any:
                lengths.append(len(command))
                return submit(command)

            writer.submit = watched  # type: ignore[method-assign]  # to look at the commands
            await store.save(stored(words=201), change(1))
            assert lengths[0] < 20
            assert await store.get("call-1") == stored(words=201)

    run(case())


# --- what goes wrong -----------------------------------------------------------------------------


def test_words_that_the_server_has_lost_are_sent_again(database: DatabaseServer) -> None:
    async def case() -> None:
        address = database.address()
        async with opened(address) as store:
            await store.save(stored(words=5), CREATED)
            async with linked(address) as link:
                await link.ask(("DEL", f"{address.prefix}words:call-1"))
            await store.save(stored(words=6), change(1))
            assert await store.get("call-1") == stored(words=6)

    run(case())


def test_a_change_that_nobody_waited_for_and_that_comes_again_is_kept_once(
    database: DatabaseServer,
) -> None:
    async def case() -> None:
        async with opened(database.address()) as store:
            saving = asyncio.create_task(store.save(stored(), first := change(1)))
            await asyncio.sleep(0)
            saving.cancel()
            with pytest.raises(asyncio.CancelledError):
                await saving
            await store.save(stored(words=1), first)
            await store.save(stored(words=1), change(2))
            assert await store.history("call-1") == [change(1), change(2)]
            assert await store.get("call-1") == stored(words=1)
            assert not store._undecided

    run(case())


def test_a_change_whose_acknowledgement_is_lost_is_sent_again_and_kept_once(
    database: DatabaseServer,
) -> None:
    async def case() -> None:
        silenced = asyncio.Event()
        relays: list[asyncio.Task[None]] = []

        async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            relays.append(task)
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", database.port)
            back = asyncio.create_task(answer(far_reader, writer))
            while data := await reader.read(65536):
                far_writer.write(data)
            far_writer.close()
            await back

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while data := await reader.read(65536):
                if silenced.is_set():
                    # What it answers is lost, and with it the connection.
                    silenced.clear()
                    break
                writer.write(data)
            writer.close()

        direct = database.address()
        relaying = await asyncio.start_server(relay, "127.0.0.1", 0)
        port = relaying.sockets[0].getsockname()[1]
        async with relaying, opened(replace(direct, port=port)) as store:
            await store.save(stored(), CREATED)
            before = len(relays)
            for n in range(3):
                silenced.set()
                await store.save(stored(words=n), change(n))
                assert not silenced.is_set()
            assert len(relays) > before
            assert await store.history("call-1") == [CREATED, *(change(n) for n in range(3))]
            assert await store.get("call-1") == stored(words=2)
        await asyncio.wait(relays)

    run(case())


def test_undecided_changes_are_remembered_up_to_a_limit(
    database: DatabaseServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis, "_UNDECIDED_LIMIT", 3)

    async def case() -> None:
        address = database.address()
        async with opened(address) as store:
            for n in range(5):
                saving = asyncio.create_task(store.save(stored(call_id=f"c{n}"), change(n)))
                await asyncio.sleep(0)
                saving.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await saving
            assert list(store._undecided) == ["c2", "c3", "c4"]
        async with opened(address) as store:
            assert len(await store.live()) == 5

    run(case())


def test_a_record_that_cannot_be_stored_is_refused_and_the_others_are_stored(
    database: DatabaseServer,
) -> None:
    async def case() -> None:
        address = database.address()
        async with opened(address) as store:
            with pytest.raises(StoreError, match="no call record: KeyError"):
                await store.save({"callId": "c0"}, CREATED)
            with pytest.raises(StoreError, match="no JSON"):
                await store.save(stored(), {"odd": object()})
            async with linked(address) as link:
                await link.ask(("SET", f"{address.prefix}words:c3", "no list"))
            outcomes = await asyncio.gather(
                store.save(stored(call_id="c1"), CREATED),
                store.save(stored(call_id="half \ud83d"), CREATED),
                store.save(stored(call_id="c3"), CREATED),
                store.save(stored(call_id="c2"), CREATED),
                return_exceptions=True,
            )
            assert [type(outcome) for outcome in outcomes] == [
                type(None),
                StoreError,
                StoreError,
                type(None),
            ]
            assert "could not be stored" in str(outcomes[2])
            assert ids(await store.live()) == ["c1", "c2"]

    run(case())


def test_closing_stores_what_is_waiting_and_then_refuses(database: DatabaseServer) -> None:
    async def case() -> None:
        address = database.address()
        store = RedisCallStore(address, clock=ManualClock())
        with pytest.raises(StoreError, match="not open"):
            await store.save(stored(), CREATED)
        await store.open()
        saves = [
            asyncio.create_task(store.save(stored(call_id=f"c{n}"), CREATED)) for n in range(100)
        ]
        await asyncio.sleep(0)
        await store.close()
        await asyncio.gather(*saves)
        await store.close()
        with pytest.raises(StoreError, match="not open"):
            await store.live()
        async with opened(address) as again:
            assert len(await again.live()) == 100

    run(case())


def test_a_missing_client_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redis.asyncio", None)
    monkeypatch.delitem(sys.modules, "voicecall.store.redis_link")
    address = DatabaseServer.address(DatabaseServer(folder=None, port=1))  # type: ignore[arg-type]  # never started

    async def case() -> None:
        with pytest.raises(DependencyMissing, match=r"pip install \"voicecall\[redis\]\""):
            await RedisCallStore(address, clock=ManualClock()).open()

    run(case())


def test_a_server_that_would_forget_is_warned_of(
    own_database: DatabaseServer, caplog: pytest.LogCaptureFixture
) -> None:
    own_database.options = ("--appendonly", "no", "--maxmemory", "50mb")
    own_database.options += ("--maxmemory-policy", "allkeys-lru")
    own_database.start()

    async def case() -> None:
        async with opened(own_database.address()):
            pass

    run(case())
    said = [record.getMessage() for record in caplog.records]
    assert "the store forgets calls when its server stops: appendonly is off" in said
    assert "the store forgets calls when it is full: set noeviction" in said


def test_a_server_that_keeps_everything_is_not_warned_of(
    database: DatabaseServer, caplog: pytest.LogCaptureFixture
) -> None:
    async def case() -> None:
        async with opened(database.address()):
            pass

    run(case())
    assert [record for record in caplog.records if record.name == "voicecall.store"] == []


def test_a_full_server_refuses_changes_and_goes_on_when_there_is_room(
    own_database: DatabaseServer,
) -> None:
    own_database.start()

    async def case() -> None:
        address = own_database.address()
        async with opened(address) as store, linked(address) as link:
            await store.save(stored(), CREATED)
            await link.ask(("CONFIG SET", "maxmemory", "1mb"))
            with pytest.raises(StoreError, match=r"could not be stored.*memory"):
                await store.save(stored(words=1), more := change(1))
            assert await store.get("call-1") == stored()
            await link.ask(("CONFIG SET", "maxmemory", "0"))
            await store.save(stored(words=1), more)
            assert await store.history("call-1") == [CREATED, more]

    run(case())


# --- retention -----------------------------------------------------------------------------------


def test_pruning_forgets_whole_calls_in_steps_between_which_others_are_stored(
    database: DatabaseServer,
) -> None:
    async def case() -> None:
        async with opened(database.address()) as store:
            await asyncio.gather(
                *(store.save(ended(f"c{n}", n, words=3), change(n)) for n in range(90)),
                store.save(stored(call_id="live"), change(90)),
            )
            pruning = asyncio.create_task(store.prune(Retention(calls=10)))
            between = 0
            while not pruning.done():
                await store.save(stored(call_id="live"), change(91))
                between += not pruning.done()
            assert await pruning == 80
            assert between >= 1
            kept = {"live", *(f"c{n}" for n in range(80, 90))}
            assert set(ids(await store.recent(200))) == kept
            assert await store.get("c79") is None
            assert await store.history("c79") == []
            assert await store.history("c80") == [change(80)]
            assert await store.prune(Retention(calls=10)) == 0

    run(case())


def test_calls_that_ended_too_long_ago_are_forgotten_in_the_background(
    database: DatabaseServer,
) -> None:
    async def case() -> None:
        address = database.address()
        clock = ManualClock()
        now_ms = clock.wall_ms()
        async with opened(address, clock=clock) as store:
            await store.save(ended("older", now_ms - 3 * DAY_MS), CREATED)
            await store.save(ended("old", now_ms - 2 * DAY_MS), CREATED)
            await store.save(ended("new", now_ms - 2 * DAY_MS + 1), CREATED)
            await store.save(stored(CallState.ACTIVE, call_id="live", started_at=1), CREATED)
        async with opened(address, clock=clock, retention=Retention(days=2)) as store:
            await eventually(partial(gone, store))
            assert await store.get("older") is None
            assert await store.get("new") is not None
            assert await store.get("live") is not None

    async def gone(store: RedisCallStore) -> bool | None:
        return None if await store.get("old") else True

    run(case())


def test_more_than_fits_is_forgotten(database: DatabaseServer) -> None:
    async def case() -> None:
        address = database.address()
        async with opened(address) as store, linked(address) as link:
            for n in range(60):
                await store.save(ended(f"c{n}", n, words=20, provider_call_id=f"p{n}"), change(n))
            full = int(await link.ask(("GET", f"{address.prefix}octets")))
            assert full > 60 * 20 * 10
            assert 25 <= await store.prune(Retention(octets=full // 2)) <= 35
            assert await store.get("c59") is not None
            assert await store.prune(Retention(octets=0)) > 20
            assert int(await link.ask(("GET", f"{address.prefix}octets"))) == 0
        # Nothing of a forgotten call is left over.
        left = await keys(database, address.prefix)
        assert left <= {"schema", "number", "octets", "changes"}

    run(case())


def test_the_numbers_of_changes_never_come_again(database: DatabaseServer) -> None:
    """So that whoever follows the changes by number misses none."""

    async def case() -> None:
        async with opened(database.address()) as store:
            await store.save(ended("c1", 5), change(1))
            ((first, _),) = await store.changes()
            assert await store.prune(Retention(calls=0)) == 1
            await store.save(ended("c2", 6), change(2))
            assert await store.changes(after=first) == [(first + 1, change(2))]

    run(case())


# --- several servers -----------------------------------------------------------------------------


def test_two_servers_share_the_history_and_not_the_live_calls(database: DatabaseServer) -> None:
    async def case() -> None:
        prefix = database.address().prefix
        one, two = (database.address(prefix=prefix, server=name) for name in ("one", "two"))
        async with opened(one) as first, opened(two) as second:
            await first.save(stored(call_id="a", started_at=1), CREATED)
            await second.save(stored(call_id="b", started_at=2), CREATED)
            assert ids(await first.live()) == ["a"]
            assert ids(await second.live()) == ["b"]
            assert ids(await first.recent(9)) == ids(await second.recent(9)) == ["b", "a"]
            assert await first.get("b") == await second.get("b")
            assert len(await first.changes()) == 2
            with pytest.raises(StoreError, match="has taken the call over"):
                await second.save(stored(call_id="a", words=1), change(1))
            assert await first.get("a") == stored(call_id="a", started_at=1)

    run(case())


def test_a_tool_looks_and_prunes_while_a_server_is_at_work(database: DatabaseServer) -> None:
    async def case() -> None:
        address = database.address()
        async with opened(address) as server, opened(address, shared=True) as tool:
            await asyncio.gather(*(server.save(ended(f"c{n}", n), CREATED) for n in range(50)))
            pruning = asyncio.create_task(tool.prune(Retention(calls=10)))
            for n in range(50, 60):
                await server.save(stored(call_id=f"c{n}"), CREATED)
            assert await pruning == 40
            assert len(await server.live()) == len(await tool.live()) == 10
            assert len(await server.recent(100)) == 20

    run(case())
