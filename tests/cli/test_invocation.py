"""What all commands share."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click
import pytest
from click.testing import CliRunner

from voicecall.cli.invocation import Invocation, emit_json, json_option

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.unit


@click.command()
@json_option
@click.pass_context
def asking(ctx: click.Context) -> None:
    invocation = ctx.ensure_object(Invocation)
    emit_json([invocation.json, invocation.wants_json])


def test_results_are_json_when_asked_for_or_piped() -> None:
    assert json.loads(CliRunner().invoke(asking, []).stdout) == [False, True]
    assert json.loads(CliRunner().invoke(asking, ["--json"]).stdout) == [True, True]


def test_results_are_for_people_on_a_terminal_unless_json_was_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    assert not Invocation().wants_json
    assert Invocation(json=True).wants_json


def test_warnings_of_the_configuration_go_to_standard_error(tmp_path: Path) -> None:
    file = tmp_path / "c.json5"
    file.write_text("{provider: 'log'}")

    @click.command()
    def load() -> None:
        assert Invocation(config_path=file).load_config().config.provider == "mock"

    result = CliRunner().invoke(load, [], catch_exceptions=False)
    assert result.stdout == ""
    assert result.stderr == 'warning: provider: "log" is deprecated, it is read as "mock"\n'
