from __future__ import annotations

import resource
from typing import TYPE_CHECKING

import pytest

from tests.diagnosis.scene import run
from voicecall.config.schema import Config
from voicecall.diagnosis.machine import (
    descriptors_needed,
    look_at_descriptors,
    look_at_state,
    look_at_token,
    nearest,
)
from voicecall.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from voicecall.diagnosis.check import Finding

pytestmark = pytest.mark.unit


def config(**settings: object) -> Config:
    return Config.model_validate(settings)


def test_each_call_needs_a_socket_for_its_media_and_one_for_each_remote_service() -> None:
    local = descriptors_needed(config(maxConcurrentCalls=1000))
    remote = descriptors_needed(
        config(maxConcurrentCalls=1000, stt={"provider": "deepgram"}, tts={"provider": "openai"})
    )
    talking = descriptors_needed(config(maxConcurrentCalls=1000, realtime={"enabled": True}))
    assert local >= 1000
    assert remote - local == 2000
    assert talking - local == 1000


@pytest.mark.parametrize(
    ("limits", "status", "remedy"),
    [
        ((1 << 20, 1 << 20), "ok", None),
        ((resource.RLIM_INFINITY, resource.RLIM_INFINITY), "ok", None),
        ((100, 1 << 20), "fail", "ulimit -n"),
        ((100, resource.RLIM_INFINITY), "fail", "ulimit -n"),
        ((100, 200), "fail", "hard limit of 200"),
    ],
)
def test_the_limit_on_open_files_is_compared_with_what_the_calls_need(
    limits: tuple[int, int], status: str, remedy: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits)

    async def case() -> None:
        finding = await look_at_descriptors(config())
        assert finding.status == status
        assert remedy is None or remedy in (finding.remedy or "")

    run(case())


def test_state_can_be_kept_where_a_directory_can_be_made(tmp_path: Path) -> None:
    async def case() -> None:
        assert (await look_at_state(tmp_path / "a" / "b")).found.endswith("(will be made)")
        assert (await look_at_state(tmp_path)).found == str(tmp_path)
        file = tmp_path / "file"
        file.touch()
        finding = await look_at_state(file / "voicecall")
        assert finding.status == "fail"
        assert f"{file} is not writable" in finding.found

    run(case())


def test_a_token_that_others_can_read_is_red_with_the_command_that_mends_it(
    tmp_path: Path,
) -> None:
    async def look(**settings: object) -> Finding:
        return await look_at_token(config(**settings), tmp_path)

    async def case() -> None:
        assert "made when a server first starts" in (await look()).found
        path = tmp_path / "rpc-token"
        path.write_text("a token")
        path.chmod(0o644)
        finding = await look()
        assert (finding.status, finding.remedy) == ("fail", f"chmod 600 {path}")
        assert "a token" not in finding.found
        path.chmod(0o600)
        assert (await look()).status == "ok"
        assert (await look(rpc={"token": "short"})).status == "warn"
        assert (await look(rpc={"token": "long enough to be one"})).status == "ok"
        path.write_text("")
        with pytest.raises(ConfigError, match="is empty"):
            await look()

    run(case())


def test_the_nearest_directory_is_one_that_exists(tmp_path: Path) -> None:
    assert nearest(tmp_path / "x" / "y" / "z") == tmp_path
    assert nearest(tmp_path) == tmp_path
