"""Settings that are allowed, and seldom what is meant."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.diagnosis.scene import loaded, run
from voicecall.diagnosis.settings import (
    look_at_configuration,
    look_at_exposure,
    look_at_inbound,
)

if TYPE_CHECKING:
    from pathlib import Path

    from voicecall.diagnosis.check import Finding

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("settings", "status", "told"),
    [
        ({}, "ok", "voicecall.json5"),
        ({"enabled": False}, "fail", "enabled is false"),
        ({"provider": "log"}, "warn", "log"),
    ],
)
def test_a_configuration_that_warns_is_worth_a_look(
    tmp_path: Path, settings: dict[str, Any], status: str, told: str
) -> None:
    async def case() -> None:
        finding = await look_at_configuration(loaded(tmp_path, **settings))
        assert finding.status == status
        assert told in finding.found
        assert (finding.remedy is None) == (status == "ok")

    run(case())


@pytest.mark.parametrize(
    ("bind", "tls", "status"),
    [
        ("127.0.0.1", False, "ok"),
        ("0.0.0.0", False, "warn"),  # noqa: S104  (nothing is bound)
        ("0.0.0.0", True, "ok"),  # noqa: S104  (as above)
    ],
)
def test_a_control_plane_in_clear_text_for_all_is_told(
    tmp_path: Path, bind: str, tls: bool, status: str
) -> None:
    async def case() -> None:
        serve: dict[str, Any] = {"bind": bind}
        if tls:
            for name in ("cert", "key"):
                (tmp_path / name).touch()
            serve["tls"] = {name: str(tmp_path / name) for name in ("cert", "key")}
        finding = await look_at_exposure(loaded(tmp_path, serve=serve).config)
        assert finding.status == status

    run(case())


@pytest.mark.parametrize(
    ("settings", "status"),
    [
        ({}, "ok"),
        ({"inboundPolicy": "open"}, "warn"),
        ({"inboundPolicy": "allowlist"}, "warn"),
        ({"inboundPolicy": "allowlist", "allowFrom": ["+15550001111"]}, "ok"),
    ],
)
def test_who_may_call_is_told_without_their_numbers(
    tmp_path: Path, settings: dict[str, Any], status: str
) -> None:
    async def look() -> Finding:
        return await look_at_inbound(loaded(tmp_path, **settings).config)

    async def case() -> None:
        finding = await look()
        assert finding.status == status
        assert "5550001111" not in finding.found

    run(case())
