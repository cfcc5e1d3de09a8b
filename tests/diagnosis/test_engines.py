from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.diagnosis.scene import loaded, run
from tests.hosting import free_port
from voicecall.clock import SystemClock
from voicecall.diagnosis.engines import look_at_engines
from voicecall.diagnosis.host import Host
from voicecall.errors import SpeechError, VoicecallError
from voicecall.server import Server
from voicecall.session.outfitter import Outfitter

if TYPE_CHECKING:
    from pathlib import Path

    from voicecall.config.load import LoadedConfig
    from voicecall.diagnosis.check import Finding

pytestmark = pytest.mark.socket


def configured(folder: Path, **more: object) -> LoadedConfig:
    scripted = {"provider": "scripted"}
    settings: dict[str, object] = {
        "serve": {"port": free_port()},
        "streaming": {"port": free_port()},
        "stt": scripted,
        "tts": scripted,
        "responseModel": "scripted/builtin",
        "store": ":memory:",
        "rpc": {"token": "a token of sufficient length"},
    }
    return loaded(folder, **{**settings, **more})


async def look(config: LoadedConfig) -> Finding:
    async with Host(config) as host:
        return await look_at_engines(config.config, host, SystemClock())


def test_engines_are_loaded_and_told_by_what_they_do(tmp_path: Path) -> None:
    async def case() -> None:
        finding = await look(configured(tmp_path))
        assert finding.status == "ok"
        assert finding.found == (
            "loaded: scripted listens, scripted speaks; replies by scripted/builtin"
        )
        spoken = await look(configured(tmp_path, streaming={"enabled": False}))
        assert "the carrier speaks and listens" in spoken.found

    run(case())


def test_engines_on_this_machine_really_load(tmp_path: Path) -> None:
    async def case() -> None:
        finding = await look(configured(tmp_path, tts={"provider": "local"}))
        assert "local speaks" in finding.found

    run(case())


def test_an_engine_that_does_not_load_says_why(tmp_path: Path) -> None:
    async def case() -> None:
        persona = tmp_path / "persona.json5"
        persona.write_text("{rules: 7}")
        with pytest.raises(VoicecallError, match="persona"):
            await look(configured(tmp_path, responseModel=f"scripted/{persona}"))

    run(case())


def test_what_was_loaded_is_let_go_even_if_something_else_does_not_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    freed = []

    async def prepare(_: Outfitter) -> None:
        raise SpeechError("the model file is damaged")

    async def close(outfitter: Outfitter) -> None:
        freed.append(outfitter)

    monkeypatch.setattr(Outfitter, "prepare", prepare)
    monkeypatch.setattr(Outfitter, "close", close)

    async def case() -> None:
        with pytest.raises(SpeechError, match="damaged"):
            await look(configured(tmp_path))
        assert len(freed) == 1

    run(case())


def test_a_running_server_has_loaded_them_already(tmp_path: Path) -> None:
    async def case() -> None:
        config = configured(tmp_path)
        async with Server(config.config):
            finding = await look(config)
        assert finding.status == "skipped"

    run(case())
