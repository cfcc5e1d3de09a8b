"""deploy/systemd/voicecall.service, as systemd itself judges it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.deploy.programs import DEPLOY, check, program

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.unit

UNIT = DEPLOY / "systemd/voicecall.service"


def test_systemd_understands_every_line(tmp_path: Path) -> None:
    analyze = program("systemd-analyze", "systemd")
    # It looks whether the program is there.
    here = tmp_path / "voicecall.service"
    here.write_text(UNIT.read_text("utf-8").replace("/opt/voicecall/bin/voicecall", "/bin/true"))
    # What it does not understand it only warns of.
    about_us = [
        line for line in check(analyze, "verify", str(here)).splitlines() if here.name in line
    ]
    assert about_us == []


def test_systemd_finds_little_that_the_service_could_break() -> None:
    analyze = program("systemd-analyze", "systemd")
    said = check(analyze, "security", "--offline=true", "--no-pager", str(UNIT))
    found = re.search(r"Overall exposure level for voicecall.service: (\d+\.\d)", said)
    assert found is not None
    assert float(found[1]) <= 2.0


def test_the_server_has_the_time_that_it_takes_to_stop() -> None:
    unit = dict(
        line.split("=", 1) for line in UNIT.read_text("utf-8").splitlines() if "=" in line[1:]
    )
    assert unit["KillSignal"] == "SIGTERM"
    # It promises to be gone within 10 s.
    assert int(unit["TimeoutStopSec"]) > 10
    assert unit["ExecStart"].split()[-1] == "serve"
    assert unit["StateDirectory"] == "voicecall"
    assert "XDG_STATE_HOME=/var/lib" in unit["Environment"].split()
