"""`voicecall prune`: forget calls that ended."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import click

from voicecall.cli.invocation import Invocation, emit_json, json_option
from voicecall.errors import StoreError

if TYPE_CHECKING:
    from voicecall.config.schema import Config
    from voicecall.store.redis import RedisCallStore
    from voicecall.store.retention import Retention
    from voicecall.store.sqlite import SqliteCallStore


@click.command("prune")
@click.option(
    "--days", type=click.IntRange(min=0), help="Forget calls that ended more days ago than this."
)
@click.option(
    "--calls", type=click.IntRange(min=0), help="Keep at most so many; those that ended first go."
)
@json_option
@click.pass_obj
def command(invocation: Invocation, days: int | None, calls: int | None) -> None:
    """Forget calls that ended: their records, transcripts and changes.

    Without options, what the configured `retention` does not keep. Live calls are always kept. A
    server may be running on the same store.

    Example: voicecall prune --days 30
    """
    # The store is not worth loading for `--help`.
    from voicecall.store.retention import Retention  # noqa: PLC0415

    config = invocation.load_config().config
    given = Retention(days=days, calls=calls)
    retention = given if given.limited else Retention.configured(config.retention)
    if not retention.limited:
        raise click.UsageError("no retention is configured: say --days or --calls")
    forgotten = asyncio.run(_prune(_store(config), retention))
    if invocation.wants_json:
        emit_json({"forgotten": forgotten})
    else:
        click.echo(f"{forgotten} calls forgotten")


def _store(config: Config) -> SqliteCallStore | RedisCallStore:
    from voicecall.clock import SystemClock  # noqa: PLC0415
    from voicecall.config.schema import IN_MEMORY  # noqa: PLC0415
    from voicecall.store.redis import RedisCallStore  # noqa: PLC0415
    from voicecall.store.redis_address import RedisAddress  # noqa: PLC0415
    from voicecall.store.sqlite import SqliteCallStore  # noqa: PLC0415

    if config.store is None or config.store == IN_MEMORY:
        raise StoreError("store: calls in memory cannot be pruned from outside")
    if "://" in config.store:
        # Which server this is does not matter to who takes no calls.
        address = RedisAddress.parse(config.store, server="prune")
        return RedisCallStore(address, clock=SystemClock(), shared=True)
    if not Path(config.store).is_file():
        raise StoreError(f"store: there is no file {config.store}")
    return SqliteCallStore(Path(config.store), clock=SystemClock(), shared=True)


async def _prune(store: SqliteCallStore | RedisCallStore, retention: Retention) -> int:
    await store.open()
    try:
        return await store.prune(retention)
    finally:
        await store.close()
