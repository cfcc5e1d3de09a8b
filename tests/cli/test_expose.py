"""`voicecall expose`, with a `tailscale` that stands in for the real one."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result

from tests.cli.terminal import Terminal
from tests.exposure.standins import TailscaleStandIn
from voicecall.cli import main
from voicecall.config.environment import VARIABLES

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.socket

DEADLINE_S = 30
WEBHOOK = {"path": "/voice/webhook", "target": "http://127.0.0.1:3334/voice/webhook"}
STREAM = {"path": "/voice/stream", "target": "http://127.0.0.1:3335/voice/stream"}
URL = "https://box.tail1.ts.net/voice/webhook"


class Exposing:
    """The command, with a configuration and a machine of the test's own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tailscale = TailscaleStandIn(folder)
        self.configure()

    def configure(self, **config: Any) -> None:
        (self.folder / "voicecall.json5").write_text(json.dumps(config))

    @property
    def arguments(self) -> list[str]:
        return ["--config", str(self.folder / "voicecall.json5"), "expose"]

    @property
    def command(self) -> list[str]:
        return [sys.executable, "-m", "voicecall", *self.arguments]

    @property
    def environment(self) -> dict[str, str]:
        return {"PATH": self.tailscale.path, "HOME": str(self.folder)}

    def ok(self, *arguments: str) -> tuple[dict[str, Any], str]:
        """The result, and what is said besides."""
        done = self._run(*arguments)
        assert done.exit_code == 0, done.stderr
        return json.loads(done.stdout), done.stderr

    def refused(self, *arguments: str, status: int = 1) -> str:
        done = self._run(*arguments)
        assert (done.exit_code, done.stdout) == (status, "")
        assert "Traceback" not in done.stderr
        return done.stderr

    def _run(self, *arguments: str) -> Result:
        return CliRunner().invoke(main, [*self.arguments, *arguments], env=self.environment)


@pytest.fixture
def exposing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Exposing:
    for variable in VARIABLES.values():
        monkeypatch.delenv(variable, raising=False)
    return Exposing(tmp_path)


