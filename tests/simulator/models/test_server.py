from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import httpx
import pytest
from openai import AsyncOpenAI

from tests.simulator.models.serving import serving, until
from voicecall.errors import DependencyMissing
from voicecall.simulator import models
from voicecall.simulator.models.engines import InstantEngines
from voicecall.simulator.models.server import ModelServer

pytestmark = pytest.mark.socket


def test_two_servers_do_not_know_each_other() -> None:
    async def case() -> None:
        async with serving() as (one, client), serving() as (other, _):
            await client.models.list()
            assert len(one.received("models")) == 1
            assert other.received("models") == []
            assert one.origin != other.origin

    asyncio.run(case())


def test_it_leaves_no_task_and_no_open_port_even_with_clients_connected() -> None:
    async def case() -> None:
        before = asyncio.all_tasks()
        server = ModelServer(engines=InstantEngines())
        async with server:
            client = AsyncOpenAI(base_url=server.base_url, api_key=server.world.api_key)
            manager = client.realtime.connect(extra_query={"intent": "transcription"})
            connection = await manager.enter()
            await until(connection, "session.created")
            origin = server.origin
        await connection.close()
        await client.close()
        left = {task for task in asyncio.all_tasks() - before if not task.done()}
        assert left == set()
        async with httpx.AsyncClient() as http:
            with pytest.raises(httpx.ConnectError):
                await http.get(origin)

    asyncio.run(case())


def test_engines_that_were_given_stay_open() -> None:
    class Engines(InstantEngines):
        closed = False

        async def close(self) -> None:
            self.closed = True

    async def case() -> None:
        engines = Engines()
        async with ModelServer(engines=engines):
            pass
        assert not engines.closed

    asyncio.run(case())


def test_an_unknown_path_is_not_found() -> None:
    async def case() -> None:
        async with serving() as (server, _), httpx.AsyncClient() as http:
            assert (await http.get(f"{server.base_url}/nothing")).status_code == 404

    asyncio.run(case())


def test_without_the_vendors_package_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("api", "catalogue", "chat", "realtime", "responses", "speech", "transcription"):
        monkeypatch.delitem(sys.modules, f"{models.__name__}.{name}", raising=False)
        monkeypatch.delattr(models, name, raising=False)
    monkeypatch.setitem(sys.modules, "openai", None)
    for name in [name for name in sys.modules if name.startswith("openai.")]:
        monkeypatch.setitem(sys.modules, name, None)

    async def case() -> None:
        with pytest.raises(DependencyMissing, match=r"voicecall\[openai\]"):
            async with ModelServer(engines=InstantEngines()):
                pass

    asyncio.run(case())


def test_its_module_can_be_imported_without_the_vendors_package() -> None:
    source = Path(sys.modules[ModelServer.__module__].__file__ or "").read_text("utf-8")
    assert "\nimport openai" not in source
    assert "\nfrom openai" not in source
