"""The stand-ins, on this process's PATH."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.exposure import standins

if TYPE_CHECKING:
    from pathlib import Path

    from tests.exposure.standins import StandIn, TailscaleStandIn


@pytest.fixture
def ngrok(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    stand_in = standins.ngrok(tmp_path)
    monkeypatch.setenv("PATH", stand_in.path)
    monkeypatch.delenv("NGROK_AUTHTOKEN", raising=False)
    return stand_in


@pytest.fixture
def tailscale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TailscaleStandIn:
    stand_in = standins.TailscaleStandIn(tmp_path)
    monkeypatch.setenv("PATH", stand_in.path)
    return stand_in


@pytest.fixture
def nothing_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.setenv("PATH", str(empty))
