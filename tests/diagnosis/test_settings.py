from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.diagnosis.scene import loaded, run
from voicecall.config.schema import Config
from voicecall.diagnosis.settings import (
    look_at_configuration,
    look_at_exposure,
    look_at_inbound,
)

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.unit


def config(**settings: object) -> Config:
    return Config.model_validate(settings)


def test_a_configuration_without_warnings_is_told_by_its_file(tmp_path: Path) -> None:
    async def case() -> None:
        finding = await look_at_configuration(loaded(tmp_path))
        assert (finding.status, finding.found) == ("ok", str(tmp_path / "voicecall.json5"))

    run(case())


def test_warnings_are_shown_with_the_keys_to_change(tmp_path: Path) -> None:
    async def case() -> None:
        config = loaded(
            tmp_path,
            provider="plivo",
            fromNumber="+15550001111",
            plivo={"authId": "MAXXXXXXXXXXXXXXXXXX", "authToken": "none"},
            publicUrl="https://calls.example.com",
            skipSignatureVerification=True,
            staleCallReaperSeconds=60,
            maxDurationSeconds=300,
        )
        finding = await look_at_configuration(config)
        assert finding.status == "warn"
        assert "skipSignatureVerification: " in finding.found
        assert "staleCallReaperSeconds: " in finding.found
        assert finding.remedy is not None
        assert finding.remedy.startswith("change these keys: ")
        assert "skipSignatureVerification" in finding.remedy

    run(case())


def test_what_is_switched_off_cannot_serve(tmp_path: Path) -> None:
    async def case() -> None:
        finding = await look_at_configuration(loaded(tmp_path, enabled=False))
        assert (finding.status, finding.remedy) == ("fail", "set enabled to true")

    run(case())


def test_a_control_plane_in_clear_text_on_a_network_is_worth_a_word(tmp_path: Path) -> None:
    async def case() -> None:
        assert (await look_at_exposure(config())).status == "ok"
        everywhere = "0.0.0.0"  # noqa: S104  (nothing is bound)
        finding = await look_at_exposure(config(serve={"bind": everywhere}))
        assert finding.status == "warn"
        assert "crosses the network unencrypted" in finding.found
        for name in ("cert.pem", "key.pem"):
            (tmp_path / name).touch()
        tls = {"cert": str(tmp_path / "cert.pem"), "key": str(tmp_path / "key.pem")}
        encrypted = await look_at_exposure(config(serve={"bind": everywhere, "tls": tls}))
        assert encrypted.status == "ok"

    run(case())


@pytest.mark.parametrize(
    ("settings", "status", "told"),
    [
        ({}, "ok", "none are taken"),
        ({"inboundPolicy": "open"}, "warn", "everybody may call"),
        ({"inboundPolicy": "allowlist"}, "warn", "nobody may call"),
        (
            {"inboundPolicy": "allowlist", "allowFrom": ["+15550001234", "+15550001235"]},
            "ok",
            "2 numbers may call",
        ),
    ],
)
def test_who_may_call_is_told(settings: dict[str, object], status: str, told: str) -> None:
    async def case() -> None:
        finding = await look_at_inbound(config(**settings))
        assert finding.status == status
        assert told in finding.found
        assert "+1555" not in finding.found

    run(case())
