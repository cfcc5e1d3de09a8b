"""Options that several commands have, and what the shell completes in them."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import click
import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner

from tests.control.fakes import TOKEN, FakeCalls, record, services, serving
from tests.hosting import free_port, run
from voicecall.call.record import CallState, Direction
from voicecall.cli import call_options, main
from voicecall.cli.call_options import (
    any_call_id_option,
    call_id_option,
    message_option,
    mode_option,
)

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.socket


@click.command()
@call_id_option
@message_option("What to say.")
@mode_option
def acting(**given: str) -> None:
    click.echo(json.dumps(given))


@click.command()
@any_call_id_option
def looking(**given: str | None) -> None:
    click.echo(json.dumps(given))


def completed(config: Path, *typed: str, incomplete: str = "") -> list[tuple[str, str | None]]:
    """What a shell would be told."""
    complete = ShellComplete(main, {}, "voicecall", "_VOICECALL_COMPLETE")
    found = complete.get_completions(["--config", str(config), *typed], incomplete)
    return [(item.value, item.help) for item in found]


def configured(folder: Path, port: int, **sections: Any) -> Path:
    path = folder / "voicecall.json5"
    config = {
        "serve": {"port": port},
        "streaming": {"port": 0},
        "rpc": {"token": TOKEN},
        **sections,
    }
    path.write_text(json.dumps(config))
    return path


def test_a_call_can_be_named_by_either_id_where_none_need_be_given() -> None:
    for option in ("--call-id", "--sid"):
        assert json.loads(CliRunner().invoke(looking, [option, "x"]).stdout) == {"call_id": "x"}
    assert json.loads(CliRunner().invoke(looking, []).stdout) == {"call_id": None}


def test_calls_are_conversations_unless_told_otherwise() -> None:
    shown = CliRunner().invoke(acting, ["--call-id", "x", "-m", "Hi"])
    assert json.loads(shown.stdout) == {"call_id": "x", "message": "Hi", "mode": "conversation"}


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        (["-m", "Hi"], "Missing option '--call-id'"),
        (["--call-id", "x"], "Missing option '-m' / '--message'"),
        (["--call-id", "x", "-m", " "], "there is nothing to say"),
        (["--call-id", "x", "-m", "Hi", "--mode", "chat"], "'chat' is not one of"),
    ],
)
def test_what_is_missing_or_wrong_is_named(given: list[str], complaint: str) -> None:
    shown = CliRunner().invoke(acting, given)
    assert (shown.exit_code, shown.stdout) == (2, "")
    assert complaint in shown.stderr


def test_the_shell_is_told_which_calls_go_on(tmp_path: Path) -> None:
    calls = FakeCalls()
    calls.add(
        record("c-1", state=CallState.LISTENING),
        record("c-2", state=CallState.COMPLETED),
        record("d-1", state=CallState.RINGING, direction=Direction.INBOUND),
    )

    async def case() -> None:
        async with serving(services(calls)) as served:
            config = configured(tmp_path, served.port)
            every = await asyncio.to_thread(completed, config, "end", "--call-id")
            assert every == [("c-1", "listening +15550002222"), ("d-1", "ringing +15550001111")]
            some = await asyncio.to_thread(completed, config, "tail", "--sid", incomplete="c")
            assert [call_id for call_id, _ in some] == ["c-1"]

    run(case())


def test_nothing_is_completed_or_said_without_a_server(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    # Deprecated, which is worth a warning elsewhere.
    config = configured(tmp_path, free_port(), provider="log")
    assert completed(config, "end", "--call-id") == []
    config.write_text("{serve: {prot: 1}}")
    assert completed(config, "end", "--call-id") == []
    assert completed(tmp_path / "none.json5", "end", "--call-id") == []
    assert capfd.readouterr() == ("", "")


def test_nobody_waits_at_a_prompt_for_a_server_that_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(call_options, "PROMPT_S", 0.2)

    async def case() -> None:
        asked = asyncio.Event()
        closed = asyncio.Event()

        async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            asked.set()
            await reader.read()
            writer.close()
            closed.set()

        server = await asyncio.start_server(hang, "127.0.0.1", 0)
        async with server:
            config = configured(tmp_path, server.sockets[0].getsockname()[1])
            assert await asyncio.to_thread(completed, config, "end", "--call-id") == []
            assert asked.is_set()
            await closed.wait()

    run(case())
