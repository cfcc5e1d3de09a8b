"""Whether what calls are held with loads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.diagnosis.scene import loaded, run
from tests.hosting import free_port
from voicecall.clock import SystemClock
from voicecall.diagnosis.engines import look_at_engines
from voicecall.diagnosis.host import Host
from voicecall.errors import SpeechError
from voicecall.server import Server
from voicecall.session.outfitter import Outfitter

if TYPE_CHECKING:
    from pathlib import Path

    from voicecall.config.load import LoadedConfig

pytestmark = pytest.mark.socket


def configured(folder: Path, **more: Any) -> LoadedConfig:
    settings = {
        "serve": {"port": free_port()},
        "streaming": {"port": free_port()},
        "stt": {"provider": "scripted"},
        "tts": {"provider": "scripted"},
        "store": ":memory:",
        "rpc": {"token": "a token of sufficient length"},
    }
    return loaded(folder, **{**settings, **more})


def test_engines_that_load_are_named(tmp_path: Path) -> None:
    async def case() -> None:
        loaded = configured(tmp_path)
        async with Host(loaded) as host:
            finding = await look_at_engines(loaded.config, host, SystemClock())
        assert finding.status == "ok"
        assert "scripted listens, scripted speaks" in finding.found

    run(case())


def test_the_running_server_has_loaded_them(tmp_path: Path) -> None:
    async def case() -> None:
        loaded = configured(tmp_path)
        async with Server(loaded.config), Host(loaded) as host:
            finding = await look_at_engines(loaded.config, host, SystemClock())
        assert finding.status == "skipped"

    run(case())


def test_what_does_not_load_is_the_engines_own_error_and_all_are_freed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    freed = []

    async def prepare(outfitter: Outfitter) -> None:
        raise SpeechError("the model file is damaged")

    async def close(outfitter: Outfitter) -> None:
        freed.append(outfitter)

    monkeypatch.setattr(Outfitter, "prepare", prepare)
    monkeypatch.setattr(Outfitter, "close", close)

    async def case() -> None:
        loaded = configured(tmp_path)
        async with Host(loaded) as host:
            with pytest.raises(SpeechError, match="damaged"):
                await look_at_engines(loaded.config, host, SystemClock())
        assert len(freed) == 1

    run(case())
