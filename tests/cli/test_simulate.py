"""A simulated carrier as a command: a server with the configuration it prints uses it."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from tests.hosting import run, until
from voicecall.cli import main
from voicecall.cli.simulate import CARRIERS, OUR_NUMBER, WEBHOOK_PATH, WEBHOOK_URL
from voicecall.clock import SystemClock
from voicecall.config.schema import Config
from voicecall.diagnosis.vendors.carrier import Question, questions

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.socket

WITHIN_S = 30.0


@asynccontextmanager
async def simulated(carrier: str, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """The command, in a process of its own, until the context ends."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "voicecall", "simulate", carrier, *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@pytest.mark.parametrize("carrier", CARRIERS)
def test_it_prints_a_configuration_that_leads_a_server_to_it(carrier: str) -> None:
    async def case() -> None:
        async with simulated(carrier) as process:
            assert process.stdout is not None
            async with asyncio.timeout(WITHIN_S):
                settings: dict[str, Any] = json.loads(await process.stdout.readline())
            assert settings["provider"] == carrier
            assert settings["fromNumber"] == OUR_NUMBER
            assert settings[carrier]["apiBaseUrl"].startswith("http://127.0.0.1:")
            config = Config.model_validate(settings)
            asking = questions(config, SystemClock(), WITHIN_S)
            assert asking is not None
            # As `voicecall setup` asks: all is well with the account that is printed.
            where = f"{WEBHOOK_URL}{WEBHOOK_PATH}"
            found = [await asking.credentials(), await asking.number(Question(OUR_NUMBER, where))]
            await asking.close()
        assert [finding.status for finding in found] == ["ok", "ok"]

    run(case(), within_s=WITHIN_S + 5)


def test_it_writes_the_configuration_once_and_ends_when_interrupted(tmp_path: Path) -> None:
    path = tmp_path / "twilio.json5"

    async def case() -> None:
        async with simulated("twilio", "--write", str(path)) as process:
            await until(path.is_file, WITHIN_S)
            assert process.stderr is not None
            async with asyncio.timeout(WITHIN_S):
                assert b"voicecall --config" in await process.stderr.readline()
            process.send_signal(2)
            async with asyncio.timeout(WITHIN_S):
                assert await process.wait() == 0

    run(case(), within_s=3 * WITHIN_S)
    assert json.loads(path.read_text())["publicUrl"] == WEBHOOK_URL
    again = CliRunner().invoke(main, ["simulate", "twilio", "--write", str(path)])
    assert again.exit_code == 1
    assert "cannot be written: File exists" in again.output