def test_a_process_says_json_and_nothing_else_to_a_pipe(exposing: Exposing) -> None:
    done = subprocess.run(  # noqa: S603  (our own interpreter)
        [*exposing.command, "--mode", "serve"],
        env=exposing.environment,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["publicUrl"] == URL
    assert len(exposing.tailscale.handlers()) == 2


def test_without_options_the_whole_internet_gets_in_and_off_keeps_it_out(
    exposing: Exposing,
) -> None:
    result, advice = exposing.ok()
    assert result == {
        "mode": "funnel",
        "publicUrl": URL,
        "streamUrl": "wss://box.tail1.ts.net/voice/stream",
        "routes": [WEBHOOK, STREAM],
    }
    assert f'set publicUrl: "{URL}"' in advice
    assert exposing.tailscale.served["AllowFunnel"]
    result, advice = exposing.ok("--mode", "off")
    assert result == {"mode": "off", "removed": [WEBHOOK, STREAM], "kept": []}
    assert advice == ""
    assert exposing.tailscale.served == {}
    assert exposing.ok("--mode", "off")[0] == {"mode": "off", "removed": [], "kept": []}


def test_setting_it_up_twice_is_setting_it_up_once(exposing: Exposing) -> None:
    assert exposing.ok("--mode", "serve")[0] == exposing.ok("--mode", "serve")[0]
    assert len(exposing.tailscale.changes) == 2
    # And it can be opened to the internet from there.
    assert exposing.ok("--mode", "funnel")[0]["publicUrl"] == URL
    assert exposing.tailscale.served["AllowFunnel"]


def test_the_options_say_what_leads_where(exposing: Exposing) -> None:
    exposing.configure(streaming={"enabled": True, "publicUrl": "https://media.example.com"})
    options = ("--path", "/calls", "--port", "4000", "--serve-path", "/hooks")
    result, _ = exposing.ok("--mode", "serve", *options)
    assert result["publicUrl"] == "https://box.tail1.ts.net/calls"
    assert result["streamUrl"] == "wss://media.example.com/voice/stream"
    assert exposing.tailscale.handlers() == {"/calls": "http://127.0.0.1:4000/hooks"}
    removed = exposing.ok("--mode", "off", *options)[0]["removed"]
    assert [route["path"] for route in removed] == ["/calls"]


@pytest.mark.parametrize(
    ("config", "mode"),
    [
        ({"tailscale": {"mode": "serve"}}, "serve"),
        ({"tunnel": {"provider": "tailscale-serve"}}, "serve"),
        ({"tailscale": {"mode": "funnel"}, "publicUrl": URL}, "funnel"),
    ],
)
def test_the_configuration_says_which_mode(
    exposing: Exposing, config: dict[str, Any], mode: str
) -> None:
    exposing.configure(**config)
    result, advice = exposing.ok()
    assert result["mode"] == mode
    assert advice == ""


def test_a_carrier_is_not_in_the_tailnet(exposing: Exposing) -> None:
    exposing.configure(
        provider="twilio",
        fromNumber="+15550000001",
        twilio={"accountSid": "AC" + "0" * 32, "authToken": "auth-token"},
        tailscale={"mode": "serve"},
    )
    _, advice = exposing.ok()
    assert "only the tailnet reaches this: twilio cannot" in advice


def test_what_others_serve_is_left_alone(exposing: Exposing) -> None:
    before = {
        "TCP": {"443": {"HTTPS": True}},
        "Web": {
            "box.tail1.ts.net:443": {
                "Handlers": {"/voice/webhook": {"Proxy": "http://127.0.0.1:9999"}}
            }
        },
    }
    exposing.tailscale.served = before
    assert "leads to http://127.0.0.1:9999 already" in exposing.refused("--mode", "serve")
    result, advice = exposing.ok("--mode", "off")
    assert result["removed"] == []
    assert result["kept"] == [{"path": "/voice/webhook", "target": "http://127.0.0.1:9999"}]
    assert "was left alone" in advice
    assert exposing.tailscale.served == before


def test_what_cannot_be_is_told(exposing: Exposing) -> None:
    exposing.configure(tunnel={"provider": "ngrok"})
    assert "voicecall serve" in exposing.refused()
    assert exposing.ok("--mode", "off")[0]["removed"] == []
    exposing.configure(serve={"port": 0})
    assert "serve.port: is 0" in exposing.refused()
    exposing.configure(tailscale={"port": 3000})
    assert "funnel only works on 443, 8443, 10000" in exposing.refused()
    exposing.configure()
    assert "absolute path" in exposing.refused("--path", "calls", status=2)
    assert "would put everything" in exposing.refused("--path", "/")
    exposing.tailscale.behave(state="NeedsLogin")
    assert "run: sudo tailscale up" in exposing.refused()
    (exposing.tailscale.folder / "tailscale").unlink()
    assert "https://tailscale.com/download" in exposing.refused()


def test_on_a_terminal_it_is_a_table(exposing: Exposing) -> None:
    with Terminal([*exposing.command, "--mode", "funnel"], exposing.environment) as terminal:
        assert terminal.exit() == 0
        webhook_url, _, route, _, advice, *_ = terminal.picture.splitlines()
    assert webhook_url.split() == ["publicUrl", URL]
    assert route.split() == ["route", WEBHOOK["path"], "->", WEBHOOK["target"]]
    assert advice.startswith(f'set publicUrl: "{URL}"')


def test_who_waits_at_a_terminal_sees_for_what(exposing: Exposing) -> None:
    exposing.tailscale.behave(waits=True)
    with Terminal([*exposing.command, "--mode", "serve"], exposing.environment) as terminal:
        terminal.sees("setting routes: tailscale serve")
        exposing.tailscale.go_on()
        assert terminal.exit() == 0
        picture = terminal.picture
    assert "setting routes" not in picture
    assert picture.splitlines()[0].split() == ["publicUrl", URL]


def test_help_loads_nothing_heavy() -> None:
    script = (
        "import sys; from voicecall.cli import main; main(['expose', '--help'], "
        "standalone_mode=False); print([name for name in ('pydantic', 'asyncio.subprocess', "
        "'voicecall.exposure.tailscale', 'rich') if name in sys.modules])"
    )
    done = subprocess.run(  # noqa: S603  (our own interpreter)
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=True,
    )
    assert "--serve-path" in done.stdout
    assert "voicecall expose --mode funnel" in done.stdout
