"""The scripts as the database server runs them; what they are for is tested with the store."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.store.databases import DatabaseServer, linked
from tests.store.stores import run
from voicecall.store import redis_scripts
from voicecall.store.redis_scripts import CLAIM, FIND, FORGET, RELEASE, RENEW, SAVE, SCRIPTS, Script

pytestmark = pytest.mark.socket


def save(prefix: str, call_id: str, mark: str, *words: str, position: int = 0, **more: Any) -> Any:
    given = {"server": "one", "process": "p", "carrier": "", "ended": "", **more}
    return SAVE.call(
        prefix,
        given["server"],
        given["process"],
        5000,
        call_id,
        given["carrier"],
        1,
        given["ended"],
        "{}",
        mark,
        '{"n":1}',
        position,
        *words,
    )


def test_every_script_is_known_to_the_link_by_its_own_digest() -> None:
    made = {each for each in vars(redis_scripts).values() if isinstance(each, Script)}
    assert made == set(SCRIPTS)
    assert len({each.digest for each in SCRIPTS}) == len(SCRIPTS)


def test_every_key_that_is_used_is_described() -> None:
    text = Path(redis_scripts.__file__).read_text("utf-8")
    used = set(re.findall(r"prefix \.\. '(\w+)", text)) | {"lease"}
    table = text.split('"""', 2)[1]
    described = set(
        re.findall(
            r"`(\w+)(?::<\w+>)?`",
            "\n".join(line.split("|")[1] for line in table.splitlines() if line.startswith("| `")),
        )
    )
    assert used == described


def test_saving_answers_and_counts(database: DatabaseServer) -> None:
    async def case() -> None:
        address = database.address()
        prefix = address.prefix
        async with linked(address) as link:
            assert await link.ask(save(prefix, "c", "m1", "w0", "w1")) == b"stored"
            assert await link.ask(save(prefix, "c", "m1", "w1", position=1)) == b"stored"
            assert await link.ask(save(prefix, "c", "m2", "w3", position=3)) == b"words"
            assert await link.ask(save(prefix, "c", "m2", process="q")) == b"lost"
            assert await link.ask(save(prefix, "c", "m2", server="two")) == b"taken"
            assert await link.ask(("GET", f"{prefix}number")) == b"1"
            assert await link.ask(("LRANGE", f"{prefix}words:c", 0, -1)) == [b"w0", b"w1"]
            # A record, two words and one change.
            assert await link.ask(("GET", f"{prefix}octets")) == b"13"

    run(case())


def test_members_keep_the_order_in_which_calls_came(database: DatabaseServer) -> None:
    async def case() -> None:
        address = database.address()
        async with linked(address) as link:
            await link.ask(("SET", f"{address.prefix}number", 8))
            for call_id in ("b", "a", "c"):
                await link.ask(save(address.prefix, call_id, "m"))
            assert await link.ask(("ZRANGE", f"{address.prefix}live", 0, -1)) == [
                b"0000000000000009:b",
                b"0000000000000010:a",
                b"0000000000000011:c",
            ]

    run(case())


def test_a_lease_is_renewed_and_released_by_its_holder_only(database: DatabaseServer) -> None:
    async def case() -> None:
        address = database.address()
        prefix = address.prefix
        async with linked(address) as link:
            assert await link.ask(CLAIM.call(prefix, 1, "one", "p", 5000)) == [b"claimed", 0]
            held, left_ms = await link.ask(CLAIM.call(prefix, 1, "one", "q", 5000))
            assert held == b"held"
            assert 0 < left_ms <= 5000
            assert await link.ask(RENEW.call(prefix, "one", "q", 5000)) == b"lost"
            assert await link.ask(RELEASE.call(prefix, "one", "q")) == 0
            assert await link.ask(RENEW.call(prefix, "one", "p", 5000)) == b"renewed"
            assert await link.ask(RELEASE.call(prefix, "one", "p")) == 1
            assert await link.ask(RENEW.call(prefix, "one", "q", 5000)) == b"renewed"

    run(case())


def test_what_is_not_there_is_neither_found_nor_forgotten(database: DatabaseServer) -> None:
    async def case() -> None:
        address = database.address()
        async with linked(address) as link:
            assert await link.ask(FIND.call(address.prefix, "c")) is None
            assert await link.ask(FORGET.call(address.prefix, 20, "", 0, 0)) == 0

    run(case())
